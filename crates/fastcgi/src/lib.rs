//! FastCGI 1.0 for the application's side of the wire: records in, events out.
//!
//! Knows no sockets, no clock and no Python. Driven by the engine's connections; section numbers (§) refer to the
//! FastCGI 1.0 specification.
//!
//! - [`record`]: the header and the numbers of the specification
//! - [`pairs`]: name-value pairs
//! - [`connection`]: the state machine, bytes in and events out
//! - [`error`]: why a connection must be closed
//! - [`encode`]: writes records
#![forbid(unsafe_code)]

pub mod connection;
pub mod encode;
pub mod error;
mod event;
pub mod pairs;
pub mod record;

pub use connection::Connection;
pub use error::ProtocolError;
pub use event::{BeginRequest, Event, Ignored};
pub use pairs::{PairError, Pairs};
