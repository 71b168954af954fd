//! wsgi.file_wrapper: SPEC C53.

use crate::support::fcgi_client::Request;
use crate::support::process::{Gateway, Shared};
use crate::support::wait::{SOON, until};

static APPS: Shared = Shared::new(|| Gateway::app("files"));

/// What `made` in files.py holds.
fn content() -> Vec<u8> {
    (0..=255).collect::<Vec<u8>>().repeat(2000)
}

#[track_caller]
fn expect(target: &str, expected: &[u8]) {
    let response = APPS.get(target).ok();
    assert!(
        response.body() == expected,
        "{target}: {} bytes instead of {}",
        response.body().len(),
        expected.len()
    );
}

#[track_caller]
fn expect_closed(key: &str) {
    until("the file is closed once", SOON, || {
        APPS.get(&format!("/recorded?{key}")).ok().text() == r#"["close"]"#
    });
}

#[test]
fn c53_whole_file_is_sent() {
    expect("/whole", &content());
    expect("/block_size", &content());
}

#[test]
fn c53_file_is_sent_from_its_current_offset() {
    expect("/from_offset", &content()[27..]);
    expect("/after_buffered_read", &content()[10..]);
}

#[test]
fn c53_content_length_stops_the_file() {
    let response = APPS.get("/limited").ok();
    assert_eq!(response.body(), &content()[..1000]);
}

#[test]
fn c53_file_shorter_than_its_content_length_never_ends_as_if_it_were_whole() {
    let response = APPS.get("/too_short_written");
    assert_eq!(response.body().len(), content().len() + "first;".len());
    assert_ne!(response.end, Some((0, 0)));
}

#[test]
fn c53_file_that_is_known_to_be_shorter_than_its_content_length_is_a_500() {
    APPS.get("/too_short").error_page(500);
    APPS.log.wait_for_line(&[
        "ERROR",
        "/too_short",
        "the body has 512000 bytes, Content-Length says 512001",
    ]);
}

#[test]
fn c53_file_follows_what_was_written_before() {
    expect("/after_write", b"first;then the file");
}

#[test]
fn c53_anything_with_read_is_sent() {
    expect("/memory", b"in memory");
    expect("/without_close", b"no close");
    expect("/from_pipe", b"from a pipe");
    expect("/from_socket", b"from a socket");
}

#[test]
fn c53_close_of_the_file_runs_once() {
    expect("/watched?c53-watched", b"watched");
    expect_closed("c53-watched");
}

#[test]
fn c53_wrapper_is_an_iterable_like_any_other_when_not_returned_itself() {
    expect("/iterated?c53-iterated", b"ite/rat/ed");
    expect_closed("c53-iterated");
}

#[test]
fn c53_middleware_around_the_wrapper_falls_back_to_iteration() {
    expect("/wrapped?c53-wrapped", b"WRAPPED");
    expect_closed("c53-wrapped");
}

#[test]
fn c53_text_file_is_an_error_of_type() {
    assert_eq!(APPS.get("/text_mode").error_page(500).end, Some((1, 0)));
}

#[test]
fn c53_failure_inside_the_file_cuts_the_response() {
    assert_eq!(APPS.get("/fails_midway?c53-fails").cut().text(), "first");
    until("the file is closed", SOON, || {
        APPS.get("/recorded?c53-fails").text() == r#"["read", "close"]"#
    });
}

#[test]
fn c53_head_closes_the_file_and_sends_nothing() {
    let response = APPS.send(&Request::new("HEAD", "/watched?c53-head")).ok();
    assert_eq!(response.text(), "");
    expect_closed("c53-head");
}
