//! Apache with mod_proxy_fcgi and ProxyPass: apache/proxy-fcgi.conf.

use std::sync::LazyLock;

use super::virtual_hosts::{WAYS, Way, assemble, host, places};
use crate::backends::a_minute_ago;
use crate::front::{Entry, Front, Server};
use crate::quirk::{Limit, Quirk};
use crate::support::apache::{Apache, Builder};
use crate::support::installed;
use crate::support::net::Address;
use crate::support::process::Gateway;
use crate::support::web_server::shipped;

pub const SERVER: Server = Server {
    name: "Apache mod_proxy_fcgi, ProxyPass",
    module: "apache_proxy",
    entry: Entry::Serve,
    software: "Apache/",
    keys: &KEYS,
    request_header: REQUEST_HEADER,
    response_header: RESPONSE_HEADER,
    vanished: 503,
    quirks: &[
        (
            Quirk::MergesLeadingSlashes,
            "mod_proxy; what follows stays as it is with `MergeSlashes Off`",
        ),
        (Quirk::BreaksOffLate, BREAKS_OFF_LATE),
        (Quirk::JoinsCookiesWithCommas, JOINS_COOKIES),
    ],
};

pub const JOINS_COOKIES: &str = "Apache joins all headers so; over HTTP/2 cookies are joined before";
pub const BREAKS_OFF_LATE: &str = "Apache treats the client's connection like an idle one";

/// `ap_add_common_vars`, and the variables of apache/proxy-fcgi.conf.
pub const KEYS: [&str; 10] = [
    "SERVER_SIGNATURE",
    "SERVER_ADDR",
    "DOCUMENT_ROOT",
    "REQUEST_SCHEME",
    "CONTEXT_PREFIX",
    "CONTEXT_DOCUMENT_ROOT",
    "SERVER_ADMIN",
    "SCRIPT_FILENAME",
    "proxy-sendcl",
    "ap_trust_cgilike_cl",
];

/// LimitRequestFieldSize, name and all.
pub const REQUEST_HEADER: Limit = Limit {
    passes: 8000,
    fails: 8200,
    status: 400,
};

/// MAX_STRING_LEN of the parser for all kinds of CGI.
pub const RESPONSE_HEADER: Limit = Limit {
    passes: 8000,
    fails: 8200,
    status: 500,
};

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
    let mut apache = configure();
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

/// An Apache for mod_proxy_fcgi.
pub fn configure() -> Builder {
    ["proxy", "proxy_fcgi", "env"]
        .iter()
        .fold(Apache::configure(), |apache, module| apache.module(module))
}

/// Where the file of configuration has this socket, the one of `gateway`.
pub fn url(gateway: &Gateway, host: &str) -> String {
    match &gateway.address {
        Address::Unix(path) => format!("unix:{}|fcgi://{host}/", path.display()),
        Address::Tcp(address) => format!("fcgi://{address}/"),
    }
}

/// How the connection is kept, and in which place nothing is buffered.
pub fn parameters(way: &Way, place: &str) -> String {
    let reuse = if way.kept { "on" } else { "off" };
    let flush = if place == "streaming" { " flushpackets=on" } else { "" };
    format!("enablereuse={reuse}{flush}")
}

/// The name of a place, and what it has that is not in the shipped file.
pub fn server_name(host: &str, place: &str) -> String {
    match place {
        "old" => format!("ServerName {host}\nSetEnv REQUEST_START {}", a_minute_ago()),
        _ => format!("ServerName {host}"),
    }
}

fn virtual_host(way: &Way, place: &str, gateway: &Gateway) -> String {
    let host = host(place, way.name);
    shipped(
        "apache/proxy-fcgi.conf",
        &[
            ("*:80", "127.0.0.1:%PORT0%"),
            ("enablereuse=on", &parameters(way, place)),
            ("unix:/run/wsgi-fpm/example.sock|fcgi://example/", &url(gateway, &host)),
            ("ServerName example.com", &server_name(&host, place)),
            ("/srv/example/", "%PREFIX%/"),
        ],
    )
}
