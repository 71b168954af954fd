//! Peers that break the protocol while a request runs, send without end, or say much at once: SPEC A5, A8, A12, E10, E12, F10.

use std::time::Duration;

use crate::support::fcgi_client::{GET_VALUES, GET_VALUES_RESULT, Raw, Request, STDIN, UNKNOWN_TYPE, pair, record};
use crate::support::load::beside;
use crate::support::process::{Gateway, Shared};
use crate::support::wait::{SOON, until};

static APPS: Shared = Shared::new(|| Gateway::app("failures"));
static INPUT: Shared = Shared::new(|| Gateway::app("input"));

/// A record of a version that does not exist.
const BROKEN: [u8; 8] = [0xFE; 8];

fn called(key: &str) -> bool {
    APPS.get(&format!("/recorded?{key}")).ok().text().contains("called")
}

#[track_caller]
fn is_closed_without_a_reply(connection: &mut Raw) {
    let rest = connection.read_to_end();
    assert!(rest.closed.is_some());
    assert!(rest.records.is_empty() && rest.trailing.is_empty(), "{rest}");
}

#[test]
fn e12_framing_error_while_the_application_runs_ends_its_request_without_a_reply() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/waits?e12").keep_conn().bytes());
    until("the application is called", SOON, || called("e12"));
    connection.send(&BROKEN);
    APPS.log.wait_for_line(&["WARN", "GET /waits", "fefefefefefefefe"]);
    APPS.get("/open_gate?e12").ok();
    is_closed_without_a_reply(&mut connection);
}

#[test]
fn e12_framing_error_in_a_body_ends_its_request_without_a_reply() {
    let mut connection = INPUT.connect();
    let request = Request::post("/read_fails?e12-body", vec![b'x'; 200_000]).keep_conn();
    let bytes = request.bytes();
    connection.send(&bytes[..request.head_bytes().len() + 65_543]);
    connection.send(&BROKEN);
    is_closed_without_a_reply(&mut connection);
    INPUT
        .log
        .wait_for_line(&["WARN", "POST /read_fails", "fefefefefefefefe"]);
}

#[test]
fn a12_begin_of_the_same_id_right_behind_a_request_closes_the_connection() {
    let mut connection = APPS.connect();
    let first = Request::get("/waits?a12-first").keep_conn().bytes();
    let second = Request::get("/waits?a12-behind").keep_conn().bytes();
    connection.send(&[first, second].concat());
    is_closed_without_a_reply(&mut connection);
    APPS.get("/hello").ok();
    assert!(!called("a12-first") && !called("a12-behind"));
}

#[test]
fn a8_management_records_right_behind_a_request_are_answered_while_it_runs() {
    let mut connection = APPS.connect();
    let request = Request::get("/waits?a8-behind").keep_conn().bytes();
    let asked = record(GET_VALUES, 0, &pair(b"FCGI_MPXS_CONNS", b""));
    connection.send(&[request, asked, record(99, 0, b"")].concat());
    let answer = connection.expect_record();
    assert_eq!(
        (answer.kind, answer.content),
        (GET_VALUES_RESULT, pair(b"FCGI_MPXS_CONNS", b"0"))
    );
    assert_eq!(connection.expect_record().kind, UNKNOWN_TYPE);
    APPS.get("/open_gate?a8-behind").ok();
    connection.read_response(1).ok();
}

#[test]
fn peer_that_asks_for_values_and_never_reads_the_answers_is_closed() {
    let gateway = Gateway::app("failures").start();
    let mut connection = gateway.connect();
    connection.send(&Request::get("/waits?unread").keep_conn().bytes());
    let mut asking = connection.try_clone().unwrap();
    std::thread::scope(|scope| {
        let asked = record(GET_VALUES, 0, &pair(b"FCGI_MPXS_CONNS", b"")).repeat(1000);
        scope.spawn(move || while asking.try_send(&asked).is_ok() {});
        gateway.log.wait_for_line(&["WARN", "does not read the answers"]);
        gateway.get("/open_gate?unread").ok();
    });
    gateway.get("/hello").ok();
}

#[test]
fn e10_role_with_a_post_is_refused_without_waiting_for_a_body() {
    for role in [2, 3] {
        let mut connection = APPS.connect();
        let request = Request::new("POST", "/waits?e10-post").role(role).keep_conn();
        connection.send(&request.head_bytes());
        assert_eq!(connection.read_response(1).error_page(500).end, Some((0, 3)));
    }
    assert!(!called("e10-post"));
}

#[test]
fn a20_methods_that_need_no_body_start_without_stdin() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PROPFIND", "MKCOL", "X"] {
        let mut connection = APPS.connect();
        let request = Request::new(method, "/hello").keep_conn();
        connection.send(&request.head_bytes());
        connection.read_response(1).ok();
    }
}

/// An answered request, of whose body 40,000 bytes are still to be sent, and those.
fn answered_early(gateway: &Gateway) -> (Raw, Vec<u8>) {
    let request = Request::post("/ignored", vec![b'x'; 110_000]).keep_conn();
    let mut bytes = request.bytes();
    let rest = bytes.split_off(bytes.len() - 40_000);
    let mut connection = gateway.connect();
    connection.send(&bytes);
    assert_eq!(connection.read_response(1).code(), 413);
    (connection, rest)
}

#[test]
fn f10_unread_body_within_drain_bytes_leaves_the_connection_usable() {
    let gateway = Gateway::app("input").option("--drain-bytes", "40000").start();
    let (mut connection, rest) = answered_early(&gateway);
    connection.send(&rest);
    connection.exchange(&Request::get("/hello").keep_conn()).ok();
    assert!(gateway.log.find(|line| line.contains("--drain-bytes")).is_none());
}

#[test]
fn f10_unread_body_beyond_drain_bytes_is_no_longer_received_and_the_log_says_so() {
    let gateway = Gateway::app("input")
        .option("--drain-bytes", "39991")
        .option("--drain-timeout", "300ms")
        .start();
    let (mut connection, rest) = answered_early(&gateway);
    // All but the end of the stream is received, or the body would not be unread any more.
    connection.send(&rest[..rest.len() - 8]);
    gateway.log.wait_for_line(&["INFO", "--drain-bytes"]);
    connection.expect_close();
}

#[test]
fn f10_peer_that_never_stops_sending_after_its_response_is_closed_after_the_drain_timeout() {
    let gateway = Gateway::app("input")
        .option("--drain-bytes", "1000g")
        .option("--drain-timeout", "300ms")
        .start();
    let request = Request::post("/ignored", vec![b'x'; 110_000]);
    let mut connection = gateway.connect();
    connection.send(&request.bytes()[..request.head_bytes().len() + 100_000]);
    assert_eq!(connection.read_response(1).code(), 413);
    let more = record(STDIN, 1, &[b'x'; 65_528]);
    until("the connection is closed", SOON, || connection.try_send(&more).is_err());
}

#[test]
fn f10_worker_with_all_its_connections_leaves_the_next_one_to_another() {
    let gateway = Gateway::app("processes")
        .workers(2)
        .option("--connections", "1")
        .start();
    let request = Request::get("/pid").keep_conn();
    let mut first = gateway.connect();
    let served = first.exchange(&request).ok().text();
    // The next request has begun: a connection that is idle would give its place up if the other worker took long to come.
    first.send(&request.bytes()[..12]);
    // The worker that sleeps in epoll is the one which the kernel wakes; it has to wake the other.
    std::thread::sleep(Duration::from_millis(200));
    let mut second = gateway.connect();
    assert_ne!(second.exchange(&request).ok().text(), served);
}

#[test]
fn f11_peers_that_never_stop_sending_keep_nobody_else_from_being_served() {
    let gateway = Gateway::app("failures").threads(1).start();
    // Nobody need answer, or even look at, records of a request that does not exist.
    let records = record(99, 7, &[b'x'; 65_528]).repeat(16);
    let sender = || {
        let mut connection = gateway.connect();
        let records = &records;
        move || connection.send(records)
    };
    beside((0..3).map(|_| sender()), || {
        for _ in 0..20 {
            gateway.get("/hello").ok();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}
