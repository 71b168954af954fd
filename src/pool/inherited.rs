//! Descriptors that whoever started this program has left open for it (`--listen fd:3`).
//!
//! `unsafe` for one operation, naming a descriptor by its number, which the standard library has no safe way for.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

/// A copy of descriptor `fd` that is not inherited further; the original is not inherited either (SPEC F8).
///
/// # Errors
/// EBADF if nothing was left open under that number.
pub fn take(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the borrow ends before this function does, and in between nothing closes `fd`: no other thread runs
    // while listeners are made. A number that is not open makes the calls fail with EBADF and nothing else; one that
    // is this program's own is copied, and its owner keeps it. -1, the one value that is not allowed, can't be typed
    // (`settings::values::Address`).
    let named = unsafe { BorrowedFd::borrow_raw(fd) };
    let copy = fcntl_dupfd_cloexec(named, 3)?;
    fcntl_setfd(named, FdFlags::CLOEXEC)?;
    Ok(copy)
}
