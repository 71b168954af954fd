//! The access log: SPEC E15, and of F9 what concerns it.

use std::time::{Duration, Instant};

use crate::support::fcgi_client::{Request, Response};
use crate::support::log::{Log, field};
use crate::support::process::{Gateway, Shared};
use crate::support::wait::{SOON, until};

static APPS: Shared = Shared::new(|| Gateway::app("failures").flag("--access-log"));

/// Most bytes of somebody else's text in one field.
const LONGEST: usize = 8 * 1024;

/// The line of the request with this in its path.
#[track_caller]
fn line(log: &Log, path: &str) -> String {
    log.wait_for(&format!("of the access log for {path}"), |line| {
        line.contains(" access: ") && field(line, "path").is_some_and(|value| value.contains(path))
    })
}

#[track_caller]
fn number(line: &str, name: &str) -> f64 {
    let value = field(line, name).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{name} in {line}"))
}

#[test]
fn e15_line_has_these_fields_and_no_others() {
    APPS.send(&Request::get("/e15-fields/hello?e15-token=secret")).ok();
    let line = line(&APPS.log, "/e15-fields");
    let (_, fields) = line.split_once(" access: ").unwrap();
    let names: Vec<_> = fields
        .split(' ')
        .map(|field| field.split_once('=').unwrap_or((field, "")).0)
        .collect();
    let expected = "request peer remote method path status bytes ms app_ms outcome";
    assert_eq!(names, expected.split(' ').collect::<Vec<_>>(), "{line}");
    let value = |name| field(&line, name).unwrap();
    assert_eq!(
        ["peer", "remote", "method", "path", "status", "bytes", "outcome"].map(value),
        ["unix", "192.0.2.1", "GET", "/e15-fields/hello", "200", "5", "Complete"]
    );
    let id: Vec<_> = value("request").split('-').map(str::parse::<u64>).collect();
    assert!(id.len() == 3 && id.iter().all(Result::is_ok), "{line}");
    assert_eq!(APPS.log.count(|line| line.contains("e15-token")), 0, "no query");
}

#[test]
fn e15_each_request_has_one_line() {
    let mut connection = APPS.connect();
    for _ in 0..3 {
        connection.exchange(&Request::get("/e15-once/hello").keep_conn()).ok();
    }
    APPS.get("/e15-after/hello").ok();
    line(&APPS.log, "/e15-after");
    let ids = || {
        let mut ids: Vec<_> = APPS
            .log
            .lines()
            .iter()
            .filter(|line| line.contains("/e15-once"))
            .map(|line| field(line, "request").unwrap().to_owned())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len()
    };
    until("three lines with an id each", SOON, || ids() == 3);
    assert_eq!(APPS.log.count(|line| line.contains("/e15-once")), 3);
}

#[test]
fn e15_peer_of_a_tcp_connection_is_its_other_end() {
    let gateway = Gateway::app("failures").flag("--access-log").tcp("127.0.0.1").start();
    let mut connection = gateway.connect();
    connection.exchange(&Request::get("/hello").keep_conn()).ok();
    let local = connection.local_address().unwrap().to_string();
    assert_eq!(field(&line(&gateway.log, "/hello"), "peer"), Some(local.as_str()));
}

#[test]
fn e15_times_tell_the_application_and_the_whole() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/e15-times/waits?e15-times").bytes());
    until("the application is called", SOON, || {
        APPS.get("/recorded?e15-times").text().contains("called")
    });
    let called = Instant::now();
    until("it has waited for a while", SOON, || {
        called.elapsed() > Duration::from_millis(20)
    });
    let waited = called.elapsed().as_millis() as f64;
    APPS.get("/open_gate?e15-times").ok();
    connection.read_response(1).ok();
    let line = line(&APPS.log, "/e15-times");
    let (app, whole) = (number(&line, "app_ms"), number(&line, "ms"));
    assert!(waited <= app && app <= whole && whole < 60_000.0, "{waited}: {line}");
    assert_eq!(
        field(&line, "queue_ms"),
        None,
        "nobody said when the request came: {line}"
    );
}

#[test]
fn e15_wait_in_front_is_told_where_the_front_server_says_when_it_began() {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let at = |ago: f64| format!("{:.3}", now.as_secs_f64() - ago);
    let request = |path: &str, start: String| Request::get(path).param("REQUEST_START", start);
    APPS.send(&request("/e15-queued/hello", at(2.0))).ok();
    let queued = number(&line(&APPS.log, "/e15-queued"), "queue_ms");
    assert!((1999.0..12_000.0).contains(&queued), "{queued}");
    APPS.send(&request("/e15-overdue/hello", at(60.0))).error_page(503);
    let line = line(&APPS.log, "/e15-overdue");
    assert!(number(&line, "queue_ms") >= 59_999.0, "{line}");
    assert_eq!(
        (field(&line, "status"), number(&line, "app_ms")),
        (Some("503"), 0.0),
        "{line}"
    );
}

#[test]
fn e15_refused_failed_and_cut_requests_have_their_lines() {
    let is = |path: &str, status: &str, outcome: &str| {
        let line = line(&APPS.log, path);
        assert_eq!(
            (field(&line, "status"), field(&line, "outcome")),
            (Some(status), Some(outcome)),
            "{line}"
        );
        line
    };
    APPS.send(&Request::get("/e15-refused").param("CONTENT_LENGTH", "-1"))
        .error_page(400);
    let refused = is("/e15-refused", "400", "Refused");
    assert_eq!(
        (field(&refused, "method"), field(&refused, "remote")),
        (Some("GET"), Some("192.0.2.1")),
        "{refused}"
    );
    APPS.get("/e15-failed/in_call?ValueError").error_page(500);
    is("/e15-failed", "500", "Failed");
    APPS.get("/e15-cut/in_second?ValueError").cut();
    let cut = is("/e15-cut", "200", "Failed");
    assert_eq!(field(&cut, "bytes"), Some("1"), "{cut}");
    let mut connection = APPS.connect();
    connection.send(&Request::get("/e15-gone/waits?e15-gone").bytes());
    until("the application is called", SOON, || {
        APPS.get("/recorded?e15-gone").text().contains("called")
    });
    drop(connection);
    APPS.get("/open_gate?e15-gone").ok();
    is("/e15-gone", "200", "Disconnected");
}

#[test]
fn e15_request_of_which_nothing_can_be_read_has_a_line() {
    let gateway = Gateway::app("failures")
        .flag("--access-log")
        .option("--params-bytes", "1000")
        .start();
    gateway
        .send(&Request::get("/hello").param("HTTP_X", "x".repeat(1000)))
        .error_page(431);
    let line = gateway.log.wait_for_line(&[" access: ", "status=431"]);
    let value = |name| field(&line, name).unwrap();
    assert_eq!(["method", "path", "remote"].map(value), ["-", "-", "-"], "{line}");
}

#[test]
fn e15_body_that_stops_before_a_thread_has_it_has_a_line() {
    let gateway = Gateway::app("input")
        .flag("--access-log")
        .option("--body-timeout", "200ms")
        .start();
    let request = Request::post("/echo?e15-token", vec![b'x'; 1 << 20]);
    let mut connection = gateway.connect();
    connection.send(&request.head_bytes());
    connection.send(&request.stdin_bytes()[..1000]);
    connection.read_response(1).error_page(408);
    let line = line(&gateway.log, "/echo");
    let value = |name| field(&line, name).unwrap();
    assert_eq!(
        ["peer", "remote", "method", "path", "status", "bytes", "outcome"].map(value),
        ["unix", "192.0.2.1", "POST", "/echo", "408", "20", "Refused"]
    );
    // The same number stands in the line that says why.
    gateway.log.wait_for_line(&["refused with 408", value("request")]);
}

#[test]
fn e15_request_that_the_watchdog_answers_has_its_status() {
    let gateway = Gateway::app("failures")
        .flag("--access-log")
        .option("--request-timeout", "300ms")
        .start();
    gateway.get("/sleeps?e15").error_page(504);
    let line = line(&gateway.log, "/sleeps");
    let value = |name| field(&line, name).unwrap();
    assert_eq!(
        ["status", "bytes", "outcome"].map(value),
        ["504", "20", "TimedOut"],
        "{line}"
    );
}

#[test]
fn e15_path_cannot_forge_a_line_or_a_field() {
    let forged = "/x\n2026 INFO access: FORGED\x1b[31m status=500/hello";
    APPS.send(&Request::get("/hello").param("PATH_INFO", forged)).ok();
    let line = APPS.log.wait_for_line(&["FORGED"]);
    assert!(line.contains("\\n") && !line.contains('\x1b'), "{line:?}");
    assert_eq!(field(&line, "status"), Some("200"), "{line}");
}

#[test]
fn e15_no_credentials_in_the_log() {
    let request = Request::get("/in_call?ValueError")
        .header("Authorization", "Basic c2VjcmV0LWNyZWRlbnRpYWw=")
        .header("Cookie", "session=secret-cookie");
    APPS.send(&request);
    APPS.get("/e15-next/hello").ok();
    line(&APPS.log, "/e15-next");
    assert_eq!(
        APPS.log
            .count(|line| line.contains("c2VjcmV0LWNyZWRlbnRpYWw") || line.contains("secret-cookie")),
        0
    );
}

#[test]
fn e15_without_the_option_there_is_no_access_log() {
    let gateway = Gateway::app("failures").option("--log-level", "trace").start();
    gateway.get("/hello").ok();
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait_exit(SOON);
    gateway.log.wait_for_end();
    assert_eq!(gateway.log.count(|line| line.contains(" access: ")), 0);
}

/// A path of so many bytes with this at its beginning.
fn path_of(start: &str, length: usize) -> String {
    let path = format!("{start}/{}", "p".repeat(length));
    path[..length - "/hello".len()].to_owned() + "/hello"
}

#[test]
fn f9_path_is_whole_up_to_8_kib_and_visibly_cut_beyond() {
    let logged = |start: &str, length: usize| {
        let path = path_of(start, length);
        let response: Response = APPS.send(&Request::get("/").param("PATH_INFO", path.clone())).ok();
        assert_eq!(response.text(), "hello");
        let logged = field(&line(&APPS.log, start), "path").unwrap().to_owned();
        (path, logged)
    };
    for (start, length) in [("/f9-usual", 300), ("/f9-at", LONGEST)] {
        let (path, logged) = logged(start, length);
        assert!(path == logged, "{length}: {logged}");
    }
    let (path, logged) = logged("/f9-over", LONGEST + 1);
    assert!(logged == path[..LONGEST].to_owned() + "...(+1_bytes)", "{logged}");
}

#[test]
fn f9_address_of_a_refused_request_is_escaped_and_cut() {
    let address = "a b\x1b".to_owned() + &"7".repeat(20_000);
    let request = Request::get("/f9-address").param("CONTENT_LENGTH", "-1");
    APPS.send(&request.param("REMOTE_ADDR", address)).error_page(400);
    let line = line(&APPS.log, "/f9-address");
    let remote = field(&line, "remote").unwrap();
    // The escaped byte takes three more, and the space, which is escaped after the cut, none.
    let missing = 20_004 - (LONGEST - 3);
    assert!(
        remote.starts_with(r"a\x20b\x1b777") && remote.ends_with(&format!("7...(+{missing}_bytes)")),
        "{line}"
    );
}
