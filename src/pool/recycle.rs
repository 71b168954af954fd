//! All workers replaced because somebody wants that, and when it is done.

use std::time::Duration;

use contract::control::NotStarted;
use contract::scoreboard::Phase;
use settings::values::Timeout;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::generation::Step;
use super::{Member, Reloaded, Running, Stage};
use crate::keeper::Board;

/// How often it is looked at the scoreboard, while somebody waits.
const LOOK: Duration = Duration::from_millis(50);
/// What the replacement of a worker takes besides the start of the new one: pauses of the leader's, and a machine that is busy.
const MARGIN: Duration = Duration::from_secs(5);

/// Who waits until workers are replaced.
#[derive(Default)]
pub(super) struct Recycling {
    waiting: Vec<Waiting>,
    look_at: Option<Instant>,
}

struct Waiting {
    answer: oneshot::Sender<Reloaded>,
    generation: u64,
    /// Those that were there and still take requests: their pids, and when they were made.
    left: Vec<(i32, u64)>,
    all: usize,
    begun: Instant,
    /// How long it may take; `None`: there is no limit to a start.
    most: Option<Duration>,
}

impl Recycling {
    /// When it is looked next, if anybody waits.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }
}

impl Running {
    /// Has all workers replaced. Where none serves there is nothing to replace, and the answer is how the pool is.
    pub(super) fn recycle(&mut self, answer: oneshot::Sender<Reloaded>) {
        let serving = self.members.iter().find(|member| member.stage == Stage::Serving);
        let Some((member, board)) = serving.and_then(|member| Some((member, member.generation.board.as_ref()?))) else {
            return self.wait(answer);
        };
        let left: Vec<_> = staying(board).collect();
        member.generation.step(Step::Recycle);
        let limits = self.pool.as_ref().map(|pool| &pool.settings.limits);
        let most = limits.and_then(|limits| longest(left.len(), *limits.start_timeout, *limits.stop_timeout));
        self.recycling.waiting.push(Waiting {
            answer,
            generation: member.generation.number,
            all: left.len(),
            left,
            begun: Instant::now(),
            most,
        });
        self.recycling.look_at = Some(Instant::now() + LOOK);
    }

    /// Looks who is still there.
    pub(super) fn look_at_recycling(&mut self) {
        for mut waiting in std::mem::take(&mut self.recycling.waiting) {
            let is_it = |member: &&Member| member.generation.number == waiting.generation;
            let serving = self.members.iter().filter(|member| member.stage == Stage::Serving);
            let board = serving
                .clone()
                .find(is_it)
                .and_then(|member| member.generation.board.as_ref());
            let Some(board) = board else {
                // A new generation has replaced them all, or is going to.
                self.wait(waiting.answer);
                continue;
            };
            let staying: Vec<_> = staying(board).collect();
            waiting.left.retain(|worker| staying.contains(worker));
            let taken = waiting.begun.elapsed();
            if waiting.left.is_empty() {
                // Who has asked may be gone, here and below.
                let _ = waiting.answer.send(Reloaded::Replaced);
            } else if waiting.most.is_some_and(|most| taken >= most) {
                let (left, all) = (waiting.left.len(), waiting.all);
                let _ = waiting.answer.send(Reloaded::NotReplaced {
                    reason: format!("{left} of {all} workers are not replaced after {} s", taken.as_secs()),
                    detail: String::new(),
                });
            } else if !waiting.answer.is_closed() {
                self.recycling.waiting.push(waiting);
            }
        }
        self.recycling.look_at = (!self.recycling.waiting.is_empty()).then(|| Instant::now() + LOOK);
    }

    /// A worker of this generation that was to take another's place could not start.
    pub(super) fn replacement_failed(&mut self, generation: u64, failed: &NotStarted) {
        let is_its = |waiting: &mut Waiting| waiting.generation == generation;
        for waiting in self.recycling.waiting.extract_if(.., is_its) {
            let _ = waiting.answer.send(Reloaded::NotReplaced {
                reason: failed.reason.clone(),
                detail: failed.detail.clone(),
            });
        }
    }
}

/// Workers that take requests, or are going to.
fn staying(board: &Board) -> impl Iterator<Item = (i32, u64)> {
    let workers = board.workers().filter_map(|(seat, _)| seat.read());
    workers.filter_map(|(pid, phase, born_ms)| (phase != Phase::Retiring).then_some((pid, born_ms)))
}

/// How long the replacement of so many may take, one after the other. The last old ones may have to end before there is room.
fn longest(workers: usize, start_timeout: Timeout, stop_timeout: Timeout) -> Option<Duration> {
    let (start, stop) = (start_timeout.duration()?, stop_timeout.duration()?);
    Some((start + MARGIN) * workers as u32 + stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_follows_from_how_long_starts_and_ends_may_take() {
        let [start, stop, never] = ["60s", "30s", "0s"].map(|time| time.parse::<Timeout>().unwrap());
        assert_eq!(longest(2, start, stop), Some(Duration::from_secs(160)));
        assert_eq!((longest(2, never, stop), longest(2, start, never)), (None, None));
    }
}
