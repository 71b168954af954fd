//! wsgi.errors and everything else that an application prints: SPEC C49, C50 and F9.

use crate::support::fcgi_client::STDERR;
use crate::support::log::field;
use crate::support::process::{Gateway, Shared};

static APPS: Shared = Shared::new(|| Gateway::app("errors_stream"));

#[test]
fn c49_every_method_writes_to_the_log() {
    APPS.get("/lines?c49-methods").ok();
    for text in ["written", "first of two", "second of two", "printed", "in pieces"] {
        APPS.log.wait_for_line(&[&format!("c49-methods {text}")]);
    }
}

#[test]
fn c49_text_without_a_newline_is_not_lost() {
    APPS.get("/unterminated?c49-unterminated").ok();
    APPS.log.wait_for_line(&["c49-unterminated without newline"]);
}

#[test]
fn c49_any_unicode_is_written_without_an_exception() {
    assert_eq!(APPS.get("/unicode?c49-unicode").ok().text(), "written");
    let line = APPS.log.wait_for_line(&["c49-unicode"]);
    assert!(line.contains("caf\u{e9}") || line.contains("caf\\"), "{line}");
}

#[test]
fn c49_write_takes_text_only() {
    assert_eq!(APPS.get("/wrong_type").ok().text(), "TypeError");
}

#[test]
fn c49_stream_is_what_loggers_and_io_take() {
    assert_eq!(
        APPS.get("/as_text_stream?c49-io").ok().text(),
        "[False, False, False, True, False, 'utf-8', False, 22, 'TypeError', 'TypeError']"
    );
    for said in [
        "caf\u{e9} in bytes",
        "no \u{fffd} utf-8",
        "through io",
        "after close",
        "through logging",
    ] {
        APPS.log.wait_for_line(&[&format!("c49-io {said}")]);
    }
}

#[test]
fn c49_lines_of_several_threads_do_not_mix() {
    APPS.get("/crowd?c49-crowd").ok();
    for thread in 0..8 {
        let whole = format!("c49-crowd {}", thread.to_string().repeat(200));
        crate::support::wait::until("fifty whole lines of each thread", crate::support::wait::SOON, || {
            APPS.log.count(|line| line.contains(&whole)) == 50
        });
    }
    assert_eq!(APPS.log.count(|line| line.matches("c49-crowd").count() > 1), 0);
}

#[test]
fn c49_stream_is_usable_after_the_request() {
    APPS.get("/afterwards?c49-after").ok();
    APPS.get("/open_gate?c49-after").ok();
    APPS.log.wait_for_line(&["c49-after from a thread after the request"]);
}

#[test]
fn c50_lines_carry_the_id_of_their_request() {
    APPS.get("/lines?c50-one").ok();
    APPS.get("/lines?c50-two").ok();
    let id = |text: &str| {
        let line = APPS.log.wait_for_line(&[text]);
        field(&line, "request")
            .unwrap_or_else(|| panic!("no field request in {line}"))
            .to_owned()
    };
    assert_eq!(id("c50-one written"), id("c50-one printed"));
    assert_ne!(id("c50-one written"), id("c50-two written"));
}

#[test]
fn lines_that_are_written_together_are_one_event_with_one_id() {
    APPS.get("/logs_a_traceback?in-one-event").ok();
    let event = APPS
        .log
        .wait_for("the traceback", |event| event.contains("in-one-event caught"));
    assert!(event.contains("\n  Traceback (most recent call last):\n"), "{event}");
    assert!(event.contains("\n  ValueError: in-one-event"), "{event}");
    assert_eq!(event.matches("request=").count(), 1, "{event}");
}

#[test]
fn c50_lines_carry_the_id_of_their_own_request_whenever_they_are_written() {
    let gateway = Gateway::app("errors_stream").threads(1).start();
    gateway.get("/keeps?c50-kept").ok();
    gateway.get("/lets_write?c50-kept").ok();
    let id = |text: &str| {
        let line = gateway.log.wait_for_line(&["c50-kept", text]);
        field(&line, "request").unwrap().to_owned()
    };
    assert_eq!(id("in another request"), id("in its request"));
    assert_eq!(
        id("unterminated"),
        id("in its request"),
        "it is not lost with its thread"
    );
    assert_ne!(id("by the other request"), id("in its request"));
}

#[test]
fn stream_that_nobody_keeps_is_used_again() {
    let gateway = Gateway::app("errors_stream").threads(1).start();
    let stream = || gateway.get("/identity").ok().text();
    let first = stream();
    assert!((0..3).all(|_| stream() == first));
    gateway.get("/keeps?kept").ok();
    assert_ne!(stream(), first, "its thread has it");
    gateway.get("/open_gate?kept").ok();
}

#[test]
fn c50_no_stderr_record_is_sent() {
    for target in ["/lines?c50-stderr", "/megabyte?c50-stderr"] {
        let response = APPS.get(target).ok();
        assert!(
            response.records.iter().all(|record| record.kind != STDERR),
            "{response}"
        );
    }
}

#[test]
fn c50_megabyte_in_one_line_is_capped_and_harms_nobody() {
    APPS.get("/megabyte?c50-megabyte").ok();
    let line = APPS.log.wait_for_line(&["c50-megabyte x"]);
    assert!(
        line.len() < 10_000,
        "F9 caps a line at 8 KiB, this has {} bytes",
        line.len()
    );
    APPS.get("/hello").ok();
}

#[test]
fn f9_control_characters_are_escaped() {
    APPS.get("/control?f9").ok();
    let line = APPS.log.wait_for_line(&["f9 esc"]);
    assert!(!line.contains('\x1b') && !line.contains('\r'), "{line:?}");
}

#[test]
fn whatever_the_application_prints_goes_to_the_log_and_not_to_the_peer() {
    let response = APPS.get("/prints?printing").ok();
    assert_eq!(response.text(), "clean");
    for text in ["print", "stderr", "descriptor 1", "descriptor 2", "child"] {
        APPS.log.wait_for_line(&[&format!("printing {text}")]);
    }
}

#[test]
fn standard_input_of_the_application_is_empty() {
    assert_eq!(APPS.get("/reads_stdin").ok().text(), "''");
}
