//! Descriptors that whoever started this program has left open for it: by number (`--listen fd:3`), or with a name.
//!
//! `unsafe` for one operation, naming a descriptor by its number, which the standard library has no safe way for.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

/// The number of the first that a service manager passes; the others follow it.
const FIRST: RawFd = 3;

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

/// Those that a service manager has passed to this process under names that begin with `prefix`, with the rest of their names.
/// They are this program's own from now on, and not inherited further. To be asked before anything is opened; the second
/// time there are none.
pub fn named(prefix: &str) -> Vec<(String, OwnedFd)> {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) || ASKED.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let passed = number("LISTEN_FDS").unwrap_or(0);
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let numbered = (FIRST..).zip(names.split(':')).take(passed as usize);
    let wanted = numbered.filter_map(|(fd, name)| Some((fd, name.strip_prefix(prefix)?)));
    wanted
        .filter_map(|(fd, name)| Some((name.to_owned(), own(fd)?)))
        .collect()
}

/// `None` if it is not open.
fn own(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: `fd` is 3 or higher. If it is not open, the call fails with EBADF and nothing else.
    fcntl_setfd(unsafe { BorrowedFd::borrow_raw(fd) }, FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is open, and nobody else's: the service manager has made it for this process, which has opened nothing
    // yet, and each number comes here once.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}
