//! nginx: nginx/site.conf.

use std::sync::LazyLock;

use super::hosts::{PLACES, WAYS, connected, host};
use crate::harness::backends::a_minute_ago;
use crate::harness::front::{Entry, Front, Server};
use crate::harness::quirk::{Limit, Quirk};
use crate::support::installed;
use crate::support::net::Address;
use crate::support::nginx::{Nginx, upstream};
use crate::support::web_server::shipped;

pub const SERVER: Server = Server {
    name: "nginx",
    module: "nginx",
    entry: Entry::Serve,
    software: "nginx/",
    keys: &[KEYS, OUR_PARAMS],
    request_header: REQUEST_HEADER,
    response_header: super::RESPONSE_HEADER,
    vanished: 502,
    quirks: &[MERGES_SLASHES, TAKES_LAST],
};

pub const MERGES_SLASHES: (Quirk, &str) = (
    Quirk::MergesSlashes,
    "`merge_slashes on`, the default; `REQUEST_URI` is as the client sent it",
);
pub const TAKES_LAST: (Quirk, &str) = (
    Quirk::TakesLastOfRepeatedHeaders,
    "nginx sends a param for each; since 1.23 it joins them",
);

/// Beside those that are everywhere.
pub const KEYS: &[&str] = &["DOCUMENT_ROOT", "DOCUMENT_URI", "REQUEST_SCHEME", "SERVER_ADDR"];
/// What nginx/wsgi_fpm_params has beside nginx's own file.
pub const OUR_PARAMS: &[&str] = &["REQUEST_START"];

/// large_client_header_buffers: a line has to fit into one.
pub const REQUEST_HEADER: Limit = Limit {
    passes: 8000,
    fails: 8200,
    status: 400,
};

ways! { unix_kept unix_new tcp_kept tcp_new }

static NGINX: LazyLock<Nginx> = LazyLock::new(|| {
    let mut nginx = Nginx::configure().ports(1).http("server_names_hash_bucket_size 128;");
    for way in &WAYS {
        for place in PLACES {
            let gateway = way.gateway(place);
            nginx = nginx.http(&site(&host(place, way.name), place, &gateway.address, way.kept));
        }
    }
    nginx.start()
});

fn front(way: &str) -> Option<Front> {
    installed::nginx().then(|| connected(&SERVER, way, &WAYS, &NGINX))
}

/// nginx/site.conf for the place behind `address`.
pub fn site(host: &str, place: &str, address: &Address, kept: bool) -> String {
    let streaming = match place {
        "streaming" => "fastcgi_request_buffering off; fastcgi_buffering off;",
        _ => "# fastcgi_request_buffering off;",
    };
    // The later of two params counts.
    let pass = match place {
        "old" => format!("fastcgi_param REQUEST_START {}; fastcgi_pass {host};", a_minute_ago()),
        _ => format!("fastcgi_pass {host};"),
    };
    shipped(
        "nginx/site.conf",
        &[
            ("upstream example {", &format!("upstream {host} {{")),
            ("fastcgi_pass example;", &pass),
            ("unix:/run/wsgi-fpm/example.sock", &upstream(address)),
            ("fastcgi_keep_conn on;", if kept { "fastcgi_keep_conn on;" } else { "" }),
            ("# fastcgi_request_buffering off;", streaming),
            ("listen 80;", "listen 127.0.0.1:%PORT0%;"),
            ("listen [::]:80;", ""),
            ("server_name example.com;", &format!("server_name {host};")),
            ("/srv/example/", "%PREFIX%/"),
        ],
    )
}
