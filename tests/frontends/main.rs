//! The real gateway behind real web servers, driven by real clients; the configuration and the examples that users copy; and
//! the HTTP preview. See tests/README.md.

#[path = "../support/mod.rs"]
mod support;

#[macro_use]
mod harness;

mod apache;
mod config;
mod examples;
mod lighttpd;
mod nginx;
mod preview;
mod scenarios;
mod servers;
mod sites;
mod table;
