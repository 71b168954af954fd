//! Whose turn it is: listeners, the handover and kept connections, when one of them never rests.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::fcgi_client::{Raw, Request};
use crate::support::load::beside;
use crate::support::net::Address;
use crate::support::process::Gateway;
use crate::support::wait::{SOON, until};

/// Longest wait of a request beside a busy listener; with the lowest listener always first it had no end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs `work` while clients keep a listener's queue from ever being empty: with more connections than threads.
fn beside_load(address: &Address, work: impl FnOnce()) {
    let client = || {
        let mut open: Vec<Raw> = Vec::new();
        move || {
            // Several wait in the kernel at any time.
            while open.len() < 16 {
                let mut connection = Raw::connect(address).unwrap();
                connection.send(&Request::get("/slow").bytes());
                open.push(connection);
            }
            open.remove(0).read_response(1).ok();
        }
    };
    beside((0..4).map(|_| client()), || {
        std::thread::sleep(Duration::from_millis(300));
        work();
    });
}

#[track_caller]
fn soon(what: &str, work: impl FnOnce()) {
    let began = Instant::now();
    work();
    assert!(began.elapsed() < PATIENCE, "{what} took {:?}", began.elapsed());
}

#[test]
fn busy_listener_leaves_another_one_its_turn() {
    let directory = tempfile::tempdir().unwrap();
    let second = Address::Unix(directory.path().join("second"));
    let gateway = Gateway::app("queued")
        .threads(1)
        .option("--listen", second.option())
        .start();
    beside_load(&gateway.address, || {
        for _ in 0..5 {
            soon("a request on the second listener", || {
                Raw::connect(&second).unwrap().exchange(&Request::get("/hello")).ok();
            });
        }
    });
}

#[test]
fn busy_listener_leaves_kept_connections_their_turn() {
    let gateway = Gateway::app("queued").threads(1).start();
    let mut kept = gateway.connect();
    kept.exchange(&Request::get("/hello").keep_conn()).ok();
    beside_load(&gateway.address, || {
        for _ in 0..5 {
            soon("a request on a kept connection", || {
                kept.exchange(&Request::get("/hello").keep_conn()).ok();
            });
        }
    });
}

#[test]
fn busy_kept_connections_leave_new_ones_their_turn() {
    let gateway = Gateway::app("queued").threads(1).start();
    let mut kept: Vec<Raw> = (0..64).map(|_| gateway.connect()).collect();
    for connection in &mut kept {
        connection.exchange(&Request::get("/hello").keep_conn()).ok();
    }
    let request = Request::get("/slow").keep_conn().bytes();
    let clients = kept.chunks_mut(16).map(|kept| {
        let request = &request;
        move || {
            // The next requests wait before the first of them is answered.
            kept.iter_mut().for_each(|connection| connection.send(request));
            for connection in &mut *kept {
                connection.read_response(1).ok();
            }
        }
    });
    beside(clients, || {
        std::thread::sleep(Duration::from_millis(300));
        let count = || gateway.get("/count").ok().text().parse::<u32>().unwrap();
        let mut before = count();
        let first = (0..5).map(|_| {
            let now = count();
            now - std::mem::replace(&mut before, now)
        });
        // A turn of each of the others would be 64 every time. Where this test itself waits for a processor, others go on meanwhile.
        let least = first.min().unwrap();
        assert!(least < 32, "{least} requests were first at least");
    });
}

#[test]
fn kept_connections_are_taken_over_beside_a_busy_listener() {
    let gateway = Gateway::app("queued").threads(1).start();
    let mut kept: Vec<Raw> = (0..10).map(|_| gateway.connect()).collect();
    for connection in &mut kept {
        connection.exchange(&Request::get("/hello").keep_conn()).ok();
    }
    beside_load(&gateway.address, || {
        let old = gateway.processes();
        gateway.signal(Signal::HUP);
        until("the old worker has given its connections away", SOON, || {
            let now = gateway.processes();
            old.iter().filter(|pid| now.contains(pid)).count() == 1
        });
        soon("requests on connections that were handed over", || {
            for connection in &mut kept {
                connection.exchange(&Request::get("/hello").keep_conn()).ok();
            }
        });
    });
}
