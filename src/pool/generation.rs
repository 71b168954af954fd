//! One loaded version of a pool: its leader's process, from the start to the last line of its output.
//!
//! A task of its own drives it and reports [`Event`]s; [`Generation`] is the supervisor's handle. The task alone signals
//! and reaps the leader, so a signal never reaches a process that merely got the same pid.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as Socket;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use contract::control::{ToLeader, ToSupervisor, send, send_with_fds};
use contract::handover::Handover;
use contract::scoreboard::Scoreboard;
use contract::settings::Settings;
use settings::values::Timeout;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use crate::children::Ours;
use crate::config::environment::{Environment, EnvironmentError};
use crate::host::Launch;
use crate::pool::listeners::Listener;
use crate::pool::output::log_lines;

/// The leader enforces `stop_timeout` itself and needs a moment for Python's own end (SPEC C60: atexit).
const STOP_MARGIN: Duration = Duration::from_secs(3);
/// For a leader that was told to exit at once.
const QUIT_MARGIN: Duration = Duration::from_secs(2);
/// What a leader had said and printed before it ended arrives at once; workers that outlive it may keep the pipes open.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What the supervisor wants of a generation. Only ever grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    Run,
    /// Leave connections to the next generation, finish running requests, then exit.
    Retire,
    /// Finish running requests, then exit.
    Stop,
    /// Exit at once.
    Quit,
    Kill,
}

#[derive(Debug)]
pub struct Event {
    pub generation: u64,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Ready { python: String },
    Failed { reason: String, detail: String },
    NotPreloadable { reason: String },
    WorkerDied { pid: i32, how: String, backoff_ms: u64 },
    Exited(ExitStatus),
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    #[error("the scoreboard can't be made: {0}")]
    Scoreboard(io::Error),
    #[error("the control socket can't be made: {0}")]
    Control(io::Error),
    #[error("{program} can't be run: {error}")]
    Spawn { program: String, error: io::Error },
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error("the settings can't be sent to the leader: {0}")]
    Settings(io::Error),
}

/// What a generation is started from.
pub struct Plan<'a> {
    pub environment: &'a Environment,
    pub settings: &'a Settings,
    pub listeners: &'a [&'a Listener],
    pub handover: &'a Handover,
    /// Where events are sent.
    pub log: BorrowedFd<'a>,
    /// Who gets what the leader prints; if nobody does, it is logged.
    pub printed: Option<mpsc::Sender<Vec<u8>>>,
}

/// The supervisor's handle. Dropping it kills the leader.
#[derive(Debug)]
pub struct Generation {
    pub number: u64,
    pub pid: u32,
    pub started: Instant,
    orders: watch::Sender<Order>,
}

impl Generation {
    /// Starts the leader by `launch` and gives it its settings. What becomes of it is reported to `events`.
    ///
    /// # Errors
    /// The process can't be started, or is gone at once.
    pub fn start(
        number: u64,
        launch: Launch,
        plan: &Plan<'_>,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, StartError> {
        let settings = plan.settings;
        let slots = settings.workers as usize * settings.threads.get() as usize;
        let scoreboard = Scoreboard::create(slots).map_err(StartError::Scoreboard)?;
        let (ours, theirs) = Socket::pair().map_err(StartError::Control)?;
        let mut child = spawn(launch, plan.environment, theirs)?;
        let pid = child.id().unwrap_or_default();
        let child_of_ours = Ours::new(pid);
        let sent = send_settings(&ours, &scoreboard, plan);
        // A leader that is gone already says why on its standard error and by its status: not here.
        if let Err(error) = sent {
            if error.kind() != io::ErrorKind::BrokenPipe {
                return Err(StartError::Settings(error));
            }
            debug!(generation = number, %error, "the leader did not take its settings");
        }
        let printed = || plan.printed.clone();
        let output = [
            child
                .stdout
                .take()
                .map(|pipe| tokio::spawn(log_lines(pipe, number, printed()))),
            child
                .stderr
                .take()
                .map(|pipe| tokio::spawn(log_lines(pipe, number, printed()))),
        ];
        let (orders, received) = watch::channel(Order::Run);
        let driver = Driver {
            number,
            child,
            _ours: child_of_ours,
            control: Control::new(ours).map_err(StartError::Control)?,
            output: output.into_iter().flatten().collect(),
            orders: received,
            stop_timeout: *settings.limits.stop_timeout,
            deadline: None,
            import: Some(Import::begin(settings.app.clone())),
            events,
        };
        tokio::spawn(driver.drive());
        Ok(Self {
            number,
            pid,
            started: Instant::now(),
            orders,
        })
    }

    /// Gives an order; one that is weaker than an earlier one changes nothing.
    pub fn order(&self, order: Order) {
        self.orders.send_if_modified(|current| {
            let stronger = order > *current;
            *current = order.max(*current);
            stronger
        });
    }
}

fn spawn(launch: Launch, environment: &Environment, control: Socket) -> Result<Child, StartError> {
    // The engine stays open until the process has it, and not longer: the supervisor, which alone starts processes, has one thread
    // for that.
    let Launch {
        mut command,
        engine: _open,
    } = launch;
    let program = command.get_program().to_string_lossy().into_owned();
    command.env_clear().envs(environment.variables(&[])?);
    command
        .stdin(OwnedFd::from(control))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    // Only an error on the way leaves a child without a driver.
    command.kill_on_drop(true);
    command.spawn().map_err(|error| StartError::Spawn { program, error })
}

/// The descriptors of [`contract::control::LEADER_FDS`].
fn send_settings(control: &Socket, scoreboard: &OwnedFd, plan: &Plan<'_>) -> io::Result<()> {
    let mut fds: Vec<BorrowedFd<'_>> = vec![plan.log, scoreboard.as_fd()];
    fds.extend(plan.handover.ends());
    fds.extend(plan.listeners.iter().map(|listener| listener.as_fd()));
    send_with_fds(control, &ToLeader::Settings(Box::new(plan.settings.clone())), &fds)
}

/// Both directions of the control socket.
struct Control {
    /// Messages are shorter than an empty socket's buffer, so that sending never waits.
    sender: Socket,
    lines: Lines<BufReader<UnixStream>>,
    open: bool,
}

impl Control {
    fn new(socket: Socket) -> io::Result<Self> {
        let sender = socket.try_clone()?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            sender,
            lines: BufReader::new(UnixStream::from_std(socket)?).lines(),
            open: true,
        })
    }

    /// The leader's next message; `None` when there will be no more.
    async fn next(&mut self) -> Option<ToSupervisor> {
        let line = match self.lines.next_line().await {
            Ok(Some(line)) => line,
            Ok(None) => return None,
            Err(error) => {
                debug!(%error, "the control socket can't be read");
                return None;
            }
        };
        match serde_json::from_str(&line) {
            Ok(message) => Some(message),
            Err(error) => {
                error!(%error, "the leader sent what is no message; program and engine are of different versions");
                None
            }
        }
    }
}

struct Driver {
    number: u64,
    child: Child,
    _ours: Ours,
    control: Control,
    output: Vec<JoinHandle<()>>,
    orders: watch::Receiver<Order>,
    stop_timeout: Timeout,
    /// When the leader is killed for not having obeyed.
    deadline: Option<Instant>,
    /// `None` once the leader has said something: what became of it.
    import: Option<Import>,
    events: mpsc::Sender<Event>,
}

/// The import of an application, of which there is nothing to be seen until it is over.
struct Import {
    app: String,
    begun: Instant,
    /// When the log says next that it goes on.
    due: Instant,
}

/// An import that takes longer is worth a line, another one when it has taken twice as long, and so on.
const SLOW_IMPORT: Duration = Duration::from_secs(5);

impl Import {
    fn begin(app: String) -> Self {
        let begun = Instant::now();
        Self {
            app,
            begun,
            due: begun + SLOW_IMPORT,
        }
    }

    fn log(&mut self, generation: u64) {
        let taken = self.due - self.begun;
        info!(
            generation,
            "{} is still being imported, for {} s so far",
            contract::log::escape(&self.app),
            taken.as_secs()
        );
        self.due += taken;
    }
}

impl Driver {
    async fn drive(mut self) {
        let status = loop {
            let deadline = self.deadline;
            let import_due = self.import.as_ref().map(|import| import.due);
            tokio::select! {
                biased;
                message = self.control.next(), if self.control.open => match message {
                    Some(message) => {
                        self.import = None;
                        self.report(What::from(message)).await;
                    }
                    None => self.control.open = false,
                },
                status = self.child.wait() => break status,
                changed = self.orders.changed() => match changed {
                    Ok(()) => {
                        self.import = None;
                        self.obey();
                    }
                    // The supervisor is gone: nobody is left to ask for a gentle end.
                    Err(_) => {
                        self.kill();
                        break self.child.wait().await;
                    }
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    warn!(generation = self.number, "the leader did not end in time and is killed");
                    self.deadline = None;
                    self.kill();
                }
                () = sleep_until(import_due.unwrap_or_else(Instant::now)), if import_due.is_some() => {
                    if let Some(import) = &mut self.import {
                        import.log(self.number);
                    }
                }
            }
        };
        self.last_words().await;
        match status {
            Ok(status) => self.report(What::Exited(status)).await,
            Err(error) => {
                error!(generation = self.number, %error, "the leader can't be waited for");
                self.report(What::Exited(ExitStatus::default())).await;
            }
        }
    }

    fn obey(&mut self) {
        let order = *self.orders.borrow_and_update();
        // No limit for running requests is none for the leader either.
        let gently = self.stop_timeout.duration().map(|timeout| timeout + STOP_MARGIN);
        let (message, margin) = match order {
            Order::Run => return,
            Order::Retire => (ToLeader::Retire, gently),
            Order::Stop => (ToLeader::Stop, gently),
            Order::Quit => (ToLeader::Quit, Some(QUIT_MARGIN)),
            Order::Kill => return self.kill(),
        };
        self.deadline = margin.map(|margin| Instant::now() + margin);
        if let Err(error) = send(&self.control.sender, &message) {
            debug!(generation = self.number, %error, "the leader does not listen");
        }
    }

    /// Kills the leader. Its workers end by themselves when its end of their control pipes is closed.
    fn kill(&mut self) {
        // An error means that it has been reaped.
        if let Err(error) = self.child.start_kill() {
            debug!(generation = self.number, %error, "the leader can't be killed");
        }
    }

    /// The messages and the output that the leader left behind.
    async fn last_words(&mut self) {
        let until = Instant::now() + LAST_WORDS;
        while self.control.open {
            match tokio::time::timeout_at(until, self.control.next()).await {
                Ok(Some(message)) => self.report(What::from(message)).await,
                Ok(None) | Err(_) => break,
            }
        }
        for reader in &mut self.output {
            // A reader that goes on logs what the remaining workers print, and ends with them.
            if timeout(until - Instant::now(), reader).await.is_err() {
                break;
            }
        }
    }

    async fn report(&self, what: What) {
        let generation = self.number;
        let event = Event { generation, what };
        if self.events.send(event).await.is_err() {
            debug!(generation, "the supervisor is gone");
        }
    }
}

impl From<ToSupervisor> for What {
    fn from(message: ToSupervisor) -> Self {
        match message {
            ToSupervisor::Ready { python } => Self::Ready { python },
            ToSupervisor::Failed { reason, detail } => Self::Failed { reason, detail },
            ToSupervisor::NotPreloadable { reason } => Self::NotPreloadable { reason },
            ToSupervisor::WorkerDied { pid, how, backoff_ms } => Self::WorkerDied { pid, how, backoff_ms },
        }
    }
}
