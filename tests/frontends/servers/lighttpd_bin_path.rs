//! lighttpd that starts the processes itself: deploy/lighttpd-bin-path.conf.

use std::sync::LazyLock;

use super::hosts::{PLACES, host, started_with_one_log};
use super::lighttpd::{
    ANSWERS_RANGES, DROPS_EMPTY_HEADERS, HIDES_EARLY_BREAKS, KEYS, MAPS_UNDERSCORES, MERGES_SLASHES, NEEDS_LENGTH,
    OUTSIDE, REFUSES_UNKNOWN_LENGTH, REQUEST_HEADER, SILENT_ABOUT_GONE, configure, old, virtual_host,
};
use crate::harness::front::{Entry, Front, Server};
use crate::harness::scripts::script;
use crate::support::installed;
use crate::support::lighttpd::Lighttpd;

pub const SERVER: Server = Server {
    name: "lighttpd, bin-path",
    module: "lighttpd_bin_path",
    entry: Entry::Spawned,
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
        HIDES_EARLY_BREAKS,
        SILENT_ABOUT_GONE,
    ],
};

const FILE: &str = "deploy/lighttpd-bin-path.conf";

pub fn unix_new() -> Option<Front> {
    installed::lighttpd().then(|| started_with_one_log(&SERVER, "unix_new", &LIGHTTPD))
}

static LIGHTTPD: LazyLock<Lighttpd> = LazyLock::new(|| {
    let mut lighttpd = configure(FILE);
    for place in PLACES {
        lighttpd = lighttpd
            .script(&format!("{place}/app.fcgi"), script(place, ""))
            .text(&site(place));
    }
    lighttpd.start()
});

fn site(place: &str) -> String {
    let socket = format!("%PREFIX%/{place}.sock");
    let directory = format!("%PREFIX%/{place}/");
    let outside = format!("{OUTSIDE}server.stream-response-body = 1");
    let (from, to) = old();
    let mut replacements = vec![("/run/lighttpd/example.sock", &*socket), ("/srv/example/", &*directory)];
    match place {
        "mounted" => replacements.extend([
            ("server.stream-response-body = 1", &*outside),
            ("    else {", "    else $HTTP[\"url\"] =~ \"^/app(/|$)\" {"),
            ("fastcgi.server = ( \"/\" =>", "fastcgi.server = ( \"/app\" =>"),
        ]),
        "single" => replacements.push(("\"max-procs\" => 2", "\"max-procs\" => 1")),
        "old" => replacements.push((from, &to)),
        // One that dies again and again is not started again in the same second: others serve in the meantime.
        "fragile" => replacements.push(("\"max-procs\" => 2", "\"max-procs\" => 4")),
        _ => {}
    }
    virtual_host(FILE, &host(place, "unix_new"), place, &replacements)
}
