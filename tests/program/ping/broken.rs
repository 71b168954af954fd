//! Responders that give no whole answer: each has its exit code, and a line that says what it did.

use std::time::{Duration, Instant};

use super::responder::{Play, Responder, end, stdout};
use super::{BROKEN, TIMED_OUT, failed};

const HEAD: &[u8] = b"Status: 200 OK\r\nContent-Length: 10\r\n\r\n";

/// The line of a ping that gives up after a short time.
#[track_caller]
fn timed_out(play: Play) -> String {
    let responder = Responder::new(play);
    let begun = Instant::now();
    let line = failed(&responder.address(), &["/", "--timeout", "300ms"], TIMED_OUT);
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_secs(5),
        "{took:?}"
    );
    assert!(line.contains("within --timeout 300ms"), "{line}");
    line
}

#[track_caller]
fn broken(play: Play) -> String {
    failed(&Responder::new(play).address(), &["/"], BROKEN)
}

#[test]
fn responder_that_never_answers_is_timed_out() {
    let line = timed_out(Play::Silence);
    assert!(
        line.contains("connected, but no answer") && line.contains("all its threads are busy"),
        "{line}"
    );
}

#[test]
fn response_without_an_end_is_timed_out() {
    let line = timed_out(Play::Hang([stdout(HEAD), stdout(b"half")].concat()));
    assert!(line.contains("(status 200, 4 bytes of its body)"), "{line}");
    timed_out(Play::Hang(stdout(b"Status: 2")));
    timed_out(Play::Hang(vec![1, 6, 0]));
}

#[test]
fn time_counts_for_all_of_the_answer() {
    // A byte is there whenever it looks, and the answer never.
    timed_out(Play::Trickle(
        [stdout(b""), vec![1, 99, 0, 0, 0, 1, 255, 0], vec![0; 256]].concat(),
    ));
}

#[test]
fn connection_that_is_closed_at_once_is_broken() {
    for play in [Play::CloseAtOnce, Play::Answer(Vec::new())] {
        let line = broken(play);
        assert!(line.contains("closed the connection without an answer"), "{line}");
    }
}

#[test]
fn half_a_response_is_broken() {
    for (bytes, part) in [
        (stdout(b"Status: 200 OK\r\n"), "inside the head"),
        (stdout(HEAD)[..12].to_vec(), "inside the head"),
        (stdout(HEAD), "before the end of the response (status 200, 0 bytes"),
        (
            [stdout(HEAD), stdout(b"0123456789")].concat(),
            "before the end of the response (status 200, 10 bytes",
        ),
        ([stdout(HEAD), stdout(b"012345678"), end(0)].concat(), "9 of 10 bytes"),
        ([stdout(b"Status: 200 OK\r\n"), end(0)].concat(), "inside the head"),
    ] {
        let line = broken(Play::Answer(bytes));
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn response_that_a_worker_breaks_off_says_that_the_application_failed() {
    let line = broken(Play::Answer([stdout(HEAD), stdout(b"half"), vec![0; 8]].concat()));
    assert!(
        line.contains("broken off after it had begun (status 200, 4 bytes"),
        "{line}"
    );
}

#[test]
fn request_that_ends_without_a_response_says_why() {
    for (status, part) in [
        (0, "without a response"),
        (1, "CANT_MPX_CONN"),
        (2, "OVERLOADED"),
        (3, "UNKNOWN_ROLE"),
        (9, "without a response"),
    ] {
        let line = broken(Play::Answer(end(status)));
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn other_protocols_are_named() {
    for (bytes, part) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "but HTTP: ask it with curl"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "but SSH"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "but TLS"),
        (b"\x00garbage\x1b", "its first bytes are \\x00garbage"),
        (b"ha", "its first bytes are ha"),
    ] {
        let line = broken(Play::Answer(bytes.to_vec()));
        assert!(line.contains("does not speak FastCGI") && line.contains(part), "{line}");
    }
}

#[test]
fn output_that_is_no_response_is_broken() {
    for (text, part) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "Status: names the status"),
        ("hello\n\n", "malformed header line: \"hello\""),
        ("Status: fine\r\n\r\n", "malformed status"),
        ("Status: 999\r\n\r\n", "malformed status"),
    ] {
        let line = broken(Play::Answer([stdout(text.as_bytes()), end(0)].concat()));
        assert!(line.contains(part) && line.contains("502"), "{line}");
    }
}
