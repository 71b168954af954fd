//! What a browser sees when the application fails: SPEC E, through nginx.

use std::process::Command;

use crate::front::{Front, STREAM};
use crate::support::http::{Client, Request};
use crate::support::installed;

scenarios! {
    exception_before_the_head_is_a_500_that_tells_nothing
    exception_after_the_head_breaks_the_transfer
    short_body_breaks_the_transfer
    curl_reports_a_broken_transfer
}

/// E2, F6.
fn exception_before_the_head_is_a_500_that_tells_nothing(front: &Front) {
    let response = front.get("/fails").expect(500);
    assert_eq!(response.text(), "500 Internal Server Error\n");
    front.gateway.log.wait_for_line(&["ERROR", "/fails"]);
    front
        .gateway
        .log
        .wait_for_line(&["RuntimeError: on purpose: /not/for/browsers"]);
    front.get("/").ok();
}

/// Whether a browser can tell that the transfer failed: it got a part of the body, a 502, or nothing at all, where nginx
/// had not even sent the head.
#[track_caller]
fn expect_broken(front: &Front, host: &str, target: &str) {
    let response = Client::connect(front.address).try_exchange(&Request::get(target).host(host));
    if let Ok(response) = response {
        assert!(
            response.status == 502 || (response.status == 200 && !response.complete),
            "{target} at {host}: a complete {} of {} bytes",
            response.status,
            response.body.len()
        );
    }
    front
        .gateway
        .log
        .wait_for_line(&["ERROR", target.split('?').next().unwrap_or(target)]);
    front.get("/").ok();
}

/// E8a: with one packet of body, and with more than nginx has buffers for.
fn exception_after_the_head_breaks_the_transfer(front: &Front) {
    for host in ["localhost", STREAM] {
        for length in [10, 300_000] {
            expect_broken(front, host, &format!("/breaks?n={length}"));
        }
    }
}

/// C29.
fn short_body_breaks_the_transfer(front: &Front) {
    for host in ["localhost", STREAM] {
        expect_broken(front, host, "/short");
    }
}

/// 18: partial file; 52: empty reply; 56: failure in receiving; 92: HTTP/2 stream error.
fn curl_reports_a_broken_transfer(front: &Front) {
    if !installed::curl() {
        return;
    }
    for host in ["localhost", STREAM] {
        for (target, codes) in [("/breaks?n=300000", &[18, 56, 92][..]), ("/short", &[18, 52, 56, 92])] {
            let curl = Command::new("curl")
                .args(["--silent", "--show-error", "--output", "/dev/null", "--max-time", "20"])
                .args(["--header", &format!("Host: {host}")])
                .arg(format!("http://{}{target}", front.address))
                .output()
                .unwrap();
            let broken = curl.status.code().is_some_and(|code| codes.contains(&code));
            assert!(broken, "{target} at {host}: {curl:?}");
        }
    }
}
