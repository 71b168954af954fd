//! Requests whose front server goes away or aborts them, at each stage: SPEC A22, A23.

use crate::protocol::{APPS, INPUT, called, works};
use crate::support::fcgi_client::{ABORT_REQUEST, PARAMS, Request, Response, record};
use crate::support::process::Gateway;
use crate::support::wait::{SOON, until};

#[test]
fn a22_connection_that_ends_before_the_params_never_starts_the_application() {
    let bytes = Request::get("/waits?a22").head_bytes();
    for cut in [4, 8, 16, 20, bytes.len() / 2, bytes.len() - 8, bytes.len() - 1] {
        let mut connection = APPS.connect();
        connection.send(&bytes[..cut]);
        drop(connection);
    }
    APPS.get("/hello").ok();
    assert!(!called("a22"));
}

#[test]
fn a22_connection_that_ends_while_the_application_runs_harms_nobody() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/waits?a22-running").bytes());
    until("the application is called", SOON, || called("a22-running"));
    drop(connection);
    APPS.get("/open_gate?a22-running").ok();
    until("the application ends", SOON, || {
        APPS.get("/recorded?a22-running").text().contains("done")
    });
    APPS.get("/hello").ok();
}

#[test]
fn a23_abort_before_the_params_end_ends_the_request_without_the_application() {
    let mut connection = APPS.connect();
    let request = Request::get("/waits?a23-early").keep_conn();
    connection.send(
        &[
            request.begin_bytes(),
            record(PARAMS, 1, &request.pairs()),
            record(ABORT_REQUEST, 1, b""),
        ]
        .concat(),
    );
    let response = connection.read_response(1);
    assert_eq!((response.records.len(), response.end), (1, Some((0, 0))), "{response}");
    works(&mut connection);
    assert!(!called("a23-early"));
}

#[test]
fn a23_abort_while_the_application_reads_fails_the_read_and_ends_once() {
    let mut connection = INPUT.connect();
    let request = Request::post("/read_fails?a23", vec![b'x'; 1 << 20]).keep_conn();
    connection.send(&request.head_bytes());
    connection.send(&request.stdin_bytes()[..200_000 / 65543 * 65543]);
    let recorded = || INPUT.get("/recorded?a23").text();
    until("the application is called", SOON, || recorded().contains("called"));
    connection.send(&record(ABORT_REQUEST, 1, b""));
    until("read() raises", SOON, || recorded().contains("OSError"));
    // Nothing of what the application has returned since.
    let response = connection.read_response(1);
    assert_eq!((response.records.len(), response.end), (1, Some((0, 0))), "{response}");
    works(&mut connection);
}

#[test]
fn a23_abort_while_the_application_answers_stops_it_and_ends_once() {
    let gateway = Gateway::app("iteration").start();
    let mut connection = gateway.connect();
    connection.send(&Request::get("/closing_endless?a23").keep_conn().bytes());
    connection.read_until_body_has(&mut Response::default(), b"x");
    connection.send(&record(ABORT_REQUEST, 1, b""));
    let response = connection.read_response(1);
    assert_eq!(response.end, Some((0, 0)), "{response}");
    until("close() runs", SOON, || {
        gateway.get("/recorded?a23").text().ends_with(r#""close"]"#)
    });
    works(&mut connection);
}

#[test]
fn a23_abort_of_an_unknown_or_ended_request_is_ignored() {
    let mut connection = APPS.connect();
    connection.send(&record(ABORT_REQUEST, 9, b""));
    works(&mut connection);
    connection.send(&record(ABORT_REQUEST, 1, b""));
    works(&mut connection);
}
