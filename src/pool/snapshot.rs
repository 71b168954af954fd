//! How the pool is at a moment, as far as it knows itself.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;

use contract::scoreboard::{Slot, now_ms, request_id};
use rustix::fs::fstat;

use super::listeners::Listener as Socket;
use super::metrics::Metrics;
use super::{Member, Running, Stage};
use crate::keeper::Mode;
use crate::status::snapshot::{
    Application, Counted, Failure, Kept, Listener, Pool, Request, Size, State, Thread, Worker,
};
use crate::users::Identity;

/// What a pool says of itself. Memory of its processes and the kernel's queues are not its business.
#[derive(Debug)]
pub struct Shown {
    pub pool: Pool,
    /// The sockets' inodes, in the order of the listeners.
    pub inodes: Vec<u64>,
    /// Who its processes are.
    pub identity: Identity,
}

impl Running {
    /// `whole`: with what the application counts.
    pub(super) fn show(&mut self, whole: bool) -> Shown {
        let counts = |metrics: &mut Metrics| Application {
            families: metrics.families(),
            dropped: metrics.dropped(),
        };
        let application = self.metrics.as_mut().filter(|_| whole).map(counts);
        let settings = self.pool.as_ref().map(|pool| &pool.settings);
        let mut totals = self.ended.clone();
        totals.add(&self.keeper.totals());
        let boards = self
            .members
            .iter()
            .filter_map(|member| member.generation.board.as_ref());
        boards.for_each(|board| totals.add(&board.totals()));
        let (connections, waiting) = self.keeper.kept();
        let serving = self.members.iter().find(|member| member.stage == Stage::Serving);
        let starts = self.preparing.is_some() || self.is_any(Stage::Starting);
        let listener = |listener: &Socket| Listener {
            address: listener.address().to_owned(),
            unreachable: self.sockets.obstacle(listener),
            waiting: None,
            backlog: None,
        };
        let pool = Pool {
            name: self.name.clone(),
            app: settings.map(|settings| settings.app.clone()).unwrap_or_default(),
            state: self.stage_of_all(),
            failure: self.failure.as_ref().map(|failed| Failure {
                reason: failed.reason.clone(),
                detail: failed.detail.clone(),
                age: failed.at.elapsed().as_secs_f64(),
            }),
            generation: serving.map_or(self.last_number, |member| member.generation.number),
            reloading: serving.is_some() && starts,
            listeners: self.sockets.all().map(listener).collect(),
            kept: Kept {
                connections: connections as u64,
                waiting: waiting as u64,
            },
            size: settings.map_or_else(Size::default, |settings| Size {
                least: settings.size.least,
                most: settings.size.most,
                threads: settings.threads.get(),
            }),
            workers: self.members.iter().flat_map(workers).collect(),
            totals: Counted::from(totals),
            reloads: self.reloads,
            application: application.unwrap_or_default(),
        };
        let inode = |listener: &Socket| fstat(listener.as_fd()).map_or(0, |stat| stat.st_ino);
        Shown {
            pool,
            inodes: self.sockets.all().map(inode).collect(),
            identity: self.pool.as_ref().map(|pool| pool.identity.clone()).unwrap_or_default(),
        }
    }

    fn stage_of_all(&self) -> State {
        match self.mode() {
            Mode::Ends => State::Stopping,
            Mode::Gives => State::Serving,
            Mode::Holds => State::Starting,
            Mode::Rests => State::Resting,
            Mode::Refuses(_) => State::Failed,
        }
    }
}

fn workers(member: &Member) -> impl Iterator<Item = Worker> {
    let generation = &member.generation;
    let workers = generation.board.iter().flat_map(|board| board.workers());
    workers.filter_map(|(seat, slots)| {
        let (pid, phase, born_ms) = seat.read()?;
        // A slot may still be that of the worker before.
        let own = (0..).zip(slots).filter(|(_, slot)| slot.pid.load(Relaxed) == pid);
        let threads: Vec<_> = own.map(|(number, slot)| thread(number, slot)).collect();
        Some(Worker {
            pid,
            leader: generation.pid as i32,
            generation: generation.number,
            phase,
            age: seconds_since(born_ms),
            memory: None,
            requests: threads.iter().map(|thread| thread.requests).sum(),
            threads,
        })
    })
}

fn thread(number: u32, slot: &Slot) -> Thread {
    let request = slot.busy_since_ms().map(|since_ms| Request {
        id: request_id(slot.pid.load(Relaxed), number as usize, slot.serial()),
        line: slot.request_line(),
        runs: seconds_since(since_ms),
    });
    Thread {
        number,
        request,
        requests: slot.requests(),
    }
}

/// Since that time of the coarse monotonic clock.
fn seconds_since(ms: u64) -> f64 {
    now_ms().saturating_sub(ms) as f64 / 1000.0
}
