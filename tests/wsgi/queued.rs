//! Requests that are complete and wait for a thread: they can still be aborted (SPEC A23), and their peer can go.

use std::time::Duration;

use crate::support::fcgi_client::{
    ABORT_REQUEST, END_REQUEST, GET_VALUES, GET_VALUES_RESULT, Raw, Request, Response, pair, record,
};
use crate::support::process::Gateway;

/// More than `--body-buffer`, so that the application is called before all of it is there.
const SENT: usize = 100_000;
const BODY: usize = 200_000;

/// A gateway all of whose threads run requests, until [`release`].
fn busy() -> (Gateway, Vec<(Raw, Vec<u8>)>) {
    let gateway = Gateway::app("queued").threads(2).start();
    let holders = ["first", "second"].map(|name| {
        let request = Request::post(&format!("/held?{name}"), vec![b'x'; BODY]).stdin_record(50_000);
        let mut connection = gateway.connect();
        let mut bytes = request.bytes();
        let rest = bytes.split_off(request.head_bytes().len() + SENT);
        connection.send(&bytes);
        gateway.log.wait_for_line(&["held", name]);
        (connection, rest)
    });
    (gateway, holders.into())
}

fn release(holders: Vec<(Raw, Vec<u8>)>) {
    for (mut connection, rest) in holders {
        connection.send(&rest);
        assert_eq!(connection.read_response(1).ok().text(), BODY.to_string());
    }
}

/// Waits until what was sent before has been received, though no thread is free.
fn wait_until_received(connection: &mut Raw) {
    connection.send(&record(GET_VALUES, 0, &pair(b"FCGI_MPXS_CONNS", b"")));
    let answer = connection.expect_record();
    assert_eq!(
        (answer.kind, answer.content),
        (GET_VALUES_RESULT, pair(b"FCGI_MPXS_CONNS", b"0"))
    );
}

fn was_called(gateway: &Gateway, key: &str) -> bool {
    gateway.get(&format!("/recorded?{key}")).ok().text() != "[]"
}

#[track_caller]
fn is_one_end(response: &Response) {
    let kinds: Vec<_> = response.records.iter().map(|record| record.kind).collect();
    assert_eq!((kinds, response.end), (vec![END_REQUEST], Some((0, 0))), "{response}");
}

#[test]
fn a23_abort_while_a_complete_request_waits_for_a_thread_ends_it_uncalled() {
    let (gateway, holders) = busy();
    let mut connection = gateway.connect();
    connection.send(&Request::post("/called?waiting", "body").keep_conn().bytes());
    wait_until_received(&mut connection);
    connection.send(&record(ABORT_REQUEST, 1, b""));
    is_one_end(&connection.read_response(1));
    release(holders);
    assert!(!was_called(&gateway, "waiting"));
    assert_eq!(
        connection.exchange(&Request::get("/hello").keep_conn()).ok().text(),
        "hello"
    );
    assert!(
        !connection.readable_within(Duration::from_millis(50)),
        "END_REQUEST comes once"
    );
}

#[test]
fn a23_abort_that_comes_with_the_request_ends_it_uncalled() {
    let gateway = Gateway::app("queued").threads(1).start();
    for request in [
        Request::post("/called?together", "body").keep_conn(),
        Request::get("/called?together").keep_conn(),
    ] {
        let mut connection = gateway.connect();
        connection.send(&[request.bytes(), record(ABORT_REQUEST, 1, b"")].concat());
        is_one_end(&connection.read_response(1));
        assert!(!was_called(&gateway, "together"));
        assert_eq!(
            connection.exchange(&Request::get("/hello").keep_conn()).ok().text(),
            "hello"
        );
    }
}

#[test]
fn a23_abort_of_another_id_leaves_the_waiting_request_alone() {
    let (gateway, holders) = busy();
    let mut connection = gateway.connect();
    let request = Request::post("/called?other", "body").keep_conn();
    connection.send(&[request.bytes(), record(ABORT_REQUEST, 2, b"")].concat());
    wait_until_received(&mut connection);
    release(holders);
    assert_eq!(connection.read_response(1).ok().text(), "called");
}

#[test]
fn request_whose_peer_goes_while_it_waits_for_a_thread_is_not_run() {
    let (gateway, holders) = busy();
    let mut connection = gateway.connect();
    connection.send(&Request::post("/called?gone", "body").bytes());
    wait_until_received(&mut connection);
    drop(connection);
    release(holders);
    assert!(!was_called(&gateway, "gone"));
}

/// Those that wait in the kernel too, for whichever worker comes.
#[test]
fn requests_whose_clients_have_left_are_not_run_by_any_number_of_workers() {
    for (builder, workers) in [
        (Gateway::app("queued"), 1),
        (Gateway::app("queued"), 3),
        (Gateway::app("queued").tcp("127.0.0.1"), 2),
    ] {
        let gateway = builder.workers(workers).threads(1).start();
        let holders: Vec<_> = (0..workers)
            .map(|n| {
                let request = Request::post(&format!("/held?holder{n}"), vec![b'x'; BODY]).stdin_record(50_000);
                let mut bytes = request.bytes();
                let rest = bytes.split_off(request.head_bytes().len() + SENT);
                let mut connection = gateway.connect();
                connection.send(&bytes);
                gateway.log.wait_for_line(&["held", &format!("holder{n}")]);
                (connection, rest)
            })
            .collect();
        for n in 0..40 {
            // nginx closes when its client has left.
            let request = Request::post(&format!("/held?left{n}"), "body").param("SERVER_SOFTWARE", "nginx/1.22.1");
            gateway.connect().send(&request.bytes());
        }
        let mut last = gateway.connect();
        last.send(&Request::get("/hello").bytes());
        release(holders);
        last.read_response(1).ok();
        assert_eq!(gateway.log.count(|line| line.contains("held left")), 0);
    }
}

#[test]
fn request_that_waits_for_a_thread_is_run_with_all_of_its_body() {
    let (gateway, holders) = busy();
    let mut connection = gateway.connect();
    let request = Request::post("/held?third", vec![b'x'; BODY]);
    let bytes = request.bytes();
    let (begun, rest) = bytes.split_at(request.head_bytes().len() + 8 + 70_000);
    connection.send(begun);
    connection.send(rest);
    release(holders);
    assert_eq!(connection.read_response(1).ok().text(), BODY.to_string());
}
