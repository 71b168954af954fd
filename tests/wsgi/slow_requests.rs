//! Requests that are slow, and nothing else: `--slow-request` has their stacks logged.

use std::time::Duration;

use crate::held_python::HeldPython;
use crate::support::fcgi_client::Request;
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until};

const SLOW: &str = "a slow request: it still runs after --slow-request 300ms";

fn slow(app: &str) -> Builder {
    Gateway::app(app).option("--slow-request", "300ms")
}

#[test]
fn slow_request_is_logged_once_with_its_stack_and_served_as_if_nothing_were() {
    for builder in [slow("failures"), slow("failures").on_stdin()] {
        let gateway = builder.start();
        let mut connections: Vec<_> = ["one", "two"]
            .map(|name| {
                let mut connection = gateway.connect();
                connection.send(&Request::get(&format!("/waits?{name}")).bytes());
                connection
            })
            .into();
        until("both are in the log", SOON, || {
            gateway.log.count(|line| line.contains(SLOW)) == 2
        });
        let line = gateway.log.wait_for_line(&[SLOW]);
        assert!(line.contains("WARN") && line.contains("GET /waits"), "{line}");
        gateway.log.wait_for("the frame of the application", |line| {
            line.contains("failures.py") && line.contains("in waits")
        });
        std::thread::sleep(Duration::from_millis(800));
        for (connection, name) in connections.iter_mut().zip(["one", "two"]) {
            gateway.get(&format!("/open_gate?{name}")).ok();
            assert_eq!(connection.read_response(1).ok().text(), "waited");
        }
        let log = gateway.log.text();
        assert_eq!(gateway.log.count(|line| line.contains(SLOW)), 2, "{log}");
        assert!(!log.contains("longer than --request-timeout"), "{log}");
    }
}

#[test]
fn request_that_is_quick_enough_is_not_logged_and_nobody_is_unless_it_is_wanted() {
    let gateway = slow("failures").start();
    for _ in 0..10 {
        gateway.get("/hello").ok();
    }
    let unasked = Gateway::app("failures").start();
    let mut connection = unasked.connect();
    connection.send(&Request::get("/waits?unasked").bytes());
    std::thread::sleep(Duration::from_millis(1200));
    unasked.get("/open_gate?unasked").ok();
    connection.read_response(1).ok();
    for gateway in [gateway, unasked] {
        assert!(!gateway.log.text().contains("slow request"), "{}", gateway.log.text());
    }
}

#[test]
fn slow_request_that_holds_python_is_logged_too_and_holds_up_nobody_else_s_time_limit() {
    let gateway = slow("failures").option("--request-timeout", "2s").start();
    let mut asleep = gateway.connect();
    asleep.send(&Request::get("/sleeps?beside").bytes());
    until("it runs", SOON, || {
        gateway.get("/recorded?beside").text().contains("called")
    });
    let mut held = HeldPython::of(&gateway);
    asleep.read_response(1).error_page(504);
    held.connection.read_response(1).error_page(504);
    held.let_go();
    until("both are in the log", SOON, || {
        gateway.log.count(|line| line.contains(SLOW)) == 2
    });
    gateway.log.wait_for_line(&[SLOW, "GET /holds_gil"]);
    gateway.get("/hello").ok();
}
