//! Pages of the gateway's own for HEAD requests (SPEC C30): the head that GET would get, and no body.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::fcgi_client::{Request, Response};
use crate::support::process::Gateway;

/// Sends the same as GET and as HEAD, and compares.
#[track_caller]
fn same_head(gateway: &Gateway, code: u16, target: &str, change: impl Fn(Request) -> Request) {
    let get = gateway.send(&change(Request::get(target))).error_page(code);
    let head = gateway.send(&change(Request::new("HEAD", target))).error_page(code);
    assert_eq!(get.header("Content-Length"), Some(get.body().len().to_string()));
    no_body(&head);
    assert_eq!((head.head(), head.end), (get.head(), get.end));
}

#[track_caller]
fn no_body(response: &Response) {
    assert!(!response.head().is_empty() && response.body().is_empty(), "{response}");
}

#[test]
fn c30_error_pages_have_no_body_for_head() {
    let gateway = Gateway::app("failures")
        .option("--mount", "/app")
        .flag("--access-log")
        .start();
    let same = |code, target: &str, name: &'static str, value: &'static str| {
        same_head(&gateway, code, target, |request| request.param(name, value));
    };
    same(400, "/app/hello", "CONTENT_LENGTH", "-1");
    same(404, "/elsewhere", "X", "");
    same(413, "/app/hello", "CONTENT_LENGTH", "99999999999999");
    let long_ago = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - Duration::from_secs(60);
    same_head(&gateway, 503, "/app/hello", |request| {
        request.param("REQUEST_START", long_ago.as_secs().to_string())
    });
    same(500, "/app/in_call?ValueError", "X", "");
    same(500, "/app/in_first?ValueError", "X", "");
    same_head(&gateway, 431, "/app/hello", |request| {
        request.param("X", vec![b'x'; 65537])
    });
    same_head(&gateway, 500, "/app/hello", |request| request.role(9));
    let line = gateway.log.wait_for_line(&["access", "HEAD", "/elsewhere"]);
    assert!(line.contains("bytes=0"), "{line}");
}

#[test]
fn c30_answers_in_the_applications_place_have_no_body_for_head() {
    let gateway = Gateway::app("failures").option("--request-timeout", "300ms").start();
    no_body(&gateway.send(&Request::new("HEAD", "/sleeps?c30")).error_page(504));
    no_body(&gateway.send(&Request::new("HEAD", "/segfaults")).error_page(502));
}
