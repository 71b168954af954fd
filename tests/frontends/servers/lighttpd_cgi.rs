//! lighttpd with mod_cgi, which starts a process for each request: deploy/lighttpd-cgi.conf.

use std::sync::LazyLock;

use super::hosts::{PLACES, host, started_with_one_log};
use super::lighttpd::{
    ANSWERS_RANGES, DROPS_EMPTY_HEADERS, KEYS, MAPS_UNDERSCORES, MERGES_SLASHES, NEEDS_LENGTH, OUTSIDE,
    REFUSES_UNKNOWN_LENGTH, REQUEST_HEADER, configure, virtual_host,
};
use crate::harness::backends::a_minute_ago;
use crate::harness::front::{Entry, Front, Server};
use crate::harness::quirk::Quirk;
use crate::harness::scripts::script;
use crate::support::installed;
use crate::support::lighttpd::Lighttpd;
use crate::support::web_server::path;

pub const SERVER: Server = Server {
    name: "lighttpd, mod_cgi",
    module: "lighttpd_cgi",
    entry: Entry::Cgi,
    software: "lighttpd/",
    keys: &[KEYS],
    request_header: REQUEST_HEADER,
    response_header: super::RESPONSE_HEADER,
    vanished: 500,
    quirks: &[
        MERGES_SLASHES,
        ANSWERS_RANGES,
        DROPS_EMPTY_HEADERS,
        MAPS_UNDERSCORES,
        NEEDS_LENGTH,
        REFUSES_UNKNOWN_LENGTH,
        (
            Quirk::HidesBrokenTransfers,
            "CGI has no sign for it: the end of the output is all that lighttpd sees",
        ),
        (
            Quirk::ForgetsProcesses,
            "lighttpd 1.4.69 loses younger processes from its list with each older one that ends",
        ),
        (
            Quirk::KillsProcessOfGoneClient,
            "mod_cgi ends what it has started for the request",
        ),
    ],
};

const FILE: &str = "deploy/lighttpd-cgi.conf";

pub fn alias() -> Option<Front> {
    installed::lighttpd().then(|| started_with_one_log(&SERVER, "alias", &LIGHTTPD))
}

static LIGHTTPD: LazyLock<Lighttpd> = LazyLock::new(|| {
    let mut lighttpd = configure(FILE);
    for place in PLACES {
        lighttpd = lighttpd
            .script(&format!("{place}/app.cgi"), script(place, ""))
            .text(&site(place));
    }
    lighttpd.start()
});

fn site(place: &str) -> String {
    let directory = format!("%PREFIX%/{place}/");
    let outside = format!("{OUTSIDE}server.stream-response-body = 1");
    let mut environment = path().into_string().unwrap();
    if place == "old" {
        environment = format!("{environment}\", \"REQUEST_START\" => \"{}", a_minute_ago());
    }
    let mut replacements = vec![("/usr/local/bin:/usr/bin:/bin", &*environment)];
    if place == "mounted" {
        replacements.extend([
            ("server.stream-response-body = 1", &*outside),
            ("    else {", "    else $HTTP[\"url\"] =~ \"^/app(/|$)\" {"),
            (
                "\"/\" => \"/srv/example/app.cgi/\"",
                "\"/app\" => \"/srv/example/app.cgi\"",
            ),
        ]);
    }
    replacements.push(("/srv/example/", &directory));
    virtual_host(FILE, &host(place, "alias"), place, &replacements)
}
