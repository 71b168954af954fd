//! One list of scenarios, run through every web server, over every way from it to the application.
//!
//! A scenario is a function of a [`front::Front`], named in a `scenarios!` list; a server is a file in `servers/`, named in
//! `front.rs`. What a server forces to be different is a [`quirk::Quirk`] in its list, and the scenario asserts the difference:
//! docs/servers.md shows the same lists. What is nginx's own is in tests/servers.

#[path = "../support/mod.rs"]
mod support;

#[macro_use]
mod front;

mod apache;
mod backends;
mod bodies;
mod clients;
mod connections;
mod environ;
mod failures;
mod fcgiwrap;
mod heads;
mod lighttpd;
mod logs;
mod paths;
mod quirk;
mod scripts;
mod servers;
mod sites;
mod spawn_fcgi;
mod streaming;
mod table;
