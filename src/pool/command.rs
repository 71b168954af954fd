//! What a pool can be told, and that it does it.

use contract::worker::ToWorker;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tracing::info;

use super::ask::{self, AskError};
use super::importing::Importing;
use super::passing::PoolState;
use super::rest::Question;
use super::{Order, Reloaded, Running, Stage, Status, Step, snapshot};
use crate::config::pools::Definition;
use crate::service::Reload;

/// What a pool can be told.
#[derive(Debug)]
pub enum Command {
    /// Files are changing: a reload follows, and what is served now is out of date.
    Expect,
    /// Load the application anew.
    Reload { reason: String, reload: Reload },
    /// The same if its last version has failed: somebody may have mended it.
    Retry { reason: String, reload: Reload },
    /// Do something with the workers.
    Step(Step),
    /// Replace all workers, and say when that is done.
    Recycle(oneshot::Sender<Reloaded>),
    /// Have so many workers until the next reload.
    Scale {
        least: u32,
        most: u32,
        reload: Reload,
        /// Whether it takes a new generation.
        answer: oneshot::Sender<bool>,
    },
    /// Say what becomes of the start that is under way, or how it is.
    Wait(oneshot::Sender<Reloaded>),
    /// Be another pool from the next generation on.
    Change {
        definition: Box<Definition>,
        reason: String,
        reload: Reload,
    },
    /// Ask the worker with this pid something; who reads its answer.
    Ask {
        worker: i32,
        question: ToWorker,
        asked: oneshot::Sender<Result<UnixStream, AskError>>,
    },
    /// Say who imports the application.
    Imports(oneshot::Sender<Vec<Importing>>),
    /// Stop; one that is weaker than an earlier one changes nothing.
    Stop { order: Order, reason: String },
    /// Say how it is.
    Show {
        /// With what the application counts.
        whole: bool,
        answer: oneshot::Sender<snapshot::Shown>,
    },
    /// Another program takes this one's place: say what it has to know, and rest.
    Pass(Question<PoolState>),
}

impl Running {
    pub(super) async fn obey(&mut self, command: Command) {
        let goes_on = matches!(
            command,
            Command::Stop { .. } | Command::Show { .. } | Command::Pass(_) | Command::Ask { .. } | Command::Imports(_)
        );
        if self.stopping.is_some() && !goes_on {
            return;
        }
        match command {
            Command::Expect => self.stands(Status::Starting),
            Command::Reload { reason, reload } => self.reload(&reason, reload),
            Command::Retry { reason, reload } => {
                if self.failure.is_some() {
                    self.reload(&reason, reload);
                }
            }
            Command::Step(step) => {
                let serving = self.members.iter().filter(|member| member.stage == Stage::Serving);
                serving.for_each(|member| member.generation.step(step));
                if !self.is_any(Stage::Serving) {
                    info!(pool = self.name, "nothing is done: the pool has no workers now");
                }
            }
            Command::Recycle(answer) => self.recycle(answer),
            Command::Scale {
                least,
                most,
                reload,
                answer,
            } => _ = answer.send(self.scale((least, most), reload)),
            Command::Wait(answer) => self.wait(answer),
            Command::Change {
                definition,
                reason,
                reload,
            } => {
                self.definition = Some(*definition);
                // Whatever is being prepared is the old pool.
                self.preparing = None;
                self.reload(&reason, reload);
            }
            Command::Ask {
                worker,
                question,
                asked,
            } => {
                // Whoever wanted to know it may be gone.
                let _ = asked.send(ask::ask(&self.keeper, worker, &question));
            }
            Command::Stop { order, reason } => self.stop(order, &reason),
            // Who has asked may be gone.
            Command::Imports(answer) => _ = answer.send(self.importing()),
            Command::Show { whole, answer } => _ = answer.send(self.show(whole)),
            Command::Pass(question) => self.pass(question).await,
        }
    }
}
