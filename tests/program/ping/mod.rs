//! `wsgi-fpm ping`: against responders that the test plays, byte by byte, and against real ones.

mod broken;
mod no_connection;
mod real;
mod responder;
mod values;

use std::process::Output;
use std::time::Duration;

use responder::{Play, Responder, end, stderr, stdout};

use crate::run::{output, program, refusal};
use crate::support::fcgi_client::{END_REQUEST, STDOUT, padded, record};

const OK: i32 = 0;
const STATUS: i32 = 3;
const NO_CONNECTION: i32 = 4;
const TIMED_OUT: i32 = 5;
const BROKEN: i32 = 6;

/// Text of a stream.
fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Asks for `/` and more, and gives what was printed.
#[track_caller]
fn ping(address: &str, more: &[&str], code: i32) -> Output {
    let output = output(&[&["ping", address], more].concat());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    output
}

/// The line of a ping that has found nothing good.
#[track_caller]
fn failed(address: &str, more: &[&str], code: i32) -> String {
    refusal(&output(&[&["ping", address], more].concat()), code)
}

/// A response in one record, and its end.
fn response(text: &str) -> Vec<u8> {
    [stdout(text.as_bytes()), stdout(b""), end(0)].concat()
}

#[track_caller]
fn assert_line(line: &str, before: &str, behind: &str) {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let time = line.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
    let time = time.unwrap_or_else(|| panic!("{before}...{behind}: {line}"));
    let ms = time.strip_suffix(" ms").unwrap_or_else(|| panic!("no time: {line}"));
    assert!(ms.parse::<f64>().is_ok(), "{line}");
}

#[test]
fn answer_is_one_line_with_status_time_and_length() {
    let responder = Responder::answering(response("Status: 201 Made\r\nContent-Type: text/plain\r\n\r\nhello"));
    let output = ping(&responder.address(), &["/"], OK);
    assert_line(&text(&output.stdout), "201 Made in ", ", 5 bytes");
    assert!(output.stderr.is_empty());
}

#[test]
fn response_without_a_status_is_200_and_may_come_in_any_pieces() {
    let bytes = [
        padded(STDOUT, 1, b"Content-Type: a/b\n", 255),
        // Of a request that nobody has made, and of a kind that nobody knows.
        record(STDOUT, 2, b"x"),
        record(99, 0, b"x"),
        stdout(b"\nbo"),
        stdout(b"dy"),
        padded(END_REQUEST, 1, &[0; 8], 7),
    ];
    let responder = Responder::new(Play::Slowly(bytes.concat()));
    let output = ping(&responder.address(), &["/", "--body"], OK);
    assert_eq!(text(&output.stdout), "body");
    assert_line(&text(&output.stderr), "200 OK in ", ", 4 bytes");
}

#[test]
fn head_and_body_are_printed_alone() {
    let answer = response("Status: 200 OK\r\nX-A: b\r\n\r\nhello\n");
    let responder = Responder::answering(answer.clone());
    let output = ping(&responder.address(), &["/", "--head", "--body"], OK);
    assert_eq!(text(&output.stdout), "200 OK\nx-a: b\n\nhello\n");
    let responder = Responder::answering(answer);
    let output = ping(&responder.address(), &["/", "--head"], OK);
    assert_eq!(text(&output.stdout), "200 OK\nx-a: b\n\n");
}

#[test]
fn exit_code_says_whether_the_status_was_expected() {
    for (status, expect, code) in [
        (200, "", OK),
        (302, "", OK),
        (404, "", OK),
        (499, "", OK),
        (500, "", STATUS),
        (503, "", STATUS),
        (204, "2xx", OK),
        (304, "2xx", STATUS),
        (404, "200,404", OK),
        (401, "200,404", STATUS),
        (500, "5XX", OK),
    ] {
        let responder = Responder::answering(response(&format!("Status: {status}\r\n\r\n")));
        let expected = format!("--expect={expect}");
        let more = if expect.is_empty() {
            vec!["/"]
        } else {
            vec!["/", &expected]
        };
        let output = output(&[&["ping", &responder.address()], &more[..]].concat());
        assert_eq!(output.status.code(), Some(code), "{status} {expect}");
    }
}

#[test]
fn unexpected_status_says_what_to_try() {
    for (head, more, part) in [
        (
            "Status: 500 Internal Server Error",
            &[] as &[&str],
            "500 Internal Server Error in ",
        ),
        (
            "Status: 503 Busy",
            &[],
            ", which is not 2xx; the responder's log says why",
        ),
        ("Location: https://a.test/x", &[], "302 Found to https://a.test/x in "),
        ("Location: https://a.test/x", &[], "--param HTTPS=on"),
        ("Status: 400 Bad Request", &[], "--header Host=NAME"),
        (
            "Status: 400 Bad Request",
            &["--header", "Host=a.test"],
            ", which is not 2xx",
        ),
        ("Status: 404 Not Found", &[], "--script-filename"),
    ] {
        let responder = Responder::answering(response(&format!("{head}\r\n\r\nbody")));
        let line = failed(
            &responder.address(),
            &[&["/", "--expect", "2xx"], more].concat(),
            STATUS,
        );
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn body_of_an_unexpected_status_is_printed_too() {
    let responder = Responder::answering(response("Status: 500 X\r\n\r\nwhy"));
    let output = ping(&responder.address(), &["/", "--body"], STATUS);
    assert_eq!(text(&output.stdout), "why");
    assert!(text(&output.stderr).starts_with("wsgi-fpm: error: unix:/"));
}

#[test]
fn quiet_prints_nothing() {
    for (status, code) in [(200, OK), (500, STATUS)] {
        let answer = [stderr(b"a line\n"), response(&format!("Status: {status}\r\n\r\nbody"))].concat();
        let responder = Responder::answering(answer);
        let output = ping(&responder.address(), &["/", "--quiet"], code);
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
    let output = ping("/no/such.sock", &["-q"], NO_CONNECTION);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn what_the_responder_says_beside_is_told_up_to_a_limit() {
    let answer = [stderr(b"one\ntwo \x1b[0m\n"), response("Status: 200\r\n\r\n")].concat();
    let responder = Responder::answering(answer);
    let output = ping(&responder.address(), &["/"], OK);
    assert_eq!(
        text(&output.stderr),
        "the responder says: one\nthe responder says: two \\u{1b}[0m\n"
    );
    let line = [&[b'x'; 1023][..], b"\n"].concat();
    let much: Vec<u8> = (0..100).flat_map(|_| stderr(&line)).collect();
    let responder = Responder::answering([much, response("Status: 200\r\n\r\n")].concat());
    let output = ping(&responder.address(), &["/"], OK);
    assert_eq!(text(&output.stderr).lines().count(), 16);
}

#[test]
fn body_is_read_up_to_its_limit() {
    let responder = Responder::answering(response("Status: 200\r\n\r\n12345678"));
    let output = ping(&responder.address(), &["/", "--body", "--body-max", "8"], OK);
    assert_eq!(text(&output.stdout), "12345678");
    assert_line(&text(&output.stderr), "200 OK in ", ", 8 bytes");
    let responder = Responder::answering(response("Status: 200\r\n\r\n123456789"));
    let output = ping(&responder.address(), &["/", "--body", "--body-max", "8"], OK);
    assert_eq!(text(&output.stdout), "12345678");
    assert_line(&text(&output.stderr), "200 OK in ", ", more than 8 bytes");
    // One without an end is no danger, and the status counts.
    let endless = Responder::new(Play::Forever(stdout(b"Status: 503\r\n\r\n"), stdout(&[b'x'; 65535])));
    let line = failed(&endless.address(), &["/"], STATUS);
    assert!(line.contains("more than 1048576 bytes"), "{line}");
}

#[test]
fn head_has_the_preview_s_limit() {
    let head = |length: usize| {
        let start = "Status: 200\r\nX-A: ";
        let value = "x".repeat(length - start.len() - 4);
        let head = format!("{start}{value}\r\n\r\n");
        assert_eq!(head.len(), length);
        let records: Vec<u8> = head.as_bytes().chunks(65535).flat_map(stdout).collect();
        Responder::answering([records, end(0)].concat())
    };
    ping(&head(65536).address(), &["/"], OK);
    let line = failed(&head(65537).address(), &["/"], BROKEN);
    assert!(line.contains("the head of the response is over 65536 bytes"), "{line}");
}

#[test]
fn request_is_as_a_web_server_would_send_it() {
    let responder = Responder::answering(response("Status: 200\r\n\r\n"));
    let more = [
        "/a%20b?c=d",
        "--method",
        "POST",
        "--header",
        "X-Token: t=1",
        "--param",
        "HTTPS=on",
    ];
    ping(&responder.address(), &more, OK);
    let params = responder.params();
    let value = |name: &str| {
        let found = params.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    };
    for (name, expected) in [
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/a%20b?c=d"),
        ("PATH_INFO", "/a b"),
        ("QUERY_STRING", "c=d"),
        ("SCRIPT_NAME", ""),
        ("HTTP_HOST", "localhost"),
        ("HTTP_X_TOKEN", "t=1"),
        ("HTTPS", "on"),
        ("CONTENT_LENGTH", "0"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
    ] {
        assert_eq!(value(name), Some(expected), "{name}");
    }
    assert_eq!(value("SCRIPT_FILENAME"), None);
}

#[test]
fn what_makes_no_sense_is_a_mistake_of_usage() {
    for (arguments, part) in [
        (&["fd:3"] as &[&str], "nobody can connect to a descriptor"),
        (&["/x", "health"], "/health"),
        (&["/x", "http://a.test/b"], "--header Host=a.test"),
        (&["/x", "/a b"], "%20"),
        (&["/x", "/%zz"], "percent sign"),
        (&["/x", "/", "--expect", "good"], "2xx"),
        (&["/x", "/", "--header", "Host"], "Host=blog.example.org"),
        (&["/x", "/", "--header", "X_A=b"], "--param"),
        (&["/x", "/", "--timeout", "soon"], "--timeout"),
        (&["9000"], "write :9000"),
        (&[], "<ADDRESS>"),
    ] {
        let line = refusal(&output(&[&["ping"], arguments].concat()), 2);
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn output_that_can_not_be_written_is_no_success() {
    let responder = Responder::answering(response("Status: 200\r\n\r\nbody"));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = program()
        .args(["ping", &responder.address(), "/", "--body"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("standard output can't be written"),
        "{output:?}"
    );
}

/// What a responder that ping has given up sees: the connection's end, at which a request is given up.
#[test]
fn request_that_takes_too_long_is_given_up_by_closing() {
    let responder = Responder::new(Play::Silence);
    failed(&responder.address(), &["/", "--timeout", "50ms"], TIMED_OUT);
    responder.wait_for_close();
}

/// Without Python and without an event loop: a probe each second costs next to nothing.
#[test]
fn ping_is_over_in_no_time() {
    let responder = Responder::answering(response("Status: 200\r\n\r\n"));
    let begun = std::time::Instant::now();
    ping(&responder.address(), &["/", "--timeout", "0"], OK);
    assert!(begun.elapsed() < Duration::from_secs(5));
}
