//! What becomes of requests that no thread takes: another thread of the worker is called, and if none comes, their connections
//! are given away. Whoever is free first takes them then, in this worker or another one.
//!
//! One thread without Python, the giver, sees to that. While threads serve it looks now and then whether they still take what arrives.
//! If not, they are busy, or wait for the GIL; then it waits for what arrives, beside epoll and not in it: who waits in epoll is woken
//! for new connections in place of other workers. While nobody serves, or a thread waits in epoll, it sleeps.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use contract::wait::timespec;
use rustix::event::{self, PollFd, PollFlags, Timespec};
use rustix::thread::futex;

use super::{Parked, Reactor};

/// For how long no thread may have taken anything before another one of the worker is called, and how long that one may take.
const CALL_TICK: Timespec = timespec(Duration::from_millis(1));
/// The same where there is no other one. What takes less is not worth a connection's way to another worker.
const GIVE_TICK: Timespec = timespec(Duration::from_millis(2));
/// While so many are taken in a tick, requests are short, and looking would cost more of their time: a tick is longer then.
const MANY: u64 = 4;
const LONG_TICK: Timespec = timespec(Duration::from_millis(4));
/// The same where nobody can take what waits before a thread is free.
const IDLE_TICK: Timespec = timespec(Duration::from_millis(20));
/// Ticks with nothing to look after before the giver sleeps: waking it costs more than a few of them.
const QUIET: u32 = 8;
const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// Where the giver sleeps.
pub(super) struct Giver {
    state: AtomicU32,
    /// Never changes: somewhere to sleep for a tick.
    clock: AtomicU32,
    /// How long that is.
    short: Timespec,
}

/// What is left after giving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing that could be given before something else arrives.
    Nothing,
    /// The handover is full, or somebody else has to look at what waits.
    Something,
}

impl Giver {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            state: AtomicU32::new(AWAKE),
            clock: AtomicU32::new(0),
            short: if threads > 1 { CALL_TICK } else { GIVE_TICK },
        }
    }

    fn wake(&self) {
        if self.state.load(Ordering::SeqCst) == ASLEEP && self.state.swap(AWAKE, Ordering::SeqCst) == ASLEEP {
            // An error would mean that the address is none.
            let _ = futex::wake(&self.state, futex::Flags::PRIVATE, 1);
        }
    }

    fn tick(&self) {
        self.sleep(&self.short);
    }

    fn sleep(&self, tick: &Timespec) {
        // A signal only makes it shorter.
        let _ = futex::wait(&self.clock, futex::Flags::PRIVATE, 0, Some(tick));
    }

    /// Looks in each `tick` for a while, and then when it is woken.
    fn sleep_until(&self, tick: &Timespec, condition: impl Fn() -> bool) {
        for _ in 0..QUIET {
            if condition() {
                return;
            }
            self.sleep(tick);
        }
        loop {
            self.state.store(ASLEEP, Ordering::SeqCst);
            if condition() {
                break;
            }
            // However it ends, the condition tells.
            let _ = futex::wait(&self.state, futex::Flags::PRIVATE, ASLEEP, None);
        }
        self.state.store(AWAKE, Ordering::SeqCst);
    }
}

impl<C: Parked> Reactor<C> {
    /// Never returns: sees to what arrives while threads serve and none of them takes it. `note` is told how much is still here when
    /// something was given.
    pub fn give_what_waits(&self, note: impl Fn(usize)) -> ! {
        let mut tick = &self.giver.short;
        loop {
            self.giver.sleep_until(tick, || self.has_to_be_looked_after());
            let taken = self.taken();
            self.giver.sleep(tick);
            let many = self.taken() - taken >= MANY;
            tick = if many { &LONG_TICK } else { &self.giver.short };
            let (mut called, mut left) = (false, Left::Something);
            while self.is_stalled(taken) {
                if left == Left::Nothing {
                    self.wait_for_arrival();
                }
                if !called && self.place.has_sleepers() {
                    called = self.has_arrivals();
                    left = Left::Nothing;
                    if called {
                        self.place.call();
                        self.giver.tick();
                        left = Left::Something;
                    }
                    continue;
                }
                left = self.give_ready(taken);
                note(self.slots().count_ready());
                if left == Left::Something {
                    let can_help = self.others_take() || (!called && self.place.has_sleepers());
                    self.giver.sleep(if can_help { &self.giver.short } else { &IDLE_TICK });
                }
            }
        }
    }

    /// A thread has left epoll, or others have come who take what is given.
    pub(super) fn wake_giver(&self) {
        if self.has_to_be_looked_after() {
            self.giver.wake();
        }
    }

    /// Whether threads serve, nobody waits for what arrives meanwhile, and somebody else could take it.
    fn has_to_be_looked_after(&self) -> bool {
        let somebody_serves = self.awake.load(Ordering::SeqCst) > 0 && !self.has_waiter();
        somebody_serves && (self.threads > 1 || self.others_take())
    }

    /// Whether there are other workers that take what this one gives.
    fn others_take(&self) -> bool {
        if self.draining() {
            self.retiring()
        } else {
            !self.is_alone
        }
    }

    /// Whether threads serve, none has taken anything since `taken` was read, and nobody waits for what arrives.
    fn is_stalled(&self, taken: u64) -> bool {
        self.taken() == taken && self.has_to_be_looked_after()
    }

    fn wait_for_arrival(&self) {
        // A signal is as good: the caller looks.
        let _ = event::poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], None);
    }

    /// Gives ready connections away until a thread comes.
    fn give_ready(&self, taken: u64) -> Left {
        let found = self.poll(Some(Duration::ZERO));
        let mut left = if found { Left::Something } else { Left::Nothing };
        while self.others_take() && self.is_stalled(taken) {
            let ready = self.slots().take_ready(Parked::wants_any_thread);
            let Some(connection) = ready else { break };
            if let Err(connection) = self.give(connection) {
                self.slots().put_back(connection);
                return Left::Something;
            }
            left = Left::Nothing;
        }
        left
    }
}
