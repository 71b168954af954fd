//! When a pool whose leader died is started again. Gets the time as an argument.

use std::time::Duration;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// A generation that lived this long did not die of its start.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// Waits twice as long each time, up to [`LONGEST_DELAY`]; never gives up.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    pub fn new() -> Self {
        Self { next: FIRST_DELAY }
    }

    /// How long to wait after a generation that `lived` so long.
    pub fn after(&mut self, lived: Duration) -> Duration {
        if lived >= LONG_LIFE {
            self.next = FIRST_DELAY;
        }
        let delay = self.next;
        self.next = (delay * 2).min(LONGEST_DELAY);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_up_to_its_limit_and_a_long_life_resets_it() {
        let mut backoff = Backoff::new();
        let mut delay_after = |seconds| backoff.after(Duration::from_secs(seconds)).as_millis();
        let delays: Vec<_> = (0..9).map(|_| delay_after(1)).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(delay_after(59), 10_000);
        assert_eq!(delay_after(60), 100);
        assert_eq!(delay_after(0), 200);
    }
}
