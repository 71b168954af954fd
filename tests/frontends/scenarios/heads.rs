//! Heads of responses, and responses that have no body.

use crate::harness::front::Front;
use crate::harness::quirk::Quirk;
use crate::support::http::{Request, pattern};

scenarios! {
    both_cookies_are_set
    head_has_the_headers_of_get_and_no_body
    statuses_without_a_body_have_none
    status_without_a_reason_and_one_of_its_own_arrive
    redirects_arrive_with_and_without_a_host
    error_statuses_keep_the_body_of_the_application
    status_200_stays_200_for_a_conditional_request
    range_is_the_business_of_the_application
    part_that_the_application_cut_arrives
    header_below_the_limit_of_the_server_passes
    header_above_the_limit_of_the_server_is_an_error
    many_headers_pass
}

/// C13.
fn both_cookies_are_set(front: &Front) {
    let response = front.get("/cookies").ok();
    assert_eq!(response.all("Set-Cookie"), ["a=1; Path=/", "b=2; Path=/"]);
}

/// C30.
fn head_has_the_headers_of_get_and_no_body(front: &Front) {
    let mut client = front.plain.connect();
    for target in ["/sized?n=5", "/sized?n=100000", "/sized?n=100000&block=1000"] {
        let mut send = |method| {
            client
                .exchange(&front.plain.request(&Request::new(method, target)))
                .ok()
        };
        let get = send("GET");
        // Bytes of a body would be taken for the next response on this connection.
        let head = send("HEAD");
        if !front.has(Quirk::DropsContentLength) {
            assert_eq!(head.header("Content-Length"), get.header("Content-Length"), "{target}");
        }
        assert_eq!(head.header("Content-Type"), get.header("Content-Type"), "{target}");
    }
}

/// C8: what is lenient there must be so at every web server.
fn status_without_a_reason_and_one_of_its_own_arrive(front: &Front) {
    for (line, status) in [("200", 200), ("404", 404), ("799%20Own", 799)] {
        let target = format!("/status?line={line}");
        let response = front.plain.send(&Request::get(target)).expect(status);
        assert_eq!(
            (response.header("X-Kept"), response.text().as_str()),
            (Some("yes"), "a body"),
            "{line}"
        );
    }
}

/// C31.
fn statuses_without_a_body_have_none(front: &Front) {
    let mut client = front.plain.connect();
    for (line, status) in [("204 No Content", 204), ("304 Not Modified", 304)] {
        let target = format!("/status?line={}", line.replace(' ', "%20"));
        let response = client
            .exchange(&front.plain.request(&Request::get(target)))
            .expect(status);
        assert_eq!(response.header("ETag"), Some("\"1\""));
        let length = (status == 304 && front.has(Quirk::AddsLengthTo304)).then_some("0");
        assert_eq!(response.header("Content-Length"), length, "{line}");
    }
    client.exchange(&front.plain.request(&Request::get("/"))).ok();
}

fn redirects_arrive_with_and_without_a_host(front: &Front) {
    let response = front.get("/redirect?to=https://elsewhere.example/x").expect(302);
    assert_eq!(response.header("Location"), Some("https://elsewhere.example/x"));
    let response = front.get("/redirect?to=/login%3Fnext=1").expect(302);
    assert_eq!(response.header("Location"), Some("/login?next=1"));
}

fn error_statuses_keep_the_body_of_the_application(front: &Front) {
    for (line, status) in [
        ("404%20Not%20Here", 404),
        ("418%20I'm%20a%20teapot", 418),
        ("500%20Oops", 500),
        ("503%20Busy", 503),
    ] {
        let response = front.get(&format!("/status?line={line}")).expect(status);
        assert_eq!(response.text(), "a body");
    }
}

/// The application has said 200, with the same entity tag: nobody else may make a 304 of it.
fn status_200_stays_200_for_a_conditional_request(front: &Front) {
    let request = Request::get("/status?line=200%20OK").header("If-None-Match", "\"1\"");
    let response = front.send(&request);
    if front.has(Quirk::AnswersConditions) {
        response.expect(304);
    } else {
        assert_eq!(response.ok().text(), "a body");
    }
}

/// It ignores Range, as it may.
fn range_is_the_business_of_the_application(front: &Front) {
    let response = front.send(&Request::get("/sized?n=1000").header("Range", "bytes=10-19"));
    if front.has(Quirk::AnswersRanges) {
        let response = response.expect(206);
        assert_eq!(response.header("Content-Range"), Some("bytes 10-19/1000"));
        assert_eq!(response.body, pattern(10, 10));
    } else {
        assert_eq!(response.ok().body, pattern(0, 1000));
    }
}

fn part_that_the_application_cut_arrives(front: &Front) {
    let response = front
        .send(&Request::get("/partial").header("Range", "bytes=10-19"))
        .expect(206);
    assert_eq!(response.header("Content-Range"), Some("bytes 10-19/1000"));
    assert_eq!(response.header("X-By"), Some("application"));
    assert_eq!(response.body, pattern(10, 10));
}

fn header_below_the_limit_of_the_server_passes(front: &Front) {
    let length = front.server.response_header.passes;
    let response = front.get(&format!("/large_header?n={length}")).ok();
    assert_eq!(response.header("X-Large").map(str::len), Some(length));
}

fn header_above_the_limit_of_the_server_is_an_error(front: &Front) {
    let limit = front.server.response_header;
    let response = front
        .get(&format!("/large_header?n={}", limit.fails))
        .expect(limit.status);
    assert_eq!(response.header("X-Large"), None);
    front.get("/").ok();
}

fn many_headers_pass(front: &Front) {
    let send = |n: usize| front.get(&format!("/big_head?n={n}"));
    let length = if front.has(Quirk::LimitsResponseHeads) {
        send(30_000).expect(502);
        12_000
    } else {
        30_000
    };
    let response = send(length).ok();
    assert_eq!(response.text(), "large head");
    let fill = response
        .headers
        .iter()
        .filter(|(name, _)| name.to_ascii_lowercase().starts_with("x-fill-"));
    assert_eq!(fill.map(|(_, value)| value.len()).sum::<usize>(), length);
}
