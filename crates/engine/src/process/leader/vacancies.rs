//! When workers are forked: for those that have died, and for those of which there are too few. Gets times as arguments.
//!
//! Waiting is for what would only die again. A worker that has served is replaced at once, one that dies before that after
//! growing waits, and where workers die all the time each fork waits a little. With nobody left, all of that is short.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use contract::backoff::Backoff;

pub struct Vacancies {
    /// When a worker is to be forked, one entry for each.
    due: Vec<Instant>,
    /// Waits before replacements of those that die before they have served.
    early: Backoff,
    /// Those of the last minute.
    deaths: VecDeque<Instant>,
}

/// What must be known of a worker that has died.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    pub lasted: Duration,
    /// It has had a request.
    pub served: bool,
    /// No other worker serves or starts.
    pub was_last: bool,
}

/// One that has served is replaced at once, but if it was a short life, not more often than this.
const SHORTEST_LIFE: Duration = Duration::from_millis(100);
/// A worker that lived so long was healthy: the next wait is the first again.
const HEALTHY_LIFE: Duration = Duration::from_secs(30);
/// So many deaths within a minute are a storm: requests that crash, or a machine without memory.
const STORM: usize = 120;
const MINUTE: Duration = Duration::from_secs(60);
/// How long a fork waits in a storm, while others serve.
const STORM_WAIT: Duration = Duration::from_millis(500);
/// How long a fork waits at most while nobody serves: what has kept workers from starting may be over.
const LONGEST_ALONE: Duration = Duration::from_secs(1);

impl Vacancies {
    /// So many, all due.
    pub fn new(count: usize, now: Instant) -> Self {
        Self {
            due: vec![now; count],
            early: Backoff::new(HEALTHY_LIFE),
            deaths: VecDeque::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// When the next worker is to be forked.
    pub fn next(&self) -> Option<Instant> {
        self.due.iter().min().copied()
    }

    /// One more worker is to be forked.
    pub fn open(&mut self, at: Instant) {
        self.due.push(at);
    }

    /// One worker less is to be forked: that for which the wait is longest.
    pub fn close(&mut self) {
        self.due.sort_unstable();
        self.due.pop();
    }

    /// The worker for which the wait is shortest was forked.
    pub fn fill(&mut self) {
        // The earliest becomes the last.
        self.due.sort_unstable_by(|one, other| other.cmp(one));
        self.due.pop();
    }

    /// Nobody need be replaced any more.
    pub fn clear(&mut self) {
        self.due.clear();
    }

    /// A worker has died that is to be replaced; returns the wait.
    pub fn replace(&mut self, life: Life, now: Instant) -> Duration {
        self.deaths.push_back(now);
        while self.deaths.front().is_some_and(|&death| now - death > MINUTE) {
            self.deaths.pop_front();
        }
        let mut wait = match life.served {
            true => {
                self.early.reset();
                SHORTEST_LIFE.saturating_sub(life.lasted)
            }
            false => self.early.after(life.lasted),
        };
        if life.was_last {
            wait = wait.min(LONGEST_ALONE);
            for due in &mut self.due {
                *due = (*due).min(now + LONGEST_ALONE);
            }
        } else if self.deaths.len() > STORM {
            wait = wait.max(STORM_WAIT);
        }
        self.open(now + wait);
        wait
    }

    /// The worker that was due can't be forked now: it is tried again later.
    pub fn postpone(&mut self, now: Instant) {
        self.fill();
        let wait = self.early.after(Duration::ZERO);
        self.open(now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVED: Life = Life {
        lasted: Duration::from_secs(1),
        served: true,
        was_last: false,
    };
    const EARLY: Life = Life {
        served: false,
        ..SERVED
    };

    fn ms(vacancies: &mut Vacancies, life: Life, now: Instant) -> u128 {
        let wait = vacancies.replace(life, now).as_millis();
        vacancies.clear();
        wait
    }

    #[test]
    fn who_has_served_is_replaced_at_once_unless_it_lived_for_a_moment() {
        let (now, vacancies) = (Instant::now(), &mut Vacancies::new(0, Instant::now()));
        assert_eq!(ms(vacancies, SERVED, now), 0);
        let lasted = Duration::from_millis(30);
        assert_eq!(ms(vacancies, Life { lasted, ..SERVED }, now), 70);
        for was_last in [false, true] {
            assert_eq!(ms(vacancies, Life { was_last, ..SERVED }, now), 0);
        }
    }

    #[test]
    fn who_dies_before_it_has_served_is_replaced_after_growing_waits() {
        let (now, vacancies) = (Instant::now(), &mut Vacancies::new(0, Instant::now()));
        let waits: Vec<_> = (0..9).map(|_| ms(vacancies, EARLY, now)).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(ms(vacancies, SERVED, now), 0);
        assert_eq!(ms(vacancies, EARLY, now), 100, "one that has served ends it");
    }

    #[test]
    fn pool_without_a_worker_waits_for_a_second_at_most() {
        let (now, mut vacancies) = (Instant::now(), Vacancies::new(0, Instant::now()));
        for _ in 0..8 {
            vacancies.replace(EARLY, now);
        }
        assert!(vacancies.due.contains(&(now + Duration::from_secs(10))));
        let was_last = true;
        let wait = vacancies.replace(Life { was_last, ..EARLY }, now);
        assert_eq!(wait, LONGEST_ALONE);
        assert_eq!(vacancies.due.iter().max(), Some(&(now + LONGEST_ALONE)));
    }

    #[test]
    fn storm_makes_each_fork_wait_while_others_serve() {
        let (now, vacancies) = (Instant::now(), &mut Vacancies::new(0, Instant::now()));
        for _ in 0..STORM {
            assert_eq!(ms(vacancies, SERVED, now), 0);
        }
        assert_eq!(ms(vacancies, SERVED, now), 500);
        let was_last = true;
        assert_eq!(ms(vacancies, Life { was_last, ..SERVED }, now), 0);
        assert_eq!(ms(vacancies, SERVED, now + MINUTE * 2), 0, "a minute later it is over");
    }

    #[test]
    fn earliest_is_filled_and_latest_closed() {
        let now = Instant::now();
        let mut vacancies = Vacancies::new(1, now);
        vacancies.open(now + MINUTE);
        vacancies.open(now + 2 * MINUTE);
        vacancies.close();
        assert_eq!((vacancies.len(), vacancies.next()), (2, Some(now)));
        vacancies.fill();
        assert_eq!((vacancies.len(), vacancies.next()), (1, Some(now + MINUTE)));
        vacancies.postpone(now);
        assert_eq!(vacancies.next(), Some(now + Duration::from_millis(100)));
    }
}
