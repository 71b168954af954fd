//! Responses that arrive bit by bit.

use std::fs;

use crate::front::Front;
use crate::support::http::Request;

scenarios! {
    block_arrives_before_the_next_one_is_made
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
