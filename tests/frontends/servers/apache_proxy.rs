//! Apache with mod_proxy_fcgi and ProxyPass: apache/proxy-fcgi.conf.

use std::sync::LazyLock;

use super::apache::{JOINS_COOKIES, KEYS, REQUEST_HEADER, RESPONSE_HEADER, SILENT_ABOUT_GONE, waited};
use super::hosts::{PLACES, WAYS, Way, connected, host};
use crate::harness::front::{Entry, Front, Server};
use crate::harness::quirk::Quirk;
use crate::support::apache::{Apache, Builder, proxy_url};
use crate::support::installed;

pub const SERVER: Server = Server {
    name: "Apache mod_proxy_fcgi, ProxyPass",
    module: "apache_proxy",
    entry: Entry::Serve,
    software: "Apache/",
    keys: &[KEYS, VARIABLES],
    request_header: REQUEST_HEADER,
    response_header: RESPONSE_HEADER,
    vanished: 503,
    quirks: &[
        (
            Quirk::MergesLeadingSlashes,
            "mod_proxy; what follows stays as it is with `MergeSlashes Off`",
        ),
        BREAKS_OFF_LATE,
        REUSES_CLOSING_CONNECTIONS,
        JOINS_COOKIES,
        SILENT_ABOUT_GONE,
    ],
};

pub const BREAKS_OFF_LATE: (Quirk, &str) = (
    Quirk::BreaksOffLate,
    "Apache treats the client's connection like an idle one",
);

pub const REUSES_CLOSING_CONNECTIONS: (Quirk, &str) = (
    Quirk::ReusesClosingConnections,
    "the gateway closes the connection behind such an answer, and Apache may have taken it again by then",
);

/// The variables of apache/proxy-fcgi.conf.
pub const VARIABLES: &[&str] = &["proxy-sendcl", "ap_trust_cgilike_cl"];

ways! { unix_kept unix_new tcp_kept tcp_new }

static APACHE: LazyLock<Apache> = LazyLock::new(|| sites(Apache::proxy_fcgi(), "apache/proxy-fcgi.conf").start());

fn front(way: &str) -> Option<Front> {
    installed::apache("proxy_fcgi").then(|| connected(&SERVER, way, &WAYS, &APACHE))
}

/// The site of `file` for each place of each way.
pub fn sites(mut apache: Builder, file: &str) -> Builder {
    for way in &WAYS {
        for place in PLACES {
            let host = host(place, way.name);
            let url = proxy_url(&way.gateway(place).address, &host);
            let replacements = [
                ("enablereuse=on", &*parameters(way, place)),
                ("unix:/run/wsgi-fpm/example.sock|fcgi://example/", &url),
                ("/srv/example/", "%PREFIX%/"),
            ];
            apache = apache.site(file, &host, &waited(place), &replacements);
        }
    }
    apache
}

/// How the connection is kept, and in which place nothing is buffered.
fn parameters(way: &Way, place: &str) -> String {
    let reuse = if way.kept { "on" } else { "off" };
    let flush = if place == "streaming" { " flushpackets=on" } else { "" };
    format!("enablereuse={reuse}{flush}")
}
