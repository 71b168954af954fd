//! One loaded version of a pool: its leader's process, as it is started or taken over. A task of its own drives it
//! (`pool/driver.rs`) and reports [`Event`]s; [`Generation`] is the supervisor's handle.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as Socket;
use std::process::{Child, Stdio};

use contract::control::{self, ToLeader, send_with_fds};
use contract::handover::Handover;
use contract::scoreboard::Scoreboard;
use contract::settings::Settings;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::debug;

use crate::config::environment::{Environment, EnvironmentError};
use crate::host::Launch;
use crate::inherited::Passed;
use crate::keeper::{Board, BoardState};
use crate::pool::control::Control;
use crate::pool::driver::Driver;
pub use crate::pool::driver::{Event, Order, Step, What};
use crate::pool::import::Import;
use crate::pool::importing::Window;
use crate::pool::leader::Leader;
use crate::pool::listeners::Listener;
use crate::pool::output::{Output, Whose};
use crate::pool::passing::GenerationState;
use crate::pool::rest::{Answer, Question, Rest};

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
