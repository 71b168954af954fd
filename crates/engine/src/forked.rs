//! Children that the application forks from a request (os.fork without exec).
//!
//! Such a child has copies of everything, the request's connection too. When it comes back from the application it must
//! not answer a second time: it ends.

use std::sync::atomic::{AtomicBool, Ordering};

static FORKED: AtomicBool = AtomicBool::new(false);

/// This process is such a child. Called by Python after a fork, in the child.
pub fn mark() {
    FORKED.store(true, Ordering::Relaxed);
}

/// Ends the process if it is such a child: called where it would touch a connection.
pub fn end_child() {
    if FORKED.load(Ordering::Relaxed) {
        crate::ffi::exit_now(0);
    }
}
