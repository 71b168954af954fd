//! The task of one generation: what its leader is told and what it says, until the last line of its output.
//!
//! It alone signals and reaps the leader, so a signal never reaches a process that merely got the same pid.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use contract::control::{self, NotStarted, ToLeader, ToSupervisor};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use settings::values::{CountLimit, Timeout};
use tokio::signal::unix::Signal as ChildSignal;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error, warn};

use crate::inherited::Passed;
use crate::pool::control::Control;
use crate::pool::import::Import;
use crate::pool::leader::Leader;
use crate::pool::output::Output;
use crate::pool::passing::GenerationState;
use crate::pool::rest::{Question, Rest};

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

/// What a generation's task has and does.
pub struct Driver {
    /// Its name, for the log.
    pub pool: String,
    pub number: u64,
    pub started: Instant,
    /// [`control::VERSION`] of the leader.
    pub version: u32,
    pub asked: mpsc::UnboundedReceiver<Question<GenerationState>>,
    pub leader: Leader,
    pub control: Control,
    pub output: Vec<Output>,
    pub orders: watch::Receiver<Order>,
    /// The last of them that the leader was told.
    pub told: Order,
    pub steps: mpsc::UnboundedReceiver<Step>,
    /// Lines of its output that are logged in a second.
    pub print_rate: CountLimit,
    pub stop_timeout: Timeout,
    /// When the leader is killed for not having obeyed.
    pub deadline: Option<Instant>,
    /// `None` once the leader has said something: what became of it.
    pub import: Option<Import>,
    /// Why it is being ended for having said nothing.
    pub given_up: Option<String>,
    /// A child of this process has ended, or was stopped or continued.
    pub children: ChildSignal,
    /// When the leader is continued, which is stopped.
    pub continue_at: Option<Instant>,
    pub events: mpsc::Sender<Event>,
}

impl Driver {
    /// Until the leader has ended, and all that it left behind is written.
    pub async fn drive(mut self) {
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
