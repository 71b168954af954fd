//! Apache with mod_cgid where only a directory's own configuration can be changed: apache/cgid.htaccess.

use std::sync::LazyLock;

use super::apache::{JOINS_COOKIES, KEYS, MERGES_SLASHES, REQUEST_HEADER, RESPONSE_HEADER, waited};
use super::apache_cgid::unbuffered;
use super::apache_fcgid_htaccess::{REDIRECTED, REDIRECTS_TO_SLASH, REFUSES_ENCODED_SLASH, hosted};
use super::hosts::started_with_one_log;
use crate::harness::front::{Entry, Front, Server};
use crate::support::apache::Apache;
use crate::support::installed;

pub const SERVER: Server = Server {
    name: "Apache mod_cgid, .htaccess",
    module: "apache_cgid_htaccess",
    entry: Entry::Cgi,
    software: "Apache/",
    keys: &[KEYS, REDIRECTED, &["PATH_TRANSLATED", "REDIRECT_ap_trust_cgilike_cl"]],
    request_header: REQUEST_HEADER,
    response_header: RESPONSE_HEADER,
    vanished: 500,
    quirks: &[JOINS_COOKIES, MERGES_SLASHES, REFUSES_ENCODED_SLASH, REDIRECTS_TO_SLASH],
};

ways! { htaccess }

static APACHE: LazyLock<Apache> = LazyLock::new(|| {
    let apache = Apache::cgid().module("rewrite");
    hosted(apache, "cgid.htaccess", "app.cgi", waited).start()
});

fn front(way: &str) -> Option<Front> {
    installed::apache("cgid").then(|| unbuffered(started_with_one_log(&SERVER, way, &APACHE)))
}
