//! Waiting for a condition with a deadline.

use std::fmt::Display;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait for anything that should happen at once. Far above what a busy two-core machine needs.
pub const SOON: Duration = Duration::from_secs(20);

/// Polls until `condition` gives a value.
///
/// # Panics
/// When `deadline` has passed, with `what` was waited for.
#[track_caller]
pub fn until_some<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited {deadline:?} in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Polls until `condition` holds.
///
/// # Panics
/// As [`until_some`].
#[track_caller]
pub fn until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    until_some(what, deadline, || condition().then_some(()));
}

/// Waits until the process `pid` has ended and closed what it had open. It may still be a zombie: whoever adopts a process
/// reaps it when he likes. Its first thread may have ended before others, which keep open what all have.
///
/// # Panics
/// As [`until_some`].
#[track_caller]
pub fn until_ended(pid: impl Display, deadline: Duration) {
    let stat = format!("/proc/{pid}/stat");
    until("the process has ended", deadline, || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        threads <= 1 && fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    });
}
