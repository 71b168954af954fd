//! W3C Trace Context: lines about a request say which trace it belongs to.

use crate::support::fcgi_client::Request;
use crate::support::log::field;
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until, until_some};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn traced(target: &str) -> Request {
    Request::get(target).param("HTTP_TRACEPARENT", format!("00-{TRACE}-00f067aa0ba902b7-01"))
}

/// One thread, so that each request follows another.
fn app(app: &str) -> Builder {
    Gateway::app(app).threads(1).flag("--access-log")
}

/// The trace that the first line with all of these names; empty: none.
#[track_caller]
fn trace(gateway: &Gateway, parts: &[&str]) -> String {
    let line = gateway.log.wait_for_line(parts);
    field(&line, "trace").unwrap_or_default().to_owned()
}

#[test]
fn access_and_error_lines_of_a_request_name_its_trace_and_those_of_the_next_none() {
    for builder in [app("failures"), app("failures").on_stdin()] {
        let gateway = builder.start();
        let header = format!("00-{TRACE}-00f067aa0ba902b7-01");
        for (name, header, expected) in [
            ("/one", Some(header.as_str()), TRACE),
            ("/two", None, ""),
            ("/three", Some(header.as_str()), TRACE),
            ("/four", Some("00-1-2-01"), ""),
        ] {
            let request = Request::get(&format!("{name}/in_call"));
            let request = match header {
                Some(header) => request.param("HTTP_TRACEPARENT", header),
                None => request,
            };
            gateway.send(&request).error_page(500);
            assert_eq!(trace(&gateway, &[" access: ", name]), expected, "{name}");
            assert_eq!(trace(&gateway, &["ERROR", "exception=", name]), expected, "{name}");
        }
    }
}

#[test]
fn lines_of_the_application_and_refusals_name_the_trace() {
    let gateway = app("errors_stream").option("--body-max", "10").start();
    gateway.send(&traced("/lines")).ok();
    let request = gateway.log.wait_for_line(&[" access: ", "/lines"]);
    let request = field(&request, "request").unwrap().to_owned();
    until("a line of the application has it", SOON, || {
        let of_it = |line: &str| line.contains(" app: ") && field(line, "request") == Some(&request);
        gateway
            .log
            .find_line(of_it)
            .is_some_and(|line| field(&line, "trace") == Some(TRACE))
    });
    let refused = Request::post("/refused", vec![b'x'; 11]);
    let refused = refused.param("HTTP_TRACEPARENT", format!("00-{TRACE}-00f067aa0ba902b7-00"));
    gateway.send(&refused).error_page(413);
    assert_eq!(trace(&gateway, &["refused with 413"]), TRACE);
    assert_eq!(trace(&gateway, &[" access: ", "/refused"]), TRACE);
}

#[test]
fn what_a_request_prints_names_its_trace_and_what_the_next_one_prints_does_not() {
    let gateway = app("speaks").start();
    gateway.send(&traced("/prints?one")).ok();
    gateway.get("/prints?two").ok();
    for (number, expected) in [("one", TRACE), ("two", "")] {
        for stream in ["out", "err", "errors"] {
            let text = format!(" app: {stream} {number} ");
            let line = until_some(&text, SOON, || {
                // The trace may stand in front of the text.
                gateway
                    .log
                    .find_line(|line| line.contains(" app: ") && line.contains(&format!(" {stream} {number} ")))
            });
            assert_eq!(field(&line, "trace").unwrap_or_default(), expected, "{line}");
        }
    }
}

#[test]
fn what_the_watchdog_says_of_a_request_names_its_trace() {
    let gateway = app("failures")
        .option("--slow-request", "300ms")
        .option("--request-timeout", "1s")
        .start();
    gateway.send(&traced("/sleeps?traced")).error_page(504);
    assert_eq!(trace(&gateway, &["a slow request"]), TRACE);
    assert_eq!(trace(&gateway, &["longer than --request-timeout"]), TRACE);
}

#[test]
fn in_json_the_trace_is_a_field_of_its_own_in_every_event() {
    let gateway = app("failures").option("--log-format", "json").start();
    gateway.send(&traced("/in_call")).error_page(500);
    until("both events are there", SOON, || {
        let lines = gateway.log.lines();
        let events = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        events.filter(|event| event["trace"] == TRACE).count() == 2
    });
}
