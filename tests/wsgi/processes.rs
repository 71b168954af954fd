//! What an application sees of its process and may do to it: SPEC C51 to C55, F8.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::Signal;

use crate::support::fcgi_client::{Raw, Request};
use crate::support::process::{Gateway, Shared};
use crate::support::wait::{SOON, until};

static APPS: Shared = Shared::new(|| Gateway::app("processes"));

/// The process that serves this connection, which is kept.
pub fn pid(connection: &mut Raw) -> String {
    connection.exchange(&Request::get("/pid").keep_conn()).ok().text()
}

#[test]
fn c51_flags_tell_threads_and_processes() {
    for (workers, threads, flags) in [
        (1, 1, "False False False"),
        (1, 4, "True False False"),
        (2, 1, "False True False"),
        (2, 4, "True True False"),
    ] {
        let gateway = Gateway::app("processes").workers(workers).threads(threads).start();
        assert_eq!(
            gateway.get("/flags").ok().text(),
            flags,
            "{workers} workers, {threads} threads"
        );
    }
}

#[test]
fn c52_one_thread_never_runs_two_calls_at_once() {
    let gateway = Gateway::app("processes").threads(1).start();
    let most = concurrency(&gateway);
    assert_eq!(most, 1);
}

#[test]
fn several_threads_run_several_calls_at_once() {
    let most = concurrency(&APPS);
    assert!((2..=4).contains(&most), "{most}");
}

/// Under load by short requests, threads leave the work to one of them.
#[test]
fn requests_that_block_after_many_short_ones_run_side_by_side() {
    const THREADS: usize = 4;
    let gateway = Gateway::app("processes").threads(THREADS as u32).start();
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut connection = gateway.connect();
                    for _ in 0..300 {
                        connection.exchange(&Request::get("/flags").keep_conn()).ok();
                    }
                });
            }
        });
        let files: Vec<_> = (0..THREADS)
            .map(|thread| format!("{}/{round}-{thread}", directory.path().display()))
            .collect();
        let mut connections = Vec::new();
        for file in &files {
            let mut connection = gateway.connect();
            connection.send(&Request::get(&format!("/waits?{file}")).bytes());
            connections.push(connection);
        }
        until("all threads are in the application", SOON, || {
            files.iter().all(|file| Path::new(&format!("{file}.called")).exists())
        });
        for file in &files {
            std::fs::write(file, "").unwrap();
        }
        for mut connection in connections {
            assert_eq!(connection.read_response(1).ok().text(), "waited");
        }
    }
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(SOON).success());
}

/// Most calls that ran at once while eight connections asked for it.
fn concurrency(gateway: &Gateway) -> u32 {
    std::thread::scope(|scope| {
        let peers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| -> u32 {
                    let mut connection = gateway.connect();
                    let request = Request::get("/concurrency").keep_conn();
                    let mut most = 0;
                    for _ in 0..20 {
                        most = connection.exchange(&request).ok().text().parse().unwrap();
                    }
                    most
                })
            })
            .collect();
        peers.into_iter().map(|peer| peer.join().unwrap()).max().unwrap()
    })
}

#[test]
fn c54_each_thread_is_one_python_thread_for_its_whole_life() {
    let mut idents = BTreeSet::new();
    let mut most_calls = 0;
    let mut known = BTreeSet::new();
    for _ in 0..100 {
        let text = APPS.get("/threads?c54").ok().text();
        let seen: serde_json::Value = serde_json::from_str(&text).unwrap();
        idents.insert(seen[0].as_u64().unwrap());
        most_calls = most_calls.max(seen[1].as_u64().unwrap());
        known.insert(seen[2].as_u64().unwrap());
    }
    assert!(idents.len() <= 4, "four threads: {idents:?}");
    assert!(
        most_calls >= 25,
        "threading.local survives from request to request: {most_calls}"
    );
    assert!(
        known.iter().all(|count| *count <= 4),
        "threading.enumerate() does not grow: {known:?}"
    );
    until("every close() is recorded", SOON, || {
        APPS.get("/recorded?c54").text().matches("one thread").count() == 100
    });
    assert!(!APPS.get("/recorded?c54").text().contains("several"));
}

#[test]
fn application_is_imported_in_the_main_thread() {
    assert_eq!(APPS.get("/main_thread_import").ok().text(), "True");
}

#[test]
fn f8_children_inherit_no_descriptor_of_the_gateway() {
    let mut kept = APPS.connect();
    kept.exchange(&Request::get("/hello").keep_conn()).ok();
    // What whoever started the tests has left open is inherited by everybody.
    let code = "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')))";
    let inherited = std::process::Command::new("python3")
        .args(["-c", code])
        .output()
        .unwrap();
    let expected = String::from_utf8(inherited.stdout).unwrap();
    assert_eq!(APPS.get("/child_descriptors").ok().text(), expected);
}

#[test]
fn application_may_fork() {
    assert_eq!(APPS.get("/forks").ok().text(), "9");
    assert_eq!(APPS.get("/subprocess_output").ok().text(), "from a child\n");
    APPS.get("/hello").ok();
}

#[test]
fn forked_child_that_comes_back_never_serves_nor_answers() {
    let gateway = Gateway::app("processes").start();
    let before = gateway.processes();
    let mut connection = gateway.connect();
    let response = connection.exchange(&Request::get("/forks_and_raises").keep_conn()).ok();
    assert_eq!(response.text(), "parent", "the child's failure is not the request's");
    connection.exchange(&Request::get("/hello").keep_conn()).ok();
    until("the child is gone", SOON, || gateway.processes() == before);
}

#[test]
fn application_that_closes_standard_descriptors_harms_nobody() {
    let gateway = Gateway::app("processes").start();
    assert_eq!(gateway.get("/closes_descriptor_1").ok().text(), "closed");
    for _ in 0..10 {
        gateway.get("/hello").ok();
    }
    let mut kept = gateway.connect();
    for _ in 0..10 {
        kept.exchange(&Request::get("/pid").keep_conn()).ok();
    }
    gateway.get("/closes_descriptor_1").ok();
    gateway.get("/hello").ok();
}

#[test]
fn c55_waiting_for_a_peer_leaves_python_to_the_others() {
    let gateway = Gateway::app("input").threads(2).start();
    let request = Request::post("/progress?70000", vec![b'x'; 200_000]);
    let mut slow = gateway.connect();
    slow.send(&request.head_bytes());
    slow.send(&request.stdin_bytes()[..65543 + 10_000]);
    let mut response = crate::support::fcgi_client::Response::default();
    slow.read_until_body_has(&mut response, b"first 70000;");
    for _ in 0..10 {
        gateway.get("/hello").ok();
    }
    slow.send(&request.stdin_bytes()[65543 + 10_000..]);
    slow.read_more(&mut response, 1);
    assert_eq!(response.ok().text(), "first 70000;rest 130000");
}
