//! Applications of others, unmodified, behind real web servers, driven by real clients.
//!
//! Not part of `cargo test`, since it needs packages from PyPI: `make test-compat` installs them and runs it. What is missing is
//! a failure here, never a skip.

#[path = "../support/mod.rs"]
mod support;

#[macro_use]
mod front;

mod checks;
mod demos;
mod django;
mod frameworks;
mod httpbin;
mod libraries;
mod sites;
mod telemetry;
mod twisted;
mod zope;
