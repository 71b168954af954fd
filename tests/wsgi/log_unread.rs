//! A log that nobody reads, or that can't be written: lines may be lost and are counted, nothing else changes. And lines are
//! whole, whoever logs at the same time.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::log::Log;
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until};

/// More than a pipe, the sockets and the supervisor's queue hold.
const FLOOD: usize = 2000;

fn app() -> Builder {
    Gateway::app("log_lines").workers(2)
}

/// Starts it with this log, and waits until it answers.
fn with_log(builder: Builder, log: impl Into<OwnedFd>) -> Gateway {
    let gateway = builder.log_to(log).spawn();
    until("a socket is there", SOON, || {
        assert_eq!(gateway.exit_status(), None);
        gateway.address.answers()
    });
    gateway.get("/").ok();
    gateway
}

/// Leaves no room in this pipe.
fn fill(pipe: &impl AsRawFd) {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    // Opened anew, since not to wait would hold for everybody who shares the descriptor.
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let pipe = rustix::fs::open(path, flags, Mode::empty()).unwrap();
    for piece in [[b'.'; 4096].as_slice(), b"."] {
        while rustix::io::write(&pipe, piece).is_ok() {}
    }
}

fn stop(gateway: &Gateway) {
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
}

fn is_lost(line: &str) -> bool {
    line.contains("lines of the log were lost since nobody read it")
}

/// How many lines were lost, by what the log says of it.
fn lost(log: &Log) -> usize {
    let lines = log.lines();
    let told = lines.iter().filter(|line| is_lost(line));
    let number = |line: &String| {
        let (_, rest) = line.split_once(" WARN contract::log: ").unwrap();
        rest.split(' ').next().unwrap().parse::<usize>().unwrap()
    };
    told.map(number).sum()
}

#[test]
fn log_that_nobody_reads_stops_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    let gateway = with_log(app().flag("--access-log"), writer);
    for path in ["/numbered", "/printed"] {
        gateway.get(&format!("{path}?{FLOOD}")).ok();
    }
    let worker: i32 = gateway.get("/").ok().text().parse().unwrap();
    kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL).unwrap();
    // Supervisor, leader, and again two workers.
    until("the worker is replaced", SOON, || {
        let processes = gateway.processes();
        processes.len() == 4 && processes.iter().all(|pid| pid.as_raw_nonzero().get() != worker)
    });
    (0..20).for_each(|_| _ = gateway.get("/").ok());
    gateway.signal(Signal::HUP);
    gateway.get("/").ok();
    stop(&gateway);
    gateway.wait_for_nobody(SOON);
    drop(reader);
}

#[test]
fn second_signal_ends_it_at_once_though_nobody_reads_the_log() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let gateway = with_log(app(), writer);
    gateway.get(&format!("/numbered?{FLOOD}")).ok();
    gateway.signal(Signal::INT);
    assert_eq!(gateway.wait_exit(SOON).code(), Some(0));
}

#[test]
fn lines_that_were_lost_are_counted() {
    let (reader, writer) = std::io::pipe().unwrap();
    let gateway = with_log(app(), writer);
    gateway.get(&format!("/numbered?{FLOOD}")).ok();
    let log = Log::collect(reader);
    until("it is said what was lost", SOON, || log.count(is_lost) > 0);
    gateway.get("/numbered?1").ok();
    until("the log goes on", SOON, || {
        log.count(|line| line.contains("numbered 0")) == 2
    });
    stop(&gateway);
    log.wait_for_end();
    let whole = log.count(|line| line.contains("numbered") && line.contains(&"x".repeat(8000)));
    assert_eq!(whole, log.count(|line| line.contains("numbered")), "lines are whole");
    assert_eq!(whole + lost(&log), FLOOD + 1);
}

#[test]
fn log_whose_reader_is_gone_or_whose_disk_is_full_stops_nothing() {
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    for log in [OwnedFd::from(closed), full.into()] {
        let gateway = with_log(app().flag("--access-log"), log);
        gateway.get(&format!("/numbered?{FLOOD}")).ok();
        (0..20).for_each(|_| _ = gateway.get("/").ok());
        stop(&gateway);
    }
}

#[test]
fn long_events_of_several_workers_are_whole() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 25;
    let gateway = app().workers(4).option("--log-format", "json").start();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let gateway = &gateway;
            scope.spawn(move || {
                for number in 0..REQUESTS {
                    gateway.get(&format!("/raises?{client}-{number}")).error_page(500);
                }
            });
        }
    });
    stop(&gateway);
    gateway.log.wait_for_end();
    let mut long = 0;
    for line in gateway.log.lines() {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let traceback = event["traceback"].as_str().unwrap_or_default();
        if traceback.contains("ValueError: long ") && traceback.ends_with(" end") {
            assert!(line.len() > 20 * 1024, "{}", line.len());
            long += 1;
        }
    }
    assert_eq!(long, CLIENTS * REQUESTS);
}

#[test]
fn process_without_a_supervisor_does_not_wait_for_a_log_that_nobody_reads() {
    let (reader, writer) = std::io::pipe().unwrap();
    let gateway = with_log(Gateway::app("log_lines").on_stdin().flag("--access-log"), writer);
    gateway.get("/numbered?100").ok();
    let log = Log::collect(reader);
    until("the log is read", SOON, || {
        log.count(|line| line.contains("numbered 0")) == 1
    });
    gateway.get("/numbered?1").ok();
    until("it is said what was lost", SOON, || log.count(is_lost) > 0);
    stop(&gateway);
    log.wait_for_end();
}

#[test]
fn child_of_the_application_neither_hangs_nor_dies_of_the_log() {
    app().start().get("/forks").ok();
    let (_reader, writer) = std::io::pipe().unwrap();
    let unread = writer.try_clone().unwrap();
    let gateway = with_log(Gateway::app("log_lines").on_stdin(), writer);
    // No byte of room is left, not even for the child's short line.
    fill(&unread);
    gateway.get("/forks").ok();
    stop(&gateway);
}
