//! Pages that a worker answers before it is ready (`--warmup`).

use std::collections::BTreeMap;
use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::fcgi_client::Request;
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until};

fn warm(pages: &[&str]) -> Builder {
    pages.iter().fold(Gateway::app("warmup"), |builder, page| {
        builder.option("--warmup", *page)
    })
}

/// What the worker that answers has been asked before.
fn seen(gateway: &Gateway) -> (i64, Vec<String>) {
    parse(&gateway.get("/seen").ok().text())
}

fn parse(answer: &str) -> (i64, Vec<String>) {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let seen = answer["seen"].as_array().unwrap();
    (
        answer["pid"].as_i64().unwrap(),
        seen.iter().map(|line| line.as_str().unwrap().to_owned()).collect(),
    )
}

#[test]
fn each_worker_answers_its_pages_in_order_before_anybody_else_asks() {
    let gateway = warm(&["/one?a=%20b", "/caf%C3%A9"]).workers(2).threads(1).start();
    let mut workers = BTreeMap::new();
    // The kernel may have one worker take whatever comes while it sleeps: the other one's turn comes while that one is busy.
    until("both workers have answered", SOON, || {
        let mut busy = gateway.connect();
        busy.send(&Request::get("/seen?0.5").bytes());
        workers.extend([seen(&gateway), parse(&busy.read_response(1).ok().text())]);
        workers.len() == 2
    });
    for seen in workers.values() {
        let expected = ["GET localhost http /one a=%20b", "GET localhost http /caf\u{c3}\u{a9} "];
        assert_eq!(seen, &expected);
    }
}

#[test]
fn whole_url_names_host_and_scheme() {
    let gateway = warm(&["https://example.org/hosts"]).start();
    assert_eq!(seen(&gateway).1, ["GET example.org https /hosts "]);
}

#[test]
fn page_that_hangs_is_named_by_the_start_that_fails_and_python_is_not_said_to_have_crashed() {
    let (status, log) = warm(&["/one", "/sleeps?60"])
        .workers(2)
        .option("--start-timeout", "6s")
        .fail();
    assert_ne!(status.code(), Some(0));
    log.wait_for_line(&["warmup is still starting (import and warm-up), for 5 s so far"]);
    log.wait_for_line(&[
        "ERROR",
        "the application can't start: it was not ready within --start-timeout 6s: --warmup /sleeps?60 was not answered by then",
    ]);
    log.wait_for_line(&["wsgi-fpm ends this process, which was not ready in time. What Python was doing:"]);
    log.wait_for_line(&["File ", "warmup.py", "in application"]);
    assert!(!log.text().contains("Fatal Python error"), "{}", log.text());
}

#[test]
fn redirection_is_a_success() {
    let gateway = warm(&["/moved"]).start();
    assert_eq!(seen(&gateway).1.len(), 1);
}

#[test]
fn page_that_does_not_work_is_a_failed_start() {
    let (status, log) = warm(&["/one", "/raises"]).fail();
    assert_ne!(status.code(), Some(0));
    log.wait_for_line(&["ERROR", "/raises was answered with 500", "--warmup"]);
    log.wait_for_line(&["this page does not work"]);
}

#[test]
fn page_that_takes_too_long_is_ended_as_any_request() {
    let builder = warm(&["/sleeps"]).option("--request-timeout", "300ms");
    let (_, log) = builder.fail();
    log.wait_for_line(&["ERROR", "/sleeps was answered with 504", "--warmup"]);
}

#[test]
fn page_that_wants_another_host_says_to_write_the_whole_url() {
    let (_, log) = warm(&["/hosts"]).fail();
    log.wait_for_line(&["ERROR", "/hosts was answered with 400", "https://example.org/"]);
}

#[test]
fn page_outside_of_the_mount_says_so() {
    let (_, log) = warm(&["/one"]).option("--mount", "/shop").fail();
    log.wait_for_line(&["ERROR", "/one was answered with 404", "--mount"]);
}

#[test]
fn new_version_whose_page_does_not_work_leaves_the_old_one_serving() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("broken");
    let gateway = warm(&[&format!("/marked?{}", mark.display())]).start();
    let (pid, _) = seen(&gateway);
    fs::write(&mark, "").unwrap();
    gateway.signal(Signal::HUP);
    gateway.log.wait_for_line(&["the previous generation goes on"]);
    assert_eq!(seen(&gateway).0, pid);
    // Mended, it is replaced.
    fs::remove_file(&mark).unwrap();
    gateway.signal(Signal::HUP);
    until("the new version serves", SOON, || seen(&gateway).0 != pid);
}

#[test]
fn pages_are_none_of_the_requests_that_a_worker_may_have() {
    let gateway = warm(&["/one", "/two"])
        .threads(1)
        .option("--max-requests", "2")
        .option("--max-requests-jitter", "0")
        .start();
    let (pid, _) = seen(&gateway);
    assert_eq!(seen(&gateway).0, pid);
    let line = gateway.log.wait_for_line(&["a worker is replaced: --max-requests 2"]);
    assert!(line.contains("requests=2"), "{line}");
    until("the next one serves", SOON, || seen(&gateway).0 != pid);
}

#[test]
fn page_is_in_the_access_log_as_any_request() {
    let gateway = warm(&["/one"]).flag("--access-log").start();
    gateway.log.wait_for_line(&["GET /one", "200"]);
}
