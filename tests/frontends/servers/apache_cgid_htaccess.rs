//! Apache with mod_cgid where only a directory's own configuration can be changed: apache/cgid.htaccess.

use std::sync::LazyLock;

use super::apache_cgid::{additional, unbuffered};
use super::apache_fcgid::MERGES_SLASHES;
use super::apache_fcgid_htaccess::{REDIRECTS_TO_SLASH, REFUSES_ENCODED_SLASH, directory, hosted};
use super::apache_proxy::{JOINS_COOKIES, REQUEST_HEADER, RESPONSE_HEADER};
use super::script_hosts::{PLACES, assemble_with_one_log};
use crate::front::{Entry, Front, Server};
use crate::quirk::Quirk;
use crate::scripts::script;
use crate::support::apache::Apache;
use crate::support::installed;
use crate::support::web_server::shipped;

pub const SERVER: Server = Server {
    name: "Apache mod_cgid, .htaccess",
    module: "apache_cgid_htaccess",
    entry: Entry::Cgi,
    software: "Apache/",
    keys: &[
        "SERVER_SIGNATURE",
        "SERVER_ADDR",
        "DOCUMENT_ROOT",
        "REQUEST_SCHEME",
        "CONTEXT_PREFIX",
        "CONTEXT_DOCUMENT_ROOT",
        "SERVER_ADMIN",
        "SCRIPT_FILENAME",
        "PATH_TRANSLATED",
        "REDIRECT_URL",
        "REDIRECT_QUERY_STRING",
        "REDIRECT_STATUS",
        "REDIRECT_ap_trust_cgilike_cl",
    ],
    request_header: REQUEST_HEADER,
    response_header: RESPONSE_HEADER,
    vanished: 500,
    quirks: &[
        (Quirk::JoinsCookiesWithCommas, JOINS_COOKIES),
        (Quirk::MergesSlashes, MERGES_SLASHES),
        (Quirk::RefusesEncodedSlash, REFUSES_ENCODED_SLASH),
        (Quirk::RedirectsToSlash, REDIRECTS_TO_SLASH),
    ],
};

pub fn htaccess() -> Option<Front> {
    installed::apache("cgid").then(|| unbuffered(assemble_with_one_log(&SERVER, "htaccess", &APACHE)))
}

static APACHE: LazyLock<Apache> = LazyLock::new(|| {
    let mut apache = Apache::configure().module("cgid").module("env").module("rewrite");
    for place in PLACES {
        let htaccess = shipped("apache/cgid.htaccess", &[]);
        let script = script(place, "# strip_script = true\n");
        apache = hosted(apache, "htaccess", place, &additional(place), &htaccess)
            .script(&format!("{}/app.cgi", directory(place)), script);
    }
    apache.start()
});
