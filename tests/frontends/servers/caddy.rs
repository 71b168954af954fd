//! Caddy: deploy/Caddyfile.

use std::sync::LazyLock;

use super::hosts::{NEW, PLACES, connected, host};
use crate::harness::backends::a_minute_ago;
use crate::harness::front::{Entry, Front, Server};
use crate::harness::quirk::{Limit, Quirk};
use crate::support::caddy::Caddy;
use crate::support::installed;
use crate::support::net::Address;
use crate::support::process::Gateway;
use crate::support::web_server::shipped;

pub const SERVER: Server = Server {
    name: "Caddy",
    module: "caddy",
    entry: Entry::Serve,
    software: "Caddy/",
    keys: &[KEYS],
    // Go's limit of 1 MiB for all headers.
    request_header: Limit {
        passes: 64_000,
        fails: 1_100_000,
        status: 431,
    },
    response_header: super::RESPONSE_HEADER,
    vanished: 502,
    quirks: &[
        (
            Quirk::RefusesUnknownLength,
            "Caddy 2.6 says that their `CONTENT_LENGTH` is -1, newer ones refuse those over 4 KiB with 411",
        ),
        (
            Quirk::SendsAllBeforeReading,
            "Caddy reads nothing before it has sent everything",
        ),
        (
            Quirk::HidesBrokenTransfers,
            "Caddy 2.6 logs \"aborting with incomplete response\" and ends the response as if it were whole",
        ),
        (
            Quirk::HasNoErrorPages,
            "Caddy writes pages only where `handle_errors` says so",
        ),
        (Quirk::EncodesRawBytes, "Caddy writes the URL anew"),
        (
            Quirk::InventsContentType,
            "its FastCGI client sends `application/x-www-form-urlencoded`",
        ),
        (
            Quirk::MapsUnderscores,
            "Caddy maps both to the same variable; if both are there, either arrives",
        ),
        (
            Quirk::JoinsCookiesWithCommas,
            "Caddy joins all headers so; over HTTP/2 cookies are joined before",
        ),
        (
            Quirk::IsSilentAboutGoneClients,
            "its FastCGI client goes on until the response has come",
        ),
        (Quirk::LeavesDots, "`handle` passes a path as it is"),
    ],
};

/// Beside those that are everywhere; the CONTENT_LENGTH of a GET is 0.
const KEYS: &[&str] = &[
    "CONTENT_LENGTH",
    "DOCUMENT_ROOT",
    "DOCUMENT_URI",
    "HTTP_USER_AGENT",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "PATH_TRANSLATED",
    "REQUEST_SCHEME",
    "REQUEST_START",
    "SCRIPT_FILENAME",
    "REMOTE_HOST",
];

ways! { unix_new tcp_new }

static CADDY: LazyLock<Caddy> = LazyLock::new(|| {
    let mut caddy = Caddy::configure();
    for way in NEW {
        for place in PLACES {
            let gateway = way.gateway(place);
            caddy = caddy.text(&site(&host(place, way.name), place, gateway));
        }
    }
    caddy.start()
});

fn front(way: &str) -> Option<Front> {
    installed::caddy().then(|| connected(&SERVER, way, NEW, &CADDY))
}

fn site(host: &str, place: &str, gateway: &Gateway) -> String {
    let start = match place {
        "old" => a_minute_ago(),
        _ => "{time.now.unix_ms}".to_owned(),
    };
    shipped(
        "deploy/Caddyfile",
        &[
            ("example.com {", &format!("http://{host}:%PORT0% {{")),
            ("unix//run/wsgi-fpm/example.sock", &upstream(gateway)),
            ("/srv/example/", "%PREFIX%/"),
            ("{time.now.unix_ms}", &start),
        ],
    )
}

/// As `reverse_proxy` wants it.
pub fn upstream(gateway: &Gateway) -> String {
    match &gateway.address {
        Address::Unix(path) => format!("unix/{}", path.display()),
        Address::Tcp(address) => address.to_string(),
    }
}
