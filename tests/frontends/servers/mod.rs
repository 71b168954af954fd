//! How each web server is started and what it is like. A function of a way gives nothing where the server is missing.
//!
//! [`crate::harness::scenarios`] has the list of them.

use crate::harness::front::Server;
use crate::harness::quirk::Limit;

/// A function for each way of a server, by its function `front`.
macro_rules! ways {
    ($($way:ident)*) => {
        $(
            pub fn $way() -> Option<crate::harness::front::Front> {
                front(stringify!($way))
            }
        )*
    };
}

mod apache;
pub mod apache_cgid;
pub mod apache_cgid_htaccess;
pub mod apache_fcgid;
pub mod apache_fcgid_htaccess;
pub mod apache_proxy;
pub mod apache_proxy_handler;
pub mod caddy;
pub mod haproxy;
mod hosts;
pub mod lighttpd;
pub mod lighttpd_bin_path;
pub mod lighttpd_cgi;
pub mod nginx;
pub mod nginx_fcgiwrap;
pub mod nginx_spawn_fcgi;
pub mod nginx_stock_params;

macro_rules! servers {
    ($($server:ident $ways:tt)*) => {
        [$(&$server::SERVER),*]
    };
}

/// All of them, for the tables in docs/servers.md.
pub fn all() -> Vec<&'static Server> {
    [&with_servers!(servers)[..], &with_variants!(servers)].concat()
}

/// wsgi-fpm's own limit for a line: no server of these has a lower one.
const RESPONSE_HEADER: Limit = Limit {
    passes: 8000,
    fails: 8200,
    status: 500,
};
