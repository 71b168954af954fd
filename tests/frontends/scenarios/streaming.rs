//! Responses that arrive bit by bit, and what comes after the last one.

use std::fs;

use crate::harness::front::{Entry, Front};
use crate::support::http::Request;
use crate::support::wait::{SOON, until};

scenarios! {
    block_arrives_before_the_next_one_is_made
    close_and_exit_functions_run_after_the_response
}

/// C22: the second block is not made before the first one was received.
fn block_arrives_before_the_next_one_is_made(front: &Front) {
    let gate = front.file("stream");
    let target = format!("/gated?first=first&gate={}", gate.display());
    let mut client = front.streaming.connect();
    client.send_head(&front.streaming.request(&Request::get(target)));
    assert_eq!(client.read_head().status, 200);
    assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"first"[..]));
    fs::write(&gate, "").unwrap();
    assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"second"[..]));
    assert_eq!(client.chunk().unwrap().as_deref(), Some(&b""[..]));
}

/// C23, D8: whatever the web server does with a process whose response it has.
fn close_and_exit_functions_run_after_the_response(front: &Front) {
    let mark = front.file("closes");
    let response = front.get(&format!("/closes?mark={}", mark.display())).ok();
    assert_eq!(response.text(), "closes");
    until("close() was called", SOON, || {
        fs::read_to_string(&mark).is_ok_and(|text| text == "closed")
    });
    if front.server.entry == Entry::Cgi {
        let exit = format!("{}.exit", mark.display());
        until("exit functions were called", SOON, || fs::exists(&exit).unwrap());
    }
}
