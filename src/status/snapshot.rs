//! The snapshot: how everything is at a moment. The supervisor makes it, without asking Python anything, so that it tells most when
//! everything is stuck. What it looks like as JSON is documented in docs/monitoring.md: within a [`SCHEMA`] fields may be added, and
//! none changes or goes.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::metrics::Family;
use contract::scoreboard::{Cause, Outcome, Phase, Refusal, Times, Totals};
use serde::{Deserialize, Serialize};

/// Version of the form.
pub const SCHEMA: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    pub schema: u32,
    /// When it was made: seconds since the epoch.
    pub time: f64,
    pub instance: Instance,
    #[serde(default)]
    pub log: Log,
    /// By name.
    pub pools: Vec<Pool>,
}

/// The logs of all pools and of the program.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Log {
    /// Lines that did not get there since the start, by destination: nobody read, or there was no room.
    pub lost: BTreeMap<String, u64>,
}

/// The running program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Instance {
    pub version: String,
    /// Of the supervisor.
    pub pid: u32,
    /// Seconds since the supervisor's process was started; an upgrade does not start it anew.
    pub uptime: f64,
    /// The configuration file, if there is one.
    pub file: Option<String>,
    pub stopping: bool,
    /// Bytes of memory that the supervisor has (PSS).
    pub memory: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pool {
    pub name: String,
    pub app: String,
    pub state: State,
    /// Why the last start of a generation failed; `None` once one has been ready since.
    pub failure: Option<Failure>,
    /// The generation that serves, or the last one.
    pub generation: u64,
    /// A further one starts.
    pub reloading: bool,
    pub listeners: Vec<Listener>,
    pub kept: Kept,
    pub size: Size,
    pub workers: Vec<Worker>,
    pub totals: Counted,
    pub reloads: Reloads,
    /// What the application counts, where that was asked for: for /metrics alone.
    #[serde(skip)]
    pub application: Application,
}

/// See `wsgi_fpm.metrics`.
#[derive(Debug, Clone, Default)]
pub struct Application {
    pub families: Vec<Family>,
    /// Series for which there was no room.
    pub dropped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No generation serves yet, or any more, and one starts.
    Starting,
    Serving,
    /// No process runs since no request comes; the next one starts it.
    Resting,
    /// Nobody serves, and nothing starts before some time has passed, or before somebody mends it.
    Failed,
    Stopping,
    /// A command has ended it, until a reload.
    Stopped,
}

impl Pool {
    /// One of which nothing runs any more, and nobody listens.
    pub fn ended(name: &str, app: String, state: State, failure: Option<Failure>) -> Self {
        Self {
            name: name.to_owned(),
            app,
            state,
            failure,
            generation: 0,
            reloading: false,
            listeners: Vec::new(),
            kept: Kept::default(),
            size: Size::default(),
            workers: Vec::new(),
            totals: Counted::from(Totals::default()),
            reloads: Reloads::default(),
            application: Application::default(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// One line.
    pub reason: String,
    /// The traceback, or empty.
    pub detail: String,
    /// Seconds since then.
    pub age: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listener {
    pub address: String,
    /// Why nobody can connect there, in one line: something else is in the place of its file, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
    /// Connections that nobody has taken yet, where the kernel tells.
    pub waiting: Option<u32>,
    /// As many may wait.
    pub backlog: Option<u32>,
}

/// Connections that front servers keep open for further requests.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Kept {
    pub connections: u64,
    /// Of these, such as no worker has: their request waits for one.
    pub waiting: u64,
}

/// How many workers there can be.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Size {
    pub least: u32,
    pub most: u32,
    /// Of a worker.
    pub threads: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Worker {
    pub pid: i32,
    pub leader: i32,
    pub generation: u64,
    pub phase: Phase,
    /// Seconds since it was made.
    pub age: f64,
    /// Bytes of memory: its own, and its part of what it shares (PSS). `None`: not known yet.
    pub memory: Option<u64>,
    /// That it has begun.
    pub requests: u64,
    pub threads: Vec<Thread>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Thread {
    /// Among those of the worker, from 0.
    pub number: u32,
    /// What it runs.
    pub request: Option<Request>,
    /// That it has begun.
    pub requests: u64,
}

/// A request that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// As in the log: `pid-thread-number`.
    pub id: String,
    /// Method and path, escaped; dots at the end if they were longer.
    pub line: String,
    /// Seconds that it has run.
    pub runs: f64,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Reloads {
    /// Generations that were ready, the first one not counted.
    pub done: u64,
    pub failed: u64,
    /// Leaders that had served and died.
    pub leaders_died: u64,
}

/// Since the program was started, upgrades not counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counted {
    pub requests: u64,
    /// By the first digit of the status, `2xx`; `none` had no head.
    pub responses: BTreeMap<String, u64>,
    /// By what became of them.
    pub outcomes: BTreeMap<String, u64>,
    /// By the reason.
    pub refused: BTreeMap<String, u64>,
    /// Workers, by the cause.
    pub replaced: BTreeMap<String, u64>,
    pub slow: u64,
    /// Bytes of requests' bodies.
    pub received: u64,
    /// Bytes of responses' bodies.
    pub sent: u64,
    /// From when a thread had a request until it was over.
    pub duration: Distribution,
    /// How long requests had waited before, where the front server says when they came.
    pub queued: Distribution,
}

/// How long something took.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Distribution {
    pub count: u64,
    /// Seconds of all together.
    pub sum: f64,
    /// The seconds that half of them took at most, and so on; `None` where there is none.
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    /// All that is known of it, for whoever computes differences.
    pub times: Times,
}

impl From<Times> for Distribution {
    fn from(times: Times) -> Self {
        let quantile = |part| times.quantile(part).as_ref().map(Duration::as_secs_f64);
        Self {
            count: times.count(),
            sum: times.sum().as_secs_f64(),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            times,
        }
    }
}

impl From<Totals> for Counted {
    fn from(totals: Totals) -> Self {
        let named =
            |names: &mut dyn Iterator<Item = String>, counts: &[u64]| names.zip(counts.iter().copied()).collect();
        let class = |class: usize| match class {
            0 => "none".to_owned(),
            class => format!("{class}xx"),
        };
        Self {
            requests: totals.requests(),
            responses: named(&mut (0..).map(class), &totals.responses),
            outcomes: named(
                &mut Outcome::ALL.iter().map(|outcome| outcome.name().to_owned()),
                &totals.outcomes,
            ),
            refused: named(
                &mut Refusal::ALL.iter().map(|refusal| refusal.name().to_owned()),
                &totals.refused,
            ),
            replaced: named(
                &mut Cause::ALL.iter().map(|cause| cause.name().to_owned()),
                &totals.replaced,
            ),
            slow: totals.slow,
            received: totals.received,
            sent: totals.sent,
            duration: totals.duration.into(),
            queued: totals.queued.into(),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// One that serves and has no worker.
    pub fn pool(name: &str) -> Pool {
        Pool {
            name: name.to_owned(),
            app: "app:application".to_owned(),
            state: State::Serving,
            failure: None,
            generation: 1,
            reloading: false,
            listeners: Vec::new(),
            kept: Kept::default(),
            size: Size::default(),
            workers: Vec::new(),
            totals: Counted::from(Totals::default()),
            reloads: Reloads::default(),
            application: Application::default(),
        }
    }

    pub fn snapshot(time: f64, pools: Vec<Pool>) -> Snapshot {
        let instance = Instance {
            version: "1".to_owned(),
            pid: 1,
            uptime: 1.0,
            file: None,
            stopping: false,
            memory: None,
        };
        Snapshot {
            schema: SCHEMA,
            time,
            instance,
            log: Log::default(),
            pools,
        }
    }

    #[test]
    fn what_was_counted_is_there_by_name() {
        let mut totals = Totals::default();
        totals.responses[0] = 1;
        totals.responses[2] = 2;
        totals.outcomes[Outcome::TimedOut as usize] = 3;
        totals.replaced[Cause::MaxAge as usize] = 4;
        let counted = Counted::from(totals);
        assert_eq!(
            (
                counted.responses["none"],
                counted.responses["2xx"],
                counted.responses["5xx"]
            ),
            (1, 2, 0)
        );
        assert_eq!(
            (
                counted.outcomes["timed_out"],
                counted.replaced["max_age"],
                counted.requests
            ),
            (3, 4, 3)
        );
        assert_eq!(counted.refused.len(), Refusal::ALL.len());
        assert_eq!((counted.duration.count, counted.duration.p50), (0, None));
    }
}
