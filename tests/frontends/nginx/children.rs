//! Children of an application behind an nginx that keeps no connections, as it does unless it is told to.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Host, PLAIN, behind_nginx};
use crate::support::http::{Request, fetch};
use crate::support::nginx::Nginx;
use crate::support::process::Gateway;

fn children_behind_nginx() -> Option<(Gateway, Nginx, SocketAddr)> {
    const PATIENT: Host = Host {
        location: "fastcgi_read_timeout 30s;",
        ..PLAIN
    };
    let (gateway, nginx) = behind_nginx(Gateway::app("children"), &[PATIENT])?;
    let address = nginx.addresses[1];
    Some((gateway, nginx, address))
}

#[test]
fn response_ends_although_its_request_has_started_processes_that_stay() {
    let Some((_gateway, nginx, address)) = children_behind_nginx() else {
        return;
    };
    let start = Instant::now();
    // Without and with a Content-Length.
    for (target, body) in [
        ("/lingers", None),
        ("/executes", Some("285")),
        ("/executes", Some("285")),
    ] {
        let response = fetch(address, &Request::get(target)).ok();
        assert!(
            body.is_none_or(|body| response.text() == body),
            "{target}: {}",
            response.text()
        );
    }
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_eq!(nginx.errors(), Vec::<String>::new());
}

#[test]
fn killed_worker_with_children_is_a_502_at_once() {
    let Some((_gateway, _nginx, address)) = children_behind_nginx() else {
        return;
    };
    fetch(address, &Request::get("/executes")).ok();
    fetch(address, &Request::get("/lingers")).ok();
    let start = Instant::now();
    fetch(address, &Request::get("/kill")).expect(502);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}
