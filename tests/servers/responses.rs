//! Heads of responses, and responses that have no body or arrive bit by bit.

use std::fs;

use crate::front::{Front, LARGE_HEADS, PLAIN, RANGES, STREAM, site};
use crate::support::http::{Client, Request, fetch, pattern};
use crate::support::installed;
use crate::support::nginx::{Nginx, upstream};

scenarios! {
    both_cookies_are_set
    head_has_the_headers_of_get_and_no_body
    statuses_without_a_body_have_none
    redirects_arrive_with_and_without_a_host
    error_statuses_keep_the_body_of_the_application
    head_below_the_limit_of_nginx_passes
    head_above_the_limit_of_nginx_is_a_502_and_a_warning
    head_of_60_kib_passes_where_nginx_has_room
    internal_redirect_sends_a_file_of_nginx
    range_is_cut_out_by_nginx_where_it_is_told_to
    blocks_arrive_one_by_one_without_buffering
    block_arrives_at_once_if_the_application_asks_for_it
}

/// C13.
fn both_cookies_are_set(front: &Front) {
    let response = front.get("/cookies").ok();
    assert_eq!(response.all("Set-Cookie"), ["a=1; Path=/", "b=2; Path=/"]);
}

/// docs/nginx.md, for files of applications that know no Range.
fn range_is_cut_out_by_nginx_where_it_is_told_to(front: &Front) {
    let request = |host| {
        Request::get("/sized?n=100000")
            .host(host)
            .header("Range", "bytes=70000-70009")
    };
    let part = front.send(&request(RANGES)).expect(206);
    assert_eq!(part.header("Content-Range"), Some("bytes 70000-70009/100000"));
    assert_eq!(part.body, pattern(70_000, 10));
    assert_eq!(front.send(&request(STREAM)).ok().body.len(), 100_000);
}

/// C30.
fn head_has_the_headers_of_get_and_no_body(front: &Front) {
    let mut client = Client::connect(front.address);
    for target in ["/sized?n=5", "/sized?n=100000", "/sized?n=100000&block=1000"] {
        let get = client.exchange(&Request::get(target)).ok();
        // Bytes of a body would be taken for the next response on this connection.
        let head = client.exchange(&Request::new("HEAD", target)).ok();
        assert_eq!(head.header("Content-Length"), get.header("Content-Length"), "{target}");
        assert_eq!(head.header("Content-Type"), get.header("Content-Type"), "{target}");
    }
}

/// C31.
fn statuses_without_a_body_have_none(front: &Front) {
    let mut client = Client::connect(front.address);
    for (line, status) in [("204 No Content", 204), ("304 Not Modified", 304)] {
        let target = format!("/status?line={}", line.replace(' ', "%20"));
        let response = client.exchange(&Request::get(target)).expect(status);
        assert_eq!(response.header("X-Kept"), Some("yes"));
        assert_eq!(response.header("Content-Length"), None, "{line}");
    }
    client.exchange(&Request::get("/")).ok();
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
        ("503%20Busy", 503),
    ] {
        let response = front.get(&format!("/status?line={line}")).expect(status);
        assert_eq!(response.text(), "a body");
    }
}

/// nginx's buffer is a page of 4,096 bytes, and the record's header lies in it too.
fn head_below_the_limit_of_nginx_passes(front: &Front) {
    let response = front.get("/big_head?n=3800").ok();
    assert_eq!(response.header("X-Fill-0").map(str::len), Some(3800));
}

/// C35.
fn head_above_the_limit_of_nginx_is_a_502_and_a_warning(front: &Front) {
    front.get("/big_head?n=6000").expect(502);
    front.nginx.process.log.wait_for_line(&["upstream sent too big header"]);
    front
        .gateway
        .log
        .wait_for_line(&["WARN", "/big_head", "fastcgi_buffer_size"]);
    front.get("/").ok();
}

fn head_of_60_kib_passes_where_nginx_has_room(front: &Front) {
    let response = front.send(&Request::get("/big_head?n=61440").host(LARGE_HEADS)).ok();
    assert_eq!(response.text(), "large head");
    let fill = response.headers.iter().filter(|(name, _)| name.starts_with("X-Fill-"));
    assert_eq!(fill.map(|(_, value)| value.len()).sum::<usize>(), 61_440);
}

/// F5.
fn internal_redirect_sends_a_file_of_nginx(front: &Front) {
    let response = front.get("/accel?file=secret.txt").ok();
    assert_eq!(response.text(), "from an internal location\n");
    assert_eq!(response.header("X-Accel-Redirect"), None);
    front.get("/internal/secret.txt").expect(404);
}

#[test]
fn f5_internal_redirect_can_be_kept_from_the_application() {
    if !installed::nginx() {
        return;
    }
    let gateway = site().flag("--strip-sendfile-headers").start();
    let pass = upstream(&gateway.address);
    let nginx = Nginx::configure()
        .file("internal/secret.txt", "from an internal location\n")
        .server(
            0,
            PLAIN,
            &format!(
                "location / {{ include wsgi_fpm_params; fastcgi_pass {pass}; }} \
                 location /internal/ {{ internal; root %PREFIX%; }}"
            ),
        )
        .start();
    let response = fetch(nginx.address(), &Request::get("/accel?file=secret.txt")).ok();
    assert_eq!(response.text(), "", "what the application itself has answered");
}

/// C22: the second block is not made before the first one was received.
fn blocks_arrive_one_by_one_without_buffering(front: &Front) {
    let gate = front.file("stream");
    let mut client = Client::connect(front.address);
    client.send_head(&Request::get(format!("/gated?first=first&gate={}", gate.display())).host(STREAM));
    assert_eq!(client.read_head().status, 200);
    assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"first"[..]));
    fs::write(&gate, "").unwrap();
    assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"second"[..]));
    assert_eq!(client.chunk().unwrap().as_deref(), Some(&b""[..]));
}

/// The other way to it, by the application: X-Accel-Buffering.
fn block_arrives_at_once_if_the_application_asks_for_it(front: &Front) {
    let gate = front.file("accel-buffering");
    let mut client = Client::connect(front.address);
    client.send_head(&Request::get(format!(
        "/gated?first=first&unbuffered=1&gate={}",
        gate.display()
    )));
    assert_eq!(client.read_head().status, 200);
    assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"first"[..]));
    fs::write(&gate, "").unwrap();
    assert_eq!(client.chunk().unwrap().as_deref(), Some(&b"second"[..]));
}
