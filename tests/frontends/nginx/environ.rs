//! What the application is told by nginx's params, the project's and those of the distribution.

use super::{PLAIN, STOCK, behind_nginx};
use crate::harness::backends::site;
use crate::support::http::{Request, fetch};

/// B9, B21: nginx says `server_name ""` where none is configured.
#[test]
fn server_name_is_never_empty() {
    let Some((_gateway, nginx)) = behind_nginx(site(), &[PLAIN]) else {
        return;
    };
    for &address in &nginx.addresses {
        let (named, by_address) = ("shop.example:8080", address.to_string());
        for (host, name) in [(named, "shop.example"), (&by_address, "127.0.0.1")] {
            let environ = fetch(address, &Request::get("/some/page?x").host(host)).ok().json();
            assert_eq!(environ["HTTP_HOST"], host);
            assert_eq!(environ["SERVER_NAME"], name);
            assert_eq!(environ["DOCUMENT_URI"], "/some/page");
            assert_eq!(environ["SERVER_PORT"], address.port().to_string());
        }
    }
}

/// B5's own test: what nginx sends passes the strictest reader.
#[test]
fn requests_through_nginx_pass_wsgiref_validate() {
    // wsgiref.validate wants an application that reads the body with a size.
    let Some((gateway, nginx)) = behind_nginx(site().flag("--validate"), &[PLAIN, STOCK]) else {
        return;
    };
    for host in ["localhost", STOCK.name] {
        for request in [
            Request::get("/digest"),
            Request::get("/digest?a%20b"),
            Request::post("/digest").form(&[("a", "b")]),
            Request::post("/digest").chunks(&[b"abc"]),
            Request::new("OPTIONS", "/digest"),
        ] {
            fetch(nginx.addresses[1], &request.host(host)).ok();
        }
    }
    let log = &gateway.log;
    assert_eq!(log.count(|line| line.contains("Traceback")), 0, "{}", log.text());
}
