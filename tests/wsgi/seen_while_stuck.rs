//! How an instance is, while nothing of an application moves: `wsgi-fpm status`, /status.json and /metrics come from the supervisor and
//! from shared memory.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::held_python::HeldPython;
use crate::support::fcgi_client::{Raw, Request};
use crate::support::http::{self, fetch};
use crate::support::process::Gateway;
use crate::support::program::program;
use crate::support::wait::{SOON, until, until_some};

/// What the issue allows, for a release; an unoptimised build needs more of a processor that it shares with other tests.
const AT_MOST: Duration = Duration::from_millis(50);

fn said(gateway: &Gateway, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(program());
    command.args(arguments).arg("--control").arg(gateway.control());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn status(gateway: &Gateway) -> serde_json::Value {
    serde_json::from_slice(&said(gateway, &["status", "--json"])).unwrap()
}

/// What threads of all workers run.
fn running(snapshot: &serde_json::Value) -> Vec<String> {
    let workers = snapshot["pools"][0]["workers"].as_array().unwrap();
    let threads = workers.iter().flat_map(|worker| worker["threads"].as_array().unwrap());
    let lines = threads.filter_map(|thread| thread["request"]["line"].as_str().map(str::to_owned));
    lines.collect()
}

#[test]
fn status_shows_what_threads_run_while_all_of_them_sleep_and_python_is_held() {
    let gateway = Gateway::app("failures").workers(2).threads(2).start();
    let mut sleeping: Vec<Raw> = Vec::new();
    for _ in 0..3 {
        let mut connection = gateway.connect();
        connection.send(&Request::get("/sleeps?x").bytes());
        sleeping.push(connection);
    }
    until("three sleep", SOON, || running(&status(&gateway)).len() == 3);
    let held = HeldPython::of(&gateway);
    until("the fourth holds Python", SOON, || {
        running(&status(&gateway)).len() == 4
    });
    // Of several tries the best: other tests have the processors, too.
    answers_in_time("status", || {
        let running = running(&status(&gateway));
        assert_eq!(running.len(), 4, "{running:?}");
        let sleeping = running.iter().filter(|line| line.starts_with("GET /sleeps"));
        assert_eq!(sleeping.count(), 3, "{running:?}");
    });
    drop(held);
}

/// Asks until one answer has come in time, and looks at each.
#[track_caller]
fn answers_in_time(what: &str, answer: impl Fn()) {
    let mut best = Duration::MAX;
    until(&format!("{what} is answered in time"), SOON, || {
        let began = Instant::now();
        answer();
        best = best.min(began.elapsed());
        best <= AT_MOST
    });
}

#[test]
fn status_metrics_and_status_json_are_told_while_python_is_held_in_every_worker() {
    let gateway = Gateway::app("failures")
        .workers(2)
        .threads(1)
        .option("--status-listen", "127.0.0.1:0")
        .start();
    let line = until_some("the status has an address", SOON, || {
        gateway.log.find(|line| line.contains("status over HTTP"))
    });
    let (_, address) = line.split_once("listen=").unwrap();
    let address: SocketAddr = address.trim().trim_matches('"').parse().unwrap();
    let _held = [HeldPython::of(&gateway), HeldPython::of(&gateway)];
    let get = |path| fetch(address, &http::Request::get(path)).ok();
    let are_held = |snapshot: &serde_json::Value| {
        let running = running(snapshot);
        assert_eq!(running.len(), 2, "{running:?}");
        assert!(running.iter().all(|line| line == "GET /holds_gil"), "{running:?}");
    };
    until("both hold Python", SOON, || running(&status(&gateway)).len() == 2);
    answers_in_time("status", || are_held(&status(&gateway)));
    answers_in_time("/status.json", || are_held(&get("/status.json").json()));
    answers_in_time("/metrics", || {
        let text = get("/metrics").text();
        let busy = text.lines().find(|line| line.starts_with("wsgi_fpm_threads_busy{"));
        assert!(busy.is_some_and(|line| line.ends_with(" 2")), "{busy:?}");
    });
}

/// Threads of the worker with this name.
fn threads(worker: u64, name: &str) -> usize {
    let tasks = fs::read_dir(format!("/proc/{worker}/task")).unwrap().flatten();
    let is_named =
        |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name);
    tasks.filter(is_named).count()
}

#[test]
fn stacks_are_told_as_often_as_somebody_asks_while_one_thread_waits_for_python() {
    let gateway = Gateway::app("failures").threads(2).start();
    let held = HeldPython::of(&gateway);
    let worker = status(&gateway)["pools"][0]["workers"][0]["pid"].as_u64().unwrap();
    for _ in 0..3 {
        let stacks = String::from_utf8(said(&gateway, &["stacks", "failures"])).unwrap();
        assert!(stacks.contains("GET /holds_gil"), "{stacks}");
        assert_eq!(threads(worker, "stacks"), 1);
    }
    held.let_go().read_response(1);
    until("it has ended", SOON, || threads(worker, "stacks") == 0);
    let stacks = String::from_utf8(said(&gateway, &["stacks", "failures"])).unwrap();
    assert!(!stacks.contains("GET /holds_gil"), "{stacks}");
}
