//! Peers that reset their TCP connection, in each stage of a request: SPEC A22.
//!
//! Each stage is gone through more often than a worker may have connections: one that was not given back would be missed.

use crate::support::fcgi_client::{Raw, Request, Response, STDIN, record};
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until};

const ROUNDS: usize = 6;

fn gateway(app: &str) -> Builder {
    Gateway::app(app).tcp("127.0.0.1").option("--connections", "4")
}

/// What the application has noted under a key.
fn recorded(gateway: &Gateway, key: &str) -> String {
    gateway.get(&format!("/recorded?{key}")).ok().text()
}

/// Asserts that the gateway serves, with the processes that it had, and takes nothing of this for its own error.
#[track_caller]
fn unharmed(gateway: &Gateway, processes: &[rustix::process::Pid]) {
    gateway.get("/hello").ok();
    assert_eq!(gateway.processes(), processes);
    let errors = gateway.log.find(|event| event.contains("ERROR"));
    assert_eq!(errors, None);
}

#[test]
fn a22_reset_before_the_params_end_never_starts_the_application() {
    let gateway = gateway("failures").start();
    let processes = gateway.processes();
    let bytes = Request::get("/waits?reset").head_bytes();
    for cut in [0, 4, 8, 16, 20, bytes.len() / 2, bytes.len() - 8, bytes.len() - 1] {
        for _ in 0..ROUNDS {
            let mut connection = gateway.connect();
            connection.send(&bytes[..cut]);
            connection.reset();
        }
    }
    unharmed(&gateway, &processes);
    assert_eq!(recorded(&gateway, "reset"), "[]");
}

#[test]
fn a22_reset_before_enough_of_the_body_is_there_never_starts_the_application() {
    let gateway = gateway("input").start();
    let processes = gateway.processes();
    let request = Request::post("/read_fails?reset", vec![b'x'; 1 << 20]);
    for _ in 0..ROUNDS {
        let mut connection = gateway.connect();
        connection.send(&request.head_bytes());
        connection.send(&record(STDIN, 1, &[b'x'; 1000]));
        connection.reset();
    }
    unharmed(&gateway, &processes);
    assert_eq!(recorded(&gateway, "reset"), "[]");
}

#[test]
fn a22_reset_while_the_application_reads_fails_the_read() {
    let gateway = gateway("input").start();
    let processes = gateway.processes();
    for round in 0..ROUNDS {
        let key = format!("reset-{round}");
        let request = Request::post(&format!("/read_fails?{key}"), vec![b'x'; 1 << 20]);
        let mut connection = gateway.connect();
        connection.send(&request.head_bytes());
        connection.send(&request.stdin_bytes()[..200_000]);
        until("the application is called", SOON, || {
            recorded(&gateway, &key).contains("called")
        });
        connection.reset();
        until("read() raises", SOON, || recorded(&gateway, &key).contains("OSError"));
    }
    unharmed(&gateway, &processes);
}

#[test]
fn a22_reset_while_the_application_runs_harms_nobody() {
    let gateway = gateway("failures").start();
    let processes = gateway.processes();
    for round in 0..ROUNDS {
        let key = format!("reset-{round}");
        let mut connection = gateway.connect();
        connection.send(&Request::get(&format!("/waits?{key}")).bytes());
        until("the application is called", SOON, || {
            recorded(&gateway, &key).contains("called")
        });
        connection.reset();
        gateway.get(&format!("/open_gate?{key}")).ok();
        until("the application ends", SOON, || {
            recorded(&gateway, &key).contains("done")
        });
    }
    unharmed(&gateway, &processes);
}

#[test]
fn a22_reset_while_the_response_comes_ends_it_and_close_runs() {
    let gateway = gateway("iteration").start();
    let processes = gateway.processes();
    for round in 0..ROUNDS {
        let key = format!("reset-{round}");
        let mut connection = gateway.connect();
        connection.send(&Request::get(&format!("/closing_endless?{key}")).bytes());
        connection.read_until_body_has(&mut Response::default(), b"x");
        connection.reset();
        until("close() runs", SOON, || {
            recorded(&gateway, &key).ends_with(r#""close"]"#)
        });
    }
    unharmed(&gateway, &processes);
}

#[test]
fn a22_reset_of_a_kept_connection_gives_its_place_back() {
    let gateway = gateway("failures").start();
    let processes = gateway.processes();
    let mut kept: Vec<Raw> = Vec::new();
    for _ in 0..ROUNDS {
        kept.extend((0..3).map(|_| gateway.connect()));
        for mut connection in kept.drain(..) {
            connection.exchange(&Request::get("/hello").keep_conn()).ok();
            connection.reset();
        }
    }
    unharmed(&gateway, &processes);
}
