//! Requests that take too long: SPEC E4 and E5, and the timeouts of F10.

use std::time::{Duration, Instant};

use crate::held_python::HeldPython;
use crate::protocol_log::assert_limited;
use crate::support::fcgi_client::{END_REQUEST, PARAMS, Request, Response, record};
use crate::support::log::field;
use crate::support::process::{Gateway, Shared};
use crate::support::wait::{SOON, until, until_ended};

static SHORT: Shared = Shared::new(|| Gateway::app("failures").option("--request-timeout", "300ms"));

#[test]
fn e4_request_over_its_timeout_is_answered_with_504() {
    let started = Instant::now();
    let response = SHORT.get("/sleeps?e4").error_page(504);
    assert_eq!(response.end, Some((1, 0)), "{response}");
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "the application sleeps for 30 s"
    );
    SHORT.get("/hello").ok();
}

#[test]
fn request_that_ends_within_its_timeout_is_left_alone() {
    let gateway = Gateway::app("failures").option("--request-timeout", "4s").start();
    let mut connection = gateway.connect();
    connection.send(&Request::get("/waits?within").bytes());
    std::thread::sleep(Duration::from_millis(2500));
    gateway.get("/open_gate?within").ok();
    assert_eq!(connection.read_response(1).ok().text(), "waited");
    assert!(
        !gateway.log.text().contains("request-timeout"),
        "{}",
        gateway.log.text()
    );
}

#[test]
fn e4_application_over_its_timeout_gets_request_timeout_raised() {
    SHORT.get("/e4-raised/sleeps?e4-raised").error_page(504);
    // On a busy machine the time may be over before the application has come to its `try`: what it would note there is
    // not certain, what ends it is.
    SHORT.log.wait_for_line(&[
        "the application failed",
        "/e4-raised/sleeps",
        r#"exception="RequestTimeout""#,
    ]);
}

#[test]
fn e4_log_has_the_python_stack_of_the_slow_request() {
    SHORT.get("/sleeps?e4-stack").error_page(504);
    SHORT.log.wait_for_line(&["ERROR", "/sleeps"]);
    SHORT.log.wait_for("the frame of the application", |line| {
        line.contains("failures.py") && line.contains("sleeps")
    });
}

#[test]
fn e4_stack_of_a_thread_that_gives_python_back_is_taken_by_python_itself() {
    // faulthandler, which reads the memory of running threads and may crash on it, knows no source lines.
    until("the source line in the watchdog's event", SOON, || {
        SHORT.get("/sleeps?e4-source").error_page(504);
        let is_it = |event: &str| event.contains("--request-timeout") && event.contains("time.sleep(0.01)");
        SHORT.log.find(is_it).is_some()
    });
}

#[test]
fn e4_timeout_after_the_head_never_ends_as_if_it_were_whole() {
    let response = SHORT.get("/sleeps_after_head");
    assert_eq!((response.text().as_str(), response.end), ("begun;", None), "{response}");
}

#[test]
fn e4_late_output_reaches_nobody() {
    let mut connection = SHORT.connect();
    let response = connection
        .exchange(&Request::get("/sleeps?e4-late").keep_conn())
        .error_page(504);
    assert_eq!(
        response
            .records
            .iter()
            .filter(|record| record.kind == END_REQUEST)
            .count(),
        1
    );
    // The connection is closed, or it serves the next request and nothing of the old one.
    let _ = connection.try_send(&Request::get("/hello").keep_conn().bytes());
    let next = connection.read_response(1);
    if next.closed.is_none() {
        assert_eq!(next.ok().text(), "hello");
    } else {
        assert!(next.records.is_empty(), "{next}");
    }
}

#[test]
fn e4_worker_whose_request_ignores_everything_is_replaced() {
    let gateway = Gateway::app("processes")
        .option("--request-timeout", "300ms")
        .option("--kill-timeout", "300ms")
        .start();
    let first = gateway.get("/pid").ok().text();
    let marker = gateway.directory.path().join("stuck");
    gateway
        .get(&format!("/ignores_everything?{}", marker.display()))
        .error_page(504);
    until("another worker serves", SOON, || {
        let response = gateway.get("/pid");
        response.code() == 200 && response.text() != first
    });
    until_ended(first, SOON);
}

#[test]
fn kill_timeout_of_zero_leaves_a_stuck_request_alone() {
    let gateway = Gateway::app("processes")
        .option("--request-timeout", "300ms")
        .option("--kill-timeout", "0")
        .start();
    let first = gateway.get("/pid").ok().text();
    let marker = gateway.directory.path().join("stuck");
    gateway
        .get(&format!("/ignores_everything?{}", marker.display()))
        .error_page(504);
    // The leader looks once a second.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(gateway.get("/pid").ok().text(), first);
    let log = gateway.log.text();
    assert!(!log.contains("a worker is killed"), "{log}");
}

#[test]
fn e4_worker_that_never_gives_python_back_is_replaced() {
    let gateway = Gateway::app("failures")
        .option("--request-timeout", "300ms")
        .option("--kill-timeout", "300ms")
        .start();
    let mut held = HeldPython::of(&gateway);
    held.connection.read_response(1).error_page(504);
    assert_eq!(gateway.get("/hello").ok().text(), "hello");
}

#[test]
fn worker_whose_python_is_held_takes_no_connection_that_an_idle_one_could_serve() {
    let gateway = Gateway::app("failures").workers(2).threads(2).start();
    let held = HeldPython::of(&gateway);
    for _ in 0..20 {
        assert_eq!(gateway.get("/hello").ok().text(), "hello");
    }
    held.let_go().read_response(1).ok();
}

/// What nginx sends as `$msec`, some seconds ago.
fn started_ago(ago: Duration) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    format!("{:.3}", (now - ago).as_secs_f64())
}

#[test]
fn e5_request_that_waited_too_long_is_answered_with_503() {
    let old = started_ago(Duration::from_secs(60));
    let request = Request::get("/waits?e5").param("REQUEST_START", old);
    let response = SHORT.send(&request).error_page(503);
    assert_eq!(response.end, Some((0, 0)), "overload is no failure of the application");
    assert_eq!(response.header("Retry-After").as_deref(), Some("1"));
    assert_eq!(SHORT.get("/recorded?e5").text(), "[]", "the application was not called");
    SHORT.log.wait_for_line(&["WARN", "503"]);
}

#[test]
fn e5_refusals_are_logged_ten_a_second_and_the_rest_as_a_number() {
    let gateway = Gateway::app("failures").threads(1).start();
    let overdue = Request::get("/e5-limited").param("REQUEST_START", started_ago(Duration::from_secs(60)));
    const SENT: usize = 100;
    for _ in 0..SENT {
        gateway.send(&overdue).error_page(503);
    }
    gateway
        .log
        .wait_for_line(&["WARN", "GET /e5-limited", "refused with 503"]);
    assert_limited(&gateway, SENT, "refused with 503", "requests that waited too long");
}

#[test]
fn e5_request_that_waited_a_little_is_served() {
    let recent = started_ago(Duration::from_millis(100));
    SHORT.send(&Request::get("/hello").param("REQUEST_START", recent)).ok();
    for nonsense in ["", "yesterday", "-1", "99999999999999"] {
        SHORT
            .send(&Request::get("/hello").param("REQUEST_START", nonsense))
            .ok();
    }
}

/// nginx with `fastcgi_request_buffering off` passes on what its client sends, pauses included.
#[test]
fn e5_time_in_which_a_body_arrives_is_no_wait() {
    let gateway = Gateway::app("input")
        .option("--queue-timeout", "500ms")
        .flag("--access-log")
        .start();
    let request = Request::post("/echo", "slowly").param("REQUEST_START", started_ago(Duration::ZERO));
    let mut connection = gateway.connect();
    let bytes = request.bytes();
    connection.send(&bytes[..bytes.len() - 12]);
    std::thread::sleep(Duration::from_millis(1000));
    connection.send(&bytes[bytes.len() - 12..]);
    assert_eq!(connection.read_response(1).ok().text(), "slowly");
    let line = gateway.log.wait_for_line(&["/echo", "queue_ms"]);
    let queued: f64 = field(&line, "queue_ms").unwrap().parse().unwrap();
    assert!(queued < 500.0, "{line}");
    // What has come before it is.
    let overdue = request.param("REQUEST_START", started_ago(Duration::from_secs(5)));
    let mut connection = gateway.connect();
    let bytes = overdue.bytes();
    connection.send(&bytes[..bytes.len() - 12]);
    std::thread::sleep(Duration::from_millis(300));
    connection.send(&bytes[bytes.len() - 12..]);
    connection.read_response(1).error_page(503);
}

#[test]
fn f10_params_that_take_too_long_close_the_connection() {
    let gateway = Gateway::app("failures").option("--params-timeout", "200ms").start();
    let request = Request::get("/hello").keep_conn();
    let mut connection = gateway.connect();
    connection.send(&[request.begin_bytes(), record(PARAMS, 1, &request.pairs())].concat());
    connection.expect_close();
    // One byte at a time is no way around it.
    let mut connection = gateway.connect();
    let started = Instant::now();
    for byte in Request::get("/hello").bytes() {
        if connection.try_send(&[byte]).is_err() || connection.readable_within(Duration::from_millis(20)) {
            break;
        }
    }
    assert!(started.elapsed() < Duration::from_secs(3), "closed after 200 ms");
    connection.expect_close();
    gateway.get("/hello").ok();
}

#[test]
fn f10_idle_connection_is_closed_after_its_timeout() {
    let gateway = Gateway::app("failures").option("--idle-timeout", "200ms").start();
    let mut connection = gateway.connect();
    connection.exchange(&Request::get("/hello").keep_conn()).ok();
    connection.exchange(&Request::get("/hello").keep_conn()).ok();
    connection.expect_close();
}

#[test]
fn f10_silence_inside_a_body_makes_read_raise() {
    let gateway = Gateway::app("input").option("--body-timeout", "200ms").start();
    let request = Request::post("/read_fails?silence", vec![b'x'; 1 << 20]);
    let mut connection = gateway.connect();
    connection.send(&request.head_bytes());
    connection.send(&request.stdin_bytes()[..200_000]);
    let response = connection.read_response(1);
    assert_eq!(
        (response.code(), response.text().as_str()),
        (200, "OSError"),
        "{response}"
    );
}

#[test]
fn f10_silence_before_the_application_is_called_is_answered_without_it() {
    let gateway = Gateway::app("input").option("--body-timeout", "200ms").start();
    let request = Request::post("/read_fails?silence", vec![b'x'; 1 << 20]);
    let mut connection = gateway.connect();
    connection.send(&request.head_bytes());
    connection.send(&request.stdin_bytes()[..1000]);
    // E0: who waits for an answer gets one; F11: and no thread waits with it.
    assert_eq!(connection.read_response(1).error_page(408).end, Some((0, 0)));
    connection.expect_close();
    assert_eq!(gateway.get("/recorded?silence").ok().text(), "[]");
    gateway
        .log
        .wait_for_line(&["408", "POST /read_fails", "--body-timeout"]);
}

#[test]
fn f10_peer_that_never_ends_its_body_is_closed_after_the_drain_timeout() {
    let gateway = Gateway::app("input").option("--drain-timeout", "200ms").start();
    let request = Request::post("/ignored", vec![b'x'; 1 << 20]);
    for request in [request.clone(), request.keep_conn()] {
        let mut connection = gateway.connect();
        connection.send(&request.head_bytes());
        connection.send(&request.stdin_bytes()[..100_000]);
        let response = connection.read_response(1);
        assert_eq!((response.code(), response.end), (413, Some((0, 0))));
        connection.expect_close();
    }
}

#[test]
fn timeouts_of_zero_are_none() {
    let options = [
        "--params-timeout",
        "--idle-timeout",
        "--body-timeout",
        "--write-timeout",
        "--queue-timeout",
        "--request-timeout",
        "--kill-timeout",
    ];
    let gateway = options
        .iter()
        .fold(Gateway::app("failures"), |builder, name| builder.option(name, "0"))
        .start();
    let mut connection = gateway.connect();
    let mut response = Response::default();
    connection.send(&Request::get("/waits?zero").keep_conn().head_bytes());
    until("the application is called", SOON, || {
        gateway.get("/recorded?zero").text().contains("called")
    });
    gateway.get("/open_gate?zero").ok();
    connection.read_more(&mut response, 1);
    response.ok();
}
