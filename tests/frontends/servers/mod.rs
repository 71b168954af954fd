//! How each web server is started and what it is like. A function of a way gives nothing where the server is missing.

use crate::front::Server;
use crate::quirk::Limit;

pub mod apache_cgid;
pub mod apache_cgid_htaccess;
pub mod apache_fcgid;
pub mod apache_fcgid_htaccess;
pub mod apache_proxy;
pub mod apache_proxy_handler;
pub mod caddy;
pub mod haproxy;
pub mod lighttpd;
pub mod lighttpd_bin_path;
pub mod lighttpd_cgi;
pub mod nginx;
pub mod nginx_fcgiwrap;
pub mod nginx_spawn_fcgi;
mod script_hosts;
mod virtual_hosts;

/// All of them, for the table in docs/servers.md.
pub const ALL: [&Server; 14] = [
    &apache_proxy::SERVER,
    &apache_proxy_handler::SERVER,
    &apache_fcgid::SERVER,
    &apache_fcgid_htaccess::SERVER,
    &apache_cgid::SERVER,
    &apache_cgid_htaccess::SERVER,
    &caddy::SERVER,
    &haproxy::SERVER,
    &lighttpd::SERVER,
    &lighttpd_bin_path::SERVER,
    &lighttpd_cgi::SERVER,
    &nginx::SERVER,
    &nginx_fcgiwrap::SERVER,
    &nginx_spawn_fcgi::SERVER,
];

/// wsgi-fpm's own limit for a line: no server of these has a lower one.
const RESPONSE_HEADER: Limit = Limit {
    passes: 8000,
    fails: 8200,
    status: 500,
};
