//! Workers that die in a request: SPEC E6, through nginx.

use super::{PLAIN, behind_nginx};
use crate::harness::backends::site;
use crate::support::http::{Request, fetch};

#[test]
fn worker_that_is_killed_costs_its_request_and_no_other() {
    let Some((gateway, nginx)) = behind_nginx(site(), &[PLAIN]) else {
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
    let Some((gateway, nginx)) = behind_nginx(site(), &[PLAIN]) else {
        return;
    };
    for &address in &nginx.addresses {
        fetch(address, &Request::get("/")).ok();
        for by in ["SIGSEGV", "SIGABRT"] {
            let response = fetch(address, &Request::post(format!("/dies?by={by}"))).expect(502);
            // nginx's own page would be HTML.
            assert_eq!(response.text(), "502 Bad Gateway\n", "{by}");
            let next = fetch(address, &Request::get("/"));
            assert_eq!(
                next.status,
                200,
                "{by} {address}\n{}\n{}",
                next.text(),
                gateway.log.text()
            );
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
