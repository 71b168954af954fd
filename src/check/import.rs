//! The import of one pool's application, in its own Python and as its own user, by a generation that has no sockets.

use std::collections::VecDeque;
use std::fmt::Write;
use std::future::pending;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;
use contract::handover::Handover;
use contract::log::channel::{self, Received};
use contract::log::{APP, block, escape, tag};
use contract::metrics::Memory;
use contract::settings::Size;
use settings::values::{Format, PoolName, Timeout};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep_until};

use super::{logs, sockets};
use crate::config::Pool;
use crate::config::pools::FilePool;
use crate::keeper::Keeper;
use crate::pool::Found;
use crate::pool::generation::{Event, Generation, Order, Plan, What};

/// Of what an application has printed before it failed: the last lines, which say most.
const PRINTED_LINES: usize = 20;
const EVENTS: usize = 64;
/// How often what is printed is taken from where it waits.
const LISTENING: Duration = Duration::from_millis(100);

/// What has become of one pool's import.
#[derive(Debug, Default)]
pub struct Import {
    /// Version and path.
    python: Option<String>,
    /// What is to be said though nothing is wrong; a line each.
    notes: Vec<String>,
    taken: Duration,
    /// Why the application can't start; one line each.
    wrong: Vec<String>,
    /// The traceback.
    detail: String,
    printed: VecDeque<String>,
}

/// What comes from a generation.
struct Heard {
    events: mpsc::Receiver<Event>,
    /// By the leader.
    printed: mpsc::Receiver<Vec<u8>>,
    /// By all of its processes; what workers print is among it.
    logged: channel::Receiver,
    stopped: watch::Receiver<bool>,
}

/// Waits until it is true; for ever, if nobody can say so any more.
async fn is_stopped(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        pending().await
    }
}

/// Imports the application, unless it is stopped. What can't be is part of the answer.
pub async fn import(definition: &FilePool, limit: Timeout, stopped: watch::Receiver<bool>) -> Import {
    let mut import = Import::default();
    match definition.pool() {
        Ok(pool) => {
            if let Err(error) = import.run(&pool, limit, stopped).await {
                import.wrong.push(format!("{error:#}"));
            }
            import.wrong.extend(sockets::obstacles(&pool));
            import.wrong.extend(logs::obstacles(&definition.layers()));
            import.notes.extend(pool.closed_sockets());
        }
        Err(error) => import.wrong.push(error.to_string()),
    }
    import
}

impl Import {
    pub fn is_right(&self) -> bool {
        self.wrong.is_empty()
    }

    /// `pool blog: ok, CPython 3.11.4 (/srv/blog/.venv/bin/python), 0.8 s`, or what is wrong, with what tells more below it.
    pub fn report(&self, name: &PoolName) -> String {
        let mut text = format!("pool {name}: ");
        match (self.wrong.as_slice(), &self.python) {
            ([], python) => {
                let python = python.as_deref().unwrap_or_default();
                let _infallible = write!(text, "ok, CPython {python}, {:.1} s", self.taken.as_secs_f64());
            }
            (wrong, _) => text.push_str(&wrong.join("; ")),
        }
        let mut below = |line: &str| {
            let _infallible = write!(text, "\n    {line}");
        };
        self.notes.iter().for_each(|line| below(line));
        if !self.is_right() {
            // Of one line it is what the reason says.
            if self.detail.trim_end().contains('\n') {
                block(&self.detail)
                    .lines()
                    .filter(|line| !line.is_empty())
                    .for_each(&mut below);
            }
            if !self.printed.is_empty() {
                below("it has printed:");
                self.printed
                    .iter()
                    .for_each(|line| below(&format!("  {}", escape(line))));
            }
        }
        text
    }

    async fn run(&mut self, pool: &Pool, limit: Timeout, mut stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
        let found = tokio::select! {
            found = Found::of(pool) => found?,
            () = is_stopped(&mut stopped) => return Ok(()),
        };
        self.python = Some(found.python);
        self.notes.extend(found.untested);
        let mut settings = pool.settings.clone();
        settings.size = Size::fixed(1);
        // One import is enough to know, and what it leaves behind ends with the worker.
        settings.preload = false;
        let handover = Handover::new().context("the handover can't be made")?;
        let keeper = Keeper::new(&settings.name).context("the keeper's table can't be made")?;
        let most = settings.limits.metrics_series.get();
        let metrics = Memory::create(most.into()).context("the memory for metrics can't be made")?;
        // To be taken apart, not to be shown.
        settings.log.format = Format::Json;
        settings.log.ansi = false;
        let (log, logged) = channel::pair().context("the log can't be made")?;
        let (events, received) = mpsc::channel(EVENTS);
        let (printed, lines) = mpsc::channel(EVENTS);
        let plan = Plan {
            environment: &pool.environment,
            settings: &settings,
            listeners: &[],
            handover: &handover,
            keeper: keeper.ends(),
            metrics: metrics.as_fd(),
            log: log.as_fd(),
            printed: Some(printed),
        };
        let begun = Instant::now();
        let generation = Generation::start(1, found.host.launch(&pool.identity)?, &plan, events)?;
        let heard = Heard {
            events: received,
            printed: lines,
            logged,
            stopped,
        };
        self.follow(&generation, heard, begun, limit).await;
        Ok(())
    }

    /// Until the leader has ended.
    async fn follow(&mut self, generation: &Generation, mut heard: Heard, begun: Instant, limit: Timeout) {
        let mut deadline = limit.duration().map(|limit| begun + limit);
        let mut listening = interval(LISTENING);
        let mut is_known = false;
        loop {
            let event = tokio::select! {
                event = heard.events.recv() => event,
                () = is_stopped(&mut heard.stopped), if !is_known => {
                    is_known = true;
                    generation.order(Order::Quit);
                    continue;
                }
                _ = listening.tick() => {
                    self.listen(&mut heard);
                    continue;
                }
                () = sleep_until(deadline.unwrap_or(begun)), if deadline.is_some() && !is_known => {
                    let what = format!("the import has not ended within {limit} (--timeout)");
                    self.wrong.push(what);
                    deadline = None;
                    is_known = true;
                    generation.order(Order::Quit);
                    continue;
                }
            };
            match event.map(|event| event.what) {
                Some(What::Ready { .. }) if !is_known => self.taken = begun.elapsed(),
                Some(What::Failed { reason, detail }) if !is_known => {
                    self.wrong.push(escape(&reason));
                    self.detail = detail;
                }
                Some(What::Exited(status)) => {
                    if !is_known {
                        self.wrong
                            .push(format!("Python has ended with {status} during the import"));
                    }
                    break;
                }
                Some(What::Ready { .. } | What::Failed { .. }) => continue,
                // Its leader reports it when it gives up.
                Some(What::WorkerDied { .. } | What::NotPreloadable { .. }) => continue,
                // Nobody asks it for anything.
                Some(What::Workers { .. } | What::Idle) => continue,
                None => break,
            }
            is_known = true;
            generation.order(Order::Quit);
        }
        self.listen(&mut heard);
    }

    /// Takes what has been printed so far.
    fn listen(&mut self, heard: &mut Heard) {
        while let Ok(bytes) = heard.printed.try_recv() {
            String::from_utf8_lossy(&bytes)
                .lines()
                .for_each(|line| self.print(line.to_owned()));
        }
        loop {
            match heard.logged.receive() {
                Received::Events(events) => tag::split(events)
                    .flat_map(|tagged| tagged.lines.split(|&byte| byte == b'\n'))
                    .filter_map(of_application)
                    .for_each(|line| self.print(line)),
                Received::Lost(_) => {}
                Received::Nothing | Received::End(_) | Received::Closed => break,
            }
        }
    }

    fn print(&mut self, line: String) {
        if line.trim().is_empty() {
            return;
        }
        if self.printed.len() == PRINTED_LINES {
            self.printed.pop_front();
        }
        self.printed.push_back(line);
    }
}

/// What an application has printed, from an event of the log.
fn of_application(event: &[u8]) -> Option<String> {
    let event: serde_json::Value = serde_json::from_slice(event).ok()?;
    let message = (event["target"] == APP).then(|| event["message"].as_str())?;
    message.map(str::to_owned)
}
