//! One pool: its sockets, its Python and the generations that serve it. `generation` runs one leader, this module decides which
//! leaders there are, `events` what follows from what they report. Never loads Python and never sees a request; knows nothing of other pools.

mod events;
pub mod generation;
pub mod kept;
pub mod listeners;
mod nofile;
mod output;
mod reach;
mod socket_file;
mod sockets;
mod start;
pub mod starts;
mod status;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use contract::backoff::Backoff;
use contract::handover::Handover;
use settings::values::Address;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info};

use crate::config::Pool;
use crate::config::pools::Definition;
use crate::python::Interpreter;
use crate::service::{Service, Start};
use crate::users::Identity;
pub use generation::Order;
use generation::{Event, Generation, Plan};
use sockets::Sockets;
pub use start::Found;
use start::{Prepared, Preparing};
use starts::{Starts, Turn};
pub use status::Status;

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

/// What a pool can be told.
#[derive(Debug)]
pub enum Command {
    /// Files are changing: a reload follows, and what is served now is out of date.
    Expect,
    /// Load the application anew.
    Reload { reason: String },
    /// Be another pool from the next generation on.
    Change {
        definition: Box<Definition>,
        reason: String,
    },
    /// Stop; one that is weaker than an earlier one changes nothing.
    Stop { order: Order, reason: String },
}

/// How a pool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it was told to.
    Stopped,
    /// The application never started; the log says why.
    NeverStarted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Serving,
    /// Stopping because it was replaced, has failed, or everything stops.
    Retiring,
}

struct Member {
    generation: Generation,
    stage: Stage,
    failed: bool,
}

/// A pool that runs.
pub struct Running {
    /// What the next generation is made from.
    definition: Definition,
    name: String,
    /// What the last one was made from.
    pool: Option<Pool>,
    /// Its Python; `None`: to be looked for.
    found: Option<Found>,
    on_failure: OnFailure,
    sockets: Sockets,
    /// Through it a generation gives its connections to the next one.
    handover: Handover,
    /// Through it they log.
    log: Arc<OwnedFd>,
    starts: Starts,
    /// Until its sockets are there, or can't be.
    begins: Option<Start>,
    /// What comes before a generation can be started.
    preparing: Option<Preparing>,
    /// Held while a generation starts.
    turn: Option<Turn>,
    /// The application can't be loaded once for all workers.
    not_preloadable: bool,
    /// At most one is Starting and at most one Serving.
    members: Vec<Member>,
    last_number: u64,
    ever_ready: bool,
    backoff: Backoff,
    restart_at: Option<Instant>,
    stopping: Option<Order>,
    status: watch::Sender<Status>,
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
        log: Arc<OwnedFd>,
        starts: Starts,
        service: &Arc<Service>,
    ) -> anyhow::Result<Self> {
        let (reports, events) = mpsc::channel(EVENTS);
        Ok(Self {
            name: definition.name().to_owned(),
            sockets: Sockets::new(&definition.listen(), Arc::clone(service)),
            begins: Some(service.starts()),
            definition,
            pool: None,
            // Who names his Python beforehand runs it himself.
            found: interpreter
                .map(|python| Found::new(python, &Identity::default()))
                .transpose()?,
            on_failure,
            handover: Handover::new().context("the handover can't be made")?,
            log,
            starts,
            preparing: None,
            turn: None,
            not_preloadable: false,
            members: Vec::new(),
            last_number: 0,
            ever_ready: false,
            backoff: Backoff::new(LONG_LIFE),
            restart_at: None,
            stopping: None,
            status: watch::Sender::new(Status::Starting),
            reports,
            events,
        })
    }

    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Serves until it is told to stop, or until whoever could tell it is gone.
    ///
    /// # Errors
    /// The very first generation can't be started, and nobody tries again.
    pub async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) -> anyhow::Result<Outcome> {
        self.prepare();
        loop {
            let restart_at = self.restart_at;
            let turn_ends = self.turn.as_ref().map(|turn| turn.until);
            tokio::select! {
                Some(event) = self.events.recv() => self.event(event),
                prepared = start::prepared(&mut self.preparing) => self.start(prepared)?,
                // Nobody is left who could tell it something: it goes on as it was told.
                Some(command) = commands.recv() => self.obey(command),
                () = sleep_until(restart_at.unwrap_or_else(Instant::now)), if restart_at.is_some() => self.prepare(),
                () = sleep_until(turn_ends.unwrap_or_else(Instant::now)), if turn_ends.is_some() => self.turn = None,
            }
            if let Some(outcome) = self.outcome() {
                return Ok(outcome);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        if self.stopping.is_some() && !matches!(command, Command::Stop { .. }) {
            return;
        }
        match command {
            Command::Expect => _ = self.status.send_replace(Status::Starting),
            Command::Reload { reason } => self.reload(&reason),
            Command::Change { definition, reason } => {
                self.definition = *definition;
                // Whatever is being prepared is the old pool.
                self.preparing = None;
                self.reload(&reason);
            }
            Command::Stop { order, reason } => self.stop(order, &reason),
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

    /// Starts a new generation, which replaces the serving one when it is ready. If it fails, the old one goes on; but a
    /// developer wants to see the new version or what is wrong with it, and nothing of the old one in between.
    fn reload(&mut self, reason: &str) {
        if self.preparing.is_some() && self.members.is_empty() {
            info!(
                pool = self.name,
                reason, "no reload: the start is still under way, nothing is loaded yet"
            );
            return;
        }
        info!(pool = self.name, reason, "reloading");
        // The new version may allow what the old one did not.
        self.not_preloadable = false;
        // What it has loaded so far is out of date.
        self.retire(Stage::Starting, Order::Quit);
        if self.on_failure == OnFailure::Wait {
            self.retire(Stage::Serving, Order::Retire);
        } else {
            // An administrator may have made the virtual environment anew.
            self.found = None;
        }
        self.prepare();
    }

    /// Begins with what a generation needs before it can be started.
    fn prepare(&mut self) {
        self.restart_at = None;
        self.turn = None;
        let definition = self.definition.clone();
        self.preparing = Some(start::prepare(definition, self.found.clone(), self.starts.clone()));
    }

    /// Everything is there, or something is not.
    fn start(&mut self, prepared: anyhow::Result<Prepared>) -> anyhow::Result<()> {
        self.preparing = None;
        let started = prepared.and_then(|prepared| self.start_generation(prepared));
        let is_the_end = self.last_number == 0 && self.on_failure != OnFailure::Retry;
        if let Some(begins) = self.begins.take().filter(|_| started.is_ok() || !is_the_end) {
            begins.over();
        }
        let Err(error) = started else {
            return Ok(());
        };
        self.turn = None;
        self.sockets.has_failed();
        if is_the_end {
            return Err(error);
        }
        let reason = format!("{error:#}");
        error!(pool = self.name, "a new generation can't be started: {reason}");
        self.status.send_replace(Status::Failed {
            reason,
            detail: String::new(),
        });
        if !self.is_any(Stage::Serving) && !self.waits_after(Stage::Starting) {
            self.schedule_restart(Duration::ZERO);
        }
        Ok(())
    }

    fn start_generation(&mut self, prepared: Prepared) -> anyhow::Result<()> {
        let Prepared { turn, mut pool, found } = prepared;
        self.sockets.prepare(&pool.listen, &pool.socket)?;
        self.last_number += 1;
        nofile::raise(&pool.settings, self.pool.as_ref().map(|pool| &pool.settings));
        let settings = &mut pool.settings;
        settings.preload &= !self.not_preloadable;
        settings.listeners = self.sockets.kinds();
        let is_inherited = |&i: &usize| matches!(pool.listen[i], Address::Fd(_));
        settings.inherited_listeners = (0..pool.listen.len()).filter(is_inherited).collect();
        let plan = Plan {
            environment: &pool.environment,
            settings,
            listeners: &self.sockets.for_generation(),
            handover: &self.handover,
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
        self.pool = Some(pool);
        self.found = Some(found);
        self.turn = Some(turn);
        self.members.push(Member {
            generation,
            stage: Stage::Starting,
            failed: false,
        });
        if !self.is_any(Stage::Serving) {
            self.status.send_replace(Status::Starting);
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
        if !self.ever_ready {
            // A web server that finds nobody says so at once, and to everybody who asks.
            self.sockets.close_for_now();
        }
    }

    fn stop(&mut self, order: Order, reason: &str) {
        info!(pool = self.name, reason, "stopping");
        self.stopping = self.stopping.max(Some(order));
        self.restart_at = None;
        self.preparing = None;
        self.turn = None;
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
