//! Workers that die in a request: SPEC E6, through nginx.

use crate::front::{kept_upstream, site};
use crate::support::http::{Request, fetch};
use crate::support::installed;
use crate::support::nginx::{Nginx, upstream};
use crate::support::process::Gateway;

/// A gateway of one worker, whose kept connections are port 0 and new ones port 1.
fn gateway_behind_nginx() -> Option<(Gateway, Nginx)> {
    if !installed::nginx() {
        return None;
    }
    let gateway = site().start();
    let kept = "location / { include wsgi_fpm_params; fastcgi_pass kept; fastcgi_keep_conn on; }";
    let new = format!(
        "location / {{ include wsgi_fpm_params; fastcgi_pass {}; }}",
        upstream(&gateway.address)
    );
    let nginx = Nginx::configure()
        .http(&kept_upstream("kept", &gateway))
        .server(0, "", kept)
        .server(1, "", &new)
        .start();
    Some((gateway, nginx))
}

#[test]
fn worker_that_is_killed_costs_its_request_and_no_other() {
    let Some((gateway, nginx)) = gateway_behind_nginx() else {
        return;
    };
    for &address in &nginx.addresses {
        fetch(address, &Request::get("/")).ok();
        // Over a kept connection nginx would try a GET a second time, as it should.
        fetch(address, &Request::post("/dies?by=SIGKILL")).expect(502);
        fetch(address, &Request::get("/")).ok();
    }
    gateway.log.wait_for_line(&["signal 9", "/dies"]);
}

#[test]
fn worker_that_crashes_answers_502_itself() {
    let Some((gateway, nginx)) = gateway_behind_nginx() else {
        return;
    };
    for &address in &nginx.addresses {
        fetch(address, &Request::get("/")).ok();
        for by in ["SIGSEGV", "SIGABRT"] {
            let response = fetch(address, &Request::post(format!("/dies?by={by}"))).expect(502);
            // nginx's own page would be HTML.
            assert_eq!(response.text(), "502 Bad Gateway\n", "{by}");
            fetch(address, &Request::get("/")).ok();
        }
    }
    gateway.log.wait_for_line(&["Fatal Python error: Segmentation fault"]);
    // Other connections die with the worker, which nginx notices and makes up for.
    let errors: Vec<_> = nginx
        .errors()
        .into_iter()
        .filter(|line| line.contains("/dies"))
        .collect();
    assert_eq!(errors, Vec::<String>::new());
}
