//! The one place from which a thread of the worker waits in epoll. The other threads queue for it.
//!
//! A lock, but for one thing: a signal ends the queueing, so that Python's main thread can run the application's
//! signal handlers while it has nothing else to do.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::thread::futex;

const FREE: u32 = 0;
const TAKEN: u32 = 1;
/// Taken, and others may be queueing.
const CONTENDED: u32 = 2;

pub struct Place(AtomicU32);

/// Held while in the place.
pub struct Occupied<'a>(&'a AtomicU32);

impl Place {
    pub fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    /// Whether a thread is in it.
    pub fn is_taken(&self) -> bool {
        self.0.load(Ordering::Relaxed) != FREE
    }

    /// Waits for the place; `None` if a signal came first.
    pub fn enter(&self) -> Option<Occupied<'_>> {
        let acquired = self
            .0
            .compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed);
        if acquired.is_ok() {
            return Some(Occupied(&self.0));
        }
        while self.0.swap(CONTENDED, Ordering::Acquire) != FREE {
            let waited = futex::wait(&self.0, futex::Flags::PRIVATE, CONTENDED, None);
            if waited == Err(Errno::INTR) {
                return None;
            }
        }
        Some(Occupied(&self.0))
    }
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        if self.0.swap(FREE, Ordering::Release) == CONTENDED {
            // An error would mean that the address is none.
            let _ = futex::wake(self.0, futex::Flags::PRIVATE, 1);
        }
    }
}
