//! One pool: its sockets, its Python and the generations that serve it. `generation` runs one leader, this module decides which
//! leaders there are, `events` what follows from what they report. Never loads Python and never sees a request; of other pools it knows where they listen.

pub mod ask;
mod command;
mod control;
mod driver;
mod events;
pub mod generation;
mod idle;
mod import;
pub mod importing;
pub mod kept;
mod leader;
pub mod listeners;
pub mod log;
mod metrics;
mod nofile;
mod output;
pub mod passing;
mod reach;
mod recycle;
mod reload;
pub mod rest;
mod scale;
mod siblings;
pub mod snapshot;
mod socket_file;
mod sockets;
mod start;
pub mod starts;
mod status;
mod touched;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use contract::backoff::Backoff;
use contract::handover::Handover;
use contract::scoreboard::Totals;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info};

use crate::config::Pool;
use crate::config::pools::Definition;
use crate::keeper::{Board, Keeper, Mode};
use crate::python::Interpreter;
use crate::service::{Place, Reload, Service, Start};
use crate::status::snapshot::Reloads;
use crate::users::Identity;
pub use command::Command;
use generation::{Event, Generation, Plan};
pub use generation::{Order, Step};
use log::Log;
use metrics::Metrics;
use recycle::Recycling;
use reload::Reloading;
pub use reload::UNKNOWN;
use sockets::Sockets;
pub use start::Found;
use start::{Looking, Prepared, Preparing, Ready};
use starts::{Starts, Turn};
pub use status::{Reloaded, Status};
use touched::Touched;

/// How much longer a pool waits for the next try if it has never served.
const NEVER_READY: u32 = 10;
/// Events of all generations. When it is full their tasks wait, which delays nothing but reports.
const EVENTS: usize = 64;
/// A generation that lived this long did not die of its start.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// What to do when a generation fails and none serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// End, if it is the very first: the administrator or the service manager sees it at once.
    Exit,
    /// Wait for a reload: the developer is about to repair the file.
    Wait,
    /// Try again, with growing delays: there are other pools to be served.
    Retry,
}

/// How a pool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it was told to.
    Stopped,
    /// The application never started; the log says why.
    NeverStarted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Starting,
    Serving,
    /// Stopping because it was replaced, has failed, or everything stops.
    Retiring,
}

/// A start that has failed.
struct Failed {
    reason: String,
    detail: String,
    at: Instant,
}

struct Member {
    generation: Generation,
    stage: Stage,
    failed: bool,
    /// As many workers it has room for; 0: another program has started it.
    room: u32,
}

/// A pool that runs.
pub struct Running {
    /// What the next generation is made from; `None`: there will be none ([`UNKNOWN`]).
    definition: Option<Definition>,
    name: String,
    /// What the last one was made from.
    pool: Option<Pool>,
    /// Its Python; `None`: to be looked for.
    found: Option<Found>,
    on_failure: OnFailure,
    sockets: Sockets,
    /// Through it a generation gives its connections to the next one.
    handover: Handover,
    /// It has their kept connections, too.
    keeper: Keeper,
    /// What its application counts; `None` before its first generation.
    metrics: Option<Metrics>,
    /// Through it they log.
    log: Arc<Log>,
    starts: Starts,
    /// Until its sockets are there, or can't be.
    begins: Option<Start>,
    /// Until what a reload has begun serves, rests or has failed.
    reload: Option<Reload>,
    /// Who wants to know what it comes to.
    waiting: Vec<oneshot::Sender<Reloaded>>,
    /// Who waits until all workers are others.
    recycling: Recycling,
    /// How many workers somebody wants, in place of what the options say.
    scaled: Option<(u32, u32)>,
    /// How it stands, for the service manager.
    place: Place,
    /// Files that load it anew.
    touched: Touched,
    /// What comes before a generation can be started.
    preparing: Option<Preparing>,
    /// Held while a generation starts.
    turn: Option<Turn>,
    /// The application can't be loaded once for all workers.
    not_preloadable: bool,
    /// Nothing of it runs, or is going to: it waits until something arrives.
    rests: bool,
    /// Meanwhile: its Python, so that the first request need not wait for that.
    looking: Option<Looking>,
    /// At most one is Starting and at most one Serving.
    members: Vec<Member>,
    last_number: u64,
    ever_ready: bool,
    backoff: Backoff,
    /// When leaders died that had served, within the last minute.
    served_and_died: VecDeque<Instant>,
    restart_at: Option<Instant>,
    /// Since when an address is another pool's.
    waits_since: Option<Instant>,
    stopping: Option<Order>,
    reloading: Reloading,
    status: watch::Sender<Status>,
    /// Why the last start failed; `None` once one has been ready since.
    failure: Option<Failed>,
    reloads: Reloads,
    /// What generations have counted that have ended by themselves; of others the keeper has it.
    ended: Totals,
    reports: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
}

impl Running {
    /// A pool that nobody serves yet. `interpreter`: its Python, if somebody has looked for it already.
    ///
    /// # Errors
    /// The system's, if it has no socket pair to give, or the engine is missing.
    pub fn new(
        definition: Definition,
        interpreter: Option<&Interpreter>,
        on_failure: OnFailure,
        log: Arc<Log>,
        starts: Starts,
        service: &Arc<Service>,
    ) -> anyhow::Result<Self> {
        let (reports, events) = mpsc::channel(EVENTS);
        let keeper = Keeper::new(definition.name()).context("the table of kept connections can't be made")?;
        Ok(Self {
            place: service.pool(definition.name()),
            name: definition.name().to_owned(),
            sockets: Sockets::new(definition.name(), &definition.listen(), Arc::clone(service)),
            begins: Some(service.starts()),
            reload: None,
            waiting: Vec::new(),
            recycling: Recycling::default(),
            scaled: None,
            touched: Touched::default(),
            definition: Some(definition),
            pool: None,
            // Who names his Python beforehand runs it himself.
            found: interpreter
                .map(|python| Found::new(python, &Identity::default()))
                .transpose()?,
            on_failure,
            handover: Handover::new().context("the handover can't be made")?,
            keeper,
            metrics: None,
            log,
            starts,
            preparing: None,
            turn: None,
            not_preloadable: false,
            // Whoever types the command for one pool wants to see that its application can be loaded.
            rests: on_failure == OnFailure::Retry,
            looking: None,
            members: Vec::new(),
            last_number: 0,
            ever_ready: false,
            backoff: Backoff::new(LONG_LIFE),
            served_and_died: VecDeque::new(),
            restart_at: None,
            waits_since: None,
            stopping: None,
            reloading: Reloading::default(),
            status: watch::Sender::new(Status::Starting),
            failure: None,
            reloads: Reloads::default(),
            ended: Totals::default(),
            reports,
            events,
        })
    }

    /// Serves until it is told to stop, or until whoever could tell it is gone.
    ///
    /// # Errors
    /// The very first generation can't be started, and nobody tries again.
    pub async fn run(mut self, commands: mpsc::UnboundedReceiver<Command>) -> anyhow::Result<Outcome> {
        self.prepare();
        self.serve(commands).await
    }

    /// The same for a pool that another program has run in this one's place. `anew`: with a new generation, whatever serves.
    ///
    /// # Errors
    /// None: it was started once.
    pub async fn run_on(mut self, anew: bool, commands: mpsc::UnboundedReceiver<Command>) -> anyhow::Result<Outcome> {
        self.go_on(anew);
        self.serve(commands).await
    }

    async fn serve(mut self, mut commands: mpsc::UnboundedReceiver<Command>) -> anyhow::Result<Outcome> {
        loop {
            if let Some(outcome) = self.outcome() {
                return Ok(outcome);
            }
            for worker in self.keeper.take_dead() {
                self.metrics.iter().for_each(|metrics| metrics.forget(worker));
            }
            self.reload_further();
            let mode = self.mode();
            let listeners = self.sockets.all().map(AsFd::as_fd);
            self.keeper.set_mode(mode, listeners, &self.handover);
            let leaders = self.members.iter().map(|member| &member.generation);
            let places = |generation: &Generation| generation.board.as_ref().map_or(0, Board::places);
            self.keeper
                .set_leaders(leaders.map(|generation| (generation.pid as i32, places(generation))));
            let restart_at = self.restart_at;
            let look_at = self.recycling.look_at();
            let turn_ends = self.turn.as_ref().map(|turn| turn.until);
            tokio::select! {
                Some(event) = self.events.recv() => self.event(event),
                work = self.keeper.next() => {
                    self.keeper.work(work, &self.handover);
                    if self.keeper.is_wanted() {
                        self.wake();
                    }
                }
                prepared = start::prepared(&mut self.preparing) => self.start(prepared)?,
                found = start::looked(&mut self.looking) => self.looked(found),
                // Nobody is left who could tell it something: it goes on as it was told.
                Some(command) = commands.recv() => self.obey(command).await,
                file = self.touched.next(), if self.stopping.is_none() => {
                    let reload = self.sockets.service().reloads();
                    self.reload(&format!("{} has changed", file.display()), reload);
                }
                () = sleep_until(restart_at.unwrap_or_else(Instant::now)), if restart_at.is_some() => self.prepare(),
                () = sleep_until(turn_ends.unwrap_or_else(Instant::now)), if turn_ends.is_some() => self.turn = None,
                () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => self.look_at_recycling(),
            }
        }
    }

    /// What becomes of connections that no worker has.
    fn mode(&self) -> Mode {
        if self.stopping.is_some() {
            Mode::Ends
        } else if self.is_any(Stage::Serving) {
            Mode::Gives
        } else if self.preparing.is_some() || self.is_any(Stage::Starting) {
            Mode::Holds
        } else if self.rests {
            Mode::Rests
        } else {
            Mode::Refuses(self.restart_at)
        }
    }

    /// Whether there is nothing left to do.
    fn outcome(&self) -> Option<Outcome> {
        if !self.members.is_empty() || self.preparing.is_some() {
            return None;
        }
        if self.stopping.is_some() {
            info!(pool = self.name, "stopped");
            return Some(Outcome::Stopped);
        }
        (!self.ever_ready && self.on_failure == OnFailure::Exit).then_some(Outcome::NeverStarted)
    }

    /// Begins with what a generation needs before it can be started.
    fn prepare(&mut self) {
        self.restart_at = None;
        self.turn = None;
        self.looking = None;
        siblings::forget(&self.name);
        let prepare = |definition| start::prepare(definition, self.found.clone(), self.starts.clone(), self.rests);
        self.preparing = self.definition.clone().map(prepare);
        if self.preparing.is_none() {
            self.is_unknown();
        }
    }

    /// Everything is there, or something is not.
    fn start(&mut self, prepared: anyhow::Result<Prepared>) -> anyhow::Result<()> {
        self.preparing = None;
        let started = prepared.and_then(|prepared| match prepared {
            Prepared::Generation(ready) => self.start_generation(*ready),
            Prepared::Rest(pool) => self.rest(*pool),
        });
        let is_the_end = self.last_number == 0 && self.on_failure != OnFailure::Retry;
        if let Some(begins) = self.begins.take().filter(|_| started.is_ok() || !is_the_end) {
            begins.over();
        }
        let Err(error) = started else {
            self.waits_since = None;
            siblings::forget(&self.name);
            return Ok(());
        };
        self.turn = None;
        self.sockets.has_failed(self.ever_ready);
        if self.waits_for_sibling(&error) {
            return Ok(());
        }
        self.waits_since = None;
        if is_the_end {
            return Err(error);
        }
        self.forget_scale();
        let reason = format!("{error:#}");
        error!(pool = self.name, "a new generation can't be started: {reason}");
        let detail = String::new();
        self.stands(Status::Failed { reason, detail });
        if !self.is_any(Stage::Serving) && !self.rests_on() && !self.waits_after(Stage::Starting) {
            self.rests = false;
            self.schedule_restart(Duration::ZERO);
        }
        Ok(())
    }

    fn start_generation(&mut self, ready: Ready) -> anyhow::Result<()> {
        let Ready { turn, mut pool, found } = ready;
        self.sockets.prepare(&pool.listen, &pool.socket)?;
        self.rests = false;
        self.last_number += 1;
        self.touched.watch(&pool.reload_on, &self.name);
        nofile::raise(&pool.settings, self.pool.as_ref().map(|pool| &pool.settings));
        let settings = &mut pool.settings;
        self.log.adapt(&mut settings.log);
        settings.preload &= !self.not_preloadable;
        if let Some((least, most)) = self.scaled {
            (settings.size.least, settings.size.most) = (least, most);
        }
        let room = settings.size.limit();
        settings.listeners = self.sockets.kinds();
        settings.inherited_listeners = self.sockets.inherited();
        let most = u64::from(settings.limits.metrics_series.get());
        // Another size is another memory, in which everything begins anew.
        let metrics = self.metrics.take().filter(|metrics| metrics.are_for(most));
        let metrics = metrics.map_or_else(|| Metrics::new(most), Ok);
        let metrics = self
            .metrics
            .insert(metrics.context("the memory for metrics can't be made")?);
        let plan = Plan {
            environment: &pool.environment,
            settings,
            listeners: &self.sockets.for_generation(),
            handover: &self.handover,
            keeper: self.keeper.ends(),
            metrics: metrics.as_fd(),
            log: self.log.as_fd(),
            printed: None,
        };
        let launch = found
            .host
            .launch(&pool.identity)
            .context("the leader's command can't be made")?;
        let generation = Generation::start(self.last_number, launch, &plan, self.reports.clone())?;
        debug!(
            pool = self.name,
            generation = generation.number,
            leader = generation.pid,
            "leader started"
        );
        self.keeper.set_identity(&pool.identity);
        self.pool = Some(pool);
        self.found = Some(found);
        self.turn = Some(turn);
        self.members.push(Member {
            generation,
            stage: Stage::Starting,
            failed: false,
            room,
        });
        if !self.is_any(Stage::Serving) {
            self.stands(Status::Starting);
        }
        Ok(())
    }

    /// Of the last generation, for messages.
    fn app(&self) -> Option<&str> {
        self.pool.as_ref().map(|pool| pool.settings.app.as_str())
    }

    /// Version and path, for messages.
    fn python(&self) -> Option<&str> {
        self.found.as_ref().map(|found| found.python.as_str())
    }

    /// Whether a file has to change before there is any use in another try, after one that ended in `stage`.
    fn waits_after(&self, stage: Stage) -> bool {
        self.on_failure == OnFailure::Wait && stage == Stage::Starting
    }

    fn is_tried_again(&self) -> bool {
        self.preparing.is_none() && (self.ever_ready || self.on_failure == OnFailure::Retry)
    }

    fn schedule_restart(&mut self, lived: Duration) {
        let mut delay = self.backoff.after(lived);
        if !self.ever_ready {
            // Most likely somebody has to mend something first, and each try costs a Python and a traceback in the log.
            delay *= NEVER_READY;
        }
        info!(pool = self.name, delay_ms = delay.as_millis() as u64, "starting again");
        self.restart_at = Some(Instant::now() + delay);
    }

    fn stop(&mut self, order: Order, reason: &str) {
        info!(pool = self.name, reason, "stopping");
        self.stopping = self.stopping.max(Some(order));
        self.reloading = Reloading::default();
        self.restart_at = None;
        self.preparing = None;
        self.looking = None;
        self.turn = None;
        self.reload = None;
        self.waiting.clear();
        self.recycling = Recycling::default();
        if let Some(begins) = self.begins.take() {
            begins.over();
        }
        // Connections are refused from now on, so that the web server turns to another instance instead of waiting.
        self.sockets.close();
        for member in &mut self.members {
            let order = if member.stage == Stage::Starting {
                order.max(Order::Quit)
            } else {
                order
            };
            member.stage = Stage::Retiring;
            member.generation.order(order);
        }
    }

    /// Sends those in `stage` home.
    fn retire(&mut self, stage: Stage, order: Order) {
        for member in self.members.iter_mut().filter(|member| member.stage == stage) {
            member.stage = Stage::Retiring;
            member.generation.order(order);
        }
    }

    fn is_any(&self, stage: Stage) -> bool {
        self.members.iter().any(|member| member.stage == stage)
    }
}
