//! A generation that does not become ready in time (`--start-timeout`).

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until};

fn imports(what: &str, argument: &str) -> Builder {
    Gateway::app("imports")
        .variable("IMPORT", what)
        .variable("ARGUMENT", argument)
        .workers(2)
        .threads(1)
}

const LATE: &str = "it was not ready within --start-timeout 1s";

#[test]
fn generation_that_is_not_ready_in_time_fails_with_one_line_and_says_where_it_hangs() {
    for preload in ["auto", "off"] {
        let (status, log) = imports("takes_long", "60")
            .option("--preload", preload)
            .option("--start-timeout", "1s")
            .fail();
        assert!(!status.success(), "{}", log.text());
        let reasons = log.count(|line| line.contains("the application can't start"));
        assert_eq!(reasons, 1, "{}", log.text());
        log.wait_for_line(&["ERROR", "the application can't start: ", LATE]);
        log.wait_for_line(&["File ", "imports.py", "in takes_long"]);
        log.wait_for_line(&["wsgi-fpm ends this process, which was not ready in time. What Python was doing:"]);
        assert!(!log.text().contains("Fatal Python error"), "{}", log.text());
    }
}

#[test]
fn generation_that_is_ready_in_time_is_left_alone_afterwards() {
    for preload in ["auto", "off"] {
        let gateway = imports("takes_long", "0.1")
            .option("--preload", preload)
            .option("--start-timeout", "5s")
            .start();
        let pid = gateway.get("/pid").ok().text();
        std::thread::sleep(Duration::from_millis(6500));
        assert!(!gateway.log.text().contains("start-timeout"), "{}", gateway.log.text());
        until("the same worker serves", SOON, || {
            gateway.get("/pid").ok().text() == pid
        });
    }
}

#[test]
fn old_generation_serves_on_when_the_new_one_is_not_ready_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let go_on = directory.path().join("go_on");
    fs::write(&go_on, "").unwrap();
    for preload in ["auto", "off"] {
        let gateway = imports("prints_and_waits", go_on.to_str().unwrap())
            .option("--preload", preload)
            .option("--start-timeout", "5s")
            .start();
        let processes = gateway.processes();
        fs::remove_file(&go_on).unwrap();
        gateway.signal(Signal::HUP);
        gateway
            .log
            .wait_for_line(&["the application can't start: it was not ready within --start-timeout 5s"]);
        gateway.log.wait_for_line(&["the previous generation goes on"]);
        gateway.get("/hello").ok();
        until("nobody of the new one is left", SOON, || {
            gateway.processes() == processes
        });
        fs::write(&go_on, "").unwrap();
    }
}

#[test]
fn replacement_that_is_not_ready_in_time_is_ended_and_another_one_is_tried() {
    let directory = tempfile::tempdir().unwrap();
    let go_on = directory.path().join("go_on");
    fs::write(&go_on, "").unwrap();
    let gateway = imports("prints_and_waits", go_on.to_str().unwrap())
        .option("--preload", "off")
        .option("--start-timeout", "5s")
        .start();
    let first = gateway.get("/pid").ok().text();
    fs::remove_file(&go_on).unwrap();
    let first = Pid::from_raw(first.parse().unwrap()).unwrap();
    kill_process(first, Signal::KILL).unwrap();
    gateway
        .log
        .wait_for_line(&["ERROR", "a worker is ended: it was not ready within --start-timeout 5s"]);
    gateway
        .log
        .wait_for_line(&["File ", "imports.py", "in prints_and_waits"]);
    gateway.get("/hello").ok();
    fs::write(&go_on, "").unwrap();
    until("there are two workers again", SOON, || {
        let pids: BTreeSet<_> = (0..8).flat_map(|_| ask_together(&gateway)).collect();
        pids.len() == 2
    });
}

/// The workers that answer two requests at once.
fn ask_together(gateway: &Gateway) -> [String; 2] {
    std::thread::scope(|scope| {
        let ask = || gateway.get("/pid").ok().text();
        [scope.spawn(ask), scope.spawn(ask)].map(|asked| asked.join().unwrap())
    })
}
