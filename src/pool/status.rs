//! How a pool is, for whoever shows it.

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::{Failed, Running, Stage};
use crate::service::{Reload, Standing};

/// How the pool is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Starting,
    Ready,
    /// `reason` is one line, `detail` the traceback if there is one.
    Failed {
        reason: String,
        detail: String,
    },
}

/// What a reload has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    Serves,
    /// It needs no process until something arrives.
    Rests,
    /// It was done, and nobody can connect.
    Unreachable {
        reason: String,
    },
    /// All workers that were there are replaced.
    Replaced,
    /// They are not, and go on.
    NotReplaced {
        reason: String,
        /// The traceback, or empty.
        detail: String,
    },
    Failed {
        reason: String,
        /// The traceback, or empty.
        detail: String,
        /// The version before serves.
        goes_on: bool,
    },
}

impl Running {
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// A reload is not over before it serves, rests or has failed.
    pub fn is_waited_for(&mut self, reload: Option<Reload>) {
        self.reload = reload;
    }

    /// Tells everybody how it is. A reload is over with what it comes to.
    pub(super) fn stands(&mut self, status: Status) {
        let goes_on = self.is_any(Stage::Serving) || self.rests_on();
        self.place.stands(match &status {
            Status::Ready if self.rests => Standing::Rests,
            Status::Ready => Standing::Serves,
            Status::Starting => Standing::Starts,
            Status::Failed { reason, .. } if goes_on => Standing::ServesPrevious(reason.clone()),
            Status::Failed { reason, .. } => Standing::Failed(reason.clone()),
        });
        if status != Status::Starting {
            self.reload = None;
        }
        // What a further reload comes to is what those want to know who have asked for it.
        let waiting = match status {
            Status::Ready | Status::Failed { .. } if !self.reloading.goes_further() => {
                std::mem::take(&mut self.waiting)
            }
            Status::Starting | Status::Ready | Status::Failed { .. } => Vec::new(),
        };
        match &status {
            Status::Starting => {}
            Status::Ready => self.failure = None,
            Status::Failed { reason, detail } => {
                self.reloads.failed += 1;
                self.failure = Some(Failed {
                    reason: reason.clone(),
                    detail: detail.clone(),
                    at: Instant::now(),
                });
            }
        }
        self.status.send_replace(status);
        // Who has asked may be gone.
        waiting
            .into_iter()
            .for_each(|waiting| _ = waiting.send(self.reloaded()));
    }

    /// Answers as soon as nothing is under way.
    pub(super) fn wait(&mut self, answer: oneshot::Sender<Reloaded>) {
        match self.reload.is_some() || self.is_under_way() {
            true => self.waiting.push(answer),
            false => _ = answer.send(self.reloaded()),
        }
    }

    fn reloaded(&self) -> Reloaded {
        let obstacle = self.sockets.all().find_map(|listener| self.sockets.obstacle(listener));
        match &self.failure {
            Some(failed) => Reloaded::Failed {
                reason: failed.reason.clone(),
                detail: failed.detail.clone(),
                goes_on: self.is_any(Stage::Serving) || self.rests_on(),
            },
            None => match obstacle {
                Some(reason) => Reloaded::Unreachable { reason },
                None if self.rests => Reloaded::Rests,
                None => Reloaded::Serves,
            },
        }
    }
}
