//! Start, stop and everything between of the gateway's processes: SPEC A32, C60, E1, E7, F7.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::fcgi_client::Request;
use crate::support::net::Address;
use crate::support::process::Gateway;
use crate::support::wait::{SOON, until};

/// A file whose existence lets `waits` of processes.py go on; `.called` beside it tells that it runs.
fn gate(gateway: &Gateway, name: &str) -> (PathBuf, PathBuf) {
    let gate = gateway.directory.path().join(name);
    let called = gateway.directory.path().join(format!("{name}.called"));
    (gate, called)
}

/// The unix socket of a gateway.
fn socket(gateway: &Gateway) -> PathBuf {
    match &gateway.address {
        Address::Unix(path) => path.clone(),
        Address::Tcp(address) => panic!("{address} is no unix socket"),
    }
}

#[test]
fn a32_sigterm_finishes_the_running_request_and_exits_with_0() {
    let gateway = Gateway::app("processes").start();
    let (gate, called) = gate(&gateway, "gate");
    let mut idle = gateway.connect();
    idle.exchange(&Request::get("/hello").keep_conn()).ok();
    let mut running = gateway.connect();
    running.send(&Request::get(&format!("/waits?{}", gate.display())).keep_conn().bytes());
    until("the request runs", SOON, || called.exists());
    gateway.signal(Signal::TERM);
    idle.expect_close();
    until("nobody accepts any more", SOON, || !gateway.address.answers());
    assert_eq!(gateway.exit_status(), None, "it waits for the running request");
    fs::write(&gate, "").unwrap();
    assert_eq!(running.read_response(1).ok().text(), "waited");
    running.expect_close();
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0), "{}", gateway.log.text());
    gateway.wait_for_nobody(SOON);
}

#[test]
fn a32_sigterm_without_requests_exits_at_once_with_0() {
    let gateway = Gateway::app("processes").workers(2).start();
    let mut idle = gateway.connect();
    idle.exchange(&Request::get("/hello").keep_conn()).ok();
    let started = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0), "{}", gateway.log.text());
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "idle connections are released"
    );
    gateway.wait_for_nobody(SOON);
}

/// They have been accepted by the kernel: for their clients, the gateway has them.
#[test]
fn a32_sigterm_serves_what_waits_in_the_backlog_and_refuses_what_comes_later() {
    for (builder, workers) in [
        (Gateway::app("processes"), 1),
        (Gateway::app("processes"), 2),
        (Gateway::app("processes").tcp("127.0.0.1"), 1),
        (Gateway::app("processes").tcp("127.0.0.1"), 2),
    ] {
        let gateway = builder.workers(workers).threads(1).start();
        let running: Vec<_> = (0..workers)
            .map(|n| {
                let (gate, called) = gate(&gateway, &format!("gate{n}"));
                let mut connection = gateway.connect();
                connection.send(&Request::get(&format!("/waits?{}", gate.display())).bytes());
                until("the request runs", SOON, || called.exists());
                (gate, connection)
            })
            .collect();
        let mut waiting: Vec<_> = (0..6).map(|_| gateway.connect()).collect();
        for connection in &mut waiting {
            connection.send(&Request::get("/hello").keep_conn().bytes());
        }
        gateway.signal(Signal::TERM);
        until("connections are refused", SOON, || !gateway.address.answers());
        for (gate, mut connection) in running {
            fs::write(&gate, "").unwrap();
            assert_eq!(connection.read_response(1).ok().text(), "waited");
        }
        for connection in &mut waiting {
            assert_eq!(connection.read_response(1).ok().text(), "hello");
            connection.expect_close();
        }
        assert_eq!(gateway.wait_exit(SOON).code(), Some(0), "{}", gateway.log.text());
    }
}

/// More of them than a worker may have open are served one after the other.
#[test]
fn a32_sigterm_serves_a_backlog_within_the_limit_of_connections() {
    let gateway = Gateway::app("processes")
        .threads(1)
        .option("--connections", "3")
        .start();
    let (gate, called) = gate(&gateway, "gate");
    let mut running = gateway.connect();
    running.send(&Request::get(&format!("/waits?{}", gate.display())).bytes());
    until("the request runs", SOON, || called.exists());
    let mut waiting: Vec<_> = (0..9).map(|_| gateway.connect()).collect();
    for connection in &mut waiting {
        connection.send(&Request::get("/hello").bytes());
    }
    gateway.signal(Signal::TERM);
    fs::write(&gate, "").unwrap();
    running.read_response(1).ok();
    for connection in &mut waiting {
        connection.read_response(1).ok();
    }
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0), "{}", gateway.log.text());
}

#[test]
fn a32_idle_worker_of_many_threads_stops_at_once() {
    let gateway = Gateway::app("processes").threads(256).start();
    gateway.get("/hello").ok();
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0), "{}", gateway.log.text());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a32_sigterm_cuts_what_runs_longer_than_the_stop_timeout() {
    let gateway = Gateway::app("processes").option("--stop-timeout", "300ms").start();
    let marker = gateway.directory.path().join("stuck");
    let mut running = gateway.connect();
    running.send(&Request::get(&format!("/ignores_everything?{}", marker.display())).bytes());
    until("the request runs", SOON, || marker.exists());
    gateway.signal(Signal::TERM);
    gateway.wait_exit(SOON);
    gateway.wait_for_nobody(SOON);
    assert_ne!(running.read_response(1).end, Some((0, 0)));
}

#[test]
fn sigint_and_sigquit_stop_at_once() {
    for signal in [Signal::INT, Signal::QUIT] {
        let gateway = Gateway::app("processes").start();
        let (gate, called) = gate(&gateway, "gate");
        let mut running = gateway.connect();
        running.send(&Request::get(&format!("/waits?{}", gate.display())).bytes());
        until("the request runs", SOON, || called.exists());
        gateway.signal(signal);
        gateway.wait_exit(Duration::from_secs(10));
        gateway.wait_for_nobody(SOON);
    }
}

#[test]
fn interrupt_from_the_terminal_stops_all() {
    let gateway = Gateway::app("processes").workers(2).start();
    gateway.signal_group(Signal::INT);
    gateway.wait_exit(Duration::from_secs(10));
    gateway.wait_for_nobody(SOON);
    assert_eq!(
        gateway.log.count(|line| line.contains("Traceback")),
        0,
        "{}",
        gateway.log.text()
    );
}

#[test]
fn nobody_outlives_a_killed_supervisor() {
    let gateway = Gateway::app("processes").workers(2).start();
    let (gate, called) = gate(&gateway, "gate");
    let mut running = gateway.connect();
    running.send(&Request::get(&format!("/waits?{}", gate.display())).bytes());
    until("the request runs", SOON, || called.exists());
    gateway.signal(Signal::KILL);
    gateway.wait_for_nobody(SOON);
}

#[test]
fn killed_leader_is_noticed_and_serving_goes_on() {
    let gateway = Gateway::app("processes").start();
    let worker: i32 = gateway.get("/pid").ok().text().parse().unwrap();
    let leader = parent_of(worker);
    assert_ne!(leader, gateway.pid(), "supervisor, leader, worker");
    kill_process(leader, Signal::KILL).unwrap();
    until(
        "another generation serves, or the gateway ends with a failure",
        SOON,
        || match gateway.exit_status() {
            Some(status) => !status.success(),
            None => {
                matches!(gateway.get("/pid"), response if response.code() == 200 && response.text() != worker.to_string())
            }
        },
    );
}

fn parent_of(pid: i32) -> Pid {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("PPid:")).unwrap();
    Pid::from_raw(line["PPid:".len()..].trim().parse().unwrap()).unwrap()
}

#[test]
fn every_worker_is_a_process_of_its_own_and_serves() {
    let gateway = Gateway::app("processes").workers(3).threads(1).start();
    let mut pids = std::collections::BTreeSet::new();
    let mut held = Vec::new();
    for n in 0..3 {
        // Each waits, so that the next request needs another worker.
        let (gate, called) = gate(&gateway, &format!("gate{n}"));
        let mut connection = gateway.connect();
        connection.send(&Request::get(&format!("/waits?{}", gate.display())).bytes());
        until("a worker takes the request", SOON, || called.exists());
        held.push((gate, connection));
    }
    for pid in gateway.processes() {
        pids.insert(pid.as_raw_nonzero());
    }
    assert!(pids.len() >= 5, "supervisor, leader and three workers: {pids:?}");
    for (gate, mut connection) in held {
        fs::write(&gate, "").unwrap();
        connection.read_response(1).ok();
    }
}

#[test]
fn worker_that_crashes_again_and_again_is_replaced_with_a_back_off() {
    let gateway = Gateway::app("processes").start();
    for _ in 0..4 {
        gateway.get("/exits");
        until("the next worker serves", SOON, || gateway.get("/hello").code() == 200);
    }
    assert_eq!(gateway.exit_status(), None);
}

#[test]
fn c60_atexit_runs_and_threads_are_joined_on_sigterm() {
    let markers = tempfile::tempdir().unwrap();
    let gateway = Gateway::app("loading/at_exit.py")
        .variable("MARKERS", markers.path())
        .start();
    gateway.get("/").ok();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0), "{}", gateway.log.text());
    assert_eq!(fs::read_to_string(markers.path().join("atexit")).unwrap(), "MainThread");
    assert_eq!(
        fs::read_to_string(markers.path().join("thread")).unwrap(),
        "worker thread"
    );
}

#[test]
fn c60_signal_handlers_of_the_application_run_in_the_main_thread() {
    let markers = tempfile::tempdir().unwrap();
    let gateway = Gateway::app("loading/at_exit.py")
        .variable("MARKERS", markers.path())
        .start();
    let pid: i32 = gateway.get("/").ok().text().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::USR1).unwrap();
    // An idle worker's main thread may sleep outside of Python until a request wakes it.
    until("the handler runs", SOON, || {
        gateway.get("/").ok();
        markers.path().join("handler-in-main").exists()
    });
    assert!(!markers.path().join("handler-elsewhere").exists());
    gateway.get("/").ok();
}

#[test]
fn c60_handlers_of_the_application_do_not_break_stopping() {
    for signal in [Signal::TERM, Signal::QUIT] {
        let gateway = Gateway::app("loading/own_handlers.py").start();
        gateway.get("/").ok();
        gateway.signal(signal);
        let status = gateway.wait_exit(Duration::from_secs(10));
        if signal == Signal::TERM {
            assert_eq!(status.code(), Some(0));
        }
        gateway.wait_for_nobody(SOON);
    }
}

#[test]
fn e1_import_failure_ends_the_start_with_the_traceback() {
    for (app, parts) in [
        (
            "loading/raises_at_import.py",
            ["the configuration is broken", "configure"],
        ),
        (
            "loading/missing_dependency.py",
            ["a_module_that_nobody_has", "ModuleNotFoundError"],
        ),
        ("loading/syntax_error.py", ["SyntaxError", "syntax_error.py"]),
        (
            "loading/system_exit_at_import.py",
            ["no settings, no service", "system_exit_at_import"],
        ),
    ] {
        let (status, log) = Gateway::app(app).fail();
        assert!(status.code().is_some_and(|code| code != 0), "{app}: {status}");
        let text = log.text();
        for part in parts {
            assert!(text.contains(part), "{part} in the log of {app}:\n{text}");
        }
        assert!(text.contains(app), "the log names the application:\n{text}");
        assert!(text.contains("python"), "the log names the Python:\n{text}");
    }
}

#[test]
fn e1_process_that_exits_during_the_import_ends_the_start() {
    let (status, log) = Gateway::app("loading/exits_at_import.py").workers(2).fail();
    assert!(!status.success(), "{}", log.text());
    assert!(log.text().contains("loading/exits_at_import.py"), "{}", log.text());
}

#[test]
fn prints_at_import_go_to_the_log() {
    let gateway = Gateway::app("loading/prints_at_import.py").start();
    assert_eq!(gateway.get("/").ok().text(), "quiet");
    for text in ["printed at import", "complained at import", "descriptor 1 at import"] {
        gateway.log.wait_for_line(&[text]);
    }
}

#[test]
fn f7_unix_socket_has_mode_0660() {
    let gateway = Gateway::app("processes").start();
    let mode = fs::metadata(socket(&gateway)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "{mode:o}");
    let open = Gateway::app("processes").option("--listen-mode", "0600").start();
    let mode = fs::metadata(socket(&open)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
}

#[test]
fn f7_regular_file_in_the_sockets_place_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("occupied");
    fs::write(&path, "mine").unwrap();
    let (status, log) = Gateway::app("processes").option("--listen", &path).fail();
    assert!(!status.success());
    assert!(log.text().contains("occupied"), "{}", log.text());
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn f7_second_instance_on_the_same_socket_is_refused() {
    let gateway = Gateway::app("processes").start();
    let (status, log) = Gateway::app("processes").option("--listen", socket(&gateway)).fail();
    assert!(!status.success());
    assert!(log.text().contains("socket"), "{}", log.text());
    gateway.get("/hello").ok();
}

#[test]
fn f7_stale_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stale");
    drop(UnixListener::bind(&path).unwrap());
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    let gateway = Gateway::app("processes").option("--listen", &path).start();
    let stale = Address::Unix(path);
    let mut connection = crate::support::fcgi_client::Raw::connect(&stale).unwrap();
    connection.exchange(&Request::get("/hello")).ok();
    gateway.get("/hello").ok();
}

#[test]
fn socket_is_removed_after_a_stop() {
    let gateway = Gateway::app("processes").start();
    gateway.signal(Signal::TERM);
    gateway.wait_exit(SOON);
    assert!(!socket(&gateway).exists());
}

#[test]
fn application_that_keeps_a_worker_from_ending_is_named_when_it_is_cut() {
    for what in ["atexit", "thread"] {
        let gateway = Gateway::app("processes").option("--stop-timeout", "300ms").start();
        gateway.get(&format!("/never_ends?{what}")).ok();
        gateway.signal(Signal::TERM);
        gateway.wait_exit(SOON);
        gateway
            .log
            .wait_for_line(&["ERROR", "cut off: no request runs", "atexit"]);
    }
}
