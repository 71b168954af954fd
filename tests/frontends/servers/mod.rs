//! How each web server is started and what it is like. A function of a way gives nothing where the server is missing.

use crate::front::Server;

pub mod apache_proxy;
pub mod apache_proxy_handler;

/// All of them, for the table in docs/servers.md.
pub const ALL: [&Server; 2] = [&apache_proxy::SERVER, &apache_proxy_handler::SERVER];
