//! lighttpd that starts the processes itself: deploy/lighttpd-bin-path.conf.

use std::sync::LazyLock;

use super::lighttpd::{
    ANSWERS_RANGES, DROPS_EMPTY_HEADERS, HIDES_EARLY_BREAKS, KEYS, MAPS_UNDERSCORES, MERGES_SLASHES, NEEDS_LENGTH,
    OUTSIDE, REFUSES_UNKNOWN_LENGTH, REQUEST_HEADER, configure, old, virtual_host,
};
use super::script_hosts::{PLACES, assemble_with_one_log, host};
use crate::front::{Entry, Front, Server};
use crate::quirk::Quirk;
use crate::scripts::script;
use crate::support::installed;
use crate::support::lighttpd::Lighttpd;

pub const SERVER: Server = Server {
    name: "lighttpd, bin-path",
    module: "lighttpd_bin_path",
    entry: Entry::Spawned,
    software: "lighttpd/",
    keys: &KEYS,
    request_header: REQUEST_HEADER,
    response_header: super::RESPONSE_HEADER,
    vanished: 500,
    quirks: &[
        (Quirk::MergesSlashes, MERGES_SLASHES),
        (Quirk::AnswersRanges, ANSWERS_RANGES),
        (Quirk::DropsEmptyHeaders, DROPS_EMPTY_HEADERS),
        (Quirk::MapsUnderscores, MAPS_UNDERSCORES),
        (Quirk::NeedsLengthOfEmptyPost, NEEDS_LENGTH),
        (Quirk::RefusesUnknownLengthUncollected, REFUSES_UNKNOWN_LENGTH),
        (Quirk::HidesEarlyBreaks, HIDES_EARLY_BREAKS),
    ],
};

const FILE: &str = "deploy/lighttpd-bin-path.conf";

pub fn unix_new() -> Option<Front> {
    installed::lighttpd().then(|| assemble_with_one_log(&SERVER, "unix_new", &LIGHTTPD))
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
