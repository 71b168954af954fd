//! Apache with mod_proxy_fcgi as a handler: apache/proxy-fcgi-handler.conf.

use std::sync::LazyLock;

use super::apache_proxy::{
    BREAKS_OFF_LATE, JOINS_COOKIES, REQUEST_HEADER, RESPONSE_HEADER, configure, parameters, server_name, url,
};
use super::virtual_hosts::{WAYS, Way, assemble, host, places};
use crate::front::{Entry, Front, Server};
use crate::quirk::Quirk;
use crate::support::apache::Apache;
use crate::support::installed;
use crate::support::process::Gateway;
use crate::support::web_server::shipped;

pub const SERVER: Server = Server {
    name: "Apache mod_proxy_fcgi, SetHandler",
    module: "apache_proxy_handler",
    entry: Entry::Serve,
    software: "Apache/",
    keys: &KEYS,
    request_header: REQUEST_HEADER,
    response_header: RESPONSE_HEADER,
    vanished: 503,
    quirks: &[
        (Quirk::MergesSlashes, "Apache looks for a file by that path first"),
        (Quirk::BreaksOffLate, BREAKS_OFF_LATE),
        (Quirk::JoinsCookiesWithCommas, JOINS_COOKIES),
    ],
};

/// As with ProxyPass, and what comes of looking for a file first.
const KEYS: [&str; 11] = [
    "SERVER_SIGNATURE",
    "SERVER_ADDR",
    "DOCUMENT_ROOT",
    "REQUEST_SCHEME",
    "CONTEXT_PREFIX",
    "CONTEXT_DOCUMENT_ROOT",
    "SERVER_ADMIN",
    "SCRIPT_FILENAME",
    "PATH_TRANSLATED",
    "proxy-sendcl",
    "ap_trust_cgilike_cl",
];

pub fn unix_kept() -> Option<Front> {
    front("unix_kept")
}

pub fn unix_new() -> Option<Front> {
    front("unix_new")
}

pub fn tcp_kept() -> Option<Front> {
    front("tcp_kept")
}

pub fn tcp_new() -> Option<Front> {
    front("tcp_new")
}

static APACHE: LazyLock<Apache> = LazyLock::new(|| {
    let mut apache = configure().file("public/robots.txt", "User-agent: *\n");
    for way in &WAYS {
        for (place, gateway) in places((way.backends)()) {
            apache = apache.text(&virtual_host(way, place, gateway));
        }
    }
    apache.start()
});

fn front(way: &'static str) -> Option<Front> {
    installed::apache("proxy_fcgi").then(|| assemble(&SERVER, way, &APACHE))
}

fn virtual_host(way: &Way, place: &str, gateway: &Gateway) -> String {
    let host = host(place, way.name);
    shipped(
        "apache/proxy-fcgi-handler.conf",
        &[
            ("*:80", "127.0.0.1:%PORT0%"),
            ("enablereuse=on", &parameters(way, place)),
            ("unix:/run/wsgi-fpm/example.sock|fcgi://example/", &url(gateway, &host)),
            ("ServerName example.com", &server_name(&host, place)),
            ("/srv/example/", "%PREFIX%/"),
        ],
    )
}
