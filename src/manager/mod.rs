//! All pools: which there are, what signals mean to them, and what they share: the log, turns to start, children that nobody
//! waits for.

pub mod doors;
mod entry;
mod file;
mod memory;
pub mod orphans;
pub mod passing;
pub mod relay;
pub mod signals;
mod snapshot;
pub mod steering;
mod tasks;
mod upgrade;

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use contract::log::LogSettings;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::interval;
use tracing::{error, info};

use crate::config::pools::{Configuration, Definition};
use crate::pool::log::Log;
use crate::pool::passing::PoolState;
use crate::pool::starts::Starts;
use crate::pool::{Command, OnFailure, Order, Outcome, Running, Status, Step, kept};
use crate::python::Interpreter;
use crate::service::{Reload, Service};
use crate::status::snapshot::Snapshot;
use crate::upgrade::Program;
use doors::Doors;
pub use entry::Commands;
use entry::Entry;
use memory::Memory;
use orphans::Orphans;
use passing::Passing;
use relay::{Logs, Relay, Reopening, Routes};
use signals::{Signals, Wish};
use steering::Begun;
use tasks::Tasks;
use upgrade::Upgrade;

/// How often it is said of what the log has had too much of how much that was.
const REPORTS: Duration = Duration::from_secs(60);

/// What another part of the program may ask.
#[derive(Debug)]
pub enum Request {
    /// Files are changing: a reload follows, and what is served now is out of date.
    Expect,
    /// These files changed.
    Reload {
        changed: Vec<PathBuf>,
    },
    Stop,
    /// How everything is.
    Snapshot(oneshot::Sender<Snapshot>),
    /// The same with what applications count.
    Metrics(oneshot::Sender<Snapshot>),
    /// What a command wants done.
    Steer {
        wish: steering::Wish,
        /// Who wants it, for the log.
        by: String,
        answer: oneshot::Sender<Result<Begun, String>>,
    },
    /// The pools, to be asked.
    Pools(oneshot::Sender<Vec<(String, Commands)>>),
    /// The logs.
    Logs(oneshot::Sender<Logs>),
}

/// Why pools don't run any more.
#[derive(Debug)]
pub enum End {
    /// All have ended.
    Over(Outcome),
    /// They rest, for another program takes over.
    Upgrade(Passing),
}

/// Runs pools until a signal or a request ends it.
pub struct Manager {
    /// Where pools are described, if that is a file.
    file: Option<PathBuf>,
    pools: BTreeMap<String, Entry>,
    /// Were taken out of the file, or others have followed them, and may still have requests to finish: by their names.
    leaving: Vec<(String, Commands)>,
    /// Of the program that had this one's place, until they are started here.
    inherited: Vec<PoolState>,
    /// They start anew, though they are served.
    anew: bool,
    /// Why another program has given this one its place back.
    refused: Option<String>,
    upgrade: Upgrade,
    tasks: Tasks,
    starts: Starts,
    log: Arc<Log>,
    log_settings: LogSettings,
    log_watch: relay::Watch,
    logs: Logs,
    service: Arc<Service>,
    signals: Signals,
    orphans: Orphans,
    memory: Memory,
    /// A terminal that hangs up ends it.
    is_in_terminal: bool,
    stopping: Option<Order>,
}

impl Manager {
    /// # Errors
    /// A signal handler can't be set, or the log can't be shared.
    pub fn new(signals: Signals, log: &Relay, log_settings: LogSettings, service: Service) -> anyhow::Result<Self> {
        let log_watch = log.watch().context("the log can't be watched")?;
        let sending = log.sending().try_clone_to_owned().context("the log can't be shared")?;
        Ok(Self {
            file: None,
            pools: BTreeMap::new(),
            leaving: Vec::new(),
            inherited: Vec::new(),
            anew: false,
            refused: None,
            upgrade: Upgrade::default(),
            tasks: Tasks::default(),
            starts: Starts::new(),
            log: Arc::new(Log::new(sending, log_settings.clone())),
            log_settings,
            log_watch,
            logs: log.logs(),
            service: Arc::new(service),
            signals,
            orphans: Orphans::new().context("signal handlers can't be set")?,
            memory: Memory::default(),
            is_in_terminal: false,
            stopping: None,
        })
    }

    /// Lets it be replaced by `program`, once nobody is behind these doors.
    pub fn may_become(&mut self, program: Program, doors: Doors) {
        self.upgrade = Upgrade::to(program, doors);
    }

    /// Has pools that are started from now on go on where another program has left them: with a new generation, unless that one has
    /// `refused` to take this one's place.
    pub fn inherit(&mut self, pools: Vec<PoolState>, refused: Option<String>) {
        self.inherited = pools;
        self.anew = refused.is_none();
        self.refused = refused;
    }

    /// Starts the one pool of a command line. `interpreter`: its Python, if somebody has looked for it already.
    ///
    /// # Errors
    /// The system's, or the engine is missing.
    pub fn start_one(
        &mut self,
        definition: Definition,
        interpreter: Option<&Interpreter>,
        on_failure: OnFailure,
    ) -> anyhow::Result<watch::Receiver<Status>> {
        contract::title::set(&format!("wsgi-fpm: supervisor ({})", definition.name()));
        self.is_in_terminal = on_failure == OnFailure::Wait;
        let status = self.start(definition, interpreter, on_failure, None)?;
        self.forget_others();
        Ok(status)
    }

    /// Starts the pools of the file at `path`.
    ///
    /// # Errors
    /// The system's.
    pub fn start_all(&mut self, path: PathBuf, configuration: Configuration) -> anyhow::Result<()> {
        self.file = Some(path);
        let all = self.service.starts();
        for pool in configuration.pools.into_values() {
            self.start(Definition::File(Box::new(pool)), None, OnFailure::Retry, None)?;
        }
        self.forget_others();
        self.set_title();
        all.over();
        Ok(())
    }

    /// Ends what others have left and nobody wants: pools finish what they run, sockets are closed.
    fn forget_others(&mut self) {
        for mut state in std::mem::take(&mut self.inherited) {
            state.stop();
            let name = state.name.clone();
            let commands = self.go_on_with(state);
            self.leaving.extend(commands.map(|commands| (name, commands)));
        }
        kept::forget_others(&self.service);
    }

    /// Has all pools go on as they are: what is said of them is not known. `file`: where it will be, if that is a file.
    pub fn go_on(&mut self, file: Option<PathBuf>) {
        self.file = file;
        for state in std::mem::take(&mut self.inherited) {
            let (name, is_stopping) = (state.name.clone(), state.is_stopping());
            match self.go_on_with(state) {
                Some(commands) if is_stopping => self.leaving.push((name, commands)),
                Some(commands) => {
                    self.pools.insert(name, Entry::new(None, commands));
                }
                None => {}
            }
        }
        self.set_title();
    }

    fn go_on_with(&mut self, state: PoolState) -> Option<Commands> {
        let name = state.name.clone();
        let pool = self.resume(state, None, OnFailure::Retry)?;
        Some(self.run_on(&name, pool))
    }

    /// `None` if that is not possible; the log says why.
    fn resume(&self, state: PoolState, definition: Option<Definition>, on_failure: OnFailure) -> Option<Running> {
        let (name, log, starts) = (state.name.clone(), Arc::clone(&self.log), self.starts.clone());
        let pool = Running::resume(state, definition, on_failure, log, starts, &self.service);
        let report = |error: &io::Error| error!(pool = name, "it can't be taken over from the old program: {error}");
        pool.inspect_err(report).ok()
    }

    fn run_on(&mut self, name: &str, pool: Running) -> Commands {
        let (commands, received) = mpsc::unbounded_channel();
        self.tasks.spawn(name, pool.run_on(self.anew, received));
        commands
    }

    fn set_title(&self) {
        let title = match self.pools.len() {
            1 => "1 pool".to_owned(),
            number => format!("{number} pools"),
        };
        contract::title::set(&format!("wsgi-fpm: supervisor ({title})"));
    }

    fn start(
        &mut self,
        definition: Definition,
        interpreter: Option<&Interpreter>,
        on_failure: OnFailure,
        reload: Option<&Reload>,
    ) -> anyhow::Result<watch::Receiver<Status>> {
        let name = definition.name().to_owned();
        self.logs.set(&name, Routes::of(&definition.log()));
        let is_it = |state: &PoolState| state.name == name && !state.is_stopping();
        let inherited = self.inherited.iter().position(is_it).map(|i| self.inherited.remove(i));
        let resumed = inherited.and_then(|state| self.resume(state, Some(definition.clone()), on_failure));
        let (status, commands) = match resumed {
            Some(pool) => (pool.status(), self.run_on(&name, pool)),
            None => {
                let (log, starts) = (Arc::clone(&self.log), self.starts.clone());
                let mut pool = Running::new(definition.clone(), interpreter, on_failure, log, starts, &self.service)?;
                pool.is_waited_for(reload.cloned());
                let (commands, received) = mpsc::unbounded_channel();
                let status = pool.status();
                self.tasks.spawn(&name, pool.run(received));
                (status, commands)
            }
        };
        let before = self.pools.insert(name.clone(), Entry::new(Some(definition), commands));
        if let Some(before) = before {
            self.leaves(name, before.commands);
        }
        Ok(status)
    }

    /// It finishes what it runs.
    fn leaves(&mut self, name: String, pool: Commands) {
        self.leaving.push((name, pool));
        self.leaving.retain(|(_, pool)| !pool.is_closed());
    }

    /// Serves until everything has ended, or until another program takes over.
    ///
    /// # Errors
    /// The only pool can't be started.
    pub async fn run(&mut self, requests: &mut mpsc::Receiver<Request>) -> anyhow::Result<End> {
        tokio::spawn(Arc::clone(&self.service).be_ready_at_the_latest());
        let mut reports = interval(REPORTS);
        loop {
            tokio::select! {
                (signal, wish) = self.signals.next() => self.signal(signal, wish),
                () = self.orphans.next() => self.orphans.reap(),
                _ = reports.tick() => contract::log::report(),
                () = self.service.due() => self.service.beat(|| self.log_watch.turns()),
                request = next_request(requests) => self.request(request),
                end = self.tasks.next_end() => match end {
                    Some(outcome) => return outcome.map(End::Over),
                    None => self.pools.values_mut().for_each(Entry::note_end),
                },
                checked = self.upgrade.checked() => if let Some(passing) = self.pass(checked).await {
                    return Ok(End::Upgrade(passing));
                },
            }
        }
    }

    fn signal(&mut self, signal: &'static str, wish: Wish) {
        match (wish, &self.file) {
            (Wish::Upgrade, _) if self.upgrade.is_possible() => {
                return match self.stopping {
                    Some(_) => info!(signal, "no upgrade: everything stops"),
                    None => _ = self.upgrade.begin(signal),
                };
            }
            (Wish::Reopen, _) => return self.reopen_logs_for(signal),
            (Wish::More, _) => return self.tell(|| Command::Step(Step::More)),
            (Wish::Fewer, _) => return self.tell(|| Command::Step(Step::Fewer)),
            // A developer starts the new program himself.
            (Wish::Upgrade, _) => return self.reload(signal),
            (Wish::HangUp, Some(_)) => return self.read_again(signal),
            (Wish::HangUp, None) if !self.is_in_terminal => return self.reload(signal),
            _ => {}
        }
        self.stop(
            match (self.stopping, wish) {
                (None, Wish::Stop) => Order::Stop,
                (None, _) | (Some(Order::Run | Order::Serve | Order::Retire | Order::Stop), _) => Order::Quit,
                (Some(Order::Quit | Order::Kill), _) => Order::Kill,
            },
            signal,
        );
    }

    /// Opens log files anew, for whoever has put the old ones away.
    pub fn reopen_logs(&self) -> Reopening {
        self.logs.reopen()
    }

    fn reopen_logs_for(&self, signal: &'static str) {
        let (reopening, logs) = (self.reopen_logs(), self.logs.clone());
        let files = reopening.files;
        if files == 0 {
            return info!(signal, "no log goes to a file: there is nothing to open anew");
        }
        tokio::spawn(async move {
            for (file, reason) in reopening.failed().await {
                error!(
                    file,
                    signal, "it can't be opened anew, and what was open is written on: {reason}"
                );
            }
            let lost: u64 = logs.lost().iter().map(|(_, lost)| lost).sum();
            info!(files, lost_since_the_start = lost, signal, "log files were opened anew");
        });
    }

    /// Whoever can be told something.
    fn all(&self) -> impl Iterator<Item = &Commands> {
        let leaving = self.leaving.iter().map(|(_, commands)| commands);
        self.pools.values().map(|pool| &pool.commands).chain(leaving)
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Expect => self.tell(|| Command::Expect),
            Request::Reload { changed } => self.reload(&names(&changed)),
            Request::Snapshot(answer) => self.show(false, answer),
            Request::Metrics(answer) => self.show(true, answer),
            Request::Stop => self.stop(Order::Stop, "the preview has ended"),
            // Who has asked may be gone.
            Request::Steer { wish, by, answer } => self.steer(wish, &by, answer),
            Request::Pools(answer) => _ = answer.send(self.named()),
            Request::Logs(answer) => _ = answer.send(self.logs.clone()),
        }
    }

    fn reload(&self, reason: &str) {
        let reload = self.service.reloads();
        self.tell(|| Command::Reload {
            reason: reason.to_owned(),
            reload: reload.clone(),
        });
    }

    fn stop(&mut self, order: Order, reason: &str) {
        // A weaker one that comes later does not make the next signal weaker.
        self.stopping = self.stopping.max(Some(order));
        self.upgrade.end();
        self.service.stops(order == Order::Stop);
        for pool in self.pools.values_mut() {
            pool.is_stopped |= !pool.commands.is_closed();
        }
        for pool in self.all() {
            let reason = reason.to_owned();
            // One that has ended needs no telling.
            let _ = pool.send(Command::Stop { order, reason });
        }
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for pool in self.pools.values() {
            pool.tell(command());
        }
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
