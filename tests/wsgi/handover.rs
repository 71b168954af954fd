//! What a reload does to connections: another worker goes on with them, and no request is lost (SPEC E7).

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::Signal;

use crate::processes::pid;
use crate::support::fcgi_client::{Raw, Request, STDIN, padded, record};
use crate::support::load::under_load;
use crate::support::net::Address;
use crate::support::process::Gateway;
use crate::support::wait::{SOON, until, until_some};

/// Reloads, and waits until the old generation has ended.
#[track_caller]
fn reload(gateway: &Gateway) {
    let old = gateway.processes();
    reload_begins(gateway);
    until("of the old processes only the supervisor is left", SOON, || {
        let now = gateway.processes();
        old.iter().filter(|pid| now.contains(pid)).count() == 1
    });
}

/// Reloads, and waits until the new generation is ready.
#[track_caller]
fn reload_begins(gateway: &Gateway) {
    let ready = gateway.log.count(is_ready) + 1;
    gateway.signal(Signal::HUP);
    until("the new generation is ready", SOON, || {
        gateway.log.count(is_ready) == ready
    });
}

fn is_ready(line: &str) -> bool {
    line.contains(" ready ")
}

/// Whether the process has the gateway's listening socket open.
fn listens(gateway: &Gateway, pid: &str) -> bool {
    let Address::Unix(path) = &gateway.address else {
        panic!("no unix socket")
    };
    // "Num RefCount Protocol Flags Type St Inode Path", where the flag is __SO_ACCEPTCON.
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let listener = sockets
        .lines()
        .find_map(|line| match *line.split_whitespace().collect::<Vec<_>>() {
            [_, _, _, "00010000", _, _, inode, name] if Path::new(name) == path => Some(format!("socket:[{inode}]")),
            _ => None,
        });
    let listener = listener.expect("a listening socket");
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    open.filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .any(|target| target == Path::new(&listener))
}

#[test]
fn e7_idle_connection_outlives_a_reload() {
    for builder in [
        Gateway::app("processes").workers(2),
        Gateway::app("processes").tcp("127.0.0.1"),
        Gateway::app("processes").option("--preload", "off"),
    ] {
        let gateway = builder.start();
        let mut kept = gateway.connect();
        let before = pid(&mut kept);
        // The third reload is of connections that were handed over themselves.
        for _ in 0..3 {
            reload(&gateway);
            assert_ne!(pid(&mut kept), before);
        }
    }
}

#[test]
fn connection_that_has_brought_nothing_yet_outlives_a_reload() {
    let gateway = Gateway::app("processes").start();
    let mut fresh = gateway.connect();
    let mut begun = gateway.connect();
    let request = Request::get("/pid").keep_conn().bytes();
    begun.send(&request[..4]);
    gateway.get("/pid").ok();
    reload_begins(&gateway);
    pid(&mut fresh);
    // The rest of a request goes where its beginning is; the next one goes to the new generation.
    begun.send(&request[4..]);
    begun.read_response(1).ok();
    until("the new generation has it", SOON, || pid(&mut begun) == pid(&mut fresh));
}

#[test]
fn connection_of_a_running_request_is_handed_over_when_it_ends() {
    let gateway = Gateway::app("processes").threads(1).start();
    let mut connection = gateway.connect();
    let old = pid(&mut connection);
    let file = format!("{}/gate", gateway.directory.path().display());
    connection.send(&Request::get(&format!("/waits?{file}")).keep_conn().bytes());
    let called = format!("{file}.called");
    until("it runs", SOON, || Path::new(&called).exists());
    reload_begins(&gateway);
    let new = gateway.get("/pid").ok().text();
    assert_ne!(new, old);
    // Until the word has reached it, the old worker goes on as before.
    until("the old worker has been told to retire", SOON, || {
        !listens(&gateway, &old)
    });
    std::fs::write(&file, "").unwrap();
    assert_eq!(connection.read_response(1).ok().text(), "waited");
    assert_eq!(pid(&mut connection), new);
}

#[test]
fn more_connections_than_fit_into_the_handover_outlive_a_reload() {
    let gateway = Gateway::app("processes").start();
    let mut kept: Vec<Raw> = (0..900).map(|_| gateway.connect()).collect();
    let before: BTreeSet<_> = kept.iter_mut().map(pid).collect();
    reload(&gateway);
    for connection in &mut kept {
        assert!(!before.contains(&pid(connection)));
    }
}

#[test]
fn padding_that_comes_after_a_reload_does_not_close_the_connection() {
    let gateway = Gateway::app("processes").start();
    let mut kept = gateway.connect();
    let request = Request::get("/pid").keep_conn();
    let padding = 200;
    let mut bytes = [request.head_bytes(), padded(STDIN, 1, b"", padding)].concat();
    let late = bytes.split_off(bytes.len() - 150);
    kept.send(&bytes);
    let old = kept.read_response(1).ok().text();
    reload_begins(&gateway);
    kept.send(&late[..50]);
    let other = until_some("the new generation answers", SOON, || {
        Some(gateway.get("/pid").ok().text()).filter(|pid| *pid != old)
    });
    kept.send(&late[50..]);
    until("the new generation has it", SOON, || pid(&mut kept) == other);
}

#[test]
fn stdin_beyond_content_length_that_comes_after_a_reload_is_never_a_request() {
    let gateway = Gateway::app("processes").start();
    let mut kept = gateway.connect();
    let smuggled = Request::get("/pid").id(7).keep_conn().bytes();
    let request = Request::post("/pid", "body").keep_conn();
    let body = [&b"body"[..], &smuggled].concat();
    let mut bytes = [request.head_bytes(), record(STDIN, 1, &body)].concat();
    let late = bytes.split_off(bytes.len() - smuggled.len());
    kept.send(&bytes);
    kept.read_response(1).ok();
    reload_begins(&gateway);
    gateway.get("/pid").ok();
    kept.send(&[late, record(STDIN, 1, b"")].concat());
    let answer = kept.exchange(&Request::get("/pid").keep_conn()).ok();
    assert!(answer.records.iter().all(|record| record.id == 1), "{answer}");
}

#[test]
fn requests_of_a_connection_are_counted_over_generations() {
    let gateway = Gateway::app("processes").option("--connection-requests", "3").start();
    let mut kept = gateway.connect();
    pid(&mut kept);
    pid(&mut kept);
    reload(&gateway);
    pid(&mut kept);
    kept.expect_close();
}

#[test]
fn e7_no_request_of_busy_kept_connections_is_lost_in_reloads() {
    // A fast machine sends as many as a connection may bring.
    let gateway = Gateway::app("processes")
        .workers(2)
        .threads(2)
        .option("--connection-requests", "1000000000")
        .start();
    under_load(&gateway, &[Request::post("/flags", "x").keep_conn()], || {
        for _ in 0..3 {
            reload(&gateway);
        }
    });
}

#[test]
fn stop_during_a_reload_closes_idle_connections() {
    let gateway = Gateway::app("processes").start();
    let mut kept = gateway.connect();
    pid(&mut kept);
    gateway.signal(Signal::HUP);
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(SOON).success());
    kept.expect_close();
}
