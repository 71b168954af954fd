//! What one thread does, and how its worker is.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counts::{Counts, Finished, Outcome};
use super::{now_ms, request_id};
use crate::shared::shared;

/// Words of a slot's request line: 192 bytes hold the method and most paths.
const LINE_WORDS: usize = 24;

shared! {
    /// What one thread does.
    pub struct Slot {
        /// The worker's pid; 0: nobody has this slot.
        pub pid: AtomicI32,
        /// 1 while a request runs.
        busy: AtomicU32,
        /// When the running request began: milliseconds of the coarse monotonic clock.
        since_ms: AtomicU64,
        /// Number of the running or last request among the thread's.
        serial: AtomicU64,
        /// Of the whole; what is kept may be shorter.
        line_length: AtomicU32,
        /// 1 while the thread's worker can't take what waits for it.
        full: AtomicU32,
        line: [AtomicU64; LINE_WORDS],
        /// Number of the request that somebody has wanted to end, and when, as `since_ms`.
        killed: AtomicU64,
        killed_ms: AtomicU64,
        /// Of its numbers, those of requests that nobody has sent: pages that the worker has asked for itself.
        own: AtomicU64,
        pub counts: Counts,
        /// That of the worker, in the slot of its first thread.
        pub seat: Seat,
    }
}

shared! {
    /// How a worker is. Its leader writes.
    pub struct Seat {
        /// 0: nobody has this seat.
        pid: AtomicI32,
        phase: AtomicU32,
        /// When it was made: milliseconds of [`super::now_ms`].
        born_ms: AtomicU64,
        /// See [`Seat::waiting`]; its receiver writes.
        waiting: AtomicU32,
        /// What its receiver has counted, which is no serving thread.
        pub counts: Counts,
    }
}

/// How far a worker's life has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Starting,
    Serving,
    /// It finishes its requests, and ends.
    Retiring,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Starting, Self::Serving, Self::Retiring];
}

impl Seat {
    /// A worker has it from now on.
    pub fn take(&self, pid: i32, now_ms: u64) {
        self.born_ms.store(now_ms, Relaxed);
        self.set_waiting(0);
        self.set(Phase::Starting);
        // After the rest: a reader that sees the one must see the other.
        self.pid.store(pid, Release);
    }

    pub fn set(&self, phase: Phase) {
        self.phase.store(phase as u32, Relaxed);
    }

    /// So many requests have come to its worker, for which no thread was free.
    pub fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting as u32, Relaxed);
    }

    /// So many there were when that was looked at last: often while all threads are busy, else not at all.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Its worker is gone.
    pub fn leave(&self) {
        self.pid.store(0, Relaxed);
    }

    /// Its worker's pid and phase, and when that was made; `None`: nobody has it.
    pub fn read(&self) -> Option<(i32, Phase, u64)> {
        let pid = self.pid.load(Acquire);
        let number = self.phase.load(Relaxed);
        let phase = Phase::ALL.into_iter().find(|phase| *phase as u32 == number);
        let phase = phase.unwrap_or(Phase::Retiring);
        (pid != 0).then(|| (pid, phase, self.born_ms.load(Relaxed)))
    }
}

impl Slot {
    /// The request with this number begins. `method` and `path` are kept as far as there is room.
    pub fn begin(&self, now_ms: u64, serial: u64, method: &[u8], path: &[u8]) {
        let mut line = [0u8; LINE_WORDS * 8];
        let mut length = 0;
        for part in [method, b" ", path] {
            let n = part.len().min(line.len() - length);
            line[length..length + n].copy_from_slice(&part[..n]);
            length += n;
        }
        for (word, bytes) in self.line.iter().zip(line[..length.next_multiple_of(8)].chunks_exact(8)) {
            word.store(
                u64::from_ne_bytes(bytes.try_into().expect("chunks of eight bytes")),
                Relaxed,
            );
        }
        self.line_length.store((method.len() + 1 + path.len()) as u32, Relaxed);
        self.since_ms.store(now_ms, Relaxed);
        self.serial.store(serial, Relaxed);
        // After the start: a reader that sees the one must see the other.
        self.busy.store(1, Release);
    }

    pub fn end(&self) {
        self.busy.store(0, Relaxed);
    }

    /// The start of the running request in milliseconds of [`now_ms`]; `None` if the thread is idle.
    pub fn busy_since_ms(&self) -> Option<u64> {
        (self.busy.load(Acquire) == 1).then(|| self.since_ms.load(Relaxed))
    }

    /// Somebody wants the request with this number to end.
    pub fn note_killed(&self, serial: u64, now_ms: u64) {
        self.killed_ms.store(now_ms, Relaxed);
        self.killed.store(serial, Release);
    }

    /// When somebody wanted the running request to end, as [`Slot::busy_since_ms`]; `None` if nobody did.
    pub fn killed_ms(&self) -> Option<u64> {
        // First of all that it runs: its number stands there by then.
        self.busy_since_ms()?;
        let killed = self.killed.load(Acquire);
        (killed != 0 && killed == self.serial()).then(|| self.killed_ms.load(Relaxed))
    }

    /// Says whether this thread's worker can take what waits for it; whether that is news.
    pub fn set_full(&self, full: bool) -> bool {
        self.full.swap(u32::from(full), Relaxed) != u32::from(full)
    }

    /// Whether it could not when that was looked at last.
    pub fn is_full(&self) -> bool {
        self.full.load(Relaxed) == 1
    }

    /// Counts the running request as failed, of which nobody knows more: its worker is gone, so nobody else counts here. It is over
    /// with that, so that a supervisor which outlives the leader counts it once.
    pub fn count_lost(&self) {
        let Some(since_ms) = self.busy_since_ms() else { return };
        self.end();
        self.counts.count(&Finished {
            status: 0,
            outcome: Outcome::Failed,
            refusal: None,
            received: 0,
            sent: 0,
            took: Duration::from_millis(now_ms().saturating_sub(since_ms)),
            queued: None,
        });
    }

    /// Number of the running or last request; 0 if there was none.
    pub fn serial(&self) -> u64 {
        self.serial.load(Relaxed)
    }

    /// Requests that the thread has had, the running one included.
    pub fn requests(&self) -> u64 {
        self.serial().saturating_sub(self.own.load(Relaxed))
    }

    /// Those that it has had so far were the worker's own.
    pub fn begin_counting(&self) {
        self.own.store(self.serial(), Relaxed);
    }

    /// Method and path of the running or last request, escaped for a log; dots at the end if they were longer.
    pub fn request_line(&self) -> String {
        let mut bytes = Vec::with_capacity(LINE_WORDS * 8);
        for word in &self.line {
            bytes.extend_from_slice(&word.load(Relaxed).to_ne_bytes());
        }
        let length = self.line_length.load(Relaxed) as usize;
        let cut = if length > bytes.len() { "..." } else { "" };
        bytes.truncate(length);
        format!("{}{cut}", bytes.escape_ascii())
    }

    /// Number, method and path of the running or last request, as the log has them: `pid-thread-number GET /path`.
    pub fn request_name(&self, thread: usize) -> String {
        let id = request_id(self.pid.load(Relaxed), thread, self.serial());
        format!("{id} {}", self.request_line())
    }

    /// Gives the slot to a thread of the worker `pid` (0: to nobody).
    pub fn assign(&self, pid: i32) {
        self.busy.store(0, Relaxed);
        self.serial.store(0, Relaxed);
        self.full.store(0, Relaxed);
        self.killed.store(0, Relaxed);
        self.own.store(0, Relaxed);
        self.pid.store(pid, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Scoreboard;

    #[test]
    fn slot_of_another_thread_knows_nothing_of_the_one_before() {
        let scoreboard = Scoreboard::map(Scoreboard::create(1).unwrap()).unwrap();
        let slot = &scoreboard.slots()[0];
        slot.begin(1234, 7, b"GET", b"/");
        assert!(slot.set_full(true) && !slot.set_full(true) && slot.is_full());
        slot.assign(43);
        assert_eq!(
            (slot.pid.load(Relaxed), slot.busy_since_ms(), slot.serial()),
            (43, None, 0)
        );
        assert!(!slot.is_full());
    }

    #[test]
    fn requests_are_counted_from_the_first_that_somebody_has_sent() {
        let scoreboard = Scoreboard::map(Scoreboard::create(1).unwrap()).unwrap();
        let slot = &scoreboard.slots()[0];
        slot.assign(42);
        slot.begin(1234, 1, b"GET", b"/page");
        slot.end();
        slot.begin_counting();
        assert_eq!((slot.serial(), slot.requests()), (1, 0));
        slot.begin(1234, 2, b"GET", b"/");
        assert_eq!((slot.serial(), slot.requests()), (2, 1));
        slot.assign(43);
        assert_eq!(slot.requests(), 0);
    }

    #[test]
    fn request_that_was_lost_is_counted_once() {
        let scoreboard = Scoreboard::map(Scoreboard::create(1).unwrap()).unwrap();
        let slot = &scoreboard.slots()[0];
        slot.assign(42);
        slot.begin(now_ms(), 1, b"GET", b"/");
        slot.count_lost();
        slot.count_lost();
        assert_eq!(scoreboard.totals().outcomes[Outcome::Failed as usize], 1);
        assert_eq!(scoreboard.totals().responses[0], 1);
    }

    #[test]
    fn request_that_somebody_wants_to_end_is_that_one_and_not_the_next() {
        let scoreboard = Scoreboard::map(Scoreboard::create(1).unwrap()).unwrap();
        let slot = &scoreboard.slots()[0];
        slot.assign(42);
        // As a reader may see the first request of all, whose number it has read before it began.
        slot.begin(1234, 0, b"GET", b"/");
        assert_eq!(slot.killed_ms(), None);
        slot.begin(1234, 7, b"GET", b"/");
        assert_eq!(slot.killed_ms(), None);
        slot.note_killed(7, 2000);
        assert_eq!(slot.killed_ms(), Some(2000));
        slot.end();
        assert_eq!(slot.killed_ms(), None);
        slot.begin(2000, 8, b"GET", b"/");
        assert_eq!(slot.killed_ms(), None);
    }

    #[test]
    fn request_line_of_the_slots_size_is_whole() {
        let scoreboard = Scoreboard::map(Scoreboard::create(1).unwrap()).unwrap();
        let path = format!("/{}", "x".repeat(187));
        scoreboard.slots()[0].begin(0, 1, b"GET", path.as_bytes());
        assert_eq!(scoreboard.slots()[0].request_line(), format!("GET {path}"));
        scoreboard.slots()[0].begin(0, 1, b"HEAD", path.as_bytes());
        let cut = &path[..path.len() - 1];
        assert_eq!(scoreboard.slots()[0].request_line(), format!("HEAD {cut}..."));
    }

    #[test]
    fn request_line_over_the_slots_size_is_cut_and_marked() {
        let scoreboard = Scoreboard::map(Scoreboard::create(1).unwrap()).unwrap();
        scoreboard.slots()[0].begin(0, 1, b"POST", &[b'x'; 1000]);
        let line = scoreboard.slots()[0].request_line();
        assert!(line.len() == LINE_WORDS * 8 + 3 && line.ends_with("xxx..."), "{line}");
        scoreboard.slots()[0].begin(0, 2, b"GET", b"/");
        assert_eq!(scoreboard.slots()[0].request_line(), "GET /");
    }

    #[test]
    fn seat_tells_of_its_worker_until_that_is_gone() {
        let scoreboard = Scoreboard::map(Scoreboard::create(1).unwrap()).unwrap();
        let seat = &scoreboard.slots()[0].seat;
        assert_eq!(seat.read(), None);
        for pid in [42, 43] {
            seat.take(pid, 1234);
            assert_eq!(seat.read(), Some((pid, Phase::Starting, 1234)));
            for phase in [Phase::Serving, Phase::Retiring] {
                seat.set(phase);
                assert_eq!(seat.read(), Some((pid, phase, 1234)));
            }
        }
        seat.leave();
        assert_eq!(seat.read(), None);
    }
}
