//! The first process: keeps a pool's listening sockets and one generation that serves them. Never loads Python and
//! never sees a request; `generation` runs one leader, this module decides which leaders there are.

pub mod generation;
mod inherited;
pub mod listeners;
mod output;
mod socket_file;
mod sockets;

use std::future::pending;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use contract::backoff::Backoff;
use contract::handover::Handover;
use contract::settings::Settings;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use crate::config::Pool;
use crate::host::{Host, Hosting};
use crate::manager::nofile;
use crate::manager::orphans::Orphans;
use crate::manager::relay::Relay;
use crate::manager::signals::{Signals, Wish};
use crate::preview::Status;
use crate::python::Interpreter;
use generation::{Event, Generation, Order, Plan, StartError, What};
use sockets::Sockets;

/// Events of all generations. When it is full their tasks wait, which delays nothing but reports.
const EVENTS: usize = 64;
/// A generation that lived this long did not die of its start.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// What to do when the very first generation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// End: the administrator or the service manager sees it at once.
    Exit,
    /// Wait for a reload: the developer is about to repair the file. The same after a reload that has failed.
    Wait,
}

/// What another part of the program may ask of a running supervisor.
#[derive(Debug)]
pub enum Request {
    /// Files are changing: a reload follows, and what is served now is out of date.
    Expect,
    /// These files changed.
    Reload {
        changed: Vec<PathBuf>,
    },
    Stop,
}

/// How the supervisor ended.
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

pub struct Supervisor {
    pool: Pool,
    /// Version and path, for messages.
    python: String,
    host: Host,
    on_failure: OnFailure,
    signals: Signals,
    orphans: Orphans,
    sockets: Sockets,
    /// Through it a generation gives its connections to the next one.
    handover: Handover,
    /// Through it they log.
    log: OwnedFd,
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

impl Supervisor {
    /// Opens the pool's sockets; nobody accepts from them yet.
    ///
    /// # Errors
    /// The engine is missing, a signal handler can't be set, or a socket can't be had.
    pub fn new(
        pool: Pool,
        interpreter: &Interpreter,
        on_failure: OnFailure,
        signals: Signals,
        log: &Relay,
    ) -> anyhow::Result<Self> {
        let host = Host::new(interpreter)?;
        let orphans = Orphans::new().context("signal handlers can't be set")?;
        let sockets = Sockets::open(&pool.listen, &pool.socket)?;
        nofile::raise(&pool.settings);
        let handover = Handover::new().context("the handover can't be made")?;
        let log = log.sending().try_clone_to_owned().context("the log can't be shared")?;
        let (reports, events) = mpsc::channel(EVENTS);
        Ok(Self {
            pool,
            python: interpreter.to_string(),
            host,
            on_failure,
            signals,
            orphans,
            sockets,
            handover,
            log,
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

    /// Serves until a signal or a request ends it.
    ///
    /// # Errors
    /// The first leader's process can't be started.
    pub async fn run(mut self, mut requests: mpsc::Receiver<Request>) -> anyhow::Result<Outcome> {
        match self.host.hosting() {
            Hosting::Embedded { libpython } => debug!(libpython = %libpython.display(), "Python is embedded"),
            Hosting::Exec => debug!("Python runs in its own executable"),
        }
        // The command line has been read.
        contract::title::set(&format!("wsgi-fpm: supervisor ({})", self.pool.settings.pool));
        self.start()?;
        loop {
            let restart_at = self.restart_at;
            tokio::select! {
                Some(event) = self.events.recv() => self.event(event),
                (signal, wish) = self.signals.next() => self.signal(signal, wish),
                () = self.orphans.next() => self.reap_orphans(),
                request = next_request(&mut requests) => match request {
                    Request::Expect if self.stopping.is_none() => _ = self.status.send_replace(Status::Starting),
                    Request::Expect => {}
                    Request::Reload { changed } => self.reload(&names(&changed)),
                    Request::Stop => self.stop(Order::Stop),
                },
                () = sleep_until(restart_at.unwrap_or_else(Instant::now)), if restart_at.is_some() => self.restart(),
            }
            if let Some(outcome) = self.outcome() {
                return Ok(outcome);
            }
        }
    }

    fn reap_orphans(&mut self) {
        let members = &self.members;
        let is_leader = |pid| members.iter().any(|member| member.generation.pid == pid);
        self.orphans.reap(is_leader);
    }

    /// Whether there is nothing left to do.
    fn outcome(&self) -> Option<Outcome> {
        if !self.members.is_empty() {
            return None;
        }
        if self.stopping.is_some() {
            info!(pool = self.pool.settings.pool, "stopped");
            return Some(Outcome::Stopped);
        }
        (!self.ever_ready && self.on_failure == OnFailure::Exit).then_some(Outcome::NeverStarted)
    }

    /// Starts a new generation, which replaces the serving one when it is ready. If it fails, the old one goes on; but a
    /// developer wants to see the new version or what is wrong with it, and nothing of the old one in between.
    pub fn reload(&mut self, reason: &str) {
        if self.stopping.is_some() {
            return;
        }
        info!(pool = self.pool.settings.pool, reason, "reloading");
        // The new version may allow what the old one did not.
        self.pool.settings.preload = self.pool.preload;
        // What it has loaded so far is out of date.
        self.retire(Stage::Starting, Order::Quit);
        if self.on_failure == OnFailure::Wait {
            self.retire(Stage::Serving, Order::Retire);
        }
        self.restart();
    }

    fn restart(&mut self) {
        self.restart_at = None;
        if let Err(error) = self.start() {
            let reason = error.to_string();
            error!(pool = self.pool.settings.pool, %error, "a new generation can't be started");
            self.status.send_replace(Status::Failed {
                reason,
                detail: String::new(),
            });
            if !self.is_any(Stage::Serving) && !self.waits_after(Stage::Starting) {
                self.schedule_restart(Duration::ZERO);
            }
        }
    }

    fn start(&mut self) -> Result<(), StartError> {
        self.last_number += 1;
        self.sockets.renew();
        self.pool.settings.listeners = self.sockets.kinds();
        let is_inherited = |&i: &usize| matches!(self.pool.listen[i], settings::values::Address::Fd(_));
        self.pool.settings.inherited_listeners = (0..self.pool.listen.len()).filter(is_inherited).collect();
        let plan = Plan {
            environment: &self.pool.environment,
            settings: &self.pool.settings,
            listeners: &self.sockets.for_generation(),
            handover: &self.handover,
            log: self.log.as_fd(),
            printed: None,
        };
        let generation = Generation::start(self.last_number, self.host.command(), &plan, self.reports.clone())?;
        debug!(
            generation = generation.number,
            leader = generation.pid,
            "leader started"
        );
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

    fn event(&mut self, event: Event) {
        let number = event.generation;
        let Some(i) = self
            .members
            .iter()
            .position(|member| member.generation.number == number)
        else {
            return;
        };
        match event.what {
            What::Ready { python } => self.ready(i, &python),
            What::Failed { reason, detail } => self.failed(i, reason, detail),
            What::NotPreloadable { reason } => self.not_preloadable(i, &reason),
            What::WorkerDied { pid, how, backoff_ms } => {
                // The leader has logged it, with the request that the worker ran.
                debug!(generation = number, worker = pid, how, backoff_ms, "worker died");
            }
            What::Exited(status) => self.exited(i, status),
        }
    }

    fn ready(&mut self, i: usize, python: &str) {
        if self.members[i].stage != Stage::Starting {
            return;
        }
        self.retire(Stage::Serving, Order::Retire);
        let member = &mut self.members[i];
        member.stage = Stage::Serving;
        self.ever_ready = true;
        self.restart_at = None;
        let settings = &self.pool.settings;
        self.sockets.is_ready();
        info!(
            pool = settings.pool,
            app = settings.app,
            listen = self.sockets.addresses(),
            python,
            workers = settings.workers,
            threads = settings.threads.get(),
            generation = member.generation.number,
            leader = member.generation.pid,
            "ready"
        );
        self.status.send_replace(Status::Ready);
    }

    fn failed(&mut self, i: usize, reason: String, detail: String) {
        let settings = &self.pool.settings;
        let member = &mut self.members[i];
        member.failed = true;
        if member.stage != Stage::Starting {
            return;
        }
        let traceback = Some(contract::log::block(&detail)).filter(|text| !text.is_empty());
        error!(
            pool = settings.pool,
            app = settings.app,
            python = self.python,
            generation = member.generation.number,
            traceback = traceback.as_deref().map(tracing::field::display),
            "the application can't start: {reason}"
        );
        // It ends by itself; this is for one that does not.
        member.generation.order(Order::Quit);
        self.status.send_replace(Status::Failed { reason, detail });
    }

    /// The same again, with the application loaded by each worker.
    fn not_preloadable(&mut self, i: usize, reason: &str) {
        let member = &mut self.members[i];
        if member.stage != Stage::Starting {
            return;
        }
        member.stage = Stage::Retiring;
        member.generation.order(Order::Quit);
        let settings = &mut self.pool.settings;
        info!(
            pool = settings.pool,
            app = settings.app,
            reason,
            "each worker imports the application itself (--preload off says so from the start)"
        );
        settings.preload = false;
        self.restart();
    }

    fn exited(&mut self, i: usize, status: ExitStatus) {
        let Member {
            generation,
            stage,
            failed,
        } = self.members.remove(i);
        let (number, lived) = (generation.number, generation.started.elapsed());
        if self.stopping.is_some() || stage == Stage::Retiring {
            debug!(generation = number, %status, "leader ended");
            return;
        }
        if !self.is_any(Stage::Starting) {
            self.sockets.has_failed();
        }
        let how = format!("the leader ended with {status}");
        match stage {
            Stage::Starting if failed => {}
            Stage::Starting | Stage::Retiring => {
                let reason = format!("{how} before it could serve");
                let Settings { pool, app, .. } = &self.pool.settings;
                error!(
                    pool,
                    app,
                    python = self.python,
                    generation = number,
                    "the application can't start: {reason}"
                );
                let detail = String::new();
                self.status.send_replace(Status::Failed { reason, detail });
            }
            Stage::Serving => {
                error!(pool = self.pool.settings.pool, generation = number, %status, "the leader died");
                self.status.send_replace(Status::Starting);
            }
        }
        if self.is_any(Stage::Serving) {
            warn!(pool = self.pool.settings.pool, "the previous generation goes on");
        } else if self.ever_ready && !self.is_any(Stage::Starting) && !self.waits_after(stage) {
            self.schedule_restart(lived);
        }
    }

    /// Whether a file has to change before there is any use in another try, after one that ended in `stage`.
    fn waits_after(&self, stage: Stage) -> bool {
        self.on_failure == OnFailure::Wait && stage == Stage::Starting
    }

    fn schedule_restart(&mut self, lived: Duration) {
        let delay = self.backoff.after(lived);
        info!(
            pool = self.pool.settings.pool,
            delay_ms = delay.as_millis() as u64,
            "starting again"
        );
        self.restart_at = Some(Instant::now() + delay);
    }

    fn signal(&mut self, signal: &str, wish: Wish) {
        let is_daemon = self.on_failure == OnFailure::Exit;
        match wish {
            Wish::Reload => return self.reload(signal),
            Wish::HangUp if is_daemon => return self.reload(signal),
            Wish::Stop | Wish::Quit | Wish::HangUp => {}
        }
        info!(pool = self.pool.settings.pool, signal, "stopping");
        self.stop(match (self.stopping, wish) {
            (None, Wish::Stop) => Order::Stop,
            (None, _) | (Some(Order::Run | Order::Retire | Order::Stop), _) => Order::Quit,
            (Some(Order::Quit | Order::Kill), _) => Order::Kill,
        });
    }

    fn stop(&mut self, order: Order) {
        self.stopping = Some(order);
        self.restart_at = None;
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

/// Never ends where nobody asks for anything.
async fn next_request(requests: &mut mpsc::Receiver<Request>) -> Request {
    match requests.recv().await {
        Some(request) => request,
        None => pending().await,
    }
}

/// File names for a log line: the first few.
fn names(files: &[PathBuf]) -> String {
    const SHOWN: usize = 3;
    let shown = files.iter().take(SHOWN).map(|file| file.display().to_string());
    let mut names = shown.collect::<Vec<_>>().join(", ");
    if files.len() > SHOWN {
        names.push_str(&format!(" and {} more", files.len() - SHOWN));
    }
    names
}
