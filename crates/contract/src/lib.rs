//! What the supervisor and the engine agree on: settings, control messages, the scoreboard, the log's form, how sockets end, titles,
//! the page that a developer sees, which permission is missing, which descriptors are ours alone, and how long to wait.
//!
//! Knows neither FastCGI nor Python. Both the program and the engine import it; it imports neither.

pub mod backoff;
pub mod cgi;
pub mod control;
pub mod denied;
pub mod drain;
pub mod handover;
pub mod log;
pub mod own;
pub mod page;
pub mod scoreboard;
pub mod settings;
pub mod title;
pub mod wait;
