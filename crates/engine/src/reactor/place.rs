//! The one place from which a thread of the worker waits in epoll, and who comes to it when it is left.
//!
//! While requests are short, the thread that leaves the place with work comes back to it soon, and whoever took the place
//! meanwhile would only wake for what the first one takes as well. Where requests block, everybody else would wait for
//! the one that is blocked. So the others learn from what they find: after [`CALM`] visits in a row that were in vain,
//! the place stays empty while somebody serves, and one of the others comes only when it is called: if requests are not taken any
//! more, the serving thread may be blocked, and something waits for it (`reactor/giving.rs`). If it gets work, the place is never
//! left empty again until it is calm once more; a thread that merely had to wait for a processor has done no harm.
//!
//! A signal ends the queueing, so that Python's main thread can run the application's signal handlers while it has
//! nothing else to do.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::thread::futex;

const FREE: u32 = 0;
const TAKEN: u32 = 1;
/// Free, and whoever comes next takes it, calm or not.
const CALLED: u32 = 2;
/// Visits in vain, one after the other, after which the place may stay empty.
const CALM: u32 = 16;

pub struct Place {
    state: AtomicU32,
    /// Threads that sleep until somebody wakes them.
    sleepers: AtomicU32,
    vain: AtomicU32,
    /// It never stays empty again.
    draining: AtomicBool,
}

/// Held while in the place.
pub struct Occupied<'a>(&'a Place);

impl Place {
    pub fn new() -> Self {
        Self {
            state: AtomicU32::new(FREE),
            sleepers: AtomicU32::new(0),
            vain: AtomicU32::new(0),
            draining: AtomicBool::new(false),
        }
    }

    /// Whether a thread is in it.
    pub fn is_taken(&self) -> bool {
        self.state.load(Ordering::SeqCst) == TAKEN
    }

    /// Whether threads wait for it, or until they are called.
    pub fn has_sleepers(&self) -> bool {
        self.sleepers.load(Ordering::SeqCst) > 0
    }

    /// Waits for the place; `None` if a signal came first. `anybody_serves`: whether a thread neither waits nor queues.
    pub fn enter(&self, anybody_serves: impl Fn() -> bool) -> Option<Occupied<'_>> {
        loop {
            let state = self.state.load(Ordering::SeqCst);
            let stays_empty = || self.is_calm() && anybody_serves();
            if state == CALLED || (state == FREE && !stays_empty()) {
                let taken = self
                    .state
                    .compare_exchange(state, TAKEN, Ordering::SeqCst, Ordering::Relaxed);
                if taken.is_ok() {
                    return Some(Occupied(self));
                }
                continue;
            }
            // Until somebody leaves the place or calls, unless that has happened since.
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            let slept = futex::wait(&self.state, futex::Flags::PRIVATE, state, None);
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
            if slept == Err(Errno::INTR) {
                return None;
            }
        }
    }

    /// Has a thread come, though the place may stay empty.
    pub fn call(&self) {
        // If somebody is in it, he has come already.
        let _ = self
            .state
            .compare_exchange(FREE, CALLED, Ordering::SeqCst, Ordering::Relaxed);
        self.wake_sleeper();
    }

    /// The worker drains: all threads have to come by.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.wake_sleeper();
    }

    /// A visit to the place has ended. `blocked`: what it found would have waited for a thread that is blocked;
    /// otherwise another thread took it, of this worker or another one, or would have.
    pub fn learn(&self, blocked: bool) {
        let vain = self.vain.load(Ordering::Relaxed);
        // A count that is lost to another thread does no harm.
        if blocked {
            self.vain.store(0, Ordering::Relaxed);
            if vain >= CALM {
                self.wake_sleeper();
            }
        } else if vain < CALM {
            self.vain.store(vain + 1, Ordering::Relaxed);
        }
    }

    fn is_calm(&self) -> bool {
        self.vain.load(Ordering::Relaxed) >= CALM && !self.draining.load(Ordering::SeqCst)
    }

    fn wake_sleeper(&self) {
        if self.has_sleepers() {
            // An error would mean that the address is none.
            let _ = futex::wake(&self.state, futex::Flags::PRIVATE, 1);
        }
    }
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        self.0.state.store(FREE, Ordering::SeqCst);
        if !self.0.is_calm() {
            self.0.wake_sleeper();
        }
    }
}
