//! What becomes of a worker whose descriptors the application has closed: it ends, and its leader replaces it.
//!
//! `os.closerange()` and libraries that make a daemon of their process close whatever is open. Without its epoll or its
//! listeners a worker would ask for ever, and a number that somebody else has got meanwhile must not be used.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use crate::base::ffi;

/// The exit code of such a worker (sysexits: EX_OSERR); the leader says what it means.
pub const CODE: i32 = 71;
/// How long the line in the log may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Ends this process: `what` of ours is not what it was.
pub fn give_up(what: &str, error: impl Display) -> ! {
    static SAID: AtomicBool = AtomicBool::new(false);
    if SAID.swap(true, Ordering::SeqCst) {
        // Another thread is ending the process.
        loop {
            std::thread::sleep(PATIENCE);
        }
    }
    // The log may be among what was closed: writing there must not keep the process.
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        ffi::exit_now(CODE)
    });
    tracing::error!(
        %error,
        "the application has closed {what}, which is not its own: this worker ends and is replaced (look for \
         os.closerange(), os.close() and libraries that start daemons)"
    );
    ffi::exit_now(CODE)
}

/// The same for a connection, if it is one that was closed so: its request is still on the scoreboard, where the leader finds what died.
#[cold]
pub fn check_connection(error: Errno) {
    if matches!(error, Errno::BADF | Errno::NOTSOCK) {
        give_up("a connection", error);
    }
}

/// Whether a descriptor that has given `error` is closed, or another one by now.
pub fn is_lost(error: Errno) -> bool {
    matches!(error, Errno::BADF | Errno::NOTSOCK | Errno::INVAL | Errno::NOTCONN)
}
