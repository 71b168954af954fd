//! How long to wait before a process that has ended is started again. Gets times as arguments.

use std::time::Duration;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Waits twice as long each time, from 100 ms up to 10 s; never gives up.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    long_life: Duration,
}

impl Backoff {
    /// What has lived for a `long_life` did not die of its start: the next wait is the first again.
    pub fn new(long_life: Duration) -> Self {
        Self {
            next: FIRST_WAIT,
            long_life,
        }
    }

    /// How long to wait after a process that `lived` so long.
    pub fn after(&mut self, lived: Duration) -> Duration {
        if lived >= self.long_life {
            self.reset();
        }
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST_WAIT);
        wait
    }

    /// The next wait is the first again.
    pub fn reset(&mut self) {
        self.next = FIRST_WAIT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_doubles_up_to_its_limit_and_a_long_life_resets_it() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        let mut wait_after = |seconds| backoff.after(Duration::from_secs(seconds)).as_millis();
        let waits: Vec<_> = (0..9).map(|_| wait_after(1)).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(wait_after(59), 10_000);
        assert_eq!(wait_after(60), 100);
        assert_eq!(wait_after(0), 200);
        backoff.reset();
        assert_eq!(backoff.after(Duration::ZERO).as_millis(), 100);
    }
}
