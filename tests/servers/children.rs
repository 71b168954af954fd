//! Children of an application behind an nginx that keeps no connections, as it does unless it is told to.

use std::time::{Duration, Instant};

use crate::support::http::{Request, fetch};
use crate::support::installed;
use crate::support::nginx::{Nginx, upstream};
use crate::support::process::Gateway;

fn behind_nginx() -> Option<(Gateway, Nginx)> {
    if !installed::nginx() {
        return None;
    }
    let gateway = Gateway::app("children").start();
    let location = format!(
        "location / {{ include wsgi_fpm_params; fastcgi_pass {}; fastcgi_read_timeout 30s; fastcgi_keep_conn off; }}",
        upstream(&gateway.address)
    );
    let nginx = Nginx::configure().server(0, "localhost", &location).start();
    Some((gateway, nginx))
}

#[test]
fn response_ends_although_its_request_has_started_processes_that_stay() {
    let Some((_gateway, nginx)) = behind_nginx() else {
        return;
    };
    let start = Instant::now();
    // Without and with a Content-Length.
    for (target, body) in [
        ("/lingers", None),
        ("/executes", Some("285")),
        ("/executes", Some("285")),
    ] {
        let response = fetch(nginx.address(), &Request::get(target)).ok();
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
    let Some((_gateway, nginx)) = behind_nginx() else {
        return;
    };
    fetch(nginx.address(), &Request::get("/executes")).ok();
    fetch(nginx.address(), &Request::get("/lingers")).ok();
    let start = Instant::now();
    fetch(nginx.address(), &Request::get("/kill")).expect(502);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}
