//! `environ["wsgi_fpm.client_gone"]`: whether anybody waits for the response still.

use std::time::Duration;

use crate::support::fcgi_client::{ABORT_REQUEST, Raw, Request, STDIN, record};
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until};

fn app() -> Builder {
    Gateway::app("client_gone")
}

/// Over both kinds of sockets.
fn gateways() -> [Gateway; 2] {
    [app().start(), app().tcp("127.0.0.1").start()]
}

fn events(gateway: &Gateway, key: &str) -> String {
    gateway.get(&format!("/recorded?{key}")).ok().text()
}

/// A request that asks until its client is gone, and has asked.
fn asking(gateway: &Gateway, key: &str, request: impl FnOnce(Request) -> Request) -> Raw {
    let mut connection = gateway.connect();
    let asks = Request::get(&format!("/asks_until_gone?{key}"));
    connection.send(&request(asks).bytes());
    until("it has asked", SOON, || events(gateway, key) == "[false]");
    connection
}

#[track_caller]
fn expect_gone(gateway: &Gateway, key: &str) {
    until("the application knows, in each thread", SOON, || {
        events(gateway, key).starts_with("[false, [true, true]")
    });
}

#[test]
fn client_that_leaves_is_gone_for_the_application_and_writing_raises_oserror() {
    for gateway in gateways() {
        // Over TCP an end alone may be half of one: nginx's never is.
        let connection = asking(&gateway, "leaves", |request| {
            request.param("SERVER_SOFTWARE", "nginx/1.22.1")
        });
        drop(connection);
        expect_gone(&gateway, "leaves");
        until("writing has failed", SOON, || {
            events(&gateway, "leaves").contains("writing: the front server is gone")
        });
    }
}

#[test]
fn request_that_is_aborted_is_gone_for_the_application() {
    for gateway in gateways() {
        let mut connection = asking(&gateway, "aborts", Request::keep_conn);
        connection.send(&record(ABORT_REQUEST, 1, b""));
        expect_gone(&gateway, "aborts");
        assert_eq!(connection.read_response(1).end, Some((0, 0)));
        connection.exchange(&Request::get("/hello").keep_conn()).ok();
    }
}

#[test]
fn client_that_leaves_in_the_middle_of_its_body_is_gone_and_reading_raises_oserror() {
    for builder in [app(), app().tcp("127.0.0.1")] {
        let gateway = builder.option("--body-buffer", "0").start();
        let mut connection = gateway.connect();
        let request = Request::post("/asks_until_gone?body", vec![b'b'; 1000]);
        connection.send(&request.head_bytes());
        connection.send(&record(STDIN, 1, b"begun"));
        until("it has asked", SOON, || events(&gateway, "body") == "[false]");
        drop(connection);
        expect_gone(&gateway, "body");
        until("reading has failed", SOON, || {
            events(&gateway, "body").contains("reading: ")
        });
    }
}

#[test]
fn client_that_waits_is_not_gone_even_if_it_has_shut_down_its_sending_side() {
    for gateway in gateways() {
        let mut whole = asking(&gateway, "whole", |request| request);
        let mut half = asking(&gateway, "half", |request| request);
        half.finish();
        std::thread::sleep(Duration::from_millis(500));
        for (connection, key) in [(&mut whole, "whole"), (&mut half, "half")] {
            assert_eq!(events(&gateway, key), "[false]");
            gateway.get(&format!("/open_gate?{key}")).ok();
            assert_eq!(connection.read_response(1).ok().text(), "wanted");
            assert_eq!(events(&gateway, key), "[false, [false, false]]");
        }
    }
}

#[test]
fn client_that_leaves_after_it_has_shut_down_its_sending_side_is_gone_where_the_system_tells() {
    let gateway = app().start();
    let connection = asking(&gateway, "half", |request| request);
    connection.finish();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(events(&gateway, "half"), "[false]");
    drop(connection);
    expect_gone(&gateway, "half");
}

#[test]
fn client_that_has_got_a_504_is_gone_for_the_application() {
    let gateway = app().option("--request-timeout", "300ms").start();
    gateway.get("/ignores_its_timeout?late").error_page(504);
    until("the application knows", SOON, || events(&gateway, "late") == "[true]");
}

#[test]
fn callable_that_was_kept_says_gone_after_its_request_and_never_speaks_for_another_one() {
    let gateway = app().threads(1).start();
    assert_eq!(gateway.get("/keeps?first").ok().text(), "False");
    for _ in 0..3 {
        assert_eq!(gateway.get("/asks_kept?first").ok().text(), "[True, False]");
    }
    assert_eq!(gateway.get("/keeps?second").ok().text(), "False");
    assert_eq!(gateway.get("/asks_kept?first").ok().text(), "[True, False]");
}
