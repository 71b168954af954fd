//! How many workers a pool has, within its range. Gets samples and times as arguments.
//!
//! One worker more where requests wait for one: all threads of all workers are busy, or all processors that so many can use.
//! One less when fewer would have been enough for a while.

use std::time::Instant;

use contract::settings::Size;

pub struct Sizing {
    range: Size,
    threads: usize,
    /// How many there should be.
    size: usize,
    /// By a number of workers: since when so many would have been enough.
    enough_since: Vec<Instant>,
    /// Since when there was no request.
    quiet_since: Instant,
    /// What all have had when that was looked at.
    requests: u64,
    /// One more is wanted than there may be.
    is_at_limit: bool,
    limits: u64,
}

/// What a look at the workers shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// Threads with a request.
    pub busy: usize,
    /// Requests that workers have had so far; a sum that only grows while the workers are the same.
    pub requests: u64,
    /// Each worker has had all of its threads busy for longer than a moment, or could not take what waits.
    pub all_full: bool,
    /// Processors that they have used since the last look, if that is known.
    pub processors: Option<f64>,
    /// As many workers serve as should.
    pub is_settled: bool,
}

/// What is to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    More,
    Fewer,
    /// Nobody is needed for now.
    Rest,
}

/// A worker runs Python on one processor: with this part of it used, one more may help.
const CROWDED: f64 = 0.8;
/// With this part used of one worker less, that is enough.
const ROOMY: f64 = 0.6;

impl Sizing {
    pub fn new(range: Size, threads: usize, now: Instant) -> Self {
        Self {
            size: (range.least as usize).max(1).max(range.spare.min(range.most) as usize),
            threads,
            enough_since: vec![now; range.limit() as usize + 1],
            quiet_since: now,
            requests: 0,
            is_at_limit: false,
            limits: 0,
            range,
        }
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// How often one more was wanted than there may be: each time that this began.
    pub fn limits(&self) -> u64 {
        self.limits
    }

    /// Somebody wants one more, or one less; whether that can be.
    pub fn step(&mut self, more: bool, now: Instant) -> bool {
        let wanted = if more { self.size + 1 } else { self.size - 1 };
        // A number that somebody has set leaves the room that there is.
        let most = if self.varies() {
            self.range.most as usize
        } else {
            self.room()
        };
        let can_be = (1..=most).contains(&wanted);
        if can_be {
            self.size = wanted;
            self.enough_since.fill(now);
        }
        can_be
    }

    /// Another range, within the room that there is.
    pub fn set(&mut self, least: u32, most: u32, now: Instant) {
        self.range.most = most.clamp(1, self.room() as u32);
        self.range.least = least.min(self.range.most);
        self.size = self
            .size
            .clamp(self.range.least.max(1) as usize, self.range.most as usize);
        self.enough_since.fill(now);
    }

    /// As many as there may be at all, whatever somebody sets.
    fn room(&self) -> usize {
        self.enough_since.len() - 1
    }

    /// Whether the number depends on requests.
    pub fn varies(&self) -> bool {
        self.range.least < self.range.most
    }

    /// Looks at what the workers do; what has changed.
    pub fn look(&mut self, sample: Sample, now: Instant) -> Option<Change> {
        if !self.varies() {
            return None;
        }
        if sample.busy > 0 || sample.requests != self.requests {
            self.quiet_since = now;
            self.requests = sample.requests;
        }
        let needed = sample.busy.div_ceil(self.threads) + self.range.spare as usize;
        let used = |workers: usize| sample.processors.map(|used| used / workers as f64);
        let is_crowded = sample.all_full || needed > self.size || used(self.size).is_some_and(|used| used > CROWDED);
        for (workers, since) in self.enough_since.iter_mut().enumerate() {
            let is_enough = !is_crowded && needed <= workers && used(workers).is_none_or(|used| used < ROOMY);
            if !is_enough {
                *since = now;
            }
        }
        if !sample.is_settled {
            return None;
        }
        if is_crowded && self.size < self.range.most as usize {
            self.size += 1;
            return Some(Change::More);
        }
        if is_crowded {
            self.limits += u64::from(!std::mem::replace(&mut self.is_at_limit, true));
        } else if sample.processors.is_some() {
            // Between two looks at the processors nobody knows.
            self.is_at_limit = false;
        }
        let patience = self.range.idle_timeout.duration()?;
        if self.size > (self.range.least as usize).max(1) && now - self.enough_since[self.size - 1] >= patience {
            self.size -= 1;
            return Some(Change::Fewer);
        }
        let rests = self.range.least == 0 && self.size == 1 && now - self.quiet_since >= patience;
        if rests {
            // If nobody listens, it is said again.
            self.quiet_since = now;
        }
        rests.then_some(Change::Rest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const IDLE: Sample = Sample {
        busy: 0,
        requests: 0,
        all_full: false,
        processors: Some(0.0),
        is_settled: true,
    };

    fn range(least: u32, most: u32, spare: u32) -> Size {
        Size {
            least,
            most,
            spare,
            idle_timeout: Duration::from_secs(60).into(),
        }
    }

    fn busy(busy: usize) -> Sample {
        Sample { busy, ..IDLE }
    }

    #[test]
    fn another_range_counts_at_once_and_stays_within_the_room() {
        let now = Instant::now();
        let mut sizing = Sizing::new(Size::fixed(2), 1, now);
        sizing.set(4, 4, now);
        assert_eq!((sizing.size(), sizing.varies()), (4, false));
        sizing.set(1, 9, now);
        assert_eq!((sizing.size(), sizing.varies(), sizing.range.most), (4, true, 4));
        sizing.set(1, 1, now);
        assert_eq!((sizing.size(), sizing.step(true, now), sizing.size()), (1, true, 2));
        sizing.set(0, 3, now);
        assert_eq!(sizing.size(), 2);
        // It grows and shrinks within the new range.
        assert_eq!(sizing.look(busy(2), now), None, "what is busy has a worker");
        assert_eq!(sizing.look(busy(3), now), Some(Change::More));
        assert_eq!(sizing.look(busy(4), now), None, "that is the most");
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn fixed_number_stays_whatever_happens() {
        let now = Instant::now();
        let mut sizing = Sizing::new(range(2, 2, 0), 4, now);
        let full = Sample {
            all_full: true,
            ..busy(8)
        };
        assert_eq!(sizing.look(full, now), None);
        assert_eq!(sizing.look(IDLE, now + seconds(1000)), None);
        assert_eq!(sizing.size(), 2);
    }

    #[test]
    fn one_worker_more_when_all_are_full_and_the_last_one_is_ready() {
        let now = Instant::now();
        let mut sizing = Sizing::new(range(1, 3, 0), 4, now);
        assert_eq!(
            sizing.look(busy(4), now),
            None,
            "all threads are busy at this moment alone"
        );
        let full = Sample {
            all_full: true,
            ..busy(4)
        };
        assert_eq!(sizing.look(full, now), Some(Change::More));
        let starting = Sample {
            is_settled: false,
            ..full
        };
        assert_eq!(sizing.look(starting, now), None, "one at a time");
        assert_eq!(sizing.look(full, now), Some(Change::More));
        assert_eq!(
            (sizing.look(full, now), sizing.size()),
            (None, 3),
            "not more than the range has"
        );
    }

    #[test]
    fn one_worker_more_where_processors_are_used_up() {
        let now = Instant::now();
        let mut sizing = Sizing::new(range(1, 4, 0), 4, now);
        let uses = |processors| Sample {
            processors: Some(processors),
            ..busy(1)
        };
        assert_eq!(sizing.look(uses(0.7), now), None);
        assert_eq!(sizing.look(uses(0.9), now), Some(Change::More));
        assert_eq!(sizing.look(uses(1.3), now), None, "two use as much as they get");
        // And it goes on to need both.
        assert_eq!(sizing.look(uses(1.0), now + seconds(600)), None);
        assert_eq!(sizing.look(uses(0.5), now + seconds(600)), None);
        assert_eq!(sizing.look(uses(0.5), now + seconds(660)), Some(Change::Fewer));
    }

    #[test]
    fn each_time_that_more_are_wanted_than_there_may_be_is_counted_once() {
        let now = Instant::now();
        let mut sizing = Sizing::new(range(1, 2, 0), 1, now);
        let full = Sample {
            all_full: true,
            ..busy(1)
        };
        assert_eq!((sizing.look(full, now), sizing.limits()), (Some(Change::More), 0));
        for (sample, limits) in [(full, 1), (full, 1), (IDLE, 1), (full, 2)] {
            assert_eq!((sizing.look(sample, now), sizing.limits()), (None, limits));
        }
        // What was not looked at has not ended.
        let unknown = Sample {
            processors: None,
            ..IDLE
        };
        assert_eq!((sizing.look(unknown, now), sizing.look(full, now)), (None, None));
        assert_eq!(sizing.limits(), 2);
    }

    #[test]
    fn spare_workers_are_beside_the_busy_ones() {
        let now = Instant::now();
        let mut sizing = Sizing::new(range(1, 4, 2), 4, now);
        assert_eq!((sizing.size(), sizing.look(IDLE, now)), (2, None));
        assert_eq!(sizing.look(busy(1), now), Some(Change::More));
        assert_eq!(sizing.look(busy(5), now), Some(Change::More));
        assert_eq!(sizing.look(busy(9), now), None, "not more than the range has");
        for (after, size) in [(60, 3), (120, 2), (600, 2)] {
            sizing.look(IDLE, now + seconds(after));
            assert_eq!(sizing.size(), size, "after {after} s");
        }
        // More than there may be.
        assert_eq!(Sizing::new(range(1, 2, 5), 4, now).size(), 2);
    }

    #[test]
    fn one_worker_less_when_fewer_were_enough_all_the_time() {
        let now = Instant::now();
        let mut sizing = Sizing::new(range(1, 4, 0), 4, now);
        for _ in 0..2 {
            sizing.look(
                Sample {
                    all_full: true,
                    ..busy(4)
                },
                now,
            );
        }
        assert_eq!(sizing.look(busy(8), now + seconds(59)), None);
        assert_eq!(sizing.look(busy(9), now + seconds(70)), None, "three were needed once");
        assert_eq!(sizing.look(busy(8), now + seconds(129)), None);
        assert_eq!(sizing.look(busy(8), now + seconds(130)), Some(Change::Fewer));
        assert_eq!(
            sizing.look(
                Sample {
                    is_settled: false,
                    ..IDLE
                },
                now + seconds(131)
            ),
            None
        );
        assert_eq!(
            sizing.look(IDLE, now + seconds(132)),
            None,
            "with two, one was not enough a moment ago"
        );
        assert_eq!(sizing.look(IDLE, now + seconds(200)), Some(Change::Fewer));
        assert_eq!(
            sizing.look(IDLE, now + seconds(1000)),
            None,
            "not fewer than the range has"
        );
    }

    #[test]
    fn range_from_none_rests_when_no_request_has_come() {
        let now = Instant::now();
        let mut sizing = Sizing::new(range(0, 2, 0), 4, now);
        assert_eq!(sizing.size(), 1);
        let had = |requests| Sample { requests, ..IDLE };
        assert_eq!(sizing.look(had(1), now + seconds(50)), None);
        assert_eq!(sizing.look(had(1), now + seconds(109)), None);
        assert_eq!(sizing.look(had(1), now + seconds(110)), Some(Change::Rest));
        assert_eq!(sizing.look(Sample { requests: 1, ..busy(1) }, now + seconds(111)), None);
        let mut forever = Sizing::new(
            Size {
                idle_timeout: Duration::ZERO.into(),
                ..range(0, 2, 0)
            },
            4,
            now,
        );
        assert_eq!(forever.look(IDLE, now + seconds(1_000_000)), None);
    }

    #[test]
    fn signals_move_it_within_what_there_is_room_for() {
        let now = Instant::now();
        let mut sizing = Sizing::new(range(1, 2, 0), 4, now);
        assert!(sizing.step(true, now) && !sizing.step(true, now));
        assert!(sizing.step(false, now) && !sizing.step(false, now));
        let mut fixed = Sizing::new(range(2, 2, 0), 4, now);
        assert!(
            fixed.step(true, now) && fixed.step(true, now) && !fixed.step(true, now),
            "twice as many"
        );
        let mut alone = Sizing::new(range(1, 1, 0), 4, now);
        assert!(!alone.step(true, now), "the application was told that it is alone");
    }
}
