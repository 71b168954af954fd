//! Management records: SPEC A5, A8.

use crate::held_python::HeldPython;
use crate::protocol::{APPS, called, hello, works};
use crate::support::fcgi_client::{GET_VALUES, GET_VALUES_RESULT, Raw, Record, Request, UNKNOWN_TYPE, pair, record};
use crate::support::process::Gateway;
use crate::support::wait::{SOON, until};

#[test]
fn a5_unknown_management_type_is_answered_once_under_id_0() {
    let mut connection = APPS.connect();
    for kind in [0, 12, 255] {
        connection.send(&record(kind, 0, b"what is this"));
        let reply = connection.expect_record();
        assert_eq!(
            reply,
            Record {
                kind: UNKNOWN_TYPE,
                id: 0,
                content: vec![kind, 0, 0, 0, 0, 0, 0, 0],
            }
        );
    }
    works(&mut connection);
}

#[test]
fn a5_unknown_management_type_inside_a_request_is_answered() {
    let mut connection = APPS.connect();
    let request = hello();
    connection.send(&[request.begin_bytes(), record(99, 0, b"x")].concat());
    assert_eq!(connection.expect_record().kind, UNKNOWN_TYPE);
    connection.send(&[request.params_bytes(), request.stdin_bytes()].concat());
    connection.read_response(1).ok();
}

/// Sends GET_VALUES for `names` and gives the pairs of the one answer.
#[track_caller]
fn values(connection: &mut Raw, names: &[&str]) -> Vec<u8> {
    let asked: Vec<u8> = names.iter().flat_map(|name| pair(name.as_bytes(), b"")).collect();
    connection.send(&record(GET_VALUES, 0, &asked));
    let reply = connection.expect_record();
    assert_eq!((reply.kind, reply.id), (GET_VALUES_RESULT, 0));
    reply.content
}

#[test]
fn a8_get_values_answers_what_was_asked_and_known() {
    let mut connection = APPS.connect();
    assert_eq!(values(&mut connection, &[]), b"");
    assert_eq!(values(&mut connection, &["FCGI_UNKNOWN"]), b"");
    assert_eq!(
        values(&mut connection, &["FCGI_MPXS_CONNS"]),
        pair(b"FCGI_MPXS_CONNS", b"0")
    );
    let all = values(
        &mut connection,
        &["FCGI_MAX_CONNS", "FCGI_UNKNOWN", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"],
    );
    let text = String::from_utf8(all).unwrap();
    for name in ["FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"] {
        let (_, after) = text.split_once(name).unwrap_or_else(|| panic!("{name} in {text:?}"));
        assert!(after.starts_with(|c: char| c.is_ascii_digit()), "{text:?}");
    }
    assert!(!text.contains("FCGI_UNKNOWN"));
    works(&mut connection);
}

#[test]
fn a8_values_are_those_of_the_pool_at_its_largest() {
    let gateway = Gateway::app("processes").workers("1..3").threads(2).start();
    let values = values(&mut gateway.connect(), &["FCGI_MAX_REQS"]);
    assert_eq!(values, pair(b"FCGI_MAX_REQS", b"6"));
}

#[test]
fn a8_get_values_is_answered_while_python_is_held() {
    let gateway = Gateway::app("failures").start();
    let mut idle = gateway.connect();
    works(&mut idle);
    let held = HeldPython::of(&gateway);
    let mut fresh = gateway.connect();
    for connection in [&mut idle, &mut fresh] {
        assert_eq!(values(connection, &["FCGI_MPXS_CONNS"]), pair(b"FCGI_MPXS_CONNS", b"0"));
    }
    assert_eq!(held.let_go().read_response(1).ok().text(), "held");
    works(&mut idle);
}

#[test]
fn a8_get_values_inside_a_request_is_answered() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/waits?a8").keep_conn().bytes());
    until("the application is called", SOON, || called("a8"));
    assert_eq!(
        values(&mut connection, &["FCGI_MPXS_CONNS"]),
        pair(b"FCGI_MPXS_CONNS", b"0")
    );
    APPS.get("/open_gate?a8").ok();
    connection.read_response(1).ok();
}

/// More than the socket holds: the rest waits until the peer has read, not until it sends again.
#[test]
fn a8_answers_to_a_flood_arrive_without_another_byte() {
    const QUESTIONS: usize = 11_500;
    let gateway = Gateway::app("failures").start();
    let mut connection = gateway.connect();
    let question = record(GET_VALUES, 0, &pair(b"FCGI_MPXS_CONNS", b""));
    connection.send(&question.repeat(QUESTIONS));
    // As many as the socket holds are there before anything is read.
    until("nothing more comes for now", SOON, || {
        let before = connection.unread();
        std::thread::sleep(std::time::Duration::from_millis(50));
        before > 0 && connection.unread() == before
    });
    for _ in 0..QUESTIONS {
        assert_eq!(connection.expect_record().content, pair(b"FCGI_MPXS_CONNS", b"0"));
    }
    works(&mut connection);
}
