//! Processes that mod_fcgid starts, keeps and ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::fcgid;
use crate::support::http::{Client, Request, fetch};
use crate::support::wait::{SOON, until, until_some};

fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// SPEC A32: mod_fcgid asks the process to stop, again after a second, and kills it after eight.
#[test]
fn graceful_restart_lets_the_running_request_finish() {
    let Some(apache) = fcgid() else {
        return;
    };
    let apache = apache.start();
    let mark = apache.path("mark");
    let mut client = Client::connect(apache.address());
    client.send_head(&Request::get(format!("/slow?seconds=1.5&mark={}", mark.display())));
    let pid = || fs::read_to_string(&mark).ok().filter(|pid| !pid.is_empty());
    let pid = until_some("the request runs", SOON, pid);
    let begin = Instant::now();
    apache.process.signal(Signal::USR1);
    assert_eq!(client.read_response(false).ok().text(), "slow");
    until("the process is gone", SOON, || !is_alive(&pid));
    assert!(begin.elapsed() < Duration::from_secs(8), "mod_fcgid has killed it");
    let next = until_some("Apache has restarted", SOON, || {
        let response = fetch(apache.address(), &Request::get("/process")).ok().text();
        (response != pid).then_some(response)
    });
    assert!(is_alive(&next));
}

#[test]
fn stop_of_apache_ends_its_processes() {
    let Some(apache) = fcgid() else {
        return;
    };
    let apache = apache.start();
    let pid = fetch(apache.address(), &Request::get("/process")).ok().text();
    assert!(is_alive(&pid));
    apache.process.signal(Signal::TERM);
    apache.process.wait_for_end(SOON);
    until("the process is gone", SOON, || !is_alive(&pid));
}

#[test]
fn process_serves_on_and_on() {
    let Some(apache) = fcgid() else {
        return;
    };
    let apache = apache.start();
    let mut client = Client::connect(apache.address());
    let pids: BTreeSet<String> = (0..600)
        .map(|_| client.exchange(&Request::get("/process")).ok().text())
        .collect();
    assert_eq!(pids.len(), 1, "{pids:?}");
}

#[test]
fn requests_at_the_same_time_have_a_process_each() {
    let Some(apache) = fcgid() else {
        return;
    };
    let apache = apache.start();
    let gate = |name| apache.path(name).display().to_string();
    let start = |name| {
        let mut client = Client::connect(apache.address());
        client.send_head(&Request::get(format!("/gated?gate={}", gate(name))));
        let called = apache.path(&format!("{name}.called"));
        let pid = || fs::read_to_string(&called).ok().filter(|pid| !pid.is_empty());
        (client, until_some("the request runs", SOON, pid))
    };
    let ((mut one, first), (mut two, second)) = (start("one"), start("two"));
    assert_ne!(first, second);
    for (name, client) in [("one", &mut one), ("two", &mut two)] {
        fs::write(gate(name), "").unwrap();
        client.read_response(false).ok();
    }
}
