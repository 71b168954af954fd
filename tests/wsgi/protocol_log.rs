//! What the log says of peers that do what they should not: the last column of SPEC E, and "logged once" of A7.

use crate::support::fcgi_client::{
    BEGIN_REQUEST, END_REQUEST, GET_VALUES_RESULT, Request, STDOUT, begin_request, record,
};
use crate::support::log::field;
use crate::support::process::{Gateway, Shared};
use crate::support::wait::SOON;

static APPS: Shared = Shared::new(|| Gateway::app("failures").option("--mount", "/app"));

#[test]
fn a7_records_that_make_no_sense_are_logged_once() {
    let gateway = Gateway::app("failures").start();
    for _ in 0..3 {
        let mut connection = gateway.connect();
        for kind in [END_REQUEST, STDOUT, GET_VALUES_RESULT] {
            connection.send(&record(kind, 1, &[0; 8]));
        }
        connection.exchange(&Request::get("/hello")).ok();
    }
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait_exit(SOON);
    gateway.log.wait_for_end();
    let lines = gateway.log.events();
    let about: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("a record that makes no sense"))
        .collect();
    assert_eq!(about.len(), 1, "{about:#?}");
    assert!(
        about[0].contains("INFO") && about[0].contains("not logged again"),
        "{about:?}"
    );
}

#[test]
fn a12_begin_on_an_active_id_is_logged_with_its_header() {
    let mut connection = APPS.connect();
    connection.send(&[begin_request(258, 1, 1), begin_request(258, 1, 1)].concat());
    connection.expect_close();
    // E12: the first eight bytes in hexadecimal.
    let line = APPS.log.wait_for_line(&["BEGIN_REQUEST for id 258, which is in use"]);
    let header = format!("01{BEGIN_REQUEST:02x}010200080000");
    assert!(line.contains("WARN") && line.contains(&header), "{line}");
}

#[test]
fn e10_log_names_request_and_role() {
    for role in [2, 9] {
        let path = format!("/app/e10-log-{role}");
        APPS.send(&Request::get(&path).role(role)).error_page(500);
        let line = APPS.log.wait_for_line(&[&path, "only responders are served"]);
        assert!(
            line.contains("ERROR") && line.contains(&format!("GET {path}")),
            "{line}"
        );
        assert_eq!(field(&line, "role"), Some(role.to_string().as_str()), "{line}");
    }
}

#[test]
fn e11_second_request_on_a_busy_connection_is_logged() {
    let mut connection = APPS.connect();
    let first = Request::get("/app/hello").keep_conn();
    connection.send(&[first.begin_bytes(), begin_request(777, 1, 1)].concat());
    assert_eq!(connection.expect_record().id, 777);
    connection.send(&[first.params_bytes(), first.stdin_bytes()].concat());
    connection.read_response(1).ok();
    let line = APPS
        .log
        .wait_for_line(&["a second request on a busy connection was refused"]);
    assert!(line.contains("WARN"), "{line}");
    assert_eq!(field(&line, "id"), Some("777"), "{line}");
}

/// Lines with `line`, and what was left out of `kind` by the lines that say so.
fn told(gateway: &Gateway, line: &str, kind: &str) -> (usize, usize) {
    let more = |text: &String| {
        let (_, rest) = text.split_once("and ").filter(|_| text.contains(kind))?;
        let (number, rest) = rest.split_once(' ')?;
        rest.starts_with("more like this in the last ")
            .then(|| number.parse::<usize>().unwrap())
    };
    let left_out = gateway.log.lines().iter().filter_map(more).sum();
    (gateway.log.count(|text| text.contains(line)), left_out)
}

#[track_caller]
pub fn assert_limited(gateway: &Gateway, all: usize, line: &str, kind: &str) {
    crate::support::wait::until("the rest is told as a number", SOON, || {
        let (lines, left_out) = told(gateway, line, kind);
        lines + left_out == all
    });
    let (lines, _) = told(gateway, line, kind);
    assert!((10..all / 2).contains(&lines), "{lines} of {all}");
}

#[test]
fn second_requests_on_a_busy_connection_are_logged_ten_a_second() {
    const SENT: usize = 5000;
    let gateway = Gateway::app("failures").start();
    let mut connection = gateway.connect();
    let first = Request::get("/hello");
    connection.send(&first.begin_bytes());
    for _ in 0..SENT / 100 {
        connection.send(&begin_request(777, 1, 1).repeat(100));
        (0..100).for_each(|_| assert_eq!(connection.expect_record().id, 777));
    }
    let kind = "what=\"second requests on busy connections\"";
    assert_limited(
        &gateway,
        SENT,
        "a second request on a busy connection was refused",
        kind,
    );
}

#[test]
fn aborted_requests_and_refused_peers_are_logged_ten_a_second() {
    const SENT: usize = 200;
    let gateway = Gateway::app("failures").start();
    for _ in 0..SENT {
        let mut connection = gateway.connect();
        connection.send(&Request::get("/hello").begin_bytes());
    }
    let line = "closed a connection before a thread had its request";
    let kind = "what=\"connections that were closed before a thread had their request\"";
    assert_limited(&gateway, SENT, line, kind);
    let gateway = Gateway::app("failures")
        .variable("FCGI_WEB_SERVER_ADDRS", "192.0.2.1")
        .start();
    for _ in 0..SENT {
        gateway.connect().expect_close();
    }
    let kind = "what=\"peers that FCGI_WEB_SERVER_ADDRS does not list\"";
    assert_limited(&gateway, SENT, "a peer that FCGI_WEB_SERVER_ADDRS", kind);
}

#[test]
fn refusals_are_logged_ten_a_second_of_each_kind() {
    const SENT: usize = 200;
    let gateway = Gateway::app("failures")
        .option("--mount", "/app")
        .option("--body-max", "10")
        .option("--body-timeout", "1s")
        .option("--params-bytes", "4096")
        .start();
    let refused = |code: u16, request: &Request| {
        for _ in 0..SENT {
            gateway.send(request).error_page(code);
        }
        let kind = format!("what=\"refusals with {code}\"");
        assert_limited(&gateway, SENT, &format!("refused with {code}"), &kind);
    };
    let hello = || Request::get("/app/hello");
    refused(404, &Request::get("/elsewhere"));
    refused(400, &hello().param("CONTENT_LENGTH", "no number"));
    refused(413, &hello().param("CONTENT_LENGTH", "11"));
    refused(431, &hello().param("HTTP_X", "v".repeat(4096)));
    let stalled: Vec<_> = (0..SENT)
        .map(|_| {
            let mut connection = gateway.connect();
            let post = hello().param("CONTENT_LENGTH", "5");
            connection.send(&[post.begin_bytes(), post.params_bytes()].concat());
            connection
        })
        .collect();
    let kind = "what=\"refusals with 408\"";
    assert_limited(&gateway, SENT, "refused with 408", kind);
    drop(stalled);
}

#[test]
fn e14_path_outside_the_mount_is_logged() {
    APPS.get("/e14-log?token").error_page(404);
    let line = APPS.log.wait_for_line(&["refused with 404", "GET /e14-log"]);
    assert!(line.contains("INFO") && line.contains("--mount"), "{line}");
    assert!(!line.contains("token"), "{line}");
}
