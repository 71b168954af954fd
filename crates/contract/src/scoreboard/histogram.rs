//! How long things take: how many of them took about how long. Buckets get wider with the time, four to a doubling.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counts::{add, sum};
use crate::shared::shared;

/// The first bucket ends at two to the power of this, in microseconds: 64.
const FIRST: u32 = 6;
/// The last but one ends at two to the power of this: 134 seconds. What takes longer is in the last one.
const LAST: u32 = 27;
/// A doubling has two to the power of this buckets.
const FINE: u32 = 2;
pub const BUCKETS: usize = (((LAST - FIRST) << FINE) + 2) as usize;

shared! {
    /// Written by one thread.
    pub struct Histogram {
        buckets: [AtomicU64; BUCKETS],
        sum_us: AtomicU64,
    }
}

impl Histogram {
    #[inline]
    pub fn record(&self, time: Duration) {
        let us = time.as_micros() as u64;
        add(&self.buckets[bucket(us)], 1);
        add(&self.sum_us, us);
    }

    pub fn read(&self) -> Times {
        Times {
            buckets: self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect(),
            sum_us: self.sum_us.load(Relaxed),
        }
    }
}

fn bucket(us: u64) -> usize {
    match us.checked_ilog2() {
        Some(doubling @ FIRST..LAST) => {
            let part = us >> (doubling - FINE) & ((1 << FINE) - 1);
            1 + ((doubling - FIRST) << FINE) as usize + part as usize
        }
        Some(LAST..) => BUCKETS - 1,
        _ => 0,
    }
}

/// Where a bucket ends; `None`: the last one does not.
fn end_of(bucket: usize) -> Option<Duration> {
    let us = match bucket.checked_sub(1) {
        None => 1 << FIRST,
        Some(number) => {
            let (doubling, part) = (FIRST + (number as u32 >> FINE), number as u64 & ((1 << FINE) - 1));
            (1 << doubling) + ((part + 1) << (doubling - FINE))
        }
    };
    (bucket < BUCKETS - 1).then(|| Duration::from_micros(us))
}

/// What a histogram has at a moment; those of several can be added, and an earlier one subtracted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    buckets: Vec<u64>,
    sum_us: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            sum_us: 0,
        }
    }
}

impl Times {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    pub fn add(&mut self, other: &Self) {
        sum(&mut self.buckets, &other.buckets);
        self.sum_us += other.sum_us;
    }

    /// What has come since `before`, which is an earlier state of the same.
    pub fn since(&self, before: &Self) -> Self {
        let pairs = self.buckets.iter().zip(&before.buckets);
        Self {
            buckets: pairs.map(|(now, before)| now.saturating_sub(*before)).collect(),
            sum_us: self.sum_us.saturating_sub(before.sum_us),
        }
    }

    /// How long the `part` (0 to 1) of them that took least took at most, to a quarter of itself: the end of a bucket. `None` if
    /// there are none.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let wanted = (self.count() as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = self.buckets.iter().position(|number| {
            seen += number;
            seen >= wanted
        })?;
        end_of(found.min(BUCKETS - 2))
    }

    /// How many took no longer than that, for each of these ends of a doubling, in their order: what a histogram of OpenMetrics wants.
    pub fn up_to_doublings(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut seen = 0;
        self.buckets.iter().enumerate().filter_map(move |(bucket, number)| {
            seen += number;
            let is_end = bucket.is_multiple_of(1 << FINE);
            Some((end_of(bucket)?, seen)).filter(|_| is_end)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Mapping;

    shared! {
        struct Nothing {
            nothing: AtomicU64,
        }
    }

    fn times(of: &[u64]) -> Times {
        let fd = Mapping::<Nothing, Histogram>::create("wsgi-fpm-test", 1).unwrap();
        let mapping = Mapping::<Nothing, Histogram>::map(fd).unwrap();
        let histogram = &mapping.slots()[0];
        of.iter().for_each(|us| histogram.record(Duration::from_micros(*us)));
        histogram.read()
    }

    #[test]
    fn each_time_is_in_the_bucket_that_ends_behind_it() {
        for us in (0..4000).chain((12..27).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1])) {
            let number = bucket(us);
            let end = end_of(number).unwrap().as_micros() as u64;
            assert!(us < end, "{us} {end}");
            let before = number
                .checked_sub(1)
                .map(|before| end_of(before).unwrap().as_micros() as u64);
            assert!(
                before.is_none_or(|before| before <= us && end - before <= before.div_ceil(4)),
                "{us}"
            );
        }
        assert_eq!((bucket(1 << LAST), bucket(u64::MAX)), (BUCKETS - 1, BUCKETS - 1));
        assert_eq!((bucket((1 << LAST) - 1), end_of(BUCKETS - 1)), (BUCKETS - 2, None));
    }

    #[test]
    fn quantiles_are_ends_of_buckets() {
        let nothing = Times::default();
        assert_eq!((nothing.quantile(0.5), nothing.count()), (None, 0));
        let some = times(&[10, 100, 1000, 10_000]);
        let quantile = |part| some.quantile(part).unwrap().as_micros();
        assert_eq!([0.0, 0.25, 0.5, 0.51, 1.0].map(quantile), [64, 64, 112, 1024, 10_240]);
        assert_eq!(some.sum(), Duration::from_micros(11_110));
        // Nobody knows how long that was.
        assert_eq!(
            times(&[u64::MAX >> 20]).quantile(1.0),
            Some(Duration::from_micros(1 << LAST))
        );
    }

    #[test]
    fn times_are_added_and_what_came_in_between_is_told() {
        let before = times(&[10, 1000]);
        let mut all = before.clone();
        all.add(&times(&[1000, 5000]));
        assert_eq!((all.count(), all.sum()), (4, Duration::from_micros(7010)));
        assert_eq!(all.since(&before), times(&[1000, 5000]));
    }

    #[test]
    fn doublings_count_all_that_took_no_longer() {
        let some = times(&[10, 63, 64, 127, 128, 70_000_000_000]);
        let doublings: Vec<_> = some.up_to_doublings().collect();
        let ends: Vec<_> = doublings.iter().map(|(end, _)| end.as_micros() as u64).collect();
        assert_eq!(ends, (FIRST..=LAST).map(|power| 1 << power).collect::<Vec<u64>>());
        assert_eq!(
            doublings.iter().take(3).map(|(_, count)| *count).collect::<Vec<_>>(),
            [2, 4, 5]
        );
        assert_eq!(doublings.last().unwrap().1, 5);
    }
}
