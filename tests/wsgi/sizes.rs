//! How many workers a pool has: within its range by what requests need, and by signals.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::held_python::HeldPython;
use crate::processes::pid;
use crate::support::fcgi_client::{Raw, Request};
use crate::support::load::under_load;
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until};

fn ranged(range: &str) -> Builder {
    Gateway::app("processes").workers(range).threads(1)
}

fn workers(gateway: &Gateway) -> Vec<Pid> {
    let is_worker = |pid: &Pid| {
        let title = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        String::from_utf8_lossy(&title).contains(", worker ")
    };
    gateway.processes().into_iter().filter(is_worker).collect()
}

#[track_caller]
fn until_workers(gateway: &Gateway, number: usize) {
    until(&format!("there are {number} workers"), SOON, || {
        workers(gateway).len() == number
    });
}

/// A request that runs until a file is there.
struct Held {
    connection: Raw,
    file: PathBuf,
}

impl Held {
    /// Sends it.
    fn send(gateway: &Gateway, name: &str) -> Self {
        let file = gateway.directory.path().join(name);
        let mut connection = gateway.connect();
        let target = format!("/waits?{}", file.display());
        connection.send(&Request::get(&target).keep_conn().bytes());
        Self { connection, file }
    }

    fn is_running(&self) -> bool {
        self.file
            .with_file_name(format!("{}.called", self.file.file_name().unwrap().display()))
            .exists()
    }

    fn end(mut self) -> Raw {
        fs::write(&self.file, "").unwrap();
        assert_eq!(self.connection.read_response(1).ok().text(), "waited");
        self.connection
    }
}

#[test]
fn pool_grows_while_requests_wait_and_shrinks_when_fewer_workers_are_enough() {
    let gateway = ranged("1..3").option("--worker-idle-timeout", "1s").start();
    assert_eq!(workers(&gateway).len(), 1);
    let mut kept = gateway.connect();
    pid(&mut kept);
    let held: Vec<_> = (0..3).map(|i| Held::send(&gateway, &i.to_string())).collect();
    until("all three run", SOON, || held.iter().all(Held::is_running));
    assert_eq!(workers(&gateway).len(), 3);
    gateway
        .log
        .wait_for_line(&["one worker more: requests wait", "workers=3"]);
    let mut connections: Vec<_> = held.into_iter().map(Held::end).collect();
    until_workers(&gateway, 1);
    gateway
        .log
        .wait_for_line(&["one worker less: fewer are enough", "workers=1"]);
    // All of them are the last one's now.
    connections.push(kept);
    let pids: BTreeSet<String> = connections.iter_mut().map(pid).collect();
    assert_eq!(pids.len(), 1, "{pids:?}");
    assert_eq!(gateway.complaints(), Vec::<String>::new());
}

#[test]
fn pool_does_not_grow_over_its_range_and_what_waits_is_served() {
    let gateway = ranged("1..2").start();
    let mut held: Vec<_> = (0..2).map(|i| Held::send(&gateway, &i.to_string())).collect();
    until("both run", SOON, || held.iter().all(Held::is_running));
    held.push(Held::send(&gateway, "2"));
    thread::sleep(Duration::from_secs(1));
    assert_eq!(workers(&gateway).len(), 2);
    held.into_iter().for_each(|held| _ = held.end());
}

#[test]
fn pool_grows_where_somebody_holds_python() {
    // One thread of four is busy, and no other can run.
    let gateway = Gateway::app("failures").workers("1..2").threads(4).start();
    let held = HeldPython::of(&gateway);
    let mut waiting: Vec<_> = (0..4).map(|_| gateway.connect()).collect();
    for connection in &mut waiting {
        connection.send(&Request::get("/hello").bytes());
    }
    until_workers(&gateway, 2);
    waiting[3].read_response(1).ok();
    held.let_go().read_response(1).ok();
    waiting[..3]
        .iter_mut()
        .for_each(|connection| _ = connection.read_response(1).ok());
}

#[test]
fn spare_workers_are_kept_beside_the_busy_ones() {
    let gateway = ranged("1..4")
        .option("--spare", "1")
        .option("--worker-idle-timeout", "1s")
        .start();
    assert_eq!(workers(&gateway).len(), 1);
    let held = Held::send(&gateway, "0");
    until("it runs", SOON, || held.is_running());
    until_workers(&gateway, 2);
    held.end();
    until_workers(&gateway, 1);
}

#[test]
fn signals_add_and_take_workers() {
    let gateway = ranged("2").start();
    for number in [3, 4] {
        gateway.signal(Signal::TTIN);
        until_workers(&gateway, number);
        gateway
            .log
            .wait_for_line(&["one worker more, by a signal", &format!("workers={number}")]);
    }
    gateway.signal(Signal::TTIN);
    gateway
        .log
        .wait_for_line(&["not one worker more: the option workers allows no more"]);
    for number in [3, 2, 1] {
        gateway.signal(Signal::TTOU);
        until_workers(&gateway, number);
    }
    gateway.signal(Signal::TTOU);
    gateway.log.wait_for_line(&["not one worker less: it is the last one"]);
    gateway.get("/pid").ok();
    // A reload begins with what the options say.
    gateway.signal(Signal::HUP);
    gateway.log.wait_for_line(&[" ready ", "generation=2"]);
    until_workers(&gateway, 2);
}

#[test]
fn application_that_was_told_that_it_is_alone_stays_so() {
    let gateway = ranged("1").start();
    assert_eq!(gateway.get("/flags").ok().text(), "False False False");
    gateway.signal(Signal::TTIN);
    gateway
        .log
        .wait_for_line(&["not one worker more: the option workers allows no more"]);
    assert_eq!(workers(&gateway).len(), 1);
}

#[test]
fn range_of_several_is_multiprocess_though_one_worker_runs() {
    let gateway = ranged("1..3").start();
    assert_eq!(workers(&gateway).len(), 1);
    assert_eq!(gateway.get("/flags").ok().text(), "False True False");
}

#[test]
fn pool_from_0_is_loaded_once_to_see_that_it_starts_and_then_rests() {
    let (status, log) = Gateway::app("no_such_module").workers("0..2").fail();
    assert_eq!(status.code(), Some(1));
    log.wait_for_line(&["the application can't start"]);
    let gateway = ranged("0..2").option("--worker-idle-timeout", "1s").start();
    let mut kept = gateway.connect();
    let first = pid(&mut kept);
    let rests = || gateway.processes().len() == 1;
    until("only the supervisor is left", SOON, rests);
    assert_ne!(pid(&mut kept), first);
    until("only the supervisor is left", SOON, rests);
    // The next program has what this one has kept.
    let mark = gateway.log.mark();
    gateway.signal(Signal::USR2);
    until("it rests on", SOON, || {
        gateway
            .log
            .since(mark)
            .iter()
            .any(|line| line.contains("at rest: the first request starts it"))
    });
    until("only the supervisor is left", SOON, rests);
    pid(&mut kept);
}

#[test]
fn pool_that_grows_and_shrinks_under_load_loses_nothing() {
    let gateway = Gateway::app("processes")
        .workers("4")
        .threads(2)
        .option("--connection-requests", "0")
        .start();
    for _ in 0..3 {
        gateway.signal(Signal::TTOU);
        thread::sleep(Duration::from_millis(100));
    }
    until_workers(&gateway, 1);
    let requests = [Request::get("/pid"), Request::get("/pid").keep_conn()];
    under_load(&gateway, &requests, || {
        for _ in 0..2 {
            for (signal, number) in [
                (Signal::TTIN, 2),
                (Signal::TTIN, 3),
                (Signal::TTIN, 4),
                (Signal::TTOU, 3),
                (Signal::TTOU, 2),
                (Signal::TTOU, 1),
            ] {
                let mark = gateway.log.mark();
                gateway.signal(signal);
                let moved = |line: &String| line.contains("by a signal") && line.contains(&format!("workers={number}"));
                until("the leader has heard it", SOON, || {
                    gateway.log.since(mark).iter().any(moved)
                });
                thread::sleep(Duration::from_millis(50));
            }
        }
    });
    assert_eq!(gateway.complaints(), Vec::<String>::new());
}
