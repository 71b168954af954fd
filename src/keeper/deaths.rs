//! What becomes of a worker's connections when it has died, of whatever cause.

use std::sync::Arc;
use std::time::Duration;

use contract::handover::Handover;
use contract::keeper::{Asked, Owner, Place, State};
use contract::scoreboard::Totals;
use contract::wait::is_ready;
use fastcgi::encode;
use rustix::event::PollFlags;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::time::Instant;
use tracing::{debug, error, info};

use super::board::Board;
use super::waiting::Mode;
use super::{Keeper, answers};

/// How long workers may take to end by themselves once their leader is gone.
pub(super) const ORPHANS: Duration = Duration::from_secs(1);
/// What was on its way when a worker died, and is on its way so much later while nothing waits to be taken, was lost with it.
pub(super) const ON_THE_WAY: Duration = Duration::from_secs(1);
/// How long a peer that may have its response has to send its next request: then its connection is known to be idle.
const PEERS_TURN: Duration = Duration::from_secs(1);
/// When a client may try again whose request died with its worker.
const RETRY_AFTER: u64 = 1;

/// A leader that has died.
pub(super) struct Orphaned {
    pub(super) leader: i32,
    /// That its workers have.
    pub(super) places: usize,
    /// When workers that it has left are killed.
    pub(super) until: Instant,
    /// With what they run and what all have counted, until the last of them is gone.
    pub(super) board: Option<Board>,
    /// They were killed, and are not gone yet.
    pub(super) are_killed: bool,
}

#[derive(Default)]
struct Fates {
    idle: usize,
    unsure: usize,
    answered: usize,
    cut: usize,
    /// Of the last two, those that no thread had: nobody else names them.
    arriving: usize,
}

impl Keeper {
    /// The kernel says that the worker with this number is gone: nobody writes its entries any more.
    pub(super) fn died(&mut self, number: u32, handover: &Handover) {
        // What it has said before: of somebody who is known no more nothing would be kept.
        self.listen();
        let Some(worker) = self.workers.remove(&number) else {
            return;
        };
        if let Some(pidfd) = &worker.pidfd {
            self.set.remove(pidfd);
        }
        self.dead.push(worker.pid);
        let of_worker = |place: &Place| matches!(self.table.read(*place), Some((owner, _)) if owner == worker.owner);
        let places: Vec<Place> = self.kept.values().map(|kept| kept.place).filter(of_worker).collect();
        let mut fates = Fates::default();
        for place in places {
            self.decide(place, &mut fates);
        }
        self.table
            .free_unknown(worker.owner, |index| self.kept.contains_key(&index));
        let Fates {
            idle,
            unsure,
            answered,
            cut,
            arriving,
        } = fates;
        if idle + unsure + answered + cut > 0 {
            info!(
                pool = self.pool,
                worker = worker.pid,
                idle = idle + unsure,
                answered,
                cut,
                "connections that a worker had when it ended: idle ones go to others, requests without a response are \
                 answered with 502, responses that had begun are cut"
            );
        }
        if arriving > 0 {
            error!(
                pool = self.pool,
                worker = worker.pid,
                requests = arriving,
                "requests that were still being received died with their worker"
            );
        }
        self.count_lost(worker.leader);
        self.on_their_way = self.table.given();
        if !self.on_their_way.is_empty() {
            self.look_at = Some(Instant::now() + ON_THE_WAY);
        }
        self.give_waiting(handover);
    }

    fn decide(&mut self, place: Place, fates: &mut Fates) {
        let Some((_, state)) = self.table.read(place) else {
            return;
        };
        match state {
            State::Idle if !matches!(self.mode, Mode::Ends) => {
                fates.idle += 1;
                self.waits(place);
            }
            State::Ending(asked) if !matches!(self.mode, Mode::Ends) => {
                fates.unsure += 1;
                self.is_unsure(place, asked);
            }
            State::Unanswered(asked) | State::Ending(asked) => {
                fates.answered += 1;
                fates.arriving += usize::from(!asked.runs);
                self.answer(place, asked);
            }
            _ => {
                fates.cut += 1;
                fates.arriving += usize::from(state == State::Receiving);
                self.table.free(place);
                if let Some(connection) = self.let_go(place.index) {
                    answers::cut(&connection, state == State::BetweenRecords);
                }
            }
        }
    }

    /// The response has left with its end, or nothing of it: what the peer does tells. If it sends its next request, it has it.
    pub(super) fn is_unsure(&mut self, place: Place, asked: Asked) {
        self.table.write(place, Owner::KEEPER, State::Idle);
        self.unsure
            .insert(place.index, (place, asked, Instant::now() + PEERS_TURN));
        self.watch(place, true);
    }

    /// Peers that have sent nothing.
    pub(super) fn end_unsure(&mut self, now: Instant) {
        let due = self.unsure.extract_if(|_, (_, _, until)| *until <= now);
        for (place, _, _) in due.map(|(_, unsure)| unsure).collect::<Vec<_>>() {
            // Most likely it is idle, and a web server would take an answer for that to its next request: it has one idle
            // connection less. If it waits for its response, it answers 502 itself.
            self.end(place);
        }
    }

    fn answer(&mut self, place: Place, asked: Asked) {
        let Some(kept) = self.kept.get(&place.index) else {
            return;
        };
        let connection = Arc::clone(&kept.connection);
        let mut page = answers::response(asked.id, asked.is_head, "502 Bad Gateway", RETRY_AFTER, 1);
        let stays = asked.is_whole && !matches!(self.mode, Mode::Ends);
        if !stays && self.table.is_nginx(place) {
            page.extend_from_slice(&encode::POISON);
        }
        let sent = answers::send_at_once(&connection, &page);
        if sent && stays {
            return self.waits(place);
        }
        self.table.free(place);
        self.let_go(place.index);
        match sent {
            true => drop(tokio::spawn(answers::take_leave(connection))),
            false => answers::hang_up(&connection),
        }
    }

    /// A worker may have died between taking a connection and saying so, or between saying that it gives one and giving it.
    pub(super) fn look_for_lost(&mut self, handover: &Handover) {
        if self.on_their_way.is_empty() {
            return;
        }
        if is_ready(handover.takes(), PollFlags::IN) || !matches!(self.mode, Mode::Gives) {
            self.look_at = Some(Instant::now() + ON_THE_WAY);
            return;
        }
        // What was given again meanwhile is another one.
        for place in std::mem::take(&mut self.on_their_way) {
            match self.table.take_given(place, Owner::KEEPER) {
                Some(State::Idle) if self.known(place).is_some() => {
                    debug!(
                        pool = self.pool,
                        "a connection was lost between two workers and is given again"
                    );
                    self.waits(place);
                }
                Some(_) => self.end(place),
                None => {}
            }
        }
        self.give_waiting(handover);
    }

    /// The leader with this pid is gone. Its workers end by themselves, as they notice. `board`: where it is said what they run, if
    /// nobody else has told it; what was counted there is among [`Keeper::totals`] from now on.
    pub fn leader_died(&mut self, pid: i32, board: Option<Board>) {
        self.orphaned.push(Orphaned {
            leader: pid,
            places: self.places(pid).unwrap_or_default(),
            until: Instant::now() + ORPHANS,
            board,
            are_killed: false,
        });
        self.count_lost(pid);
    }

    /// What was counted on the boards of leaders that have died.
    pub fn totals(&self) -> Totals {
        let mut totals = self.counted.clone();
        let boards = self.orphaned.iter().filter_map(|orphaned| orphaned.board.as_ref());
        boards.for_each(|board| totals.add(&board.totals()));
        totals
    }

    /// Once a leader's last worker is gone: the requests that they ran.
    fn count_lost(&mut self, leader: i32) {
        if self.workers.values().any(|worker| worker.leader == leader) {
            return;
        }
        let orphaned = self.orphaned.iter_mut().find(|orphaned| orphaned.leader == leader);
        if let Some(board) = orphaned.and_then(|orphaned| orphaned.board.take()) {
            self.is_over(&board);
        }
    }

    /// Nobody counts there any more.
    fn is_over(&mut self, board: &Board) {
        board.count_lost(&self.pool);
        self.counted.add(&board.totals());
    }

    /// Workers that have died since this was asked last, by pid.
    pub fn take_dead(&mut self) -> Vec<i32> {
        std::mem::take(&mut self.dead)
    }

    /// The leader says that this worker is gone.
    pub fn worker_died(&mut self, pid: i32, handover: &Handover) {
        // Of the others the kernel tells.
        let unwatched = |(_, worker): &(&u32, &super::Worker)| worker.pid == pid && worker.pidfd.is_none();
        if let Some(number) = self.workers.iter().find(unwatched).map(|(number, _)| *number) {
            self.died(number, handover);
        }
    }

    pub(super) fn end_orphans(&mut self, now: Instant, handover: &Handover) {
        let (due, later) = std::mem::take(&mut self.orphaned)
            .into_iter()
            .partition::<Vec<_>, _>(|orphaned| orphaned.until <= now);
        self.orphaned = later;
        for Orphaned {
            leader,
            places,
            board,
            are_killed,
            ..
        } in due
        {
            let of_leader = self.workers.iter().filter(|(_, worker)| worker.leader == leader);
            let (watched, unwatched): (Vec<_>, Vec<_>) = of_leader
                .map(|(number, _)| *number)
                .partition(|number| self.workers[number].pidfd.is_some());
            for worker in watched.iter().filter_map(|number| self.workers.get(number)) {
                if let Some(Err(error)) = worker
                    .pidfd
                    .as_ref()
                    .map(|pidfd| pidfd_send_signal(pidfd, Signal::KILL))
                {
                    debug!(worker = worker.pid, %error, "it is gone already");
                } else if !are_killed {
                    error!(
                        pool = self.pool,
                        worker = worker.pid,
                        "a worker has outlived its leader and is killed"
                    );
                }
            }
            for number in unwatched {
                self.died(number, handover);
            }
            match board {
                // Their ends will be told.
                Some(board) if !watched.is_empty() => self.orphaned.push(Orphaned {
                    leader,
                    places,
                    until: now + ORPHANS,
                    board: Some(board),
                    are_killed: true,
                }),
                Some(board) => self.is_over(&board),
                None => {}
            }
        }
    }
}
