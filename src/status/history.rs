//! How it was: the last ten minutes in steps of five seconds, the last day in steps of five minutes, by pool. Kept by the supervisor
//! while the status is shown over HTTP, and passed on in an upgrade.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use contract::scoreboard::{Phase, Times};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::snapshot::{Pool, Snapshot};

/// Between two looks.
pub const STEP: Duration = Duration::from_secs(5);
/// Looks in ten minutes.
const MINUTES: usize = 120;
/// Looks that a step of the day has.
const COARSE: usize = 60;
/// Steps of five minutes in a day.
const DAY: usize = 288;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct History {
    /// When somebody looked last: seconds since the epoch.
    at: f64,
    pools: BTreeMap<String, Past>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Past {
    minutes: VecDeque<Point>,
    day: VecDeque<Point>,
    /// What the present steps began with.
    fine: Option<Mark>,
    coarse: Option<Mark>,
    /// Looks of the present step of the day.
    looks: usize,
    busy_sum: f64,
    memory_most: Option<f64>,
    threads_most: f64,
}

/// What has been counted by then.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Mark {
    time: f64,
    requests: u64,
    failed: u64,
    duration: Times,
}

/// One step. `None`: nobody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Point {
    /// Requests in a second, and such with a status of 5xx.
    rate: Option<f32>,
    failed: Option<f32>,
    /// Seconds.
    p50: Option<f32>,
    p90: Option<f32>,
    p99: Option<f32>,
    /// Of `threads`: on average.
    busy: Option<f32>,
    threads: Option<f32>,
    /// Bytes.
    memory: Option<f32>,
}

impl History {
    /// Takes what there is now as the end of a step.
    pub fn note(&mut self, snapshot: &Snapshot) {
        let missed = match self.at {
            0.0 => 0,
            // Nobody looked for longer than a step: the machine slept, or another program took over.
            at => ((snapshot.time - at) / STEP.as_secs_f64() - 0.5).clamp(0.0, MINUTES as f64) as usize,
        };
        self.at = snapshot.time;
        let mut before = std::mem::take(&mut self.pools);
        for pool in &snapshot.pools {
            let mut past = before.remove(&pool.name).unwrap_or_default();
            for _ in 0..missed {
                push(&mut past.minutes, MINUTES, Point::default());
            }
            past.note(pool, snapshot.time);
            self.pools.insert(pool.name.clone(), past);
        }
    }

    /// As /history.json has it: for each pool lists of numbers, the newest last.
    pub fn json(&self) -> Value {
        let pools = self.pools.iter().map(|(name, past)| {
            let minutes = columns(&past.minutes, STEP);
            let day = columns(&past.day, STEP * COARSE as u32);
            (name.clone(), json!({"minutes": minutes, "day": day}))
        });
        json!({"time": self.at, "pools": pools.collect::<serde_json::Map<_, _>>()})
    }
}

impl Past {
    fn note(&mut self, pool: &Pool, time: f64) {
        let mark = Mark {
            time,
            requests: pool.totals.requests,
            failed: pool.totals.responses.get("5xx").copied().unwrap_or(0),
            duration: pool.totals.duration.times.clone(),
        };
        let serving = pool.workers.iter().filter(|worker| worker.phase == Phase::Serving);
        let threads: Vec<_> = serving.flat_map(|worker| &worker.threads).collect();
        let busy = threads.iter().filter(|thread| thread.request.is_some()).count() as f64;
        // Of each, or nobody knows: what a worker has is known a moment after it has come.
        let memory: Option<u64> = pool.workers.iter().map(|worker| worker.memory).sum();
        let memory = memory.map(|bytes| bytes as f64);
        if let Some(before) = &self.fine {
            let now = Now {
                busy,
                threads: threads.len() as f64,
                memory,
            };
            push(&mut self.minutes, MINUTES, mark.since(before, &now));
        }
        self.looks += 1;
        self.busy_sum += busy;
        self.memory_most = self.memory_most.into_iter().chain(memory).reduce(f64::max);
        self.threads_most = self.threads_most.max(threads.len() as f64);
        let coarse = self.coarse.get_or_insert_with(|| mark.clone());
        if self.looks >= COARSE {
            let now = Now {
                busy: self.busy_sum / self.looks as f64,
                threads: self.threads_most,
                memory: self.memory_most,
            };
            let point = mark.since(coarse, &now);
            push(&mut self.day, DAY, point);
            self.coarse = Some(mark.clone());
            (self.looks, self.busy_sum, self.memory_most, self.threads_most) = (0, 0.0, None, 0.0);
        }
        self.fine = Some(mark);
    }
}

/// What is not counted, but is so.
struct Now {
    busy: f64,
    threads: f64,
    memory: Option<f64>,
}

impl Mark {
    fn since(&self, before: &Self, now: &Now) -> Point {
        let seconds = (self.time - before.time).max(0.001);
        let rate = |now: u64, before: u64| short(now.saturating_sub(before) as f64 / seconds);
        let times = self.duration.since(&before.duration);
        let quantile = |part| times.quantile(part).and_then(|time| short(time.as_secs_f64()));
        Point {
            rate: rate(self.requests, before.requests),
            failed: rate(self.failed, before.failed),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            busy: short(now.busy),
            threads: short(now.threads),
            memory: now.memory.and_then(short),
        }
    }
}

/// To four digits, which is more than a chart shows.
fn short(value: f64) -> Option<f32> {
    let digits = 3 - value.abs().max(1e-9).log10().floor() as i32;
    let scale = 10_f64.powi(digits);
    Some(((value * scale).round() / scale) as f32)
}

fn push(points: &mut VecDeque<Point>, most: usize, point: Point) {
    if points.len() == most {
        points.pop_front();
    }
    points.push_back(point);
}

fn columns(points: &VecDeque<Point>, step: Duration) -> Value {
    let column = |of: fn(&Point) -> Option<f32>| points.iter().map(of).collect::<Vec<_>>();
    json!({
        "step": step.as_secs(),
        "rate": column(|point| point.rate),
        "failed": column(|point| point.failed),
        "p50": column(|point| point.p50),
        "p90": column(|point| point.p90),
        "p99": column(|point| point.p99),
        "busy": column(|point| point.busy),
        "threads": column(|point| point.threads),
        "memory": column(|point| point.memory),
    })
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::Worker;
    use super::super::snapshot::tests::{pool, snapshot};
    use super::*;

    /// Looks at a pool that has served so many requests each time, from a second on.
    fn looked(history: &mut History, from: f64, requests: impl IntoIterator<Item = u64>) -> f64 {
        let mut time = from;
        for requests in requests {
            let mut pool = pool("a");
            pool.totals.requests = requests;
            history.note(&snapshot(time, vec![pool]));
            time += STEP.as_secs_f64();
        }
        time
    }

    fn rates(history: &History, of: &str) -> Value {
        history.json()["pools"]["a"][of]["rate"].clone()
    }

    #[test]
    fn rate_is_what_came_in_a_step() {
        let mut history = History::default();
        looked(&mut history, 1000.0, [100, 110, 110, 1110]);
        assert_eq!(rates(&history, "minutes"), json!([2.0, 0.0, 200.0]));
        assert_eq!(history.json()["pools"]["a"]["minutes"]["step"], 5);
        assert_eq!(history.json()["time"], 1015.0);
    }

    #[test]
    fn memory_is_that_of_all_workers_or_not_known() {
        let mut history = History::default();
        let worker = |memory| Worker {
            pid: 1,
            leader: 1,
            generation: 1,
            phase: Phase::Serving,
            age: 1.0,
            memory,
            requests: 0,
            threads: Vec::new(),
        };
        let steps = [
            vec![],
            vec![worker(None)],
            vec![worker(Some(5)), worker(None)],
            vec![worker(Some(5)), worker(Some(2))],
            vec![],
        ];
        for (workers, time) in steps.into_iter().zip([1000.0, 1005.0, 1010.0, 1015.0, 1020.0]) {
            history.note(&snapshot(time, vec![Pool { workers, ..pool("a") }]));
        }
        let memory = &history.json()["pools"]["a"]["minutes"]["memory"];
        assert_eq!(*memory, json!([null, null, 7.0, 0.0]));
    }

    #[test]
    fn steps_in_which_nobody_looked_are_gaps() {
        let mut history = History::default();
        let time = looked(&mut history, 1000.0, [0, 5]);
        looked(&mut history, time + 10.0, [20]);
        assert_eq!(rates(&history, "minutes"), json!([1.0, null, null, 1.0]));
    }

    #[test]
    fn ten_minutes_and_a_day_are_kept_and_no_more() {
        let mut history = History::default();
        looked(&mut history, 1000.0, (0..60 * 300).map(|look| look * 10));
        let lengths = ["minutes", "day"].map(|of| rates(&history, of).as_array().unwrap().len());
        assert_eq!(lengths, [MINUTES, DAY]);
        assert!(
            rates(&history, "day")
                .as_array()
                .unwrap()
                .iter()
                .all(|rate| *rate == json!(2.0))
        );
        history.note(&snapshot(9e9, Vec::new()));
        assert_eq!(history.json()["pools"], json!({}), "a pool that is gone");
    }

    #[test]
    fn history_goes_on_in_another_program() {
        let mut history = History::default();
        let time = looked(&mut history, 1000.0, [0, 10]);
        let text = serde_json::to_string(&history).unwrap();
        let mut passed: History = serde_json::from_str(&text).unwrap();
        looked(&mut passed, time, [20]);
        assert_eq!(rates(&passed, "minutes"), json!([2.0, 2.0]));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [123_456.0, 0.012_345, 0.0, 7.0].map(short),
            [123_500.0, 0.012_35, 0.0, 7.0].map(Some)
        );
    }
}
