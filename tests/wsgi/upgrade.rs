//! What an upgrade of the program does to connections and requests: as little as a reload.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::processes::pid;
use crate::support::fcgi_client::{Raw, Request};
use crate::support::load::under_load;
use crate::support::process::Gateway;
use crate::support::wait::{SOON, until, until_some};

/// Upgrades, and waits until the new generation is ready.
#[track_caller]
fn upgrade_begins(gateway: &Gateway) {
    let is_ready = |line: &str| line.contains(" ready ");
    let ready = gateway.log.count(is_ready) + 1;
    gateway.signal(Signal::USR2);
    until("the new generation is ready", SOON, || {
        gateway.log.count(is_ready) == ready
    });
}

/// The same, and waits until the old generation has ended.
#[track_caller]
fn upgrade(gateway: &Gateway) {
    let old = gateway.processes();
    upgrade_begins(gateway);
    until("of the old processes only the supervisor is left", SOON, || {
        let now = gateway.processes();
        old.iter().filter(|pid| now.contains(pid)).count() == 1
    });
    assert!(gateway.exit_status().is_none());
}

#[test]
fn idle_connection_outlives_an_upgrade() {
    for builder in [
        Gateway::app("processes").workers(2),
        Gateway::app("processes").tcp("127.0.0.1"),
    ] {
        let gateway = builder.start();
        let mut kept = gateway.connect();
        let mut before = pid(&mut kept);
        for _ in 0..2 {
            upgrade(&gateway);
            let now = pid(&mut kept);
            assert_ne!(now, before);
            before = now;
        }
        gateway.signal(Signal::TERM);
        assert!(gateway.wait_exit(SOON).success());
    }
}

#[test]
fn request_that_runs_is_answered_by_the_worker_of_the_old_program() {
    let gateway = Gateway::app("processes").start();
    let mut connection = gateway.connect();
    let old = pid(&mut connection);
    let file = format!("{}/gate", gateway.directory.path().display());
    connection.send(&Request::get(&format!("/waits?{file}")).keep_conn().bytes());
    until("it runs", SOON, || Path::new(&format!("{file}.called")).exists());
    upgrade_begins(&gateway);
    // Until the word has reached it, the old worker goes on as before.
    let new = until_some("the new generation answers", SOON, || {
        Some(gateway.get("/pid").ok().text()).filter(|pid| *pid != old)
    });
    std::fs::write(&file, "").unwrap();
    assert_eq!(connection.read_response(1).ok().text(), "waited");
    until("the new generation has the connection", SOON, || {
        pid(&mut connection) == new
    });
}

/// What the supervisor keeps of connections goes along: the worker tells of each once.
#[test]
fn kept_connection_outlives_a_worker_that_is_killed_after_an_upgrade() {
    let gateway = Gateway::app("processes").start();
    let mut kept: Vec<Raw> = (0..20).map(|_| gateway.connect()).collect();
    kept.iter_mut().for_each(|connection| drop(pid(connection)));
    for _ in 0..2 {
        upgrade(&gateway);
        let worker = pid(&mut kept[0]);
        // The others are idle still in the handover, or with the worker.
        kill_process(Pid::from_raw(worker.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        for connection in &mut kept {
            assert_ne!(pid(connection), worker);
        }
    }
}

#[test]
fn kept_connection_outlives_an_old_worker_that_is_killed_while_the_new_ones_start() {
    let gateway = Gateway::app("processes").start();
    let mut kept = gateway.connect();
    let worker = pid(&mut kept);
    let takes_over = |line: &str| line.contains("the new program takes over");
    gateway.signal(Signal::USR2);
    until("the new program is there", SOON, || {
        gateway.log.find(takes_over).is_some()
    });
    kill_process(Pid::from_raw(worker.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    assert_ne!(pid(&mut kept), worker);
}

#[test]
fn request_whose_leader_of_before_an_upgrade_is_killed_is_named_and_answered() {
    let gateway = Gateway::app("processes").start();
    let mut connection = gateway.connect();
    let worker: i32 = pid(&mut connection).parse().unwrap();
    let file = format!("{}/gate", gateway.directory.path().display());
    connection.send(&Request::get(&format!("/waits?{file}")).keep_conn().bytes());
    until("it runs", SOON, || Path::new(&format!("{file}.called")).exists());
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    let leader = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    upgrade_begins(&gateway);
    kill_process(Pid::from_raw(leader.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    connection.read_response(1).error_page(502);
    let worker = format!("worker={worker}");
    gateway
        .log
        .wait_for_line(&["a request died with its worker", &worker, "GET /waits"]);
}

#[test]
fn no_request_is_lost_in_upgrades_under_load() {
    let gateway = Gateway::app("processes")
        .workers(2)
        .threads(2)
        .option("--connection-requests", "1000000000")
        .start();
    let request = Request::post("/flags", "x");
    let served = under_load(&gateway, &[request.clone(), request.keep_conn()], || {
        for _ in 0..3 {
            upgrade(&gateway);
        }
    });
    assert!(served > 100);
}
