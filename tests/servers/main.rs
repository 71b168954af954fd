//! The real gateway behind a real nginx, driven by real clients, and the HTTP preview.
//!
//! Scenarios are functions of a [`front::Front`], run over unix sockets and TCP, with kept connections and new ones. What
//! can't come through nginx is not here: it refuses a malformed Content-Length and method itself (SPEC E9, in tests/wsgi).

#[path = "../support/mod.rs"]
mod support;

#[macro_use]
mod front;

mod bodies;
mod broken;
mod children;
mod clients;
mod config_tls;
mod config_writer;
mod crashes;
mod django;
mod environ;
mod flask;
mod hello;
mod mistaken;
mod paths;
mod preview;
mod responses;
mod shipped;
mod stopping;
