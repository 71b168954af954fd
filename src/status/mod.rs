//! How everything is at a moment, for whoever shows it: commands, status pages, metrics.

mod accept;
mod answers;
mod application;
mod exposition;
pub mod history;
mod http;
pub mod openmetrics;
pub mod server;
pub mod snapshot;
pub mod summary;
pub mod words;
