//! Systems that do not let the engine be loaded from memory: it is loaded from a file then, of which nothing is left.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::release::program;
use crate::support::python;

/// The commands run as root of namespaces of their own.
const NAMESPACES: [&str; 5] = ["--user", "--map-root-user", "--mount", "--pid", "--fork"];
const NO_PROC: &str = "mount -t tmpfs none /proc";
const ONLY_DATA: &str = "mount -t tmpfs -o noexec none /dev/shm && mount -t tmpfs -o noexec none /var/tmp";

/// One CGI request behind `commands`; `None` where nobody may make such a system.
fn request(commands: &str, directory: &Path) -> Option<Output> {
    let run = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare
            .args(NAMESPACES)
            .args(["--mount-proc", "sh", "-c", script, "sh"])
            .stdin(Stdio::null());
        unshare
    };
    if !run(commands).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: nobody may {commands} here");
        return None;
    }
    let mut command = run(&format!("{commands} && exec \"$@\""));
    command.arg(program()).args(["cgi", "app", "--chdir"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dist"));
    if let Some(python) = python::default() {
        command.arg("--python").arg(python);
    }
    for name in ["WSGI_FPM_ENGINE", "VIRTUAL_ENV", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    for (name, value) in [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/"),
        ("SERVER_NAME", "test.example"),
        ("SERVER_PORT", "80"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    ] {
        command.env(name, value);
    }
    Some(
        command
            .env("TMPDIR", directory)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap(),
    )
}

#[track_caller]
fn answered(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| serde_json::from_str(body));
    match body {
        Some(Ok(answer)) => answer,
        _ => panic!("{output:?}"),
    }
}

#[test]
fn without_proc_the_engine_comes_from_a_private_file_that_is_gone_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let Some(output) = request(NO_PROC, directory.path()) else {
        return;
    };
    let engine = answered(&output)["engine"].as_str().unwrap().to_owned();
    let private = format!("{}/wsgi-fpm-", directory.path().display());
    assert!(
        engine.starts_with(&private) && engine.ends_with("/engine.so"),
        "{engine}"
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn directory_that_lets_nothing_be_executed_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let commands = format!("{NO_PROC} && {ONLY_DATA}");
    let Some(output) = request(&commands, Path::new("/dev/shm")) else {
        return;
    };
    let engine = answered(&output)["engine"].as_str().unwrap().to_owned();
    assert!(engine.starts_with("/tmp/wsgi-fpm-"), "{engine}");
    let commands = format!(
        "{commands} && mount -t tmpfs -o noexec none {}",
        directory.path().display()
    );
    let Some(output) = request(
        &format!("{commands} && mount --rbind {} /tmp", directory.path().display()),
        Path::new("/dev/shm"),
    ) else {
        return;
    };
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.starts_with("wsgi-fpm: error: the engine can't be loaded: "),
        "{log}"
    );
    assert!(
        log.ends_with("; name a directory in TMPDIR that lets files be executed\n"),
        "{log}"
    );
}

/// `vm.memfd_noexec=2` forbids what could be run as a program, and that is no file of ours.
#[test]
fn system_that_makes_no_executable_files_in_memory_loads_it_from_memory() {
    let directory = tempfile::tempdir().unwrap();
    let Some(output) = request("echo 2 >/proc/sys/vm/memfd_noexec", directory.path()) else {
        return;
    };
    crate::loading::from_memory(&answered(&output));
}
