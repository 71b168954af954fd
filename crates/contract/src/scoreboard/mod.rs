//! Shared memory with one slot per thread: workers write what they do, the leader and the supervisor read it.
//!
//! The only way to know what a worker was doing when it was killed. Every field is an atomic and a reader may see a slot
//! half-way through a change of its request line: good for reports. Whether a request runs and since when is exact
//! (published with release, read with acquire), for time-outs depend on it.

mod counts;
mod histogram;
mod load;
mod slot;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::time::{ClockId, clock_gettime};

use crate::shared::{Mapping, shared};

pub use counts::{Cause, Counts, Finished, Outcome, Refusal, Totals};
pub use histogram::{Histogram, Times};
pub use load::Load;
pub use slot::{Phase, Seat, Slot};

/// The number of a request, for the log: the same in every line about it. `pid-thread-number`.
pub fn request_id(pid: i32, thread: usize, serial: u64) -> String {
    let mut id = String::new();
    write_request_id(&mut id, pid, thread, serial);
    id
}

/// The same, behind what `out` has.
pub fn write_request_id(out: &mut String, pid: i32, thread: usize, serial: u64) {
    let mut digits = itoa::Buffer::new();
    out.push_str(digits.format(pid));
    out.push('-');
    out.push_str(digits.format(thread));
    out.push('-');
    out.push_str(digits.format(serial));
}

/// The worker's pid, the thread and the number of such a request; `None` if it is none.
pub fn read_request_id(id: &str) -> Option<(i32, usize, u64)> {
    let mut parts = id.split('-');
    let read = (
        parts.next()?.parse().ok().filter(|pid| *pid > 0)?,
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
    );
    parts.next().is_none().then_some(read)
}

/// Milliseconds of the coarse monotonic clock: 1 to 4 ms resolution, a few nanoseconds to read.
pub fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

shared! {
    /// What stands before the slots.
    struct Front {
        told: AtomicU32,
        /// By [`Cause`]; the leader writes.
        replaced: [AtomicU64; Cause::ALL.len()],
        load: Load,
    }
}

/// The mapping of one pool's slots: worker after worker, thread after thread.
pub struct Scoreboard(Mapping<Front, Slot>);

impl Scoreboard {
    /// Makes the memory for `slots` slots; the descriptor is for [`Scoreboard::map`] and for a leader.
    ///
    /// # Errors
    /// The system's, if it has no memory or no memfd.
    pub fn create(slots: usize) -> io::Result<OwnedFd> {
        Mapping::<Front, Slot>::create("wsgi-fpm-scoreboard", slots)
    }

    /// Maps what [`Scoreboard::create`] made. The mapping outlives `fd` and is inherited by forks.
    ///
    /// # Errors
    /// The system's, if `fd` can't be mapped.
    pub fn map(fd: impl AsFd) -> io::Result<Self> {
        Mapping::map(fd).map(Self)
    }

    #[inline]
    pub fn slots(&self) -> &[Slot] {
        self.0.slots()
    }

    /// A worker was replaced, or is about to be.
    pub fn count_replaced(&self, cause: Cause) {
        counts::add(&self.0.front().replaced[cause as usize], 1);
    }

    /// What all threads have counted, and the leader.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for slot in self.slots() {
            slot.counts.add_to(&mut totals);
            slot.seat.counts.add_to(&mut totals);
        }
        counts::collect(&mut totals.replaced, &self.0.front().replaced);
        totals
    }

    /// Requests that workers have and no thread has taken.
    pub fn waiting(&self) -> u64 {
        let seats = self.slots().iter().map(|slot| &slot.seat);
        let taken = seats.filter(|seat| seat.read().is_some());
        taken.map(|seat| u64::from(seat.waiting())).sum()
    }

    pub fn load(&self) -> &Load {
        &self.0.front().load
    }

    /// Bits for what is logged once for an application, whichever thread of whichever worker sees it first.
    pub fn told(&self) -> &AtomicU32 {
        &self.0.front().told
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use super::*;
    use crate::tests::{in_a_process, is_in_a_process};

    #[test]
    fn number_of_a_request_is_read_back_and_anything_else_is_none() {
        assert_eq!(read_request_id(&request_id(42, 3, 7)), Some((42, 3, 7)));
        for wrong in [
            "",
            "42",
            "42-3",
            "42-3-7-1",
            "-42-3-7",
            "0-3-7",
            "42-x-7",
            "42-3-7 GET",
            "42--7",
        ] {
            assert_eq!(read_request_id(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn slots_written_through_one_mapping_are_read_through_another() {
        let fd = Scoreboard::create(3).unwrap();
        let (worker, leader) = (Scoreboard::map(&fd).unwrap(), Scoreboard::map(&fd).unwrap());
        assert_eq!(leader.slots().len(), 3);
        worker.slots()[1].assign(42);
        worker.slots()[1].begin(1234, 7, b"GET", b"/caf\xc3\xa9\n");
        let seen = &leader.slots()[1];
        assert_eq!((seen.pid.load(Relaxed), seen.busy_since_ms()), (42, Some(1234)));
        assert_eq!(
            (seen.serial(), seen.request_name(3).as_str()),
            (7, r"42-3-7 GET /caf\xc3\xa9\n")
        );
        worker.slots()[1].end();
        assert_eq!(seen.busy_since_ms(), None);
    }

    #[test]
    fn what_was_told_is_known_to_all_and_stands_apart_from_the_slots() {
        let fd = Scoreboard::create(1).unwrap();
        let (one, other) = (Scoreboard::map(&fd).unwrap(), Scoreboard::map(&fd).unwrap());
        one.told().store(u32::MAX, Relaxed);
        assert_eq!(other.told().load(Relaxed), u32::MAX);
        assert_eq!((other.slots().len(), other.slots()[0].pid.load(Relaxed)), (1, 0));
    }

    #[test]
    fn clock_of_the_slots_is_the_monotonic_one_in_milliseconds() {
        let exact_ms = || {
            let now = clock_gettime(ClockId::Monotonic);
            Duration::new(now.tv_sec as u64, now.tv_nsec as u32).as_millis() as u64
        };
        for _ in 0..10 {
            let (before, now, after) = (exact_ms(), now_ms(), exact_ms());
            assert!(before - 20 <= now && now <= after, "{before} {now} {after}");
            // At other parts of a second.
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    #[test]
    fn memory_is_given_back_to_its_last_page() {
        if !is_in_a_process() {
            in_a_process("scoreboard::tests::memory_is_given_back_to_its_last_page", &[]);
            return;
        }
        let mapped = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().filter(|line| line.contains("wsgi-fpm-scoreboard")).count()
        };
        // One page of slots, so that what stands before them takes another.
        let scoreboard = Scoreboard::map(Scoreboard::create(4096 / size_of::<Slot>()).unwrap()).unwrap();
        assert_eq!(mapped(), 1);
        drop(scoreboard);
        assert_eq!(mapped(), 0);
    }
}
