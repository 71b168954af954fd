//! Sockets: how they are made, what is in the way, and that nothing is left behind.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::run::{Running, Stage, field, refusal};

#[test]
fn unix_socket_has_its_mode_and_goes_at_the_end() {
    let stage = Stage::new();
    let group = rustix::process::getgid().as_raw().to_string();
    let mut running = Running::spawn(stage.serve(&["--listen-mode", "0604", "--listen-group", &group]));
    running.line(" ready ");
    let metadata = stage.socket().metadata().unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o604);
    assert_eq!(metadata.gid().to_string(), group);
    UnixStream::connect(stage.socket()).unwrap();
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
    assert!(!stage.socket().exists());
}

#[test]
fn default_mode_lets_the_group_in() {
    let stage = Stage::new();
    let running = Running::spawn(stage.serve(&[]));
    running.line(" ready ");
    assert_eq!(stage.socket().metadata().unwrap().permissions().mode() & 0o777, 0o660);
}

#[test]
fn socket_of_a_killed_instance_is_replaced() {
    let stage = Stage::new();
    drop(UnixListener::bind(stage.socket()).unwrap());
    assert!(
        stage.socket().exists(),
        "a listener of the standard library leaves its file"
    );
    let running = Running::spawn(stage.serve(&[]));
    running.line(" ready ");
    UnixStream::connect(stage.socket()).unwrap();
}

#[test]
fn file_in_the_socket_s_place_is_left_alone() {
    let stage = Stage::new();
    std::fs::write(stage.socket(), "precious").unwrap();
    let message = refusal(&stage.serve(&[]).output().unwrap(), 1);
    assert!(message.contains("the path exists and is not a socket"), "{message}");
    assert_eq!(std::fs::read(stage.socket()).unwrap(), b"precious");
    std::fs::remove_file(stage.socket()).unwrap();
    std::os::unix::fs::symlink(stage.path("elsewhere"), stage.socket()).unwrap();
    let message = refusal(&stage.serve(&[]).output().unwrap(), 1);
    assert!(message.contains("the path exists and is not a socket"), "{message}");
}

#[test]
fn second_instance_is_refused_and_the_first_goes_on() {
    let stage = Stage::new();
    let running = Running::spawn(stage.serve(&[]));
    running.line(" ready ");
    let message = refusal(&stage.serve(&[]).output().unwrap(), 1);
    assert!(
        message.ends_with("another program answers there; stop it or name another address"),
        "{message}"
    );
    UnixStream::connect(stage.socket()).unwrap();
}

#[test]
fn socket_of_a_later_instance_stays() {
    let stage = Stage::new();
    let mut first = Running::spawn(stage.serve(&[]));
    first.line(" ready ");
    std::fs::remove_file(stage.socket()).unwrap();
    let second = Running::spawn(stage.serve(&[]));
    second.line(" ready ");
    first.signal(Signal::TERM);
    first.exit();
    UnixStream::connect(stage.socket()).unwrap();
}

#[test]
fn failed_start_leaves_no_socket() {
    let stage = Stage::new();
    stage.behave("fail");
    let mut running = Running::spawn(stage.serve(&[]));
    assert_eq!(running.exit().code(), Some(1));
    assert!(!stage.socket().exists());
}

#[test]
fn directory_that_does_not_exist_is_named() {
    let stage = Stage::new();
    let socket = stage.path("no/such/socket");
    let mut command = stage.command(&["serve", "app"]);
    let message = refusal(&command.arg("--listen").arg(&socket).output().unwrap(), 1);
    let directory = socket.parent().unwrap().display();
    let expected = format!(
        "--listen unix:{}: the directory {directory} does not exist; make it: install -d -o ",
        socket.display()
    );
    assert!(message.starts_with(&expected), "{message}");
    assert!(message.ends_with(&format!(" {directory}")), "{message}");
    let mut command = stage.command(&["serve", "app", "--listen", "/run/wsgi-fpm-no/such/socket"]);
    let message = refusal(&command.output().unwrap(), 1);
    assert!(
        message.ends_with("/run/wsgi-fpm-no/such, or in a systemd unit RuntimeDirectory=wsgi-fpm-no/such"),
        "{message}"
    );
}

#[test]
fn taken_port_is_refused() {
    let stage = Stage::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = stage.command(&["serve", "app", "--listen", &address]).output().unwrap();
    let message = refusal(&output, 1);
    assert!(
        message.starts_with(&format!("--listen {address}: another program answers there")),
        "{message}"
    );
}

#[test]
fn several_listeners_reach_the_leader_in_their_order() {
    let stage = Stage::new();
    let running = Running::spawn(stage.serve(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0"]));
    let line = running.line("listening ");
    assert!(
        line.contains("listening [1, 1, 1] blocking [False, False, False]"),
        "{line}"
    );
    assert!(
        running
            .line("settings ")
            .contains(r#""listeners": ["unix", "tcp", "tcp"]"#)
    );
    let ready = running.line(" ready ");
    assert!(!ready.contains(":0,") && ready.contains("[::1]:"), "{ready}");
}

/// A shell gives the program descriptor 3, as a service manager would.
fn with_descriptor_3(socket: OwnedFd, mut command: Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" 3<&0 0</dev/null", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    command.stdin(Stdio::null());
    shell.stdin(socket);
    shell
}

#[test]
fn inherited_listener_is_used() {
    let stage = Stage::new();
    let listener = UnixListener::bind(stage.path("inherited")).unwrap();
    let command = stage.command(&["serve", "app", "--listen", "fd:3"]);
    let mut running = Running::spawn(with_descriptor_3(listener.into(), command));
    let ready = running.line(" ready ");
    assert!(ready.contains("fd:3 (unix:"), "{ready}");
    let line = running.line("listening ");
    assert!(line.contains("listening [1] blocking [False]"), "{line}");
    // SPEC F8: under its own number the leader does not have it.
    let fds = std::fs::read_dir(format!("/proc/{}/fd", field(&ready, "leader"))).unwrap();
    let sockets = fds.flatten().filter_map(|fd| fd.path().read_link().ok());
    let sockets: Vec<_> = sockets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .collect();
    assert_eq!(
        sockets.len(),
        6,
        "control twice, the handover's ends, the keeper's channel and one listener: {sockets:?}"
    );
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
    assert!(stage.path("inherited").exists(), "who made it removes it");
}

#[test]
fn descriptor_that_is_no_listener_is_refused() {
    let stage = Stage::new();
    let (connected, _other) = UnixStream::pair().unwrap();
    let command = stage.command(&["serve", "app", "--listen", "fd:3"]);
    let output = with_descriptor_3(connected.into(), command).output().unwrap();
    let message = refusal(&output, 1);
    assert_eq!(
        message,
        "--listen fd:3: what was left open there is not a listening unix or TCP stream socket"
    );
    let output = stage.command(&["serve", "app", "--listen", "fd:333"]).output().unwrap();
    assert!(refusal(&output, 1).contains("descriptor 333 is not open"));
}
