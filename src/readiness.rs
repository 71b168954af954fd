//! Waiting until something can be read from a descriptor.
//!
//! `unsafe` for one operation: tokio has no safe way to watch a descriptor that is none of its own kinds.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `descriptor`, watched by the runtime.
///
/// # Errors
/// It can't be watched, as a file can't, or the system's.
///
/// # Panics
/// Outside of a runtime.
pub fn of_reading(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` has one descriptor all its life, and that is open.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}
