//! What came in the last seconds: the counts of a snapshot less those of an earlier one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use contract::scoreboard::Times;

use crate::status::snapshot::Snapshot;

/// Rates and latencies are of so many seconds, or of one interval if that is longer: those of a single second jump.
pub const WINDOW: Duration = Duration::from_secs(5);

/// What was counted by then, of each snapshot of the window.
#[derive(Debug)]
pub struct Rates {
    window: f64,
    marks: VecDeque<Mark>,
}

#[derive(Debug)]
struct Mark {
    /// The instance's clock: how long that has run.
    time: f64,
    pid: u32,
    pools: BTreeMap<String, Counts>,
    /// Requests, by worker.
    workers: BTreeMap<i32, u64>,
}

#[derive(Debug)]
struct Counts {
    requests: u64,
    failed: u64,
    duration: Times,
}

/// Of one pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Requests in a second.
    pub requests: f64,
    /// Of these, such with a status of 5xx.
    pub failed: f64,
    /// Seconds that half of them took at most, and so on; `None` where there was none.
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
}

impl Rates {
    pub fn new(interval: Duration) -> Self {
        Self {
            window: WINDOW.max(interval).as_secs_f64(),
            marks: VecDeque::new(),
        }
    }

    pub fn note(&mut self, snapshot: &Snapshot) {
        let mark = Mark::of(snapshot);
        let goes_on = |last: &Mark| last.pid == mark.pid && last.time <= mark.time;
        if !self.marks.back().is_some_and(goes_on) {
            self.marks.clear();
        }
        // One that counts from zero again was ended and made anew.
        for before in &mut self.marks {
            before.pools.retain(|name, counts| {
                let now = mark.pools.get(name);
                now.is_some_and(|now| now.requests >= counts.requests)
            });
        }
        // The oldest is the one that the window begins with. Answers come a little early or late.
        let from = mark.time - self.window - 0.05;
        self.marks.push_back(mark);
        while self.marks.len() > 2 && self.marks.front().is_some_and(|oldest| oldest.time < from) {
            self.marks.pop_front();
        }
    }

    /// `None` before there is something to compare with.
    pub fn of_pool(&self, name: &str) -> Option<Rate> {
        let (before, now, seconds) = self.two(|mark| mark.pools.get(name))?;
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let times = now.duration.since(&before.duration);
        let quantile = |part| times.quantile(part).map(|time| time.as_secs_f64());
        Some(Rate {
            requests: rate(now.requests, before.requests),
            failed: rate(now.failed, before.failed),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
        })
    }

    /// Requests in a second that the worker with this pid has begun.
    pub fn of_worker(&self, pid: i32) -> Option<f64> {
        let (before, now, seconds) = self.two(|mark| mark.workers.get(&pid))?;
        Some(now.saturating_sub(*before) as f64 / seconds)
    }

    /// Requests in a second, of all pools.
    pub fn of_all(&self) -> Option<f64> {
        let names = self.marks.back()?.pools.keys();
        let rates: Vec<_> = names.filter_map(|name| self.of_pool(name)).collect();
        (!rates.is_empty()).then(|| rates.iter().map(|rate| rate.requests).sum())
    }

    /// The oldest that there is of something, the newest, and the seconds between them.
    fn two<'a, T>(&'a self, of: impl Fn(&'a Mark) -> Option<&'a T>) -> Option<(&'a T, &'a T, f64)> {
        let last = self.marks.back()?;
        let first = self.marks.iter().find(|mark| of(mark).is_some())?;
        let seconds = last.time - first.time;
        (seconds > 0.0).then_some((of(first)?, of(last)?, seconds))
    }
}

impl Mark {
    fn of(snapshot: &Snapshot) -> Self {
        let pools = snapshot.pools.iter().map(|pool| {
            let counts = Counts {
                requests: pool.totals.requests,
                failed: pool.totals.responses.get("5xx").copied().unwrap_or(0),
                duration: pool.totals.duration.times.clone(),
            };
            (pool.name.clone(), counts)
        });
        let workers = snapshot.pools.iter().flat_map(|pool| &pool.workers);
        Self {
            time: snapshot.instance.uptime,
            pid: snapshot.instance.pid,
            pools: pools.collect(),
            workers: workers.map(|worker| (worker.pid, worker.requests)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{times, worker};
    use super::*;
    use crate::status::snapshot::tests::{pool, snapshot};

    fn rates() -> Rates {
        Rates::new(Duration::from_secs(1))
    }

    /// After so many seconds the pool `a` has had so many requests.
    fn at(seconds: f64, requests: u64) -> Snapshot {
        let mut pool = pool("a");
        pool.totals.requests = requests;
        pool.totals.responses.insert("5xx".to_owned(), requests / 10);
        let mut snapshot = snapshot(seconds, vec![pool]);
        snapshot.instance.uptime = seconds;
        snapshot
    }

    #[test]
    fn rate_is_of_the_last_seconds_and_not_since_the_start() {
        let mut rates = rates();
        rates.note(&at(100.0, 1_000_000));
        assert_eq!(rates.of_pool("a"), None, "there is nothing to compare with");
        rates.note(&at(101.0, 1_000_010));
        let rate = rates.of_pool("a").unwrap();
        assert_eq!((rate.requests, rate.failed), (10.0, 1.0));
        // What came before the window is forgotten.
        for second in 2..10 {
            rates.note(&at(100.0 + f64::from(second), 1_000_010));
        }
        assert_eq!(rates.of_pool("a").unwrap().requests, 0.0);
        assert_eq!(rates.of_all(), Some(0.0));
        assert!(rates.marks.len() <= 7, "{}", rates.marks.len());
    }

    #[test]
    fn interval_longer_than_the_window_is_one() {
        let mut rates = Rates::new(Duration::from_secs(60));
        for (seconds, requests) in [(100.0, 0), (160.0, 600), (220.0, 1800)] {
            rates.note(&at(seconds, requests));
        }
        assert_eq!(rates.of_pool("a").unwrap().requests, 20.0);
    }

    #[test]
    fn another_instance_or_a_pool_that_counts_anew_begins_anew() {
        let mut rates = rates();
        rates.note(&at(100.0, 50));
        rates.note(&at(101.0, 7));
        assert_eq!(rates.of_pool("a"), None, "it was ended and made anew");
        rates.note(&at(102.0, 17));
        assert_eq!(rates.of_pool("a").unwrap().requests, 10.0);
        let mut other = at(103.0, 1000);
        other.instance.pid += 1;
        rates.note(&other);
        assert_eq!(rates.of_pool("a"), None, "another process");
        rates.note(&at(1.0, 1000));
        assert_eq!(rates.of_pool("a"), None, "it was started anew");
        assert_eq!(rates.of_pool("b"), None);
    }

    #[test]
    fn quantiles_are_those_of_the_window() {
        let with = |seconds: f64, long: u64, short: u64| {
            let mut snapshot = at(seconds, 0);
            snapshot.pools[0].totals.duration = times(&[(80, long), (10, short)]).into();
            snapshot
        };
        let mut rates = rates();
        rates.note(&with(1.0, 1000, 0));
        rates.note(&with(2.0, 1000, 10));
        let rate = rates.of_pool("a").unwrap();
        assert!(rate.p50.unwrap() < 0.01 && rate.p50 == rate.p99, "{rate:?}");
    }

    #[test]
    fn worker_has_a_rate_of_its_own_as_soon_as_it_was_seen_twice() {
        let mut rates = rates();
        let with = |seconds: f64, workers: &[(i32, u64)]| {
            let mut snapshot = at(seconds, 0);
            let workers = workers.iter().map(|(pid, requests)| {
                let mut worker = worker(*pid);
                worker.requests = *requests;
                worker
            });
            snapshot.pools[0].workers = workers.collect();
            snapshot
        };
        rates.note(&with(1.0, &[(7, 100)]));
        rates.note(&with(2.0, &[(7, 102), (8, 1)]));
        assert_eq!((rates.of_worker(7), rates.of_worker(8)), (Some(2.0), None));
        rates.note(&with(3.0, &[(8, 4)]));
        assert_eq!((rates.of_worker(7), rates.of_worker(8)), (None, Some(3.0)));
    }
}
