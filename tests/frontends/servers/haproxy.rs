//! HAProxy with an fcgi-app: deploy/haproxy.cfg.

use std::sync::LazyLock;

use super::hosts::{PLACES, WAYS, connected, host};
use crate::harness::backends::a_minute_ago;
use crate::harness::front::{Entry, Front, Server};
use crate::harness::quirk::{Limit, Quirk};
use crate::support::haproxy::HaProxy;
use crate::support::installed;
use crate::support::process::Gateway;
use crate::support::web_server::shipped;

pub const SERVER: Server = Server {
    name: "HAProxy",
    module: "haproxy",
    entry: Entry::Serve,
    software: "HAProxy ",
    keys: &[KEYS],
    // tune.bufsize without tune.maxrewrite, of which all headers and the request line have to share.
    request_header: Limit {
        passes: 15_000,
        fails: 16_400,
        status: 400,
    },
    response_header: super::RESPONSE_HEADER,
    vanished: 502,
    quirks: &[
        (Quirk::IsSilentAboutGoneClients, "HAProxy goes on without its client"),
        (
            Quirk::RefusesLargeUnknownLength,
            "HAProxy wants to know the length before it passes anything on, and looks for the end within `tune.bufsize`",
        ),
        (
            Quirk::LimitsResponseHeads,
            "they have to fit into `tune.bufsize` without `tune.maxrewrite`",
        ),
        (
            Quirk::TakesLastOfRepeatedHeaders,
            "HAProxy sends a param for each; over HTTP/2 it joins cookies",
        ),
        (
            Quirk::RefusesRawBytes,
            "the standard does not allow them; `option accept-invalid-http-request`",
        ),
        (Quirk::AddsLengthTo304, "HAProxy 2.6 takes it for an empty response"),
        (
            Quirk::LeavesDots,
            "HAProxy passes a path as it is, unless `http-request normalize-uri` changes it",
        ),
    ],
};

/// Beside those that are everywhere; the CONTENT_LENGTH of a GET is 0.
const KEYS: &[&str] = &["CONTENT_LENGTH", "DOCUMENT_ROOT", "REQUEST_START", "SCRIPT_FILENAME"];

ways! { unix_kept unix_new tcp_kept tcp_new }

static HAPROXY: LazyLock<HaProxy> = LazyLock::new(|| {
    let mut text = String::new();
    let mut choices = String::new();
    for way in &WAYS {
        for place in PLACES {
            let gateway = way.gateway(place);
            let name = host(place, way.name);
            choices += &format!("    use_backend {name} if {{ hdr(host) {name} }}\n");
            text += &backend(&name, place, gateway, way.kept);
        }
    }
    HaProxy::configure()
        .text(&format!("frontend tests\n    bind 127.0.0.1:%PORT0%\n{choices}"))
        .text(&text)
        .start()
});

fn front(way: &str) -> Option<Front> {
    installed::haproxy().then(|| connected(&SERVER, way, &WAYS, &HAPROXY))
}

/// The file's first backend and its application under the name of a virtual host: a frontend has a port, not a name.
fn backend(host: &str, place: &str, gateway: &Gateway, kept: bool) -> String {
    let mut replacements = vec![
        ("backend example\n", format!("backend {host}\n")),
        ("fcgi-app python", format!("fcgi-app {host}")),
        ("/wsgi-fpm/example.sock", gateway.address.option()),
    ];
    if !kept {
        replacements.push(("option keep-conn", "no option keep-conn".to_owned()));
    }
    if place == "old" {
        replacements.push(("%[date(0,ms)]", a_minute_ago()));
    }
    let replacements: Vec<_> = replacements.iter().map(|(from, to)| (*from, to.as_str())).collect();
    let text = shipped("deploy/haproxy.cfg", &replacements);
    let section = |from: &str, to: &str| {
        let rest = &text[text.find(from).unwrap()..];
        rest[..rest.find(to).unwrap_or(rest.len())].to_owned()
    };
    // "use_backend" and "default_backend" do not begin a line.
    section("\nbackend ", "\nbackend shop") + &section("\nfcgi-app ", "\n# ")
}
