//! Events that one client or one front server can cause at will: of each kind a few a second are logged, then how many more
//! there were. Of those that a state causes for as long as it lasts, one a minute.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, TryLockError};

use settings::values::CountLimit;

use crate::scoreboard::now_ms;

/// Events of one kind that are logged in each second.
const PASSING: u64 = 10;
const SECOND_MS: u64 = 1000;
/// What the application writes, in the words of the log.
pub(super) const LINES: &str = "lines of the application";
const MINUTE_MS: u64 = 60 * SECOND_MS;

/// One kind of events, counted in this process. A `static` where they are logged.
#[derive(Debug)]
pub struct Limit {
    /// In the words of the log, such as "refused peers".
    what: &'static str,
    /// So many are logged...
    passing: AtomicU64,
    /// ...within so long.
    within_ms: u64,
    /// When the second, or minute, began that is being counted, by `now_ms`; 0: never.
    since_ms: AtomicU64,
    seen: AtomicU64,
}

/// What the application writes, in this process.
static APPLICATION: Limit = Limit::new(LINES);

/// Those that have left something out and have not said so.
static OWING: Mutex<Vec<&'static Limit>> = Mutex::new(Vec::new());

impl Limit {
    pub const fn new(what: &'static str) -> Self {
        Self::of(what, PASSING, SECOND_MS)
    }

    /// For what is so, and goes on to be, until somebody changes something.
    pub const fn once_a_minute(what: &'static str) -> Self {
        Self::of(what, 1, MINUTE_MS)
    }

    const fn of(what: &'static str, passing: u64, within_ms: u64) -> Self {
        Self {
            what,
            passing: AtomicU64::new(passing),
            within_ms,
            since_ms: AtomicU64::new(0),
            seen: AtomicU64::new(0),
        }
    }

    /// One for what the application of one pool writes, in a process that has to do with several. Who has it says what was left out.
    pub fn of_pool(rate: CountLimit) -> Self {
        let limit = Self::new(LINES);
        limit.set(rate);
        limit
    }

    fn set(&self, rate: CountLimit) {
        self.passing.store(rate.get().unwrap_or(u64::MAX - 1), Relaxed);
    }

    /// It has happened: whether to log it.
    pub fn count(&self) -> bool {
        self.seen.fetch_add(1, Relaxed) < self.passing()
    }

    /// Whether something has been left out, and nobody has said so.
    pub fn is_exceeded(&self) -> bool {
        self.seen.load(Relaxed) > self.passing()
    }

    /// How many were left out, and in how many seconds, if these are over: to be said now.
    pub fn left_out(&self) -> Option<(u64, u64)> {
        let (left_out, for_ms) = self.begin(now_ms())?;
        Some((left_out, for_ms.div_ceil(SECOND_MS)))
    }

    /// It has happened: whether to log it. Says first how many were left out before, if that is over.
    pub fn pass(&'static self) -> bool {
        let now = now_ms();
        if let Some((left_out, for_ms)) = self.begin(now) {
            self.say(left_out, for_ms);
        }
        let seen = self.seen.fetch_add(1, Relaxed) + 1;
        if seen == self.passing() + 1 {
            self.owe();
        }
        seen <= self.passing()
    }

    fn passing(&self) -> u64 {
        self.passing.load(Relaxed)
    }

    /// Begins a new second if the last is over; what was left out, and in how many milliseconds.
    fn begin(&self, now: u64) -> Option<(u64, u64)> {
        let since = self.since_ms.load(Relaxed);
        let for_ms = now.saturating_sub(since);
        if since != 0 && for_ms < self.within_ms {
            return None;
        }
        // Of several threads one begins it.
        self.since_ms.compare_exchange(since, now, Relaxed, Relaxed).ok()?;
        let left_out = self.seen.swap(0, Relaxed).saturating_sub(self.passing());
        (left_out > 0).then_some((left_out, for_ms))
    }

    fn owe(&'static self) {
        // In a child of the application another thread may have had the lock for ever: then nobody is told later.
        let mut owing = match OWING.try_lock() {
            Ok(owing) => owing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if !owing.iter().any(|limit| std::ptr::eq(*limit, self)) {
            owing.push(self);
        }
    }

    fn say(&self, left_out: u64, for_ms: u64) {
        let seconds = for_ms.div_ceil(SECOND_MS);
        tracing::warn!(
            what = self.what,
            "and {left_out} more like this in the last {seconds} s"
        );
    }
}

/// Whether a line of the application is to be logged.
pub fn application_may() -> bool {
    APPLICATION.pass()
}

pub(super) fn set_application_rate(rate: CountLimit) {
    APPLICATION.set(rate);
}

/// Whether [`report`] is to be called in a second.
pub fn is_owing() -> bool {
    OWING.try_lock().is_ok_and(|owing| !owing.is_empty())
}

/// Says what has been left out for a second (or a minute) and more, although nothing of the kind happens any more.
pub fn report() {
    let Ok(mut owing) = OWING.try_lock() else { return };
    let now = now_ms();
    owing.retain(|limit| {
        if let Some((left_out, for_ms)) = limit.begin(now) {
            limit.say(left_out, for_ms);
        }
        limit.is_exceeded()
    });
}

/// Logs an event of which there may be any number: `limited!("refused peers", tracing::warn!("..."))`.
#[macro_export]
macro_rules! limited {
    ($what:literal, $event:expr) => {{
        static LIMIT: $crate::log::Limit = $crate::log::Limit::new($what);
        if LIMIT.pass() {
            $event;
        }
    }};
}

/// The same for what a state causes, which lasts: the first, and each minute one more.
#[macro_export]
macro_rules! once_a_minute {
    ($what:literal, $event:expr) => {{
        static LIMIT: $crate::log::Limit = $crate::log::Limit::once_a_minute($what);
        if LIMIT.pass() {
            $event;
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::{keep, kept, usual};
    use crate::tests::{in_a_process, is_in_a_process};

    #[test]
    fn what_was_left_out_is_said_once_in_the_words_of_its_kind() {
        if !is_in_a_process() {
            let this = "what_was_left_out_is_said_once_in_the_words_of_its_kind";
            in_a_process(&format!("log::limit::tests::{this}"), &[]);
            return;
        }
        static LIMIT: Limit = Limit::new("refused peers");
        keep(&usual());
        let happen = |times| (0..times).filter(|_| LIMIT.pass()).count();
        let said = |left_out: usize, log: &str| {
            let message = format!("  WARN contract::log::limit: and {left_out} more like this in the last ");
            assert!(
                log.contains(&message) && log.ends_with(" s what=\"refused peers\"\n"),
                "{log:?}"
            );
            assert_eq!(log.lines().count(), 1, "{log}");
        };
        assert_eq!((happen(10), is_owing()), (10, false), "nothing is left out");
        // It may be that the second ends here.
        let left_out = 15 - happen(15);
        report();
        assert_eq!((kept().as_str(), is_owing()), ("", true), "its second is not over");
        crate::log::tests::until(|| {
            report();
            !is_owing()
        });
        said(left_out, &kept());
        // The next of its kind says it, too, and nobody then owes it any more.
        let left_out = 15 - happen(15);
        crate::log::tests::until(|| now_ms() >= LIMIT.since_ms.load(Relaxed) + SECOND_MS);
        assert!(LIMIT.pass());
        said(left_out, &kept());
        report();
        assert_eq!((kept().as_str(), is_owing()), ("", false));
    }

    #[test]
    fn ten_a_second_pass_and_the_rest_is_counted() {
        static LIMIT: Limit = Limit::new("tests");
        assert_eq!(LIMIT.begin(5), None);
        assert_eq!(
            (0..1000).filter(|_| LIMIT.seen.fetch_add(1, Relaxed) < PASSING).count(),
            10
        );
        assert_eq!(LIMIT.begin(1004), None, "the second is not over");
        assert_eq!(LIMIT.begin(4005), Some((990, 4000)));
        assert_eq!(LIMIT.begin(5005), None, "nothing was left out");
        LIMIT.seen.store(11, Relaxed);
        assert_eq!(LIMIT.begin(6005), Some((1, 1000)), "the second has just ended");
    }

    #[test]
    fn of_what_lasts_one_a_minute_passes() {
        static LIMIT: Limit = Limit::once_a_minute("states");
        assert_eq!((0..1000).filter(|_| LIMIT.pass()).count(), 1);
        let since = LIMIT.since_ms.load(Relaxed);
        assert_eq!(LIMIT.begin(since + MINUTE_MS - 1), None);
        assert_eq!(LIMIT.begin(since + MINUTE_MS), Some((999, MINUTE_MS)));
    }

    #[test]
    fn kind_that_has_left_out_nothing_in_this_second_owes_nothing() {
        if !is_in_a_process() {
            let this = "kind_that_has_left_out_nothing_in_this_second_owes_nothing";
            in_a_process(&format!("log::limit::tests::{this}"), &[]);
            return;
        }
        static LIMIT: Limit = Limit::new("few tests");
        LIMIT.owe();
        assert!(is_owing());
        LIMIT.seen.store(PASSING, Relaxed);
        LIMIT.since_ms.store(now_ms(), Relaxed);
        report();
        assert!(!is_owing());
    }

    #[test]
    fn what_was_left_out_is_owed_until_it_is_said() {
        static LIMIT: Limit = Limit::new("more tests");
        let passed = (0..25).filter(|_| LIMIT.pass()).count();
        assert!((10..=20).contains(&passed), "ten a second: {passed}");
        assert!(is_owing());
        crate::log::tests::until(|| {
            report();
            !is_owing()
        });
        assert_eq!(LIMIT.seen.load(Relaxed), 0);
    }
}
