//! Apache with mod_proxy_fcgi and ProxyPass: apache/proxy-fcgi.conf.

use std::sync::LazyLock;

use crate::backends::{self, Backends, a_minute_ago};
use crate::front::{Entry, Front, Place, Server};
use crate::quirk::{Limit, Quirk};
use crate::support::apache::{Apache, Builder};
use crate::support::installed;
use crate::support::net::Address;
use crate::support::process::Gateway;
use crate::support::web_server::shipped;

pub const SERVER: Server = Server {
    name: "Apache mod_proxy_fcgi, ProxyPass",
    module: "apache_proxy",
    entry: Entry::Serve,
    software: "Apache/",
    keys: &KEYS,
    request_header: REQUEST_HEADER,
    response_header: RESPONSE_HEADER,
    vanished: 503,
    quirks: &[
        (
            Quirk::MergesLeadingSlashes,
            "mod_proxy; what follows stays as it is with `MergeSlashes Off`",
        ),
        (Quirk::BreaksOffLate, BREAKS_OFF_LATE),
        (Quirk::JoinsCookiesWithCommas, JOINS_COOKIES),
    ],
};

pub const JOINS_COOKIES: &str = "Apache joins all headers so; over HTTP/2 cookies are joined before";
pub const BREAKS_OFF_LATE: &str = "Apache treats the client's connection like an idle one";

/// `ap_add_common_vars`, and the variables of apache/proxy-fcgi.conf.
pub const KEYS: [&str; 10] = [
    "SERVER_SIGNATURE",
    "SERVER_ADDR",
    "DOCUMENT_ROOT",
    "REQUEST_SCHEME",
    "CONTEXT_PREFIX",
    "CONTEXT_DOCUMENT_ROOT",
    "SERVER_ADMIN",
    "SCRIPT_FILENAME",
    "proxy-sendcl",
    "ap_trust_cgilike_cl",
];

/// LimitRequestFieldSize, name and all.
pub const REQUEST_HEADER: Limit = Limit {
    passes: 8000,
    fails: 8200,
    status: 400,
};

/// MAX_STRING_LEN of the parser for all kinds of CGI.
pub const RESPONSE_HEADER: Limit = Limit {
    passes: 8000,
    fails: 8200,
    status: 500,
};

/// Its name, what is behind it, and whether connections are kept.
pub type Way = (&'static str, fn() -> &'static Backends, bool);

const WAYS: [Way; 4] = [
    ("unix_kept", backends::unix, true),
    ("unix_new", backends::unix, false),
    ("tcp_kept", backends::tcp, true),
    ("tcp_new", backends::tcp, false),
];

pub fn unix_kept() -> Option<Front> {
    front("unix_kept")
}

pub fn unix_new() -> Option<Front> {
    front("unix_new")
}

pub fn tcp_kept() -> Option<Front> {
    front("tcp_kept")
}

pub fn tcp_new() -> Option<Front> {
    front("tcp_new")
}

static APACHE: LazyLock<Apache> = LazyLock::new(|| {
    let mut apache = configure();
    for (way, backends, kept) in WAYS {
        for (place, gateway, line) in places(backends()) {
            apache = apache.text(&virtual_host(way, place, gateway, kept, &line));
        }
    }
    apache.start()
});

fn front(way: &'static str) -> Option<Front> {
    let (_, backends, _) = WAYS.iter().find(|(name, ..)| *name == way).unwrap();
    installed::apache("proxy_fcgi").then(|| assemble(&SERVER, &APACHE, way, backends()))
}

/// An Apache for mod_proxy_fcgi.
pub fn configure() -> Builder {
    ["proxy", "proxy_fcgi", "env"]
        .iter()
        .fold(Apache::configure(), |apache, module| apache.module(module))
        .file("static/site.css", "body{}\n")
}

/// The virtual hosts of one way: name, what is behind it, and an additional line.
pub fn places(backends: &Backends) -> [(&'static str, &Gateway, String); 6] {
    [
        ("plain", &backends.plain, String::new()),
        ("mounted", &backends.mounted, String::new()),
        ("streaming", &backends.plain, String::new()),
        ("single", &backends.single, String::new()),
        ("fragile", &backends.fragile, String::new()),
        (
            "old",
            &backends.plain,
            format!("SetEnv REQUEST_START {}", a_minute_ago()),
        ),
    ]
}

/// The front of a way whose virtual hosts are named `place.way.test`.
pub fn assemble(server: &'static Server, apache: &Apache, way: &str, backends: &Backends) -> Front {
    let place = |name: &str, gateway: &Gateway| Place {
        address: apache.address(),
        host: host(name, way),
        prefix: String::new(),
        log: gateway.log.clone(),
    };
    Front {
        server,
        name: format!("{}_{way}", server.module),
        plain: place("plain", &backends.plain),
        mounted: Place {
            prefix: "/app".to_owned(),
            ..place("mounted", &backends.mounted)
        },
        streaming: place("streaming", &backends.plain),
        single: place("single", &backends.single),
        fragile: place("fragile", &backends.fragile),
        old: place("old", &backends.plain),
        server_log: apache.process.log.clone(),
        directory: backends.plain.directory.path().to_owned(),
    }
}

pub fn host(place: &str, way: &str) -> String {
    format!("{place}.{}.test", way.replace('_', "-"))
}

/// Where the file of configuration has this socket, the one of `gateway`.
pub fn url(gateway: &Gateway, host: &str) -> String {
    match &gateway.address {
        Address::Unix(path) => format!("unix:{}|fcgi://{host}/", path.display()),
        Address::Tcp(address) => format!("fcgi://{address}/"),
    }
}

fn virtual_host(way: &str, place: &str, gateway: &Gateway, kept: bool, line: &str) -> String {
    let host = host(place, way);
    let flush = if place == "streaming" { " flushpackets=on" } else { "" };
    let reuse = if kept { " enablereuse=on" } else { "" };
    shipped(
        "apache/proxy-fcgi.conf",
        &[
            ("*:80", "127.0.0.1:%PORT0%"),
            (" enablereuse=on", &format!("{reuse}{flush}")),
            ("unix:/run/wsgi-fpm/example.sock|fcgi://example/", &url(gateway, &host)),
            ("ServerName example.com", &format!("ServerName {host}\n{line}")),
            ("/srv/example/", "%PREFIX%/"),
        ],
    )
}
