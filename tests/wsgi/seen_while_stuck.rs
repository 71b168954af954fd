//! `wsgi-fpm status` while nothing of an application moves: its answer comes from the supervisor and from shared memory.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::held_python::HeldPython;
use crate::support::fcgi_client::{Raw, Request};
use crate::support::process::Gateway;
use crate::support::program::program;
use crate::support::wait::{SOON, until};

/// What the issue allows, for a release; an unoptimised build needs more of a processor that it shares with other tests.
const AT_MOST: Duration = Duration::from_millis(50);

fn status(gateway: &Gateway) -> (serde_json::Value, Duration) {
    let began = Instant::now();
    let mut command = Command::new(program());
    let output = command
        .args(["status", "--json", "--control"])
        .arg(gateway.control())
        .output()
        .unwrap();
    let took = began.elapsed();
    assert!(output.status.success(), "{output:?}");
    (serde_json::from_slice(&output.stdout).unwrap(), took)
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
    until("three sleep", SOON, || running(&status(&gateway).0).len() == 3);
    let held = HeldPython::of(&gateway);
    until("the fourth holds Python", SOON, || {
        running(&status(&gateway).0).len() == 4
    });
    // Of several tries the best: other tests have the processors, too.
    let mut best = Duration::MAX;
    until("it is answered in time", SOON, || {
        let (snapshot, took) = status(&gateway);
        let running = running(&snapshot);
        assert_eq!(running.len(), 4, "{running:?}");
        assert_eq!(
            running.iter().filter(|line| line.starts_with("GET /sleeps")).count(),
            3,
            "{running:?}"
        );
        best = best.min(took);
        best <= AT_MOST
    });
    drop(held);
}
