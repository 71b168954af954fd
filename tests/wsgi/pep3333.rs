//! PEP 3333's own example code, run as it stands there, under this gateway.

use crate::support::fcgi_client::Request;
use crate::support::process::{Gateway, Shared};

static APPS: Shared = Shared::new(|| Gateway::app("pep3333"));

#[test]
fn function_and_class_applications_answer_alike() {
    let function = APPS.get("/simple_function").ok();
    let class = APPS.get("/simple_class").ok();
    assert_eq!(function.text(), "Hello world!\n");
    assert_eq!(class.text(), function.text());
}

#[test]
fn middleware_that_delays_start_response_and_joins_blocks_works() {
    let response = APPS.get("/latin").ok();
    assert_eq!(response.text(), "ELLOHAY ORLDWAY");
    assert_eq!(response.header("Content-Length"), None);
}

#[test]
fn middleware_that_replaces_an_error_page_works() {
    let response = APPS.get("/error_handled");
    assert_eq!(response.status(), "500 froody");
    assert_eq!(response.text(), "something broke");
    assert_eq!(response.end, Some((0, 0)), "the application handled its failure itself");
}

#[test]
fn middleware_that_handles_an_error_after_the_head_went_out_cuts_the_response() {
    assert_eq!(APPS.get("/error_handled_late").cut().text(), "sent;");
}

#[test]
fn environ_is_enough_to_rebuild_the_url() {
    let request = Request::get("/rebuilt_url?q=1")
        .param("HTTPS", "on")
        .param("SERVER_PORT", "8443")
        .without("HTTP_HOST");
    assert_eq!(
        APPS.send(&request).ok().text(),
        "https://test.example:8443/rebuilt_url?q=1"
    );
}

#[test]
fn middleware_may_pass_its_own_environ_on() {
    assert_eq!(APPS.get("/own_environ/inner").ok().text(), "/own_environ /inner");
}

#[test]
fn application_that_is_asked_for_no_body_may_be_iterated_only_once() {
    assert_eq!(APPS.send(&Request::new("HEAD", "/simple_class")).ok().text(), "");
    assert_eq!(APPS.get("/simple_class").ok().text(), "Hello world!\n");
}
