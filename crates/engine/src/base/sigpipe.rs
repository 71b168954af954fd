//! Writes that can't say MSG_NOSIGNAL: sendfile, and those to pipes.
//!
//! Python ignores SIGPIPE, but an application may have given it back its default action, as command line programs do: then a
//! peer that has left would end the process with everything that it runs.

use std::mem::zeroed;
use std::ptr::null_mut;

/// Calls `write` so that a peer that has left is an error and no signal. Only for the time of this call, and in this thread:
/// programs that the application starts inherit what a thread has blocked.
pub fn without<R>(write: impl FnOnce() -> R) -> R {
    // SAFETY: the sets are valid when zeroed, which is empty; everything is about the calling thread, and its mask is
    // afterwards what it was. A write's SIGPIPE goes to the thread that writes: it is taken here, if there is one.
    unsafe {
        let mut pipe: libc::sigset_t = zeroed();
        libc::sigaddset(&raw mut pipe, libc::SIGPIPE);
        let mut before: libc::sigset_t = zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, &raw mut before);
        let written = write();
        if libc::sigismember(&raw const before, libc::SIGPIPE) == 0 {
            let now: libc::timespec = zeroed();
            libc::sigtimedwait(&raw const pipe, null_mut(), &raw const now);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, null_mut());
        }
        written
    }
}
