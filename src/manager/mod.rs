//! All pools: which there are, what signals mean to them, and what they share: the log, turns to start, children that nobody
//! waits for.

pub mod orphans;
pub mod relay;
pub mod signals;
mod tasks;

use std::collections::BTreeMap;
use std::future::pending;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use contract::log::LogSettings;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::config::pools::{self, Configuration, Definition};
use crate::pool::starts::Starts;
use crate::pool::{Command, OnFailure, Order, Outcome, Running, Status, kept};
use crate::python::Interpreter;
use crate::service::Service;
use orphans::Orphans;
use relay::Relay;
use signals::{Signals, Wish};
use tasks::Tasks;

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
}

/// Runs pools until a signal or a request ends it.
pub struct Manager {
    /// Where pools are described, if that is a file.
    file: Option<PathBuf>,
    pools: BTreeMap<String, Entry>,
    /// Were taken out of the file, and may still have requests to finish.
    leaving: Vec<Entry>,
    tasks: Tasks,
    starts: Starts,
    log: Arc<OwnedFd>,
    log_settings: LogSettings,
    service: Arc<Service>,
    signals: Signals,
    orphans: Orphans,
    /// A terminal that hangs up ends it.
    is_in_terminal: bool,
    stopping: Option<Order>,
}

struct Entry {
    definition: Definition,
    commands: mpsc::UnboundedSender<Command>,
}

impl Manager {
    /// # Errors
    /// A signal handler can't be set, or the log can't be shared.
    pub fn new(signals: Signals, log: &Relay, log_settings: LogSettings, service: Service) -> anyhow::Result<Self> {
        let log = log.sending().try_clone_to_owned().context("the log can't be shared")?;
        Ok(Self {
            file: None,
            pools: BTreeMap::new(),
            leaving: Vec::new(),
            tasks: Tasks::default(),
            starts: Starts::new(),
            log: Arc::new(log),
            log_settings,
            service: Arc::new(service),
            signals,
            orphans: Orphans::new().context("signal handlers can't be set")?,
            is_in_terminal: false,
            stopping: None,
        })
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
        let status = self.start(definition, interpreter, on_failure)?;
        kept::forget_others(&self.service);
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
            self.start(Definition::File(Box::new(pool)), None, OnFailure::Retry)?;
        }
        kept::forget_others(&self.service);
        self.set_title();
        all.over();
        Ok(())
    }

    fn set_title(&self) {
        let title = match self.pools.len() {
            1 => "1 pool".to_owned(),
            number => format!("{number} pools"),
        };
        contract::title::set(&format!("wsgi-fpm: supervisor ({title})"));
        self.service.describe(&title);
    }

    fn start(
        &mut self,
        definition: Definition,
        interpreter: Option<&Interpreter>,
        on_failure: OnFailure,
    ) -> anyhow::Result<watch::Receiver<Status>> {
        let (log, starts) = (Arc::clone(&self.log), self.starts.clone());
        let pool = Running::new(definition.clone(), interpreter, on_failure, log, starts, &self.service)?;
        let status = pool.status();
        let (commands, received) = mpsc::unbounded_channel();
        let name = definition.name().to_owned();
        self.tasks.spawn(&name, pool.run(received));
        self.pools.insert(name, Entry { definition, commands });
        Ok(status)
    }

    /// Serves until everything has ended.
    ///
    /// # Errors
    /// The only pool can't be started.
    pub async fn run(mut self, mut requests: mpsc::Receiver<Request>) -> anyhow::Result<Outcome> {
        tokio::spawn(Arc::clone(&self.service).be_ready_at_the_latest());
        loop {
            tokio::select! {
                (signal, wish) = self.signals.next() => self.signal(signal, wish),
                () = self.orphans.next() => self.orphans.reap(),
                request = next_request(&mut requests) => self.request(request),
                end = self.tasks.next_end() => if let Some(outcome) = end {
                    return outcome;
                },
            }
        }
    }

    fn signal(&mut self, signal: &str, wish: Wish) {
        let reloads = wish == Wish::Reload || wish == Wish::HangUp && !self.is_in_terminal;
        if reloads {
            match &self.file {
                Some(_) => self.read_again(signal, wish),
                None => self.reload(signal),
            }
            return;
        }
        self.stop(
            match (self.stopping, wish) {
                (None, Wish::Stop) => Order::Stop,
                (None, _) | (Some(Order::Run | Order::Retire | Order::Stop), _) => Order::Quit,
                (Some(Order::Quit | Order::Kill), _) => Order::Kill,
            },
            signal,
        );
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Expect => self.tell(|| Command::Expect),
            Request::Reload { changed } => self.reload(&names(&changed)),
            Request::Stop => self.stop(Order::Stop, "the preview has ended"),
        }
    }

    fn reload(&self, reason: &str) {
        self.tell(|| Command::Reload {
            reason: reason.to_owned(),
        });
    }

    fn stop(&mut self, order: Order, reason: &str) {
        self.stopping = Some(order);
        self.service.stops();
        for pool in self.pools.values().chain(&self.leaving) {
            pool.tell(Command::Stop {
                order,
                reason: reason.to_owned(),
            });
        }
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for pool in self.pools.values() {
            pool.tell(command());
        }
    }

    /// Reads the file again. Pools of which it says the same go on as they are, unless everything is to be loaded anew.
    fn read_again(&mut self, signal: &str, wish: Wish) {
        let Some(path) = self.file.as_ref().filter(|_| self.stopping.is_none()) else {
            return;
        };
        let configuration = match pools::load(path) {
            Ok(configuration) => configuration,
            Err(report) => {
                for line in report.lines() {
                    error!("{line}");
                }
                error!(
                    file = %path.display(),
                    signal,
                    "the file has mistakes and changes nothing; mend them and send the signal again"
                );
                return;
            }
        };
        if configuration.log() != self.log_settings {
            warn!("what [server] says of the log counts from the next start on: restart wsgi-fpm");
        }
        let new: BTreeMap<_, _> = configuration
            .pools
            .into_values()
            .map(|pool| Definition::File(Box::new(pool)))
            .map(|definition| (definition.name().to_owned(), definition))
            .collect();
        self.leaving.retain(|pool| !pool.commands.is_closed());
        let (stay, leave) = std::mem::take(&mut self.pools)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(name, _)| new.contains_key(name));
        self.pools = stay;
        for pool in leave.into_values() {
            pool.tell(Command::Stop {
                order: Order::Stop,
                reason: "it is not in the file any more".to_owned(),
            });
            self.leaving.push(pool);
        }
        info!(file = %path.display(), signal, pools = new.len(), "the file was read again");
        for (name, definition) in new {
            // One that has ended by itself starts anew.
            let pool = self.pools.get_mut(&name).filter(|pool| !pool.commands.is_closed());
            if let Some(pool) = pool {
                pool.become_it(definition, signal, wish);
            } else if let Err(error) = self.start(definition, None, OnFailure::Retry) {
                error!(pool = name, "it can't be started: {error:#}");
            }
        }
        self.set_title();
    }
}

impl Entry {
    fn tell(&self, command: Command) {
        // A pool that has ended needs no telling.
        let _ = self.commands.send(command);
    }

    /// Takes over what the file says now.
    fn become_it(&mut self, definition: Definition, signal: &str, wish: Wish) {
        if !self.definition.is_same(&definition) {
            self.tell(Command::Change {
                definition: Box::new(definition.clone()),
                reason: format!("{signal}: the file, or its env_file, says something else of it"),
            });
        } else if wish == Wish::Reload {
            self.tell(Command::Reload {
                reason: signal.to_owned(),
            });
        }
        self.definition = definition;
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
