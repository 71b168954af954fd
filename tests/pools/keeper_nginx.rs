//! Killed processes behind nginx, which keeps its connections: what clients get.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::house::{House, directory, pool};
use crate::support::http::{Client, Request, fetch};
use crate::support::nginx::{Nginx, upstream};
use crate::support::process::Gateway;
use crate::support::wait::{SOON, until, until_ended};

/// An nginx that keeps its connections to this server.
fn nginx(server: &str) -> Nginx {
    Nginx::configure()
        // Clients, too, keep theirs.
        .http("keepalive_requests 100000000;")
        .http(&format!("upstream kept {{ server {server}; keepalive 16; }}"))
        .server(
            0,
            "kept.test",
            "location / { include wsgi_fpm_params; fastcgi_pass kept; fastcgi_keep_conn on; }",
        )
        .start()
}

fn post() -> Request {
    Request::post("/pid").host("kept.test").body(vec![b'x'; 1024])
}

/// What clients that post all the time get while something is done to the gateway: requests that were served, and others.
fn under_load(nginx: &Nginx, action: impl FnOnce()) -> (usize, usize) {
    let (over, served, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = Client::connect(nginx.address());
                while !over.load(Ordering::Relaxed) {
                    match client.exchange(&post()).status {
                        200 => served.fetch_add(1, Ordering::Relaxed),
                        502 => failed.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other}"),
                    };
                }
            });
        }
        std::thread::sleep(Duration::from_millis(200));
        action();
        std::thread::sleep(Duration::from_millis(300));
        over.store(true, Ordering::Relaxed);
    });
    (served.into_inner(), failed.into_inner())
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    until_ended(pid, SOON);
}

#[test]
fn killed_worker_costs_no_more_than_the_requests_inside() {
    let gateway = Gateway::app("processes").workers(2).threads(1).start();
    let nginx = nginx(&upstream(&gateway.address));
    let (served, failed) = under_load(&nginx, || {
        for _ in 0..4 {
            let worker = gateway.get("/pid").ok().text();
            kill(worker.parse().unwrap());
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    // One thread has one request, and another one may have been in the middle of its arrival.
    assert!(failed <= 2 * 4, "{failed} of {}", served + failed);
    assert!(served > 50, "{served}");
}

#[test]
fn killed_leader_costs_no_more_than_the_requests_inside() {
    let gateway = Gateway::app("processes").workers(2).threads(1).start();
    let nginx = nginx(&upstream(&gateway.address));
    let ready = |line: &str| line.contains(" ready ");
    let (served, failed) = under_load(&nginx, || {
        for _ in 0..3 {
            let before = gateway.log.count(ready);
            let worker = gateway.get("/pid").ok().text();
            let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
            let leader = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
            kill(leader.trim().parse().unwrap());
            until("another generation serves", SOON, || gateway.log.count(ready) > before);
        }
    });
    assert!(failed <= 4 * 3, "{failed} of {}", served + failed);
    assert!(served > 50, "{served}");
}

#[test]
fn client_of_a_pool_that_nobody_serves_gets_503_with_a_hint() {
    let directory = directory();
    std::fs::write(directory.path().join("who.py"), "raise RuntimeError('broken')\n").unwrap();
    let house = House::serve_in(directory, &[pool("one", "")]);
    house.wait_for(0, &["starting again", "pool=\"one\""]);
    let nginx = nginx(&upstream(&house.socket("one")));
    let get = || fetch(nginx.address(), &post());
    until("it is refused", SOON, || {
        let response = get();
        response.status == 503 && response.header("Retry-After").is_some()
    });
    std::fs::copy(crate::house::app("who.py"), house.path("who.py")).unwrap();
    house.wait_ready("one");
    get().ok();
}
