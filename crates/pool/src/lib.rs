//! What the supervisor and the engine agree on: settings, control messages, the scoreboard and the log's form.
//!
//! Knows neither FastCGI nor Python. Both the program and the engine import it; it imports neither.

pub mod control;
pub mod log;
pub mod proxies;
pub mod scoreboard;
pub mod settings;
