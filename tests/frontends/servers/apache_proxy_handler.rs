//! Apache with mod_proxy_fcgi as a handler: apache/proxy-fcgi-handler.conf.

use std::sync::LazyLock;

use super::apache::{JOINS_COOKIES, KEYS, MERGES_SLASHES, REQUEST_HEADER, RESPONSE_HEADER, SILENT_ABOUT_GONE};
use super::apache_proxy::{BREAKS_OFF_LATE, REUSES_CLOSING_CONNECTIONS, VARIABLES, sites};
use super::hosts::{WAYS, connected};
use crate::harness::front::{Entry, Front, Server};
use crate::support::apache::Apache;
use crate::support::installed;

pub const SERVER: Server = Server {
    name: "Apache mod_proxy_fcgi, SetHandler",
    module: "apache_proxy_handler",
    entry: Entry::Serve,
    software: "Apache/",
    // It looks for a file first.
    keys: &[KEYS, VARIABLES, &["PATH_TRANSLATED"]],
    request_header: REQUEST_HEADER,
    response_header: RESPONSE_HEADER,
    vanished: 503,
    quirks: &[
        MERGES_SLASHES,
        BREAKS_OFF_LATE,
        REUSES_CLOSING_CONNECTIONS,
        JOINS_COOKIES,
        SILENT_ABOUT_GONE,
    ],
};

ways! { unix_kept unix_new tcp_kept tcp_new }

static APACHE: LazyLock<Apache> = LazyLock::new(|| {
    let apache = Apache::proxy_fcgi().file("public/robots.txt", "User-agent: *\n");
    sites(apache, "apache/proxy-fcgi-handler.conf").start()
});

fn front(way: &str) -> Option<Front> {
    installed::apache("proxy_fcgi").then(|| connected(&SERVER, way, &WAYS, &APACHE))
}
