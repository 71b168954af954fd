//! FCGI_WEB_SERVER_ADDRS, the list of peers that may connect: SPEC A31.

use crate::support::fcgi_client::{Raw, Request};
use crate::support::net::Address;
use crate::support::process::Gateway;

const ADDRESSES: &str = "FCGI_WEB_SERVER_ADDRS";

#[test]
fn a31_listed_peers_are_served() {
    let gateway = Gateway::app("input")
        .tcp("127.0.0.1")
        .variable(ADDRESSES, "192.0.2.1,127.0.0.1")
        .start();
    gateway.get("/hello").ok();
}

#[test]
fn a31_unlisted_peers_are_closed_at_once() {
    let gateway = Gateway::app("input")
        .tcp("127.0.0.1")
        .variable(ADDRESSES, "192.0.2.1")
        .start();
    let mut connection = gateway.connect();
    connection.expect_close();
    let mut connection = gateway.connect();
    // The close may come before the bytes have left.
    let _ = connection.try_send(&Request::get("/hello").bytes());
    let rest = connection.read_to_end();
    assert!(rest.records.is_empty(), "{rest}");
}

#[test]
fn a31_peers_on_unix_sockets_are_closed_at_once() {
    let gateway = Gateway::app("input").variable(ADDRESSES, "127.0.0.1").start();
    gateway.connect().expect_close();
}

#[test]
fn a31_ipv4_mapped_peers_are_recognised() {
    if std::net::TcpListener::bind(("::", 0)).is_err() {
        println!("skipped: no IPv6 on this machine");
        return;
    }
    let gateway = Gateway::app("input").tcp("::").variable(ADDRESSES, "127.0.0.1").start();
    let Address::Tcp(address) = &gateway.address else {
        unreachable!("the test asked for TCP")
    };
    let mapped = Address::Tcp(([127, 0, 0, 1], address.port()).into());
    let mut connection = Raw::connect(&mapped).unwrap();
    connection.exchange(&Request::get("/hello")).ok();
}

#[test]
fn a31_empty_or_malformed_list_is_a_reason_not_to_start() {
    for list in ["", "1.2.3", "127.0.0.1,nonsense", ","] {
        let (status, log) = Gateway::app("input").tcp("127.0.0.1").variable(ADDRESSES, list).fail();
        assert!(!status.success(), "{list:?}");
        assert!(log.text().contains(ADDRESSES), "{list:?}: {}", log.text());
    }
}
