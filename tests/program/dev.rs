//! `wsgi-fpm dev` without an engine: what the preview shows and when it reloads.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use rustix::process::Signal;

use crate::run::{Running, Stage, refusal};
use crate::support::wait::{SOON, until_some};

fn dev(stage: &Stage, more: &[&str]) -> Command {
    let mut command = stage.command(&["dev", "app:application", "--bind", "127.0.0.1:0"]);
    command.args(more);
    command
}

/// Host and port of the preview.
fn address(running: &Running) -> String {
    let line = running.line("url=\"http://");
    let (_, rest) = line.split_once("url=\"http://").unwrap();
    rest.split('/').next().unwrap().to_owned()
}

fn page(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn application_that_can_not_start_is_shown_and_reloaded_when_a_file_changes() {
    let stage = Stage::new();
    stage.behave("fail");
    let mut running = Running::spawn(dev(&stage, &[]));
    let address = address(&running);
    let text = until_some("the page shows the failure", SOON, || {
        Some(page(&address)).filter(|text| text.contains("ImportError"))
    });
    assert!(text.starts_with("HTTP/1.1 500 ") && text.contains("line one"), "{text}");
    stage.behave("");
    std::fs::write(stage.path("app.py"), "application = None\n").unwrap();
    let reload = running.line("reloading");
    assert!(reload.contains("app.py"), "{reload}");
    let settings = running.line("settings ");
    assert!(
        settings.contains(r#""debug": true"#) && settings.contains(r#""size": {"least": 1, "most": 1,"#),
        "{settings}"
    );
    running.line(" ready ");
    running.signal(Signal::INT);
    assert_eq!(running.exit().code(), Some(0));
}

#[test]
fn listening_beyond_this_machine_has_to_be_said_and_is_warned_of() {
    let stage = Stage::new();
    let output = stage.command(&["dev", "app", "--bind", "0.0.0.0:0"]).output().unwrap();
    let message = refusal(&output, 2);
    assert!(
        message.starts_with("--bind 0.0.0.0:0: ") && message.contains("--allow-remote"),
        "{message}"
    );
    let command = stage.command(&["dev", "app:application", "--bind", "0.0.0.0:0", "--allow-remote"]);
    let mut running = Running::spawn(command);
    running.line("everybody who reaches this address sees tracebacks and code");
    running.line(" ready ");
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
}

#[test]
fn flask_is_told_to_raise_errors_unless_the_developer_says_otherwise() {
    for (typed, expected) in [(None, "1"), (Some("FLASK_DEBUG=0"), "0"), (Some("FLASK_DEBUG="), "")] {
        let stage = Stage::new();
        let mut command = dev(&stage, &[]);
        command.env_remove("FLASK_DEBUG");
        if let Some(variable) = typed {
            command.args(["--env", variable]);
        }
        let mut running = Running::spawn(command);
        running.line(&format!("FLASK_DEBUG={expected}."));
        running.signal(Signal::TERM);
        running.exit();
    }
}

#[test]
fn no_reload_is_an_option() {
    let stage = Stage::new();
    let mut running = Running::spawn(dev(&stage, &["--no-reload"]));
    running.line(" ready ");
    std::fs::write(stage.path("app.py"), "application = None\n").unwrap();
    // Where files are watched, a change is told after a tenth of a second.
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(running.log.find(|line| line.contains("reloading")).is_none());
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
}

#[test]
fn taken_port_is_named() {
    let stage = Stage::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = stage.command(&["dev", "app", "--bind", &address]).output().unwrap();
    let message = refusal(&output, 1);
    assert_eq!(
        message,
        format!("--bind {address}: another program listens there; name another port")
    );
}
