//! lighttpd that connects to a running gateway: deploy/lighttpd.conf.

use std::sync::LazyLock;

use super::hosts::{NEW, PLACES, connected, host};
use crate::harness::backends::a_minute_ago;
use crate::harness::front::{Entry, Front, Server};
use crate::harness::quirk::{Limit, Quirk};
use crate::support::installed;
use crate::support::lighttpd::{Builder, Lighttpd};
use crate::support::net::Address;
use crate::support::process::Gateway;
use crate::support::web_server::shipped;

pub const SERVER: Server = Server {
    name: "lighttpd",
    module: "lighttpd",
    entry: Entry::Serve,
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

pub const SILENT_ABOUT_GONE: (Quirk, &str) = (
    Quirk::IsSilentAboutGoneClients,
    "lighttpd learns of it when it writes to the client",
);
pub const MERGES_SLASHES: (Quirk, &str) = (
    Quirk::MergesSlashes,
    "lighttpd always does; `REQUEST_URI` is as the client sent it",
);
pub const ANSWERS_RANGES: (Quirk, &str) = (Quirk::AnswersRanges, "lighttpd does so for every 200 of known length");
pub const DROPS_EMPTY_HEADERS: (Quirk, &str) = (Quirk::DropsEmptyHeaders, "lighttpd's parser of requests");
pub const MAPS_UNDERSCORES: (Quirk, &str) = (
    Quirk::MapsUnderscores,
    "lighttpd maps every character but letters and digits",
);
pub const NEEDS_LENGTH: (Quirk, &str) = (
    Quirk::NeedsLengthOfEmptyPost,
    "lighttpd wants to know the length of every POST",
);
pub const REFUSES_UNKNOWN_LENGTH: (Quirk, &str) = (
    Quirk::RefusesUnknownLengthUncollected,
    "`server.stream-request-body`; without it lighttpd collects the upload and tells its length",
);
pub const HIDES_EARLY_BREAKS: (Quirk, &str) = (
    Quirk::HidesEarlyBreaks,
    "lighttpd sends what it has, and its length, though the end of the response is missing",
);

/// server.max-request-field-size, of which all headers and the request line have to share.
pub const REQUEST_HEADER: Limit = Limit {
    passes: 16_000,
    fails: 16_400,
    status: 431,
};

/// Beside those that are everywhere; the CONTENT_LENGTH of a GET is 0.
pub const KEYS: &[&str] = &[
    "CONTENT_LENGTH",
    "DOCUMENT_ROOT",
    "PATH_TRANSLATED",
    "REDIRECT_STATUS",
    "REQUEST_SCHEME",
    "SCRIPT_FILENAME",
    "SERVER_ADDR",
];

ways! { unix_new tcp_new }

static LIGHTTPD: LazyLock<Lighttpd> = LazyLock::new(|| {
    let mut lighttpd = configure("deploy/lighttpd.conf");
    for way in NEW {
        for place in PLACES {
            let gateway = way.gateway(place);
            lighttpd = lighttpd.text(&gateway_host(&host(place, way.name), place, gateway));
        }
    }
    lighttpd.start()
});

/// A lighttpd with what `file` has for the whole server: it stands before the virtual host.
pub fn configure(file: &str) -> Builder {
    let text = shipped(file, &[]);
    let (global, _) = text.split_once("$HTTP[\"host\"]").unwrap();
    Lighttpd::configure()
        .text("server.modules += ( \"mod_setenv\" )")
        .text(global)
}

/// The virtual host of `file`, named `host`, with `replacements` and what its place has of its own.
pub fn virtual_host(file: &str, host: &str, place: &str, replacements: &[(&str, &str)]) -> String {
    let mut all = vec![("example.com", host)];
    if place == "streaming" {
        all.extend([
            ("server.stream-response-body = 1", "server.stream-response-body = 2"),
            ("# server.stream-request-body = 2", "server.stream-request-body = 2"),
        ]);
    }
    all.extend(replacements);
    let text = shipped(file, &all);
    let at = text.find("$HTTP[\"host\"]").unwrap();
    text[at..].to_owned()
}

/// What lighttpd has outside of the application: nothing.
pub const OUTSIDE: &str = "server.document-root = \"%PREFIX%/outside\"\n    ";

/// What the old place has of its own, in place of the setting for pieces.
pub fn old() -> (&'static str, String) {
    let variable = format!(
        "setenv.add-environment = ( \"REQUEST_START\" => \"{}\" )",
        a_minute_ago()
    );
    ("server.stream-response-body = 1", variable)
}

fn front(way: &str) -> Option<Front> {
    installed::lighttpd().then(|| connected(&SERVER, way, NEW, &LIGHTTPD))
}

fn gateway_host(host: &str, place: &str, gateway: &Gateway) -> String {
    let (address, (from, to)) = (address(gateway), old());
    let mut replacements = vec![
        ("\"socket\" => \"/run/wsgi-fpm/example.sock\"", &*address),
        ("/srv/example/", "%PREFIX%/"),
    ];
    if place == "old" {
        replacements.push((from, &to));
    }
    virtual_host("deploy/lighttpd.conf", host, place, &replacements)
}

/// As `fastcgi.server` wants it.
pub fn address(gateway: &Gateway) -> String {
    match &gateway.address {
        Address::Unix(path) => format!("\"socket\" => \"{}\"", path.display()),
        Address::Tcp(address) => format!("\"host\" => \"{}\", \"port\" => {}", address.ip(), address.port()),
    }
}
