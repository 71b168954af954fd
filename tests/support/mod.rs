//! What the test binaries share: a running gateway, a FastCGI client that sees every byte, waiting with deadlines.
//!
//! `make test` builds the whole workspace first; the engine must stand beside the program before a gateway can start.

// Each test binary uses a part of it.
#![allow(dead_code)]

pub mod account;
pub mod apache;
pub mod caddy;
pub mod chromium;
pub mod disk;
pub mod fcgi_client;
pub mod fcgiwrap;
pub mod haproxy;
pub mod http;
pub mod installed;
pub mod lighttpd;
pub mod load;
pub mod log;
pub mod net;
pub mod nginx;
pub mod php_fpm;
pub mod process;
pub mod program;
pub mod pty;
pub mod python;
pub mod spawn_fcgi;
pub mod tied;
pub mod tls;
pub mod units;
pub mod wait;
pub mod web_server;
