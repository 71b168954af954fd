//! Apache with mod_proxy_fcgi as a handler: apache/proxy-fcgi-handler.conf.

use std::sync::LazyLock;

use super::apache_proxy::{
    BREAKS_OFF_LATE, JOINS_COOKIES, REQUEST_HEADER, RESPONSE_HEADER, Way, assemble, configure, host, places, url,
};
use crate::backends;
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

const WAYS: [Way; 3] = [
    ("unix_kept", backends::unix, true),
    ("unix_new", backends::unix, false),
    ("tcp_kept", backends::tcp, true),
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

static APACHE: LazyLock<Apache> = LazyLock::new(|| {
    let mut apache = configure().file("public/robots.txt", "User-agent: *\n");
    for (way, backends, kept) in WAYS {
        for (place, gateway, line) in places(backends()) {
            apache = apache.text(&virtual_host(way, place, gateway, kept, &line));
        }
    }
    apache.start()
});

fn front(way: &'static str) -> Option<Front> {
    let (_, backends, _) = WAYS.iter().find(|(name, ..)| *name == way).unwrap();
    installed::apache("proxy_fcgi").then(|| assemble(&SERVER, &APACHE, way, backends()))
}

fn virtual_host(way: &str, place: &str, gateway: &Gateway, kept: bool, line: &str) -> String {
    let host = host(place, way);
    let url = url(gateway, &host);
    let flush = if place == "streaming" { " flushpackets=on" } else { "" };
    let reuse = if kept { "enablereuse=on" } else { "enablereuse=off" };
    shipped(
        "apache/proxy-fcgi-handler.conf",
        &[
            ("*:80", "127.0.0.1:%PORT0%"),
            ("enablereuse=on", &format!("{reuse}{flush}")),
            ("unix:/run/wsgi-fpm/example.sock|fcgi://example/", &url),
            ("ServerName example.com", &format!("ServerName {host}\n{line}")),
            ("/srv/example/", "%PREFIX%/"),
        ],
    )
}
