//! A request that does not end although its time is over: its worker is killed, and that costs nobody else anything.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::held_python::HeldPython;
use crate::processes::pid;
use crate::support::fcgi_client::{Raw, Request};
use crate::support::process::{Builder, Gateway};
use crate::support::program::program;
use crate::support::wait::{SOON, until};

const REPLACED: &str = "a worker is replaced: the request has not ended by its RequestTimeout";
const KILLED: &str = "killed: the request is stuck";

fn app(request_timeout: &str, kill_timeout: &str) -> Builder {
    Gateway::app("stuck")
        .option("--request-timeout", request_timeout)
        .option("--kill-timeout", kill_timeout)
}

/// A request that runs until the file of this name is there. It may take longer than the time that others have.
fn running(gateway: &Gateway, page: &str, name: &str) -> (Raw, String) {
    let file = gateway.directory.path().join(name).display().to_string();
    let mut connection = gateway.connect();
    connection.send(&Request::get(&format!("/{page}?{file}")).keep_conn().bytes());
    until("it runs", SOON, || Path::new(&format!("{file}.called")).exists());
    (connection, file)
}

fn steer(gateway: &Gateway, arguments: &[&str]) -> String {
    let mut command = Command::new(program());
    command.args(arguments).arg("--control").arg(gateway.control());
    let output = command.output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// Its time is over, too, before it is over.
#[test]
fn request_that_somebody_ends_is_ended_once() {
    let gateway = app("4s", "60s").start();
    let (mut stuck, file) = running(&gateway, "ignores_everything", "stuck");
    let status: serde_json::Value = serde_json::from_str(&steer(&gateway, &["status", "--json"])).unwrap();
    let threads = status["pools"][0]["workers"][0]["threads"].as_array().unwrap();
    let mut ids = threads.iter().filter_map(|thread| thread["request"]["id"].as_str());
    let id = ids.next().unwrap();
    let first = steer(&gateway, &["kill", id]);
    stuck.read_response(1).error_page(504);
    assert!(first.contains(id), "{first}");
    for _ in 0..2 {
        assert_eq!(steer(&gateway, &["kill", id]), first);
    }
    let ends = |line: &str| line.contains("answered_504=");
    assert_eq!(gateway.log.count(ends), 1, "{}", gateway.log.text());
    File::create(&file).unwrap();
    until("it has ended", SOON, || steer(&gateway, &["kill", id]) != first);
}

#[test]
fn kept_connections_of_a_worker_with_a_stuck_request_go_elsewhere_and_its_siblings_end() {
    let gateway = app("5s", "8s").threads(3).start();
    let mut kept: Vec<_> = (0..5).map(|_| gateway.connect()).collect();
    let first = pid(&mut kept[0]);
    assert!(kept.iter_mut().all(|connection| pid(connection) == first));
    let (mut stuck, _) = running(&gateway, "ignores_everything", "stuck");
    stuck.read_response(1).error_page(504);
    let (mut sibling, file) = running(&gateway, "waits", "sibling");
    gateway
        .log
        .wait_for_line(&["ERROR", REPLACED, "GET /ignores_everything"]);
    until("another worker has the connections", SOON, || {
        pid(&mut kept[0]) != first
    });
    let second = pid(&mut kept[0]);
    assert!(kept.iter_mut().all(|connection| pid(connection) == second));
    assert_eq!(gateway.get("/pid").ok().text(), second, "new connections go there, too");
    // All the while the other request of that worker runs, and it may end.
    assert!(!gateway.log.text().contains(KILLED));
    File::create(&file).unwrap();
    assert_eq!(sibling.read_response(1).ok().text(), "waited");
    assert_eq!(pid(&mut sibling), second, "its connection goes on");
    gateway.log.wait_for_line(&[KILLED, "GET /ignores_everything"]);
    let died = |line: &str| line.contains("a request died with its worker");
    until("one request is lost", SOON, || gateway.log.count(died) == 1);
    until("it is replaced once", SOON, || gateway.processes().len() == 3);
    assert!(kept.iter_mut().all(|connection| pid(connection) == second));
}

#[test]
fn worker_whose_python_is_held_by_a_stuck_request_loses_that_request_alone() {
    let gateway = app("500ms", "5s").threads(2).start();
    let mut kept: Vec<_> = (0..5).map(|_| gateway.connect()).collect();
    let first = pid(&mut kept[0]);
    assert!(kept.iter_mut().all(|connection| pid(connection) == first));
    let mut held = HeldPython::of(&gateway);
    let begun = Instant::now();
    held.connection.read_response(1).error_page(504);
    gateway.log.wait_for_line(&[REPLACED, "GET /holds_gil"]);
    for connection in &mut kept {
        assert_ne!(pid(connection), first);
    }
    assert!(
        !gateway.log.text().contains(KILLED),
        "{:?}: {}",
        begun.elapsed(),
        gateway.log.text()
    );
    gateway.log.wait_for_line(&[KILLED, "GET /holds_gil"]);
    assert!(begun.elapsed() >= Duration::from_millis(5500));
    until("one request is lost", SOON, || {
        gateway
            .log
            .count(|line| line.contains("a request died with its worker"))
            == 1
    });
    held.let_go();
}

#[test]
fn worker_whose_stuck_request_ends_after_all_is_replaced_without_being_killed() {
    let gateway = app("500ms", "60s").threads(2).start();
    let mut kept = gateway.connect();
    let first = pid(&mut kept);
    let (mut stuck, file) = running(&gateway, "ignores_everything", "stuck");
    stuck.read_response(1).error_page(504);
    gateway.log.wait_for_line(&[REPLACED]);
    until("another worker serves", SOON, || pid(&mut kept) != first);
    File::create(&file).unwrap();
    until("the old one has ended", SOON, || gateway.processes().len() == 3);
    let log = gateway.log.text();
    assert!(!log.contains(KILLED) && !log.contains("died with its worker"), "{log}");
}

#[test]
fn time_that_is_left_to_a_worker_is_what_the_log_says_and_its_end_is_its_leaders() {
    let gateway = app("1s", "1500ms").threads(2).start();
    let (mut stuck, _) = running(&gateway, "ignores_everything", "stuck");
    stuck.read_response(1).error_page(504);
    let line = gateway.log.wait_for_line(&[REPLACED]);
    let (_, left) = line.split_once("what else runs there has ").unwrap();
    let left: f64 = left.split_once(" s for that").unwrap().0.parse().unwrap();
    assert!(left <= 0.5, "{line}");
    gateway.log.wait_for_line(&[KILLED]);
    gateway
        .log
        .wait_for_line(&["ERROR", "a worker was killed by its leader"]);
    gateway
        .log
        .wait_for_line(&["a request died with its worker, which was killed by its leader"]);
    assert!(!gateway.log.text().contains("SIGKILL"), "{}", gateway.log.text());
}

#[test]
fn request_that_ends_by_its_exception_costs_no_worker() {
    let gateway = app("500ms", "10s").threads(2).start();
    let first = gateway.get("/pid").ok().text();
    for _ in 0..3 {
        gateway.get("/sleeps").error_page(504);
    }
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(gateway.get("/pid").ok().text(), first);
    assert!(!gateway.log.text().contains(REPLACED), "{}", gateway.log.text());
}

#[test]
fn worker_that_is_never_killed_is_not_replaced_either() {
    let gateway = app("500ms", "0").threads(2).start();
    let first = gateway.get("/pid").ok().text();
    let (mut stuck, file) = running(&gateway, "ignores_everything", "stuck");
    stuck.read_response(1).error_page(504);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(gateway.get("/pid").ok().text(), first);
    assert!(!gateway.log.text().contains(REPLACED), "{}", gateway.log.text());
    File::create(&file).unwrap();
}
