//! FastCGI 1.0 for the application's side of the wire: records in, events out.
//!
//! Knows no sockets, no clock and no Python. Driven by the engine's connections; section numbers (§) refer to the
//! FastCGI 1.0 specification.
#![forbid(unsafe_code)]
