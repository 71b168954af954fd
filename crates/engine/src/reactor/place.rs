//! The one place from which a thread of the worker waits in epoll, and who comes to it when it is left.
//!
//! While requests are short, the thread that leaves the place with work comes back to it soon, and whoever took the place
//! meanwhile would only wake for what the first one takes as well. Where requests block, everybody else would wait for
//! the one that is blocked. So the others learn from what they find: after [`CALM`] visits in a row that were in vain,
//! the place stays empty while somebody serves. One of the others looks every [`TICK`] whether requests are still taken;
//! if not, the serving thread may be blocked, and if something waits for it, it comes. If it gets work, the place is never
//! left empty again until it is calm once more; a thread that merely had to wait for a processor has done no harm.
//!
//! A signal ends the queueing, so that Python's main thread can run the application's signal handlers while it has
//! nothing else to do.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use contract::wait::timespec;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::thread::futex;

const FREE: u32 = 0;
const TAKEN: u32 = 1;
/// Visits in vain, one after the other, after which the place may stay empty.
const CALM: u32 = 16;
/// How long a thread may have been blocked before another one joins.
const TICK: Timespec = timespec(Duration::from_millis(1));

/// What whoever comes to the place must know of the worker.
pub trait Worker {
    /// How many requests and connections threads have taken.
    fn taken(&self) -> u64;
    /// Whether a thread neither waits nor queues.
    fn anybody_serves(&self) -> bool;
    fn draining(&self) -> bool;
    /// Whether something has arrived that no thread has taken. Does not wait.
    fn something_waits(&self) -> bool;
}

pub struct Place {
    state: AtomicU32,
    /// Threads that sleep until somebody wakes them.
    sleepers: AtomicU32,
    /// Whether a thread looks every tick.
    ticking: AtomicBool,
    vain: AtomicU32,
    /// Never changes: somewhere to sleep for a tick.
    clock: AtomicU32,
}

/// Held while in the place.
pub struct Occupied<'a>(&'a Place);

/// A signal has ended a sleep.
struct Interrupted;

impl Place {
    pub fn new() -> Self {
        Self {
            state: AtomicU32::new(FREE),
            sleepers: AtomicU32::new(0),
            ticking: AtomicBool::new(false),
            vain: AtomicU32::new(0),
            clock: AtomicU32::new(0),
        }
    }

    /// Whether a thread is in it.
    pub fn is_taken(&self) -> bool {
        self.state.load(Ordering::Relaxed) == TAKEN
    }

    /// Waits for the place; `None` if a signal came first.
    pub fn enter(&self, worker: &impl Worker) -> Option<Occupied<'_>> {
        let mut stalled = false;
        loop {
            let calm = self.is_calm() && !worker.draining();
            let state = self.state.load(Ordering::SeqCst);
            let stays_empty = calm && !stalled && worker.anybody_serves();
            if state == FREE && !stays_empty {
                let taken = self
                    .state
                    .compare_exchange(FREE, TAKEN, Ordering::SeqCst, Ordering::Relaxed);
                if taken.is_ok() {
                    return Some(Occupied(self));
                }
                continue;
            }
            let slept = if calm && !self.ticking.swap(true, Ordering::SeqCst) {
                self.tick(worker)
            } else {
                self.sleep(state, || {}).map(|()| false)
            };
            stalled = slept.ok()?;
        }
    }

    /// A visit to the place has ended. `blocked`: what it found would have waited for a thread that is blocked;
    /// otherwise another thread took it, of this worker or another one, or would have.
    pub fn learn(&self, blocked: bool) {
        let vain = self.vain.load(Ordering::Relaxed);
        // A count that is lost to another thread does no harm.
        if blocked {
            self.vain.store(0, Ordering::Relaxed);
        } else if vain < CALM {
            self.vain.store(vain + 1, Ordering::Relaxed);
        }
    }

    fn is_calm(&self) -> bool {
        self.vain.load(Ordering::Relaxed) >= CALM
    }

    /// Looks every tick, until there is a reason to come to the place, or nothing to look after. Whether something waits
    /// for a thread that has taken nothing in the last tick.
    fn tick(&self, worker: &impl Worker) -> Result<bool, Interrupted> {
        loop {
            let taken = worker.taken();
            let slept = futex::wait(&self.clock, futex::Flags::PRIVATE, 0, Some(&TICK));
            let idle = worker.taken() == taken;
            if idle && self.is_taken() {
                let slept = self.sleep(TAKEN, || self.ticking.store(false, Ordering::SeqCst));
                return slept.map(|()| false);
            }
            let stalled = idle && worker.something_waits();
            let ended = ended(slept);
            if stalled || ended.is_err() || !self.is_calm() || worker.draining() {
                self.ticking.store(false, Ordering::SeqCst);
                if ended.is_err() {
                    // This thread may be blocked next: another one has to look.
                    self.wake_sleeper();
                }
                return ended.map(|()| stalled);
            }
        }
    }

    /// Sleeps until somebody leaves the place, unless that is no longer in `state`; `counted` is called when who leaves
    /// it knows of this thread.
    fn sleep(&self, state: u32, counted: impl FnOnce()) -> Result<(), Interrupted> {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        counted();
        let slept = futex::wait(&self.state, futex::Flags::PRIVATE, state, None);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        ended(slept)
    }

    fn wake_sleeper(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // An error would mean that the address is none.
            let _ = futex::wake(&self.state, futex::Flags::PRIVATE, 1);
        }
    }
}

/// Whether a sleep was ended by a signal; every other end is a reason to look.
fn ended(slept: Result<(), Errno>) -> Result<(), Interrupted> {
    match slept {
        Err(Errno::INTR) => Err(Interrupted),
        _ => Ok(()),
    }
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        let place = self.0;
        place.state.store(FREE, Ordering::SeqCst);
        let somebody_looks = place.is_calm() && place.ticking.load(Ordering::SeqCst);
        if !somebody_looks {
            place.wake_sleeper();
        }
    }
}
