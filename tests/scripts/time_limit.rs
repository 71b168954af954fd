//! `request_timeout` of a CGI script: SPEC E4 in a process that is one request.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::script::{Answer, Script, finish};

const LIMIT: &str = "request_timeout = \"500ms\"\nkill_timeout = \"500ms\"";
const TOLD: &str = "request_timeout allows";
const KILLED: &str = "killed: the request is stuck after app.";

#[track_caller]
fn timed_out(answer: &Answer) {
    let head = "Status: 504 Gateway Timeout\r\n";
    assert!(answer.output.starts_with(head.as_bytes()), "{answer:?}");
    assert_eq!(answer.text(), "504 Gateway Timeout\n", "{answer:?}");
    assert_eq!(answer.status.code(), Some(1), "{answer:?}");
    assert!(answer.log.contains(TOLD), "{answer:?}");
}

#[test]
fn e4_request_over_its_timeout_is_a_504_and_request_timeout_is_raised() {
    let script = Script::new("request_timeout = \"500ms\"");
    let answer = script.get("/waits");
    timed_out(&answer);
    let message = format!(
        "the request has run longer than {} allows",
        script.name_of("request_timeout")
    );
    assert_eq!(script.notes(), format!("RequestTimeout {message}\n"));
    for part in ["/waits", "in waits", "time.sleep(0.005)", "answered_504=true"] {
        assert!(answer.log.contains(part), "{part} in {}", answer.log);
    }
    assert!(!answer.log.contains(KILLED), "{}", answer.log);
}

#[test]
fn request_within_its_timeout_is_left_alone() {
    let answer = Script::new("request_timeout = \"5s\"").get("/sleep?0.3");
    assert_eq!(answer.ok(), "slept");
    assert!(!answer.log.contains("request_timeout"), "{}", answer.log);
}

#[test]
fn slow_request_is_logged_with_its_stack_and_left_alone() {
    let answer = Script::new("slow_request = \"300ms\"").get("/sleep?1.0");
    assert_eq!(answer.ok(), "slept");
    for part in [
        "a slow request: it still runs after ",
        "slow_request 300ms",
        "/sleep",
        "in sleep",
    ] {
        assert!(answer.log.contains(part), "{part} in {}", answer.log);
    }
    let answer = Script::new("slow_request = \"20s\"\nrequest_timeout = \"0s\"").get("/sleep?0.1");
    assert_eq!(answer.ok(), "slept");
    assert!(!answer.log.contains("slow"), "{}", answer.log);
}

#[test]
fn what_is_said_of_a_request_and_its_time_names_its_trace() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let script = Script::new("slow_request = \"200ms\"\nrequest_timeout = \"500ms\"\nkill_timeout = \"1s\"");
    for (header, expected) in [
        (format!("00-{TRACE}-00f067aa0ba902b7-01"), true),
        (format!("00-{TRACE}-0-01"), false),
    ] {
        let answer = script
            .cgi("GET", "/stubborn")
            .variable("HTTP_TRACEPARENT", &header)
            .run();
        timed_out(&answer);
        for said in ["a slow request", TOLD, KILLED] {
            let line = answer.log.lines().find(|line| line.contains(said)).unwrap();
            assert_eq!(line.contains(&format!("trace={TRACE} ")), expected, "{line}");
        }
    }
}

#[test]
fn request_has_all_the_time_there_is_with_a_timeout_of_0() {
    let answer = Script::new("request_timeout = \"0s\"\nkill_timeout = \"0s\"").get("/sleep?0.3");
    assert_eq!(answer.ok(), "slept");
}

#[test]
fn e4_answer_is_there_before_a_stuck_process_is_ended() {
    let script = Script::new("request_timeout = \"500ms\"\nkill_timeout = \"2s\"");
    let begin = Instant::now();
    let (mut child, _) = script.cgi("GET", "/stubborn").spawn();
    let mut first = vec![0; 512];
    let length = child.stdout.as_mut().unwrap().read(&mut first).unwrap();
    let answered = begin.elapsed();
    let mut answer = finish(child);
    let ended = begin.elapsed();
    answer.output.splice(..0, first[..length].iter().copied());
    timed_out(&answer);
    assert!(answer.log.contains(KILLED), "{}", answer.log);
    assert!(ended - answered > Duration::from_millis(500), "{answered:?} {ended:?}");
}

#[test]
fn e8_timeout_after_the_head_breaks_the_response_off() {
    let answer = Script::new(LIMIT).get("/two_blocks");
    assert!(answer.output.starts_with(b"Status: 200 OK\r\n"), "{answer:?}");
    assert_eq!((answer.text(), answer.status.code()), ("first".to_owned(), Some(1)));
    assert!(answer.log.contains("answered_504=false"), "{}", answer.log);
}

#[test]
fn close_that_does_not_end_is_ended() {
    let answer = Script::new(LIMIT).get("/closes_never");
    assert!(answer.output.starts_with(b"Status: 200 OK\r\n"), "{answer:?}");
    assert_eq!((answer.text(), answer.status.code()), ("whole".to_owned(), Some(1)));
    assert!(
        answer.log.contains(TOLD) && answer.log.contains(KILLED),
        "{}",
        answer.log
    );
}

#[test]
fn import_that_does_not_end_is_a_504() {
    for source in ["import time\ntime.sleep(60)\n", "while True:\n    pass\n"] {
        let script = Script::named("app.cgi", LIMIT, source);
        let answer = script.get("/");
        timed_out(&answer);
        assert!(answer.log.contains("app.cgi\", line "), "{}", answer.log);
    }
}

#[test]
fn e4_answer_to_head_has_no_body() {
    let answer = Script::new(LIMIT).cgi("HEAD", "/stubborn").run();
    assert!(
        answer.output.starts_with(b"Status: 504 Gateway Timeout\r\n"),
        "{answer:?}"
    );
    assert_eq!(answer.body(), b"");
}

#[test]
fn e4_script_that_never_gives_the_gil_away_is_answered_and_ended() {
    let hogs = "import ctypes\n\n\ndef application(environ, start_response):\n    \
                ctypes.PyDLL(None).sleep(60)\n";
    let answer = Script::named("app.cgi", LIMIT, hogs).get("/");
    timed_out(&answer);
    assert!(answer.log.contains("something holds the GIL"), "{}", answer.log);
    assert!(answer.log.contains(KILLED), "{}", answer.log);
}
