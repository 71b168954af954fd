//! What only nginx has: its buffers, its own answers, its params, and what happens to connections that it keeps. And what
//! stands behind it: fcgiwrap and spawn-fcgi.

mod children;
mod clients;
mod crashes;
mod environ;
mod fcgiwrap;
mod heads;
mod mistaken;
mod paths;
mod spawn_fcgi;
mod stopping;

use crate::harness::backends::site;
use crate::support::installed;
use crate::support::nginx::{Nginx, STOCK_PARAMS, upstream};
use crate::support::process::{Builder, Gateway};

/// A virtual host, the first one being the default.
#[derive(Debug, Clone, Copy)]
struct Host {
    name: &'static str,
    /// Directives for the whole of it.
    server: &'static str,
    /// The file of params.
    params: &'static str,
    /// Directives for the location that leads to the gateway.
    location: &'static str,
}

const PLAIN: Host = Host {
    name: "",
    server: "",
    params: "wsgi_fpm_params",
    location: "",
};

/// Nothing is buffered, in either direction.
const STREAM: Host = Host {
    name: "stream",
    location: "fastcgi_buffering off; fastcgi_request_buffering off;",
    ..PLAIN
};

const STOCK: Host = Host {
    name: "stock",
    params: STOCK_PARAMS,
    ..PLAIN
};

/// A gateway of a test's own behind an nginx that keeps connections on port 0, and on port 1 does not, as it is unless it is
/// told to.
fn behind_nginx(gateway: Builder, hosts: &[Host]) -> Option<(Gateway, Nginx)> {
    if !installed::nginx() {
        return None;
    }
    let gateway = gateway.start();
    let server = upstream(&gateway.address);
    let mut nginx = Nginx::configure()
        .http("client_max_body_size 0; keepalive_requests 100000;")
        .http(&format!(
            "upstream kept {{ server {server}; keepalive 8; keepalive_timeout 60s; }}"
        ))
        .file("internal/secret.txt", "from an internal location\n");
    for (port, pass) in [
        "fastcgi_pass kept; fastcgi_keep_conn on;",
        &format!("fastcgi_pass {server};"),
    ]
    .into_iter()
    .enumerate()
    {
        for host in hosts {
            let content = format!(
                "{} location / {{ include {}; {} {pass} }} location /internal/ {{ internal; root %PREFIX%; }}",
                host.server, host.params, host.location
            );
            nginx = nginx.server(port, host.name, &content);
        }
    }
    Some((gateway, nginx.start()))
}

/// The same over a unix socket and over TCP.
fn both_behind_nginx(hosts: &[Host]) -> Vec<(Gateway, Nginx)> {
    [site(), site().tcp("127.0.0.1")]
        .into_iter()
        .filter_map(|gateway| behind_nginx(gateway, hosts))
        .collect()
}
