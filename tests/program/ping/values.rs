//! Without a path, the responder's values (SPEC A8).

use super::responder::{Play, Responder};
use super::{BROKEN, OK, TIMED_OUT, assert_line, failed, ping, text};
use crate::support::fcgi_client::{GET_VALUES_RESULT, UNKNOWN_TYPE, pair, record};

#[test]
fn values_are_printed_as_they_are_told() {
    let pairs = [
        pair(b"FCGI_MPXS_CONNS", b"0"),
        pair(b"FCGI_MAX_REQS", b"8"),
        pair(b"ODD\n", b"\x1b"),
    ];
    let responder = Responder::answering(record(GET_VALUES_RESULT, 0, &pairs.concat()));
    let output = text(&ping(&responder.address(), &[], OK).stdout);
    let (line, values) = output.split_once('\n').unwrap();
    assert_line(line, "answered in ", "");
    assert_eq!(values, "FCGI_MPXS_CONNS=0\nFCGI_MAX_REQS=8\nODD\\n=\\u{1b}\n");
}

#[test]
fn responder_that_knows_no_values_has_answered() {
    for answer in [
        record(GET_VALUES_RESULT, 0, b""),
        record(UNKNOWN_TYPE, 0, &[9, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        let output = ping(&Responder::answering(answer).address(), &[], OK);
        assert_line(&text(&output.stdout), "answered in ", "; it tells no values");
    }
}

#[test]
fn responder_that_does_not_answer_may_be_of_those_that_never_do() {
    let responder = Responder::new(Play::Silence);
    let line = failed(&responder.address(), &["--timeout", "100ms"], TIMED_OUT);
    assert!(
        line.contains("no answer to GET_VALUES within --timeout 100ms") && line.contains("name a PATH"),
        "{line}"
    );
    for play in [Play::CloseAtOnce, Play::Answer(Vec::new())] {
        let line = failed(&Responder::new(play).address(), &[], BROKEN);
        assert!(line.contains("name a PATH"), "{line}");
    }
}

#[test]
fn answer_that_is_none_is_broken() {
    let responder = Responder::answering(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    assert!(failed(&responder.address(), &[], BROKEN).contains("but HTTP"));
    let responder = Responder::answering(record(GET_VALUES_RESULT, 0, b"\x20\x01x"));
    assert!(failed(&responder.address(), &[], BROKEN).contains("overruns"));
}
