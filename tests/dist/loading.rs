//! How the engine gets from the program into Python, and what of it is left behind there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::release::{engine_beside, program, root};
use crate::support::process::{Builder, Gateway};
use crate::support::python;

/// A gateway of the release.
pub fn gateway() -> Builder {
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dist");
    Gateway::app("app")
        .chdir(app)
        .program(program())
        .without_variable("WSGI_FPM_ENGINE")
}

#[track_caller]
pub fn answer(gateway: &Gateway) -> Value {
    serde_json::from_str(&gateway.get("/").ok().text()).unwrap()
}

/// Descriptors that are the engine's.
fn images(descriptors: &Value) -> Vec<&String> {
    let all = descriptors.as_object().unwrap().iter();
    let images = all.filter(|(_, target)| target.as_str().unwrap().contains("memfd:wsgi-fpm-engine"));
    images.map(|(number, _)| number).collect()
}

#[track_caller]
pub fn from_memory(answer: &Value) {
    let mapped = answer["mapped"].as_array().unwrap();
    assert_eq!(mapped, &["/memfd:wsgi-fpm-engine (deleted)"]);
    let engine = answer["engine"].as_str().unwrap();
    let own = images(&answer["own"]);
    assert_eq!(own.len(), 1, "{answer}");
    assert!(
        engine.starts_with("/proc/") && engine.ends_with(&format!("/fd/{}", own[0])),
        "{engine} {own:?}"
    );
    assert_eq!(images(&answer["started"]), Vec::<&String>::new(), "{answer}");
    assert_eq!(images(&answer["forked"]), Vec::<&String>::new(), "{answer}");
    assert_eq!(answer["forked"][own[0]], "/dev/null");
}

#[test]
fn every_python_loads_the_engine_from_memory_and_its_children_have_nothing_of_it() {
    for python in python::available() {
        for hosting in ["embedded", "exec"] {
            let gateway = gateway()
                .python(&python.path)
                .variable("WSGI_FPM_HOSTING", hosting)
                .spawn();
            let begun = std::time::Instant::now();
            while !gateway.log.text().contains("ready") && gateway.exit_status().is_none() {
                assert!(begun.elapsed() < crate::support::wait::SOON, "{}", gateway.log.text());
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            if gateway.log.text().contains("has no shared libpython") {
                eprintln!("skipped: {} has no shared libpython to embed", python.path.display());
                continue;
            }
            from_memory(&answer(&gateway));
        }
    }
}

#[test]
fn script_loads_it_from_memory_too() {
    from_memory(&answer(&gateway().on_stdin().start()));
}

#[test]
fn limits_and_umask_of_a_pool_do_not_keep_it_out() {
    let gateway = gateway()
        .option("--umask", "0777")
        .option("--rlimit", "nofile=64")
        .start();
    from_memory(&answer(&gateway));
}

/// The supervisor starts leaders again from what it has, and opens nothing more for it.
#[test]
fn reload_leaves_no_descriptor_behind() {
    let gateway = gateway().start();
    let descriptors = || {
        let path = format!("/proc/{}/fd", gateway.pid().as_raw_nonzero());
        let links = fs::read_dir(path)
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        links
            .filter(|link| link.to_string_lossy().contains("memfd:wsgi-fpm-engine"))
            .count()
    };
    assert_eq!(descriptors(), 1);
    let mark = gateway.log.mark();
    gateway.signal(rustix::process::Signal::HUP);
    crate::support::wait::until("a second generation is ready", crate::support::wait::SOON, || {
        gateway.log.since(mark).iter().any(|line| line.contains(" ready "))
    });
    assert_eq!(descriptors(), 1);
    from_memory(&answer(&gateway));
}

/// It is quicker, and by its name no other version's.
#[test]
fn engine_of_the_same_build_is_taken_from_the_installation() {
    let prefix = tempfile::tempdir().unwrap();
    let (bin, lib) = (prefix.path().join("bin"), prefix.path().join("lib/wsgi-fpm"));
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(&lib).unwrap();
    let copy = bin.join("wsgi-fpm");
    fs::copy(program(), &copy).unwrap();
    fs::write(lib.join("engine-0123456789abcdef.so"), "of another version").unwrap();
    from_memory(&answer(&gateway().program(&copy).start()));
    let engine = engine_beside(&root());
    let beside = lib.join(engine.file_name().unwrap());
    fs::copy(&engine, &beside).unwrap();
    for gateway in [
        gateway().program(&copy).start(),
        gateway().program(&copy).on_stdin().start(),
    ] {
        let answer = answer(&gateway);
        assert_eq!(answer["mapped"], serde_json::json!([beside]));
        let descriptors = answer["forked"].to_string() + &answer["started"].to_string();
        assert!(!descriptors.contains("engine-"), "{descriptors}");
    }
    // An update takes the file away: a new generation has it all the same.
    let gateway = gateway().program(&copy).start();
    fs::remove_file(&beside).unwrap();
    let mark = gateway.log.mark();
    gateway.signal(rustix::process::Signal::HUP);
    crate::support::wait::until("a second generation is ready", crate::support::wait::SOON, || {
        gateway.log.since(mark).iter().any(|line| line.contains(" ready "))
    });
    answer(&gateway);
}

/// The variable is for those who work on the engine. A file beside the program may be left over from another installation.
#[test]
fn engine_that_is_named_wins_and_one_beside_the_program_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("wsgi-fpm");
    fs::copy(program(), &copy).unwrap();
    let other = directory.path().join("libwsgi_fpm_engine.so");
    fs::write(&other, "no engine").unwrap();
    let beside = gateway().program(&copy).start();
    from_memory(&answer(&beside));
    let (status, log) = gateway().program(&copy).variable("WSGI_FPM_ENGINE", &other).fail();
    assert_eq!(status.code(), Some(1));
    assert!(log.text().contains("the engine can't be loaded: "), "{}", log.text());
    let (status, log) = gateway().variable("WSGI_FPM_ENGINE", "/no/such/engine").fail();
    assert_eq!(status.code(), Some(1));
    assert!(
        log.text().contains("the engine is missing: /no/such/engine"),
        "{}",
        log.text()
    );
}

/// By its path, which is in a process that lives, and by its build id.
#[test]
fn debugger_finds_the_engine_of_a_worker() {
    if Command::new("gdb").arg("--version").output().is_err() {
        eprintln!("skipped: gdb is not installed");
        return;
    }
    let gateway = gateway().start();
    let worker = worker_of(&gateway);
    let debug = crate::release::debug();
    let mut gdb = Command::new("gdb");
    gdb.args(["--batch", "--nx", "-p", &worker, "-iex"])
        .arg(format!("set debug-file-directory {}", debug.display()))
        .args(["-ex", "info sharedlibrary", "-ex", "info line wsgi_fpm_engine::main"]);
    let output = gdb.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("ptrace: Operation not permitted") {
        eprintln!("skipped: nobody may trace here");
        return;
    }
    let engine = text
        .lines()
        .find(|line| line.contains("/fd/"))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(
        engine.contains("Yes") && !engine.contains("(*)"),
        "with its symbols: {engine}"
    );
}

fn worker_of(gateway: &Gateway) -> String {
    let title = |pid: i32| fs::read(PathBuf::from(format!("/proc/{pid}/cmdline"))).unwrap_or_default();
    let processes = gateway.processes();
    let worker = processes.iter().map(|pid| pid.as_raw_nonzero().get());
    let worker = worker
        .into_iter()
        .find(|&pid| String::from_utf8_lossy(&title(pid)).contains("worker 1"));
    worker.expect("a worker").to_string()
}
