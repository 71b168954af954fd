//! Requests while one side stops or loads its configuration anew, and many of them in a row.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{PLAIN, behind_nginx};
use crate::harness::backends::site;
use crate::support::http::{Client, Request, fetch};
use crate::support::net::Address;
use crate::support::wait::{SOON, until};

/// Whether nobody listens: a full backlog would be silent.
fn is_refused(address: &Address) -> bool {
    match address {
        Address::Unix(_) => !address.answers(),
        Address::Tcp(address) => {
            let connected = TcpStream::connect_timeout(address, Duration::from_millis(200));
            matches!(connected, Err(error) if error.kind() == ErrorKind::ConnectionRefused)
        }
    }
}

/// A32.
#[test]
fn gateway_that_is_told_to_stop_finishes_the_running_request() {
    for builder in [site(), site().tcp("127.0.0.1")] {
        let Some((gateway, nginx)) = behind_nginx(builder, &[PLAIN]) else {
            return;
        };
        fetch(nginx.address(), &Request::get("/")).ok();
        let gate = gateway.directory.path().join("gate");
        let mut client = Client::connect(nginx.address());
        client.send_head(&Request::get(format!("/gated?gate={}", gate.display())));
        let called = gateway.directory.path().join("gate.called");
        until("the request runs", SOON, || called.exists());
        gateway.signal(Signal::TERM);
        // Others are told at once, rather than left to wait for nobody.
        until("connections are refused", SOON, || is_refused(&gateway.address));
        // Until the worker, which is told by its leader, has closed what nginx keeps, a request there is answered.
        until("nobody serves", SOON, || {
            let status = fetch(nginx.address(), &Request::get("/")).status;
            assert!([200, 502].contains(&status), "{status}");
            status == 502
        });
        fs::write(&gate, "").unwrap();
        assert_eq!(client.read_response(false).ok().text(), "second");
        assert_eq!(gateway.wait_exit(SOON).code(), Some(0), "{}", gateway.log.text());
    }
}

/// A26.
#[test]
fn two_thousand_requests_over_kept_connections_have_no_error() {
    for builder in [site().workers(2), site().tcp("127.0.0.1").workers(2)] {
        let Some((gateway, nginx)) = behind_nginx(builder, &[PLAIN]) else {
            return;
        };
        thread::scope(|scope| {
            for part in 0..4 {
                let address = nginx.address();
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    for number in 0..500 {
                        let length = (part * 500 + number) * 7 % 5000;
                        let response = client.exchange(&Request::get(format!("/sized?n={length}"))).ok();
                        assert_eq!(response.body.len(), length);
                    }
                });
            }
        });
        assert_eq!(nginx.errors(), Vec::<String>::new(), "{}", gateway.log.text());
    }
}

/// POST is what nginx never tries twice: a connection that the gateway closed after nginx had put it back is a 502.
#[test]
fn connections_that_have_served_their_requests_are_not_used_again() {
    let Some((gateway, nginx)) = behind_nginx(site().option("--connection-requests", "10"), &[PLAIN]) else {
        return;
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            let address = nginx.address();
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for length in 0..500 {
                    let digest = client
                        .exchange(&Request::post("/digest").pattern(length * 10))
                        .ok()
                        .json();
                    assert_eq!(digest["length"], length * 10);
                }
            });
        }
    });
    assert_eq!(nginx.errors(), Vec::<String>::new(), "{}", gateway.log.text());
}

/// SPEC E7. nginx never tries a POST twice, so one that meets a closed connection is lost.
#[test]
fn gateway_that_loads_the_application_anew_loses_no_request() {
    for builder in [site().workers(2), site().tcp("127.0.0.1").option("--preload", "off")] {
        let Some((gateway, nginx)) = behind_nginx(builder, &[PLAIN]) else {
            return;
        };
        let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let end = Instant::now() + SOON;
        let ask = |address: SocketAddr| {
            let mut client = Client::connect(address);
            while !stop.load(Ordering::Relaxed) && Instant::now() < end {
                client.exchange(&Request::post("/digest").pattern(3000)).ok();
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        let is_ready = |line: &str| line.contains(" ready ");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| ask(nginx.address()));
            }
            for reloads in 1..=3 {
                gateway.signal(Signal::HUP);
                until("the new generation is ready", SOON, || {
                    gateway.log.count(is_ready) == 1 + reloads
                });
                let before = done.load(Ordering::Relaxed);
                until("requests are answered", SOON, || {
                    done.load(Ordering::Relaxed) > before + 100
                });
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(nginx.errors(), Vec::<String>::new(), "{}", gateway.log.text());
    }
}

#[test]
fn nginx_that_loads_its_configuration_anew_loses_no_request() {
    let Some((gateway, nginx)) = behind_nginx(site().workers(2), &[PLAIN]) else {
        return;
    };
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let end = Instant::now() + SOON;
    let ask = |address: SocketAddr| {
        // The deadline lets a failure of the other thread come out.
        while !stop.load(Ordering::Relaxed) && Instant::now() < end {
            fetch(address, &Request::get("/sized?n=3000").header("Connection", "close")).ok();
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| ask(nginx.address()));
        }
        for _ in 0..5 {
            nginx.reload();
            let before = done.load(Ordering::Relaxed);
            until("requests are answered", SOON, || {
                done.load(Ordering::Relaxed) > before + 50
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(nginx.errors(), Vec::<String>::new(), "{}", gateway.log.text());
}
