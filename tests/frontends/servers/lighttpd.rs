//! lighttpd that connects to a running gateway: deploy/lighttpd.conf.

use std::sync::LazyLock;

use super::virtual_hosts::{NEW, assemble, host, places};
use crate::backends::a_minute_ago;
use crate::front::{Entry, Front, Server};
use crate::quirk::{Limit, Quirk};
use crate::support::installed;
use crate::support::lighttpd::Lighttpd;
use crate::support::net::Address;
use crate::support::process::Gateway;
use crate::support::web_server::shipped;

pub const SERVER: Server = Server {
    name: "lighttpd",
    module: "lighttpd",
    entry: Entry::Serve,
    software: "lighttpd/",
    keys: &KEYS,
    // server.max-request-field-size, of which all headers and the request line have to share.
    request_header: Limit {
        passes: 16_000,
        fails: 16_400,
        status: 431,
    },
    response_header: super::RESPONSE_HEADER,
    vanished: 500,
    quirks: &[
        (
            Quirk::MergesSlashes,
            "lighttpd always does; `REQUEST_URI` is as the client sent it",
        ),
        (Quirk::AnswersRanges, "lighttpd does so for every 200 of known length"),
        (Quirk::DropsEmptyHeaders, "lighttpd's parser of requests"),
        (
            Quirk::MapsUnderscores,
            "lighttpd maps every character but letters and digits",
        ),
        (
            Quirk::NeedsLengthOfEmptyPost,
            "lighttpd wants to know the length of every POST",
        ),
        (
            Quirk::RefusesUnknownLengthUncollected,
            "`server.stream-request-body`; without it lighttpd collects the upload and tells its length",
        ),
        (
            Quirk::HidesEarlyBreaks,
            "lighttpd sends what it has, and its length, though the end of the response is missing",
        ),
    ],
};

/// Beside those that are everywhere; the CONTENT_LENGTH of a GET is 0.
pub const KEYS: [&str; 7] = [
    "CONTENT_LENGTH",
    "DOCUMENT_ROOT",
    "PATH_TRANSLATED",
    "REDIRECT_STATUS",
    "REQUEST_SCHEME",
    "SCRIPT_FILENAME",
    "SERVER_ADDR",
];

pub fn unix_new() -> Option<Front> {
    front("unix_new")
}

pub fn tcp_new() -> Option<Front> {
    front("tcp_new")
}

static LIGHTTPD: LazyLock<Lighttpd> = LazyLock::new(|| {
    let file = shipped("deploy/lighttpd.conf", &[]);
    // What is for the whole server stands before the virtual host.
    let (global, _) = file.split_once("$HTTP[\"host\"]").unwrap();
    let mut lighttpd = Lighttpd::configure()
        .text("server.modules += ( \"mod_setenv\" )")
        .text(global);
    for way in NEW {
        for (place, gateway) in places((way.backends)()) {
            lighttpd = lighttpd.text(&virtual_host(&host(place, way.name), place, gateway));
        }
    }
    lighttpd.start()
});

fn front(way: &'static str) -> Option<Front> {
    installed::lighttpd().then(|| assemble(&SERVER, way, &LIGHTTPD))
}

fn virtual_host(host: &str, place: &str, gateway: &Gateway) -> String {
    let mut replacements = vec![
        ("example.com", host.to_owned()),
        ("\"socket\" => \"/run/wsgi-fpm/example.sock\"", address(gateway)),
        ("/srv/example/", "%PREFIX%/".to_owned()),
    ];
    match place {
        "streaming" => replacements.extend([
            (
                "server.stream-response-body = 1",
                "server.stream-response-body = 2".to_owned(),
            ),
            (
                "# server.stream-request-body = 2",
                "server.stream-request-body = 2".to_owned(),
            ),
        ]),
        "old" => replacements.push((
            "    server.stream-response-body = 1",
            format!(
                "    setenv.add-environment = ( \"REQUEST_START\" => \"{}\" )",
                a_minute_ago()
            ),
        )),
        _ => {}
    }
    let replacements: Vec<_> = replacements.iter().map(|(from, to)| (*from, to.as_str())).collect();
    let text = shipped("deploy/lighttpd.conf", &replacements);
    let at = text.find("$HTTP[\"host\"]").unwrap();
    text[at..].to_owned()
}

/// As `fastcgi.server` wants it.
pub fn address(gateway: &Gateway) -> String {
    match &gateway.address {
        Address::Unix(path) => format!("\"socket\" => \"{}\"", path.display()),
        Address::Tcp(address) => format!("\"host\" => \"{}\", \"port\" => {}", address.ip(), address.port()),
    }
}
