//! The scenarios that all web servers share. What a server forces to be different is a [`crate::harness::quirk::Quirk`] in its
//! list, and the scenario asserts the difference.

mod bodies;
mod clients;
mod connections;
mod environ;
mod failures;
mod heads;
mod logs;
mod paths;
mod streaming;
