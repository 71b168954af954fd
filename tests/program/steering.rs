//! Signals, and what happens to sockets and to the log's file, at times when nobody expects it.

use std::fs::File;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::run::{Running, Stage, field};
use crate::support::wait::{SOON, until, until_some};

/// A stage whose interpreter does not answer before the file `go` is there.
fn slow_stage() -> Stage {
    let stage = Stage::new();
    let script = std::fs::read_to_string(stage.python()).unwrap();
    let wait = format!(
        "touch {0}/asked; while ! test -e {0}/go; do sleep 0.01; done",
        stage.path("").display()
    );
    stage.script(&script.replacen("#!/bin/sh\n", &format!("{wait}\n"), 1));
    stage
}

fn wait_until_asked(stage: &Stage) {
    until("the interpreter is asked", SOON, || stage.path("asked").exists());
}

#[test]
fn reload_that_comes_too_early_ends_nothing() {
    let stage = slow_stage();
    let mut running = Running::spawn(stage.serve(&[]));
    wait_until_asked(&stage);
    running.signal(Signal::HUP);
    let line = running.line("reason=\"SIGHUP\"");
    assert!(line.contains("no reload: the start is still under way"), "{line}");
    std::fs::write(stage.path("go"), "").unwrap();
    running.line(" ready ");
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
}

#[test]
fn stop_that_comes_early_is_obeyed_at_once() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let stage = slow_stage();
        let mut running = Running::spawn(stage.serve(&[]));
        wait_until_asked(&stage);
        running.signal(signal);
        assert_eq!(running.exit().code(), Some(0));
        running.line("stopping");
        assert!(!stage.socket().exists());
    }
}

#[test]
fn log_over_the_limit_for_files_ends_nothing() {
    let stage = Stage::new();
    let command = stage.serve(&[]);
    // Far over the limit already, which leaves room for shared memory: that is files, too.
    const LENGTH: u64 = 1 << 30;
    let log = File::options()
        .create(true)
        .append(true)
        .open(stage.path("log"))
        .unwrap();
    log.set_len(LENGTH).unwrap();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 65536; exec \"$@\"", "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let mut child = limited.stdin(Stdio::null()).stderr(log).spawn().unwrap();
    until("it listens", SOON, || UnixStream::connect(stage.socket()).is_ok());
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::HUP).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = until_some("it ends", SOON, || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(stage.path("log").metadata().unwrap().len(), LENGTH);
}

#[test]
fn removed_socket_is_made_anew_by_a_reload() {
    let stage = Stage::new();
    let mut running = Running::spawn(stage.serve(&["--listen-mode", "0604", "--listen", "127.0.0.1:0"]));
    running.line(" ready ");
    let waiting = UnixStream::connect(stage.socket()).unwrap();
    std::fs::remove_file(stage.socket()).unwrap();
    let mark = running.signal(Signal::HUP);
    let line = running.line_after(mark, "the socket's file was gone: it is made anew");
    assert!(line.contains(&format!("unix:{}", stage.socket().display())), "{line}");
    // The one that has gone is served, too: connections wait in it.
    let line = running.line_after(mark, "listening ");
    assert!(line.contains("listening [1, 1, 1]"), "{line}");
    assert_eq!(field(&running.line_after(mark, " ready "), "generation"), 2);
    UnixStream::connect(stage.socket()).unwrap();
    drop(waiting);
    // Nothing is to be mended the next time.
    let mark = running.signal(Signal::HUP);
    let line = running.line_after(mark, "listening ");
    assert!(line.contains("listening [1, 1]"), "{line}");
    running.line_after(mark, " ready ");
    assert_eq!(running.log.count(|line| line.contains("made anew")), 1);
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
    assert!(!stage.socket().exists());
}

#[test]
fn socket_that_is_made_anew_goes_with_a_generation_that_fails() {
    let stage = Stage::new();
    let running = Running::spawn(stage.serve(&[]));
    running.line(" ready ");
    std::fs::remove_file(stage.socket()).unwrap();
    stage.behave("fail");
    running.signal(Signal::HUP);
    running.line("the previous generation goes on");
    until("nobody is to wait where nobody answers", SOON, || {
        !stage.socket().exists()
    });
    stage.behave("");
    let mark = running.signal(Signal::HUP);
    running.line_after(mark, "made anew");
    running.line_after(mark, " ready ");
    UnixStream::connect(stage.socket()).unwrap();
}

#[test]
fn reload_says_why_a_socket_can_not_be_made_anew() {
    let stage = Stage::new();
    let directory = stage.path("run");
    std::fs::create_dir(&directory).unwrap();
    let socket = directory.join("socket");
    let mut command = stage.serve(&[]);
    command.arg("--listen").arg(&socket);
    let mut running = Running::spawn(command);
    running.line(" ready ");
    std::fs::remove_dir_all(&directory).unwrap();
    let says = |what: &str| {
        let mark = running.signal(Signal::HUP);
        let line = running.line_after(mark, "the pool can't be reached there any more");
        assert!(
            line.contains(&socket.display().to_string()) && line.contains(what),
            "{line}"
        );
        running.line_after(mark, " ready ");
    };
    says("does not exist");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(&socket, "precious").unwrap();
    says("the path exists and is not a socket");
    std::fs::remove_file(&socket).unwrap();
    let other = UnixListener::bind(&socket).unwrap();
    says("another program answers there");
    drop(other);
    let mark = running.signal(Signal::HUP);
    running.line_after(mark, "made anew");
    running.line_after(mark, " ready ");
    UnixStream::connect(&socket).unwrap();
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
}
