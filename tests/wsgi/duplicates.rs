//! Params that come more than once: SPEC A19 and F2.

use serde_json::Value;

use crate::protocol_log::assert_limited;
use crate::support::fcgi_client::Request;
use crate::support::process::{Gateway, Shared};

static DUMP: Shared = Shared::new(|| Gateway::app("environ:dump"));
static ECHO: Shared = Shared::new(|| Gateway::app("input:echo_all"));

/// The environ that a request has led to.
#[track_caller]
fn environ(request: &Request) -> Value {
    serde_json::from_slice(DUMP.send(request).ok().body()).unwrap()
}

/// One reading: what the connection waits for is what the application is told.
#[test]
fn a19_last_of_duplicate_content_lengths_wins_for_body_and_environ() {
    for lengths in [
        ["8", "4"],
        ["2", "4"],
        ["", "4"],
        // As absent: the body goes on to its end.
        ["2", ""],
        ["9", ""],
        ["nonsense", "4"],
    ] {
        let request = lengths.iter().fold(
            Request::post("/", "body").without("CONTENT_LENGTH"),
            |request, length| request.another_param("CONTENT_LENGTH", *length),
        );
        let environ = environ(&request);
        assert_eq!(environ["CONTENT_LENGTH"], "4", "{lengths:?}");
        assert_eq!(ECHO.send(&request).ok().text(), "body", "{lengths:?}");
    }
    let wrong = Request::post("/", "body").another_param("CONTENT_LENGTH", "nonsense");
    DUMP.send(&wrong).error_page(400);
}

/// A client can have every request of its own warned about.
#[test]
fn f2_warning_of_duplicates_is_logged_ten_a_second() {
    let gateway = Gateway::app("environ:hello").start();
    let mut connection = gateway.connect();
    let request = Request::get("/")
        .another_param("HTTP_X_FORWARDED_PROTO", "http")
        .another_param("HTTP_X_FORWARDED_PROTO", "https")
        .keep_conn();
    for _ in 0..200 {
        connection.exchange(&request).ok();
    }
    assert_limited(
        &gateway,
        200,
        "the front server sent it twice",
        "params that came twice",
    );
}

/// RFC 9110 section 5.3: nginx before 1.23 sends each of them as a param of its own.
#[test]
fn f2_parts_of_x_forwarded_for_are_joined_in_their_order() {
    let forwarded = |parts: &[&str]| {
        let request = Request::get("/").keep_conn();
        parts.iter().fold(request, |request, part| {
            request.another_param("HTTP_X_FORWARDED_FOR", *part)
        })
    };
    let long = "192.0.2.7, ".repeat(500);
    let mut connection = DUMP.connect();
    // One after the other on a connection: nothing of a list stays for the next request.
    for parts in [
        &["192.0.2.7", "198.51.100.1"][..],
        &["192.0.2.7"],
        &["192.0.2.7", "198.51.100.1"],
        &["192.0.2.7", "198.51.100.1", "203.0.113.5, 203.0.113.6", ""],
        &[&long, "203.0.113.5"],
        &[&long, &long],
        &["192.0.2.7"],
    ] {
        let response = connection.exchange(&forwarded(parts)).ok();
        let environ: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(environ["HTTP_X_FORWARDED_FOR"], parts.join(", "));
    }
    let response = connection.exchange(&Request::get("/").keep_conn()).ok();
    let environ: Value = serde_json::from_slice(response.body()).unwrap();
    assert!(environ.get("HTTP_X_FORWARDED_FOR").is_none());
}

#[test]
fn f2_joined_parts_are_bounded_like_one_value() {
    let half = "x".repeat(32 * 1024 - 1);
    let joined = |second: &str| {
        Request::get("/")
            .another_param("HTTP_X_FORWARDED_FOR", half.as_str())
            .another_param("HTTP_X_FORWARDED_FOR", second)
    };
    DUMP.send(&joined(&half)).ok();
    DUMP.send(&joined(&format!("{half}x"))).error_page(431);
    DUMP.send(&joined("192.0.2.7\0")).error_page(400);
}
