//! Every Python at hand: hello, environ, input, errors, and a virtual environment of each.

use std::path::Path;

use serde_json::Value;

use crate::support::fcgi_client::Request;
use crate::support::process::Gateway;
use crate::support::python;

/// Serves a request under `python` and gives what the application saw.
#[track_caller]
fn smoke(python: &Path) -> Value {
    let gateway = Gateway::app("smoke").python(python).start();
    let mut connection = gateway.connect();
    let mut seen = Value::Null;
    for round in 0..3 {
        let body = format!("body of round {round}");
        let response = connection
            .exchange(&Request::post("/caf\u{e9}", body.clone()).keep_conn())
            .ok();
        seen = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(seen["body"], body);
    }
    assert_eq!(seen["dict"], true);
    assert_eq!(seen["path"], "/caf\u{c3}\u{a9}", "UTF-8 bytes as latin-1");
    assert_eq!(seen["thread"], serde_json::json!(["thread"]));
    gateway.log.wait_for_line(&["smoke to errors"]);
    gateway.signal(rustix::process::Signal::TERM);
    let status = gateway.wait_exit(crate::support::wait::SOON);
    assert_eq!(status.code(), Some(0), "{}", gateway.log.text());
    seen
}

#[test]
fn every_python_serves() {
    let pythons = python::available();
    assert!(
        !pythons.is_empty(),
        "no CPython from 3.9 on; name one in {}",
        python::VARIABLE
    );
    for python in pythons {
        println!("{python:?}");
        let seen = smoke(&python.path);
        assert_eq!(seen["version"], serde_json::json!([python.version.0, python.version.1]));
    }
}

/// Since 3.11 they did not: see src/bootstrap.py.
#[test]
fn calls_cost_the_same_however_deep_they_are() {
    for python in python::available() {
        let gateway = Gateway::app("depths").python(&python.path).threads(2).start();
        let slowdowns = std::thread::scope(|scope| {
            let ask = || gateway.get("/").ok().text().parse::<f64>().unwrap();
            [scope.spawn(ask), scope.spawn(ask)].map(|asked| asked.join().unwrap())
        });
        let alike = slowdowns.iter().all(|slowdown| *slowdown < 15.0);
        assert!(alike, "{slowdowns:?} in the two threads of {python:?}");
    }
}

#[test]
fn every_pythons_virtual_environment_serves() {
    for python in python::available() {
        let directory = tempfile::tempdir().unwrap();
        if !python::make_venv(&python.path, directory.path()) {
            println!("skipped: {python:?} makes no virtual environments");
            continue;
        }
        println!("{python:?}");
        let seen = smoke(directory.path());
        assert_eq!(seen["version"], serde_json::json!([python.version.0, python.version.1]));
        assert_eq!(seen["prefix"], directory.path().to_str().unwrap());
        let executable = seen["executable"].as_str().unwrap();
        assert!(
            executable.starts_with(directory.path().to_str().unwrap()),
            "{executable}"
        );
    }
}

#[test]
fn packages_of_the_virtual_environment_are_importable() {
    let python = python::available().swap_remove(0);
    let directory = tempfile::tempdir().unwrap();
    if !python::make_venv(&python.path, directory.path()) {
        println!("skipped: {python:?} makes no virtual environments");
        return;
    }
    let (major, minor) = python.version;
    let packages = directory
        .path()
        .join(format!("lib/python{major}.{minor}/site-packages"));
    std::fs::write(
        packages.join("installed_in_venv.py"),
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'installed']\n",
    )
    .unwrap();
    let empty = tempfile::tempdir().unwrap();
    let gateway = Gateway::app("installed_in_venv")
        .python(directory.path())
        .chdir(empty.path())
        .start();
    assert_eq!(gateway.get("/").ok().text(), "installed");
}

#[test]
fn unusable_python_is_one_clear_message() {
    let empty = tempfile::tempdir().unwrap();
    let broken = tempfile::tempdir().unwrap();
    std::fs::create_dir(broken.path().join("bin")).unwrap();
    std::os::unix::fs::symlink("/nobody/has/python3", broken.path().join("bin/python3")).unwrap();
    std::fs::write(broken.path().join("pyvenv.cfg"), "home = /nobody/has\n").unwrap();
    for wrong in [
        Path::new("/nobody/has/this"),
        empty.path(),
        broken.path(),
        Path::new("/etc/passwd"),
        Path::new("/bin/true"),
    ] {
        let (status, log) = Gateway::app("smoke").python(wrong).fail();
        assert!(status.code().is_some_and(|code| code != 0), "{wrong:?}: {status}");
        assert!(
            log.text().contains(wrong.to_str().unwrap()),
            "{wrong:?}: {}",
            log.text()
        );
        assert!(!log.text().contains("Traceback"), "{wrong:?}: {}", log.text());
    }
}

#[test]
fn too_old_python_is_refused_with_its_version() {
    let home = std::env::var_os("HOME")
        .map(std::path::PathBuf::from)
        .unwrap_or_default();
    let old = ["3.8", "3.7", "3.6"].iter().find_map(|version| {
        let versions = std::fs::read_dir(home.join(".pyenv/versions")).ok()?;
        versions.flatten().map(|entry| entry.path()).find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(version))
        })
    });
    let Some(old) = old else {
        println!("skipped: no Python before 3.9");
        return;
    };
    let (status, log) = Gateway::app("smoke").python(old.join("bin/python3")).fail();
    assert!(!status.success());
    assert!(log.text().contains("3.9"), "says what is needed: {}", log.text());
}
