//! The sites that users copy, whole: what of them the scenarios don't reach, such as static files, a second application under a
//! prefix, files that the application allows, and TLS.

mod caddy;
mod haproxy;
mod lighttpd;
mod nginx;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::harness::backends;
use crate::support::http::{Request, Response, fetch};
use crate::support::net::Address;
use crate::support::process::Gateway;
use crate::support::tls;

/// The two applications of a site.
struct Applications {
    example: Gateway,
    /// Started with `--mount /shop`.
    shop: Gateway,
}

impl Applications {
    fn start() -> Self {
        Self {
            example: backends::site().start(),
            shop: backends::site().option("--mount", "/shop").start(),
        }
    }
}

fn socket(gateway: &Gateway) -> String {
    match &gateway.address {
        Address::Unix(path) => path.display().to_string(),
        Address::Tcp(address) => address.to_string(),
    }
}

/// As a browser asks `example.com`.
#[track_caller]
fn get(address: SocketAddr, target: &str) -> Response {
    fetch(address, &Request::get(target).host("example.com"))
}

/// Both applications have what is theirs.
#[track_caller]
fn expect_both_applications(address: SocketAddr) {
    let paths = |target: &str| {
        let environ = get(address, target).ok().json();
        ["SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"].map(|key| environ[key].as_str().unwrap().to_owned())
    };
    assert_eq!(paths("/"), ["", "/", ""]);
    assert_eq!(paths("/a%20page?x=1"), ["", "/a page", "x=1"]);
    assert_eq!(paths("/shop/"), ["/shop", "/", ""]);
    assert_eq!(paths("/shop/shop/x?y"), ["/shop", "/shop/x", "y"]);
    // Not below the prefix, so the other application's.
    assert_eq!(paths("/shopping"), ["", "/shopping", ""]);
    // Links that the application makes lead back to it.
    let response = get(address, "/shop/redirect?to=/shop/page").expect(302);
    assert!(response.header("Location").unwrap().ends_with("/shop/page"));
}

#[track_caller]
fn expect_static_files(address: SocketAddr) {
    assert_eq!(get(address, "/static/site.css").ok().text(), "body{}\n");
    let response = get(address, "/static/none.css").expect(404);
    assert_ne!(response.text(), "404 Not Found\n", "the application was asked");
}

/// B12: the server says itself that the browser came by TLS.
#[track_caller]
fn expect_tls(address: SocketAddr) {
    let environ: Value = serde_json::from_slice(&tls::fetch(address, "/page?x=1")).unwrap();
    let expected = json!({
        "wsgi.url_scheme": "https",
        "HTTPS": "on",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": address.port().to_string(),
        "PATH_INFO": "/page",
        "QUERY_STRING": "x=1",
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&environ[key], value, "{key} in {environ:#}");
    }
}
