//! nginx with the params that come with it in place of the project's: whoever has not read our documentation has those.

use std::sync::LazyLock;

use super::hosts::{PLACES, Way, connected, host};
use super::nginx::{KEYS, MERGES_SLASHES, REQUEST_HEADER, TAKES_LAST, site};
use crate::harness::backends;
use crate::harness::front::{Entry, Front, Server};
use crate::harness::quirk::Quirk;
use crate::support::installed;
use crate::support::nginx::{Nginx, STOCK_PARAMS};

pub const SERVER: Server = Server {
    name: "nginx, its own fastcgi_params",
    module: "nginx_stock_params",
    entry: Entry::Serve,
    software: "nginx/",
    keys: &[KEYS, &["REDIRECT_STATUS"]],
    request_header: REQUEST_HEADER,
    response_header: super::RESPONSE_HEADER,
    vanished: 502,
    quirks: &[
        MERGES_SLASHES,
        TAKES_LAST,
        (
            Quirk::TellsUncheckedUser,
            "`$remote_user` is that, whether nginx has checked it or not",
        ),
    ],
};

/// As for PHP.
const SPLIT: &str = "fastcgi_split_path_info ^(/app)(/.*)$; fastcgi_param PATH_INFO $fastcgi_path_info;";

const WAYS: [Way; 2] = [
    Way {
        name: "unix_new",
        backends: backends::unix,
        kept: false,
    },
    // The prefix is cut off by nginx.
    Way {
        name: "split",
        backends: backends::tcp,
        kept: false,
    },
];

ways! { unix_new split }

static NGINX: LazyLock<Nginx> = LazyLock::new(|| {
    let mut nginx = Nginx::configure().ports(1).http("server_names_hash_bucket_size 128;");
    for way in &WAYS {
        let split = if way.name == "split" { SPLIT } else { "" };
        for place in PLACES {
            let site = site(&host(place, way.name), place, &way.gateway(place).address, way.kept);
            let (ours, stock) = ("include wsgi_fpm_params;", format!("include {STOCK_PARAMS}; {split}"));
            assert!(site.contains(ours), "{site}");
            nginx = nginx.http(&site.replace(ours, &stock));
        }
    }
    nginx.start()
});

fn front(way: &str) -> Option<Front> {
    installed::nginx().then(|| connected(&SERVER, way, &WAYS, &NGINX))
}
