//! What goes along when another program takes this one's place: all that a pool has but for what can be made anew.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use contract::backoff::Backoff;
use contract::control;
use contract::handover::Handover;
use contract::own::Own;
use contract::scoreboard::Totals;
use serde::{Deserialize, Serialize};
use settings::values::{Address, CountLimit, Timeout};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::generation::{Generation, Order};
use super::log::Log;
use super::metrics::Metrics;
use super::recycle::Recycling;
use super::reload::Reloading;
use super::rest::{Question, Rest};
use super::socket_file::FileState;
use super::sockets::Sockets;
use super::touched::Touched;
use super::{EVENTS, LONG_LIFE, Member, OnFailure, Running, Stage, Status};
use crate::config::pools::Definition;
use crate::inherited::Passed;
use crate::keeper::passing::KeeperState;
use crate::keeper::{Board, BoardState, Keeper};
use crate::pool::starts::Starts;
use crate::service::{Service, Standing};
use crate::status::snapshot::Reloads;

#[derive(Debug, Serialize, Deserialize)]
pub struct PoolState {
    pub name: String,
    sockets: SocketsState,
    /// [`control::VERSION`] of those who talk through the handover.
    version: u32,
    handover: [Passed; 2],
    keeper: KeeperState,
    #[serde(default)]
    metrics: Option<Passed>,
    members: Vec<MemberState>,
    last_number: u64,
    ever_ready: bool,
    #[serde(default)]
    rests: bool,
    stopping: Option<Order>,
    #[serde(default)]
    reloads: Reloads,
    /// What generations have counted that have ended by themselves; of others the keeper has it.
    #[serde(default)]
    ended: Totals,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SocketsState {
    pub listeners: Vec<ListenerState>,
    /// Each with its number among the listeners.
    pub serving: Vec<(Address, usize)>,
    pub starting: Vec<(Address, usize)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ListenerState {
    pub socket: Passed,
    pub address: String,
    pub file: Option<FileState>,
    /// Under which the service manager keeps it.
    pub deposit: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MemberState {
    stage: Stage,
    failed: bool,
    /// What the pool wants of it; its leader may not have been told yet.
    order: Order,
    generation: GenerationState,
    board: Option<BoardState>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct GenerationState {
    pub number: u64,
    pub leader: u32,
    pub age: Duration,
    /// [`control::VERSION`] of the leader.
    pub version: u32,
    pub control: Passed,
    /// What has come through the control socket and is no whole message yet.
    pub received: Vec<u8>,
    pub output: Vec<Passed>,
    /// What the leader was told.
    pub told: Order,
    /// Lines of its output that are logged in a second.
    #[serde(default = "all")]
    pub print_rate: CountLimit,
    pub stop_timeout: Timeout,
    /// Until it is killed for not having obeyed.
    pub left: Option<Duration>,
}

/// What an older program did not say.
fn all() -> CountLimit {
    CountLimit::NONE
}

impl PoolState {
    /// Whether it is one that only finishes what it runs.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Makes it one.
    pub fn stop(&mut self) {
        self.stopping.get_or_insert(Order::Stop);
    }
}

impl Running {
    /// Answers, and rests.
    pub(super) async fn pass(&mut self, question: Question<PoolState>) {
        let state = self.state(&question.rest()).await;
        question.answer(state).await;
    }

    async fn state(&mut self, rest: &Rest) -> io::Result<PoolState> {
        let asked: Vec<_> = self.members.iter().map(|member| member.generation.ask(rest)).collect();
        let mut answers = Vec::new();
        for mut answer in asked {
            let answer = loop {
                tokio::select! {
                    // A generation may have to tell something before it can answer.
                    Some(event) = self.events.recv() => self.event(event),
                    answer = &mut answer => break answer,
                }
            };
            // One that has ended does not answer, but has said so.
            answers.extend(answer.ok());
        }
        while let Ok(event) = self.events.try_recv() {
            self.event(event);
        }
        let mut members = Vec::new();
        for generation in answers {
            let generation = generation?;
            let is_it = |member: &&Member| member.generation.number == generation.number;
            if let Some(member) = self.members.iter().find(is_it) {
                members.push(MemberState {
                    stage: member.stage,
                    failed: member.failed,
                    order: member.generation.ordered(),
                    generation,
                    board: member.generation.board.as_ref().map(Board::state).transpose()?,
                });
            }
        }
        let [give, take] = self.handover.ends();
        Ok(PoolState {
            name: self.name.clone(),
            sockets: self.sockets.state()?,
            version: control::VERSION,
            handover: [Passed::copy(give)?, Passed::copy(take)?],
            keeper: self.keeper.state()?,
            metrics: self.metrics.as_ref().map(Metrics::state).transpose()?,
            members,
            last_number: self.last_number,
            ever_ready: self.ever_ready,
            rests: self.rests,
            stopping: self.stopping,
            reloads: self.reloads,
            ended: self.ended.clone(),
        })
    }

    /// The pool that another program has run in this one's place, as `definition` has it now. Without one there will be no new
    /// generation.
    ///
    /// # Errors
    /// What was passed can't be taken; what was taken before that is closed, and its leaders are killed.
    pub fn resume(
        state: PoolState,
        definition: Option<Definition>,
        on_failure: OnFailure,
        log: Arc<Log>,
        starts: Starts,
        service: &Arc<Service>,
    ) -> io::Result<Self> {
        let (reports, events) = mpsc::channel(EVENTS);
        let mut members = Vec::new();
        for member in state.members {
            let generation = Generation::resume(&state.name, member.generation, member.board, reports.clone())?;
            generation.order(member.order);
            members.push(Member {
                generation,
                stage: member.stage,
                failed: member.failed,
                room: 0,
            });
        }
        let [give, take] = state.handover;
        let passed = Handover::from_ends([Own::new(give.take()?), Own::new(take.take()?)]);
        let handover = match state.version {
            control::VERSION => passed,
            // Nobody would understand what comes through the old one.
            _ => Handover::new()?,
        };
        let keeper = match state.version {
            control::VERSION => Keeper::resume(&state.name, state.keeper)?,
            _ => Keeper::new(&state.name)?,
        };
        let place = service.pool(&state.name);
        let sockets = Sockets::resume(&state.name, state.sockets, Arc::clone(service))?;
        Ok(Self {
            name: state.name,
            sockets,
            begins: definition.is_some().then(|| service.starts()),
            reload: None,
            waiting: Vec::new(),
            recycling: Recycling::default(),
            scaled: None,
            place,
            definition,
            pool: None,
            found: None,
            on_failure,
            handover,
            keeper,
            metrics: state.metrics.and_then(Metrics::resume),
            log,
            starts,
            touched: Touched::default(),
            preparing: None,
            turn: None,
            not_preloadable: false,
            rests: state.rests,
            looking: None,
            members,
            last_number: state.last_number,
            ever_ready: state.ever_ready,
            backoff: Backoff::new(LONG_LIFE),
            served_and_died: VecDeque::new(),
            restart_at: None,
            waits_since: None,
            stopping: state.stopping,
            reloading: Reloading::default(),
            status: watch::Sender::new(Status::Starting),
            failure: None,
            reloads: state.reloads,
            ended: state.ended,
            reports,
            events,
        })
    }

    /// Goes on where the other program has stopped. `anew`: with a new generation in any case; else with the old one, unless
    /// something was being started.
    pub(super) fn go_on(&mut self, anew: bool) {
        if let Some(order) = self.stopping {
            return self.stop(order, "the program was replaced, and the pool is not wanted any more");
        }
        if self.is_any(Stage::Serving) {
            self.place.stands(Standing::Serves);
        }
        let is_serving = self.is_any(Stage::Serving) && !self.is_any(Stage::Starting);
        if anew || !is_serving {
            self.retire(Stage::Starting, Order::Quit);
            self.prepare();
        } else {
            info!(pool = self.name, "the generation that serves goes on");
            self.watch_again();
            if let Some(begins) = self.begins.take() {
                begins.over();
            }
            self.stands(Status::Ready);
        }
    }

    /// Files whose change loads the pool anew, and as whom it runs, as far as that is known.
    fn watch_again(&mut self) {
        match self.definition.as_ref().map(Definition::pool) {
            Some(Ok(pool)) => {
                self.keeper.set_identity(&pool.identity);
                self.touched.watch(&pool.reload_on, &self.name);
            }
            Some(Err(error)) => warn!(
                pool = self.name,
                "reload_on is not watched until the next reload: {error:#}"
            ),
            None => {}
        }
    }
}
