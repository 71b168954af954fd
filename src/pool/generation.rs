//! One loaded version of a pool: its leader's process, from the start to the last line of its output.
//!
//! A task of its own drives it and reports [`Event`]s; [`Generation`] is the supervisor's handle. The task alone signals
//! and reaps the leader, so a signal never reaches a process that merely got the same pid.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as Socket;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use contract::control::{self, NotStarted, ToLeader, ToSupervisor, send_with_fds};
use contract::handover::Handover;
use contract::scoreboard::Scoreboard;
use contract::settings::Settings;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use settings::values::{CountLimit, Timeout};
use tokio::signal::unix::{Signal as ChildSignal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error, warn};

use crate::config::environment::{Environment, EnvironmentError};
use crate::host::Launch;
use crate::inherited::Passed;
use crate::keeper::{Board, BoardState};
use crate::pool::control::Control;
use crate::pool::import::Import;
use crate::pool::importing::Window;
use crate::pool::leader::Leader;
use crate::pool::listeners::Listener;
use crate::pool::output::{Output, Whose};
use crate::pool::passing::GenerationState;
use crate::pool::rest::{Answer, Question, Rest};

/// The leader enforces `stop_timeout` itself and needs a moment for Python's own end (SPEC C60: atexit).
const STOP_MARGIN: Duration = Duration::from_secs(3);
/// For a leader that was told to exit at once.
const QUIT_MARGIN: Duration = Duration::from_secs(2);
/// How long a leader that is too busy to give up by itself may take to say what it is doing.
const LAST_STACK: Duration = Duration::from_secs(1);
/// A leader that a signal has stopped is continued after so long, if nobody else does it: meanwhile nobody looks after its workers.
const STOPPED: Duration = Duration::from_secs(5);
/// What a leader had said and printed before it ended arrives at once; workers that outlive it may keep the pipes open.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What the supervisor wants of a generation. Only ever grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Order {
    /// Start, and take no connections yet.
    Run,
    /// Take connections.
    Serve,
    /// Leave connections to the next generation, finish running requests, then exit.
    Retire,
    /// Finish running requests, then exit.
    Stop,
    /// Exit at once.
    Quit,
    Kill,
}

/// What is to become of the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// One more.
    More,
    /// One less.
    Fewer,
    /// So many, in place of what the options say.
    Size { least: u32, most: u32 },
    /// Each is replaced.
    Recycle,
}

#[derive(Debug)]
pub struct Event {
    pub generation: u64,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Ready {
        python: String,
    },
    Failed {
        reason: String,
        detail: String,
    },
    NotPreloadable {
        reason: String,
    },
    Workers {
        size: u32,
    },
    Idle,
    WorkerDied {
        pid: i32,
        how: String,
        backoff_ms: u64,
        not_started: Option<NotStarted>,
    },
    Exited(ExitStatus),
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    #[error("the scoreboard can't be made: {0}")]
    Scoreboard(io::Error),
    #[error("the file for what is imported can't be made: {0}")]
    Imports(io::Error),
    #[error("the control socket can't be made: {0}")]
    Control(io::Error),
    #[error("{program} can't be run: {error}")]
    Spawn { program: String, error: io::Error },
    #[error("the leader can't be watched: {0}")]
    Watch(io::Error),
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
    /// See [`crate::keeper::Keeper::ends`].
    pub keeper: [BorrowedFd<'a>; 2],
    /// The memory of the application's metrics.
    pub metrics: BorrowedFd<'a>,
    /// Where events are sent.
    pub log: BorrowedFd<'a>,
    /// Who gets what the leader prints; if nobody does, it is logged.
    pub printed: Option<mpsc::Sender<Vec<u8>>>,
}

/// The supervisor's handle. Dropping it kills the leader.
pub struct Generation {
    pub number: u64,
    pub pid: u32,
    pub started: Instant,
    /// What its threads run; `None` where a program of another version has started it.
    pub board: Option<Board>,
    /// Through it is seen what its processes import; `None` where another program has started it.
    pub window: Option<Window>,
    orders: watch::Sender<Order>,
    questions: mpsc::UnboundedSender<Question<GenerationState>>,
    steps: mpsc::UnboundedSender<Step>,
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
        let scoreboard = Scoreboard::create(settings.size.seats() * settings.threads.get() as usize)
            .map_err(StartError::Scoreboard)?;
        let (ours, theirs) = Socket::pair().map_err(StartError::Control)?;
        let child = spawn(launch, plan.environment, theirs)?;
        let pid = child.id();
        let (leader, output) = watched(child, number, plan)?;
        let window = Window::new().map_err(StartError::Imports)?;
        let imports = window.copy().map_err(StartError::Imports)?;
        let sent = send_settings(&ours, [&scoreboard, &imports], plan);
        // A leader that is gone already says why on its standard error and by its status: not here.
        if let Err(error) = sent {
            if error.kind() != io::ErrorKind::BrokenPipe {
                return Err(StartError::Settings(error));
            }
            debug!(pool = settings.name, generation = number, %error, "the leader did not take its settings");
        }
        let board = Board::new(scoreboard, settings.threads.get() as usize).map_err(StartError::Scoreboard)?;
        let (orders, received) = watch::channel(Order::Run);
        let (questions, asked) = mpsc::unbounded_channel();
        let (steps, wanted) = mpsc::unbounded_channel();
        let started = Instant::now();
        let driver = Driver {
            pool: settings.name.clone(),
            number,
            started,
            version: control::VERSION,
            asked,
            leader,
            control: Control::new(ours).map_err(StartError::Control)?,
            output,
            orders: received,
            told: Order::Run,
            steps: wanted,
            print_rate: settings.log.app_rate,
            stop_timeout: *settings.limits.stop_timeout,
            deadline: None,
            import: Some(Import::begin(settings)),
            given_up: None,
            children: signal(SignalKind::child()).map_err(StartError::Watch)?,
            continue_at: None,
            events,
        };
        tokio::spawn(driver.drive());
        Ok(Self {
            number,
            pid,
            started,
            board: Some(board),
            window: Some(window),
            orders,
            questions,
            steps,
        })
    }

    /// One whose leader another program has started, in whose place this one is.
    ///
    /// # Errors
    /// What was passed can't be taken, or the leader is no child of this process.
    pub fn resume(
        pool: &str,
        state: GenerationState,
        board: Option<BoardState>,
        events: mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let GenerationState { number, told, .. } = state;
        let leader = Leader::new(state.leader)?;
        let control = Control::resume(state.control.take()?.into(), state.received, state.version)?;
        let whose = Whose {
            pool: pool.to_owned(),
            generation: number,
            rate: state.print_rate,
        };
        let read = |pipe: Passed| Output::read(pipe.take()?, &whose, None);
        let output = state.output.into_iter().map(read).collect::<io::Result<_>>()?;
        let (orders, received) = watch::channel(told);
        let (questions, asked) = mpsc::unbounded_channel();
        let (steps, wanted) = mpsc::unbounded_channel();
        // Memory of another version may look different.
        let board = board.filter(|_| state.version == control::VERSION);
        let board = board.map(Board::resume).transpose()?;
        let now = Instant::now();
        let started = now.checked_sub(state.age).unwrap_or(now);
        let driver = Driver {
            pool: pool.to_owned(),
            number,
            started,
            version: state.version,
            asked,
            leader,
            control,
            output,
            orders: received,
            told,
            steps: wanted,
            print_rate: state.print_rate,
            stop_timeout: state.stop_timeout,
            deadline: state.left.map(|left| now + left),
            import: None,
            given_up: None,
            children: signal(SignalKind::child())?,
            continue_at: None,
            events,
        };
        tokio::spawn(driver.drive());
        Ok(Self {
            number,
            pid: state.leader,
            started,
            board,
            window: None,
            orders,
            questions,
            steps,
        })
    }

    /// How it is. Its task rests afterwards; one that has ended does not answer.
    pub fn ask(&self, rest: &Rest) -> Answer<GenerationState> {
        Question::ask(rest, &self.questions)
    }

    /// The strongest order that was given.
    pub fn ordered(&self) -> Order {
        *self.orders.borrow()
    }

    /// Has the leader do something with its workers.
    pub fn step(&self, step: Step) {
        // A leader that has ended needs no telling.
        let _ = self.steps.send(step);
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
    command.spawn().map_err(|error| StartError::Spawn { program, error })
}

/// The process, and those who read what it prints.
fn watched(mut child: Child, number: u64, plan: &Plan<'_>) -> Result<(Leader, Vec<Output>), StartError> {
    let leader = Leader::new(child.id()).map_err(|error| {
        // Nobody else could end it. Whoever reaps orphans finds it.
        let _ = child.kill();
        StartError::Watch(error)
    })?;
    let pipes = [
        child.stdout.take().map(OwnedFd::from),
        child.stderr.take().map(OwnedFd::from),
    ];
    let whose = Whose {
        pool: plan.settings.name.clone(),
        generation: number,
        rate: plan.settings.log.app_rate,
    };
    let read = |pipe| Output::read(pipe, &whose, plan.printed.clone());
    let output = pipes.into_iter().flatten().map(read).collect::<io::Result<_>>();
    Ok((leader, output.map_err(StartError::Watch)?))
}

/// The descriptors of [`contract::control::LEADER_FDS`].
fn send_settings(control: &Socket, [scoreboard, imports]: [&OwnedFd; 2], plan: &Plan<'_>) -> io::Result<()> {
    let mut fds: Vec<BorrowedFd<'_>> = vec![plan.log, scoreboard.as_fd()];
    fds.extend(plan.handover.ends());
    fds.extend(plan.keeper);
    fds.extend([plan.metrics, imports.as_fd()]);
    fds.extend(plan.listeners.iter().map(|listener| listener.as_fd()));
    send_with_fds(control, &ToLeader::Settings(Box::new(plan.settings.clone())), &fds)
}

struct Driver {
    /// Its name, for the log.
    pool: String,
    number: u64,
    started: Instant,
    /// [`control::VERSION`] of the leader.
    version: u32,
    asked: mpsc::UnboundedReceiver<Question<GenerationState>>,
    leader: Leader,
    control: Control,
    output: Vec<Output>,
    orders: watch::Receiver<Order>,
    /// The last of them that the leader was told.
    told: Order,
    steps: mpsc::UnboundedReceiver<Step>,
    /// Lines of its output that are logged in a second.
    print_rate: CountLimit,
    stop_timeout: Timeout,
    /// When the leader is killed for not having obeyed.
    deadline: Option<Instant>,
    /// `None` once the leader has said something: what became of it.
    import: Option<Import>,
    /// Why it is being ended for having said nothing.
    given_up: Option<String>,
    /// A child of this process has ended, or was stopped or continued.
    children: ChildSignal,
    /// When the leader is continued, which is stopped.
    continue_at: Option<Instant>,
    events: mpsc::Sender<Event>,
}

impl Driver {
    async fn drive(mut self) {
        let status = loop {
            let deadline = self.deadline;
            let import_due = self.import.as_ref().map(|import| import.due);
            let give_up_at = self.import.as_ref().and_then(|import| import.give_up_at);
            let continue_at = self.continue_at;
            tokio::select! {
                biased;
                message = self.control.next(), if self.control.is_open() => if let Some(message) = message {
                    self.import = None;
                    self.report(What::from(message)).await;
                },
                Some(question) = self.asked.recv() => {
                    // The next program could not know of them.
                    while let Ok(step) = self.steps.try_recv() {
                        self.take(step);
                    }
                    let state = self.state(&question.rest()).await;
                    question.answer(state).await;
                }
                status = self.leader.end() => break status,
                changed = self.orders.changed() => match changed {
                    Ok(()) => {
                        self.import = None;
                        self.obey();
                    }
                    // The supervisor is gone: nobody is left to ask for a gentle end.
                    Err(_) => {
                        self.kill();
                        break self.leader.end().await;
                    }
                },
                Some(step) = self.steps.recv() => self.take(step),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    warn!(pool = self.pool, generation = self.number, "the leader did not end in time and is killed");
                    self.deadline = None;
                    self.kill();
                }
                () = sleep_until(give_up_at.unwrap_or_else(Instant::now)), if give_up_at.is_some() => self.give_up(),
                _ = self.children.recv() => self.look_whether_it_is_stopped(),
                () = sleep_until(continue_at.unwrap_or_else(Instant::now)), if continue_at.is_some() => self.go_on(),
                () = sleep_until(import_due.unwrap_or_else(Instant::now)), if import_due.is_some() => {
                    if let Some(import) = &mut self.import {
                        import.log(&self.pool, self.number);
                    }
                }
            }
        };
        self.last_words().await;
        if let Some(reason) = self.given_up.take() {
            let detail = String::new();
            self.report(What::Failed { reason, detail }).await;
        }
        match status {
            Ok(status) => self.report(What::Exited(status)).await,
            Err(error) => {
                error!(pool = self.pool, generation = self.number, %error, "the leader can't be waited for");
                self.report(What::Exited(ExitStatus::default())).await;
            }
        }
    }

    async fn state(&self, rest: &Rest) -> io::Result<GenerationState> {
        let mut output = Vec::new();
        for answer in self.output.iter().map(|output| output.ask(rest)).collect::<Vec<_>>() {
            output.extend(answer.await.ok().transpose()?);
        }
        Ok(GenerationState {
            number: self.number,
            leader: self.leader.pid(),
            age: self.started.elapsed(),
            version: self.version,
            control: Passed::copy(self.control.socket())?,
            received: self.control.received().to_owned(),
            output,
            told: self.told,
            print_rate: self.print_rate,
            stop_timeout: self.stop_timeout,
            left: self.deadline.map(|deadline| deadline - Instant::now()),
        })
    }

    fn obey(&mut self) {
        let order = *self.orders.borrow_and_update();
        self.told = order;
        // No limit for running requests is none for the leader either.
        let gently = self.stop_timeout.duration().map(|timeout| timeout + STOP_MARGIN);
        let (message, margin) = match order {
            Order::Run => return,
            Order::Serve => return self.send(&ToLeader::Serve),
            // To one whose connections nobody else would understand, the same as to stop.
            Order::Retire if self.version == control::VERSION => (ToLeader::Retire, gently),
            Order::Retire => (ToLeader::Stop, gently),
            Order::Stop => (ToLeader::Stop, gently),
            Order::Quit => (ToLeader::Quit, Some(QUIT_MARGIN)),
            Order::Kill => return self.kill(),
        };
        self.deadline = margin.map(|margin| Instant::now() + margin);
        self.send(&message);
    }

    fn take(&self, step: Step) {
        self.send(&match step {
            Step::More => ToLeader::More,
            Step::Fewer => ToLeader::Fewer,
            Step::Size { least, most } => ToLeader::Size { least, most },
            Step::Recycle => ToLeader::Recycle,
        });
    }

    fn send(&self, message: &ToLeader) {
        if let Err(error) = self.control.send(message) {
            debug!(pool = self.pool, generation = self.number, %error, "the leader does not listen");
        }
    }

    /// Ends a leader that is not ready in time, and too busy to say so itself: it imports the application. SIGABRT has it write
    /// where, if it can.
    fn give_up(&mut self) {
        let Some(import) = self.import.take() else { return };
        self.given_up = Some(import.too_late);
        self.deadline = Some(Instant::now() + LAST_STACK);
        if let Err(error) = self.leader.signal(Signal::ABORT) {
            debug!(pool = self.pool, generation = self.number, %error, "the leader can't be given up");
        }
    }

    fn look_whether_it_is_stopped(&mut self) {
        match self.leader.is_stopped() {
            true => _ = self.continue_at.get_or_insert_with(|| Instant::now() + STOPPED),
            false => self.continue_at = None,
        }
    }

    /// Continues a leader that is still stopped. Its end would cost what its workers run.
    fn go_on(&mut self) {
        self.continue_at = None;
        if self.leader.is_stopped() {
            error!(
                pool = self.pool,
                generation = self.number,
                leader = self.leader.pid(),
                "a signal has stopped the leader, and nobody has continued it for {} s: it is continued",
                STOPPED.as_secs()
            );
            if let Err(error) = self.leader.signal(Signal::CONT) {
                debug!(pool = self.pool, generation = self.number, %error, "the leader can't be continued");
            }
        }
    }

    /// Kills the leader. Its workers end by themselves when its end of their control pipes is closed.
    fn kill(&mut self) {
        // An error means that it has been reaped.
        if let Err(error) = self.leader.signal(Signal::KILL) {
            debug!(pool = self.pool, generation = self.number, %error, "the leader can't be killed");
        }
    }

    /// The messages and the output that the leader left behind.
    async fn last_words(&mut self) {
        let until = Instant::now() + LAST_WORDS;
        while self.control.is_open() {
            match tokio::time::timeout_at(until, self.control.next()).await {
                Ok(Some(message)) => self.report(What::from(message)).await,
                Ok(None) | Err(_) => break,
            }
        }
        for Output { reading, .. } in &mut self.output {
            // A reader that goes on logs what the remaining workers print, and ends with them.
            if timeout(until - Instant::now(), reading).await.is_err() {
                break;
            }
        }
    }

    async fn report(&self, what: What) {
        let generation = self.number;
        let event = Event { generation, what };
        if self.events.send(event).await.is_err() {
            debug!(pool = self.pool, generation, "the supervisor is gone");
        }
    }
}

impl From<ToSupervisor> for What {
    fn from(message: ToSupervisor) -> Self {
        match message {
            ToSupervisor::Ready { python } => Self::Ready { python },
            ToSupervisor::Failed { reason, detail } => Self::Failed { reason, detail },
            ToSupervisor::NotPreloadable { reason } => Self::NotPreloadable { reason },
            ToSupervisor::Workers { size } => Self::Workers { size },
            ToSupervisor::Idle => Self::Idle,
            ToSupervisor::WorkerDied {
                pid,
                how,
                backoff_ms,
                not_started,
            } => Self::WorkerDied {
                pid,
                how,
                backoff_ms,
                not_started,
            },
        }
    }
}
