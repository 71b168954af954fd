//! What a client sees when the application fails, and at the gateway's limits: SPEC E.

use std::fs;
use std::iter;
use std::process::Command;
use std::thread;
use std::time::Instant;

use crate::harness::backends::{BODY_MAX, FRAGILE, PARAMS_BYTES, alone};
use crate::harness::front::{Entry, Front, Place};
use crate::harness::quirk::Quirk;
use crate::support::apache::KEEP_ALIVE_TIMEOUT;
use crate::support::http::{Request, Response, pattern};
use crate::support::installed;
use crate::support::wait::{SOON, until, until_ended};

scenarios! {
    exception_before_the_head_is_a_500_that_tells_nothing
    application_that_starts_no_response_is_a_500
    exception_after_the_head_breaks_the_transfer
    exception_after_a_part_was_received_breaks_the_transfer
    short_body_breaks_the_transfer
    body_that_lacks_its_last_bytes_is_never_filled_up
    curl_reports_a_broken_transfer
    request_over_its_time_is_a_504
    body_over_the_limit_is_a_413
    params_over_the_limit_are_a_431
    process_that_crashes_costs_its_request_and_no_other
    process_that_is_killed_costs_its_request_and_no_other
}

/// E2, F6.
fn exception_before_the_head_is_a_500_that_tells_nothing(front: &Front) {
    let target = front.own("fails");
    let response = front.get(&target).expect(500);
    assert_eq!(response.text(), "500 Internal Server Error\n");
    front
        .plain
        .log
        .wait_for_line(&["ERROR", &target, "RuntimeError: on purpose: /not/for/browsers"]);
    front.get("/").ok();
}

/// E3.
fn application_that_starts_no_response_is_a_500(front: &Front) {
    let target = front.own("silent");
    let response = front.get(&target).expect(500);
    assert_eq!(response.text(), "500 Internal Server Error\n");
    front.plain.log.wait_for_line(&["ERROR", &target, "start_response"]);
}

/// Whether a browser can tell that the transfer failed: it got a part of the body, the server's own error page, or nothing
/// at all, where the server had not even sent the head.
#[track_caller]
fn expect_broken(front: &Front, place: &Place, page: &str, query: &str) {
    let target = format!("{page}?{query}");
    let begin = Instant::now();
    let response = place
        .connect()
        .try_exchange(&place.request(&Request::get(target.clone())));
    let breaks = page.starts_with("/breaks/");
    let may_look_whole = if breaks {
        Quirk::HidesEarlyBreaks
    } else {
        Quirk::HidesShortBodies
    };
    if breaks && front.has(Quirk::HidesBrokenTransfers) {
        let response = response.unwrap();
        assert!(response.complete && (response.status == 200 || response.status >= 500));
        // An error page where the server had sent nothing. That is so even behind a server that reads a whole response if it
        // can, Caddy: it may still be writing the end of its request when the response has been sent and has broken off, and
        // after a failed write it does not look at what has come.
        let may_be_empty = response.status >= 500 && front.has(Quirk::HasNoErrorPages);
        assert!(
            may_be_empty || !response.body.is_empty(),
            "an empty {}",
            response.status
        );
    } else if front.has(may_look_whole) {
        // It depends on what the server has seen when it begins to send.
    } else if let Ok(response) = response {
        assert!(
            response.status >= 500 || (response.status == 200 && !response.complete),
            "{target} at {}: a complete {} of {} bytes",
            place.host,
            response.status,
            response.body.len()
        );
        if front.has(Quirk::BreaksOffLate) && response.status == 200 {
            assert!(begin.elapsed() > KEEP_ALIVE_TIMEOUT / 2, "{target} at {}", place.host);
        }
    }
    place.log.wait_for_line(&["ERROR", page]);
    place.get("/").ok();
}

/// Runs the cases at the same time: some servers keep the client waiting before the transfer ends.
fn together(cases: &[&(dyn Fn() + Sync)]) {
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(case);
        }
    });
}

/// E8a: with one packet of body, and with more than the server has buffers for.
fn exception_after_the_head_breaks_the_transfer(front: &Front) {
    let page = front.own("breaks");
    together(&[
        &|| expect_broken(front, &front.plain, &page, "n=10"),
        &|| expect_broken(front, &front.plain, &page, "n=300000"),
        &|| expect_broken(front, &front.streaming, &page, "n=10"),
        &|| expect_broken(front, &front.streaming, &page, "n=300000"),
    ]);
}

fn exception_after_a_part_was_received_breaks_the_transfer(front: &Front) {
    let gate = front.file("break");
    let target = format!("{}?n=10&gate={}", front.own("breaks"), gate.display());
    let mut client = front.streaming.connect();
    client.send_head(&front.streaming.request(&Request::get(target)));
    assert_eq!(client.read_head().status, 200);
    assert_eq!(client.chunk().unwrap(), Some(pattern(0, 10)));
    fs::write(&gate, "").unwrap();
    let mut rest = iter::from_fn(|| client.chunk().ok().flatten());
    let is_whole = rest.any(|chunk| chunk.is_empty());
    assert_eq!(is_whole, front.has(Quirk::HidesBrokenTransfers));
}

/// C29.
fn short_body_breaks_the_transfer(front: &Front) {
    let page = front.own("short");
    together(&[&|| expect_broken(front, &front.plain, &page, ""), &|| {
        expect_broken(front, &front.streaming, &page, "")
    }]);
}

/// C29: what the web server may have of its own must not take the place of what is missing.
fn body_that_lacks_its_last_bytes_is_never_filled_up(front: &Front) {
    let page = front.own("lacks_the_end");
    together(&[&|| expect_lack(front, &front.plain, &page), &|| {
        expect_lack(front, &front.streaming, &page)
    }]);
}

#[track_caller]
fn expect_lack(front: &Front, place: &Place, page: &str) {
    let response = place.connect().try_exchange(&place.request(&Request::get(page)));
    if let Ok(response) = response {
        let (whole, length) = (response.complete, response.body.len());
        assert!(!whole || front.has(Quirk::HidesShortBodies), "{page} at {}", place.host);
        let own = response.body == pattern(0, length) && length <= 299_995;
        assert!(own, "{page} at {}: {length} bytes", place.host);
    }
    place.log.wait_for_line(&["ERROR", page]);
    place.get("/").ok();
}

fn curl_reports_a_broken_transfer(front: &Front) {
    if !installed::curl() {
        return;
    }
    together(&[
        &|| expect_curl_to_fail_unless_hidden(front, &front.plain),
        &|| expect_curl_to_fail_unless_hidden(front, &front.streaming),
        &|| expect_curl_to_fail_for_short_bodies(front, &front.plain),
        &|| expect_curl_to_fail_for_short_bodies(front, &front.streaming),
    ]);
}

fn expect_curl_to_fail_unless_hidden(front: &Front, place: &Place) {
    if !front.has(Quirk::HidesBrokenTransfers) && !front.has(Quirk::HidesEarlyBreaks) {
        expect_curl_to_fail(place, "/breaks?n=300000");
    }
}

fn expect_curl_to_fail_for_short_bodies(front: &Front, place: &Place) {
    if !front.has(Quirk::HidesShortBodies) {
        expect_curl_to_fail(place, "/short");
    }
}

/// 18: partial file; 22: an error page, by --fail; 52: empty reply; 56: failure in receiving.
#[track_caller]
fn expect_curl_to_fail(place: &Place, target: &str) {
    let curl = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--output",
            "/dev/null",
            "--max-time",
            "20",
        ])
        .args(["--header", &format!("Host: {}", place.host)])
        .arg(format!("http://{}{}{target}", place.address, place.prefix))
        .output()
        .unwrap();
    let broken = matches!(curl.status.code(), Some(18 | 22 | 52 | 56));
    assert!(broken, "{target} at {}: {curl:?}", place.host);
}

/// E4.
fn request_over_its_time_is_a_504(front: &Front) {
    let page = front.own("gated");
    let never = front.file("never");
    let target = format!("{page}?gate={}", never.display());
    let response = front.mounted.get(&target).expect(504);
    assert_eq!(response.text(), "504 Gateway Timeout\n");
    front
        .mounted
        .log
        .wait_for_line(&[&front.option("request-timeout"), &page]);
}

/// E9.
fn body_over_the_limit_is_a_413(front: &Front) {
    let page = front.own("digest");
    let below = front.mounted.send(&Request::post(page.clone()).pattern(BODY_MAX)).ok();
    assert_eq!(below.json()["length"], BODY_MAX);
    let response = front
        .mounted
        .send(&Request::post(page.clone()).pattern(BODY_MAX + 1))
        .expect(413);
    assert_eq!(response.text(), "413 Content Too Large\n");
    front.mounted.log.wait_for_line(&["413", &page]);
    next_request_is_answered(front);
}

fn next_request_is_answered(front: &Front) {
    until_answered(front, || front.mounted.get("/").status);
}

/// Sends requests until one is answered, as the first is wherever no quirk allows for another one.
#[track_caller]
fn until_answered(front: &Front, status: impl Fn() -> u16) {
    until("another request is answered", SOON, || {
        let status = status();
        assert!(
            status == 200 || status == 503 && front.has(Quirk::ReusesClosingConnections),
            "{status}"
        );
        status == 200
    });
}

/// E9.
fn params_over_the_limit_are_a_431(front: &Front) {
    let target = front.own("large");
    let mut request = Request::get(target.clone());
    for name in ["X-A", "X-B", "X-C"] {
        request = request.header(name, &"x".repeat(PARAMS_BYTES / 3));
    }
    if front.server.entry == Entry::Cgi {
        // The environment is there already, as large as it may be.
        front.mounted.send(&request).ok();
        return;
    }
    let response = front.mounted.send(&request).expect(431);
    assert_eq!(response.text(), "431 Request Header Fields Too Large\n");
    next_request_is_answered(front);
}

/// E6: the crash handler answers.
fn process_that_crashes_costs_its_request_and_no_other(front: &Front) {
    let _alone = alone(&FRAGILE);
    if front.server.entry == Entry::Cgi {
        crash(front, "SIGSEGV", &[]).expect(front.server.vanished);
        front.fragile.get("/").ok();
        return;
    }
    let response = crash(front, "SIGSEGV", &["Segmentation fault"]).expect(502);
    // Who has not sent everything by then may have nothing but an error of his own.
    if !front.has(Quirk::SendsAllBeforeReading) {
        assert_eq!(response.text(), "502 Bad Gateway\n");
    }
    expect_others_to_serve(front);
}

/// After a crash.
#[track_caller]
fn expect_others_to_serve(front: &Front) {
    if front.has(Quirk::LosesSocketOfEndedProcess) {
        front.fragile.get("/").expect(502);
        (front.start_again)();
    }
    until_answered(front, || front.fragile.get("/").status);
}

/// E6: nobody is left to answer; but on a connection that the web server has kept, the supervisor does.
fn process_that_is_killed_costs_its_request_and_no_other(front: &Front) {
    let _alone = alone(&FRAGILE);
    let mark = front.server_log.mark();
    let response = crash(front, "SIGKILL", &[]);
    if response.header("Retry-After") == Some("1") {
        assert_eq!(response.expect(502).text(), "502 Bad Gateway\n");
        assert!(front.server.entry == Entry::Serve);
        return expect_others_to_serve(front);
    }
    let response = response.expect(front.server.vanished);
    assert_eq!(response.body.is_empty(), front.has(Quirk::HasNoErrorPages));
    if front.has(Quirk::IsSilentAboutEndedProcess) {
        let target = front.own("dies");
        let tells = |line: &String| line.contains(&target);
        assert!(!front.server_log.since(mark).iter().any(tells));
    } else if !front.has(Quirk::ForgetsProcesses) {
        until("the web server logs it", SOON, || {
            !front.server_log.since(mark).is_empty()
        });
    }
    expect_others_to_serve(front);
}

/// Sends a request that ends its process by a signal, and waits until it has ended and that is known.
#[track_caller]
fn crash(front: &Front, by: &str, logged: &[&str]) -> Response {
    let (place, target, pid) = (&front.fragile, front.own("dies"), front.file("dies"));
    let mark = place.log.mark();
    let response = place.send(&Request::post(format!("{target}?by={by}&pid={}", pid.display())).body(""));
    // Until then its socket may still take connections.
    until_ended(fs::read_to_string(pid).unwrap(), SOON);
    let mut wanted = logged.to_vec();
    if front.server.entry == Entry::Serve {
        // Until then other connections to the process may still be open.
        wanted.extend([by, &target]);
    }
    let text = || place.log.since(mark).join("\n");
    until("the crash is logged", SOON, || {
        let text = text();
        wanted.iter().all(|part| text.contains(part))
    });
    response
}
