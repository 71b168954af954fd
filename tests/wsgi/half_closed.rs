//! Peers that shut down their sending side behind a request and wait for the response. They are not gone; what SPEC A22 and
//! C56 say of those that are still holds.

use std::time::Duration;

use crate::support::fcgi_client::{Raw, Request, STDIN, record};
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until};

/// Over both kinds of sockets.
fn gateways(app: &str) -> [Builder; 2] {
    [Gateway::app(app), Gateway::app(app).tcp("127.0.0.1")]
}

fn events(gateway: &Gateway, key: &str) -> String {
    gateway.get(&format!("/recorded?{key}")).ok().text()
}

#[test]
fn half_closed_peer_gets_all_of_a_streamed_response_and_then_the_end() {
    for builder in gateways("queued") {
        let gateway = builder.start();
        for request in [
            Request::get("/streamed"),
            Request::get("/streamed").keep_conn(),
            Request::post("/streamed", "body").keep_conn(),
        ] {
            let mut connection = gateway.connect();
            connection.send(&request.bytes());
            connection.finish();
            let response = connection.read_response(1).ok();
            assert!(response.text().ends_with("block 9;"), "{response}");
            connection.expect_close();
        }
    }
}

#[test]
fn peer_that_half_closes_while_the_response_comes_gets_all_of_it() {
    for builder in gateways("queued") {
        let gateway = builder.start();
        let mut connection = gateway.connect();
        connection.send(&Request::get("/streamed").bytes());
        let mut response = Default::default();
        connection.read_until_body_has(&mut response, b"block 2;");
        connection.finish();
        connection.read_more(&mut response, 1);
        assert!(response.text().ends_with("block 9;"), "{response}");
    }
}

#[test]
fn half_closed_peer_need_not_have_ended_a_body_that_it_does_not_have() {
    for builder in gateways("input") {
        let gateway = builder.start();
        let mut connection = gateway.connect();
        // It reads its input, which is empty.
        connection.send(&Request::get("/echo").keep_conn().head_bytes());
        connection.finish();
        connection.read_response(1).ok();
        connection.expect_close();
    }
}

/// Holds the one thread of a gateway until the rest of its body is sent.
fn hold(gateway: &Gateway) -> (Raw, Vec<u8>) {
    let request = Request::post("/held?holder", vec![b'x'; 200_000]).stdin_record(50_000);
    let mut bytes = request.bytes();
    let rest = bytes.split_off(request.head_bytes().len() + 100_000);
    let mut connection = gateway.connect();
    connection.send(&bytes);
    gateway.log.wait_for_line(&["held", "holder"]);
    (connection, rest)
}

#[test]
fn queued_request_of_a_half_closed_peer_is_run() {
    for builder in gateways("queued") {
        for workers in [1, 2] {
            let gateway = builder.clone().workers(workers).threads(1).start();
            let holders: Vec<_> = (0..workers).map(|_| hold(&gateway)).collect();
            let mut waiting = gateway.connect();
            waiting.send(&Request::post("/called?half", "body").keep_conn().bytes());
            waiting.finish();
            // Longer than a tick of the watchdog, which receives while no thread is free.
            std::thread::sleep(Duration::from_millis(600));
            for (mut holder, rest) in holders {
                holder.send(&rest);
                holder.read_response(1).ok();
            }
            assert_eq!(waiting.read_response(1).ok().text(), "called");
            waiting.expect_close();
        }
    }
}

/// nginx closes its connection when its client has left, and over TCP that looks as a half-closed one does.
#[test]
fn queued_request_of_an_nginx_that_has_closed_is_not_run() {
    for builder in gateways("queued") {
        let gateway = builder.threads(1).start();
        let (mut holder, rest) = hold(&gateway);
        for software in ["nginx/1.22.1", "unnamed"] {
            let mut waiting = gateway.connect();
            let request = Request::post(&format!("/called?{}", &software[..5]), "body");
            waiting.send(&request.param("SERVER_SOFTWARE", software).bytes());
            waiting.finish();
            std::mem::forget(waiting);
        }
        holder.send(&rest);
        holder.read_response(1).ok();
        until("the other one has run", SOON, || {
            events(&gateway, "unnam").contains("called")
        });
        assert_eq!(events(&gateway, "nginx"), "[]");
    }
}

/// Data and end may come in one event.
#[test]
fn kept_connection_that_is_half_closed_behind_a_request_is_closed_at_once() {
    for builder in gateways("failures") {
        let gateway = builder.option("--idle-timeout", "0").start();
        let mut kept: Vec<_> = (0..40).map(|_| gateway.connect()).collect();
        for connection in &mut kept {
            connection.exchange(&Request::get("/hello").keep_conn()).ok();
        }
        for connection in &mut kept {
            connection.send(&Request::get("/hello").keep_conn().bytes());
            connection.finish();
        }
        for connection in &mut kept {
            connection.read_response(1).ok();
            connection.expect_close();
        }
    }
}

#[test]
fn a22_peer_that_half_closes_within_a_request_is_gone() {
    for builder in gateways("input") {
        let gateway = builder.start();
        let request = Request::post("/read_fails?within", vec![b'x'; 200_000]);
        for sent in [4, 20, request.head_bytes().len()] {
            let mut connection = gateway.connect();
            connection.send(&request.bytes()[..sent]);
            connection.finish();
            connection.expect_close();
        }
        assert_eq!(events(&gateway, "within"), "[]");
        // Enough of it for the application to be called.
        let mut connection = gateway.connect();
        connection.send(&request.head_bytes());
        connection.send(&record(STDIN, 1, &[b'x'; 65_000]));
        connection.send(&record(STDIN, 1, &[b'x'; 65_000]));
        until("the application is called", SOON, || {
            events(&gateway, "within").contains("called")
        });
        connection.finish();
        until("read() raises", SOON, || events(&gateway, "within").contains("OSError"));
    }
}
