//! The keeper of a pool: a duplicate of each connection that its workers keep for further requests, so that the connection
//! outlives its worker, and answers where nobody else is there to give them.
//!
//! Workers tell of themselves and of their connections once (`contract::keeper`); requests never wake the supervisor. When
//! the kernel says that a worker is gone, `deaths` does what its connections' entries say; `waiting` has the connections that
//! nobody serves now.

mod answers;
mod board;
mod deaths;
mod events;
pub mod passing;
pub mod proof;
mod rest;
pub mod room;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use contract::handover::Handover;
use contract::keeper::channel::{self, Message, Receiver, Sender};
use contract::keeper::{Asked, ENTRIES, Owner, Place, State, Table};
use contract::own::OwnFd;
use contract::scoreboard::Totals;
use contract::worker::{self, ToWorker};
use contract::{limited, once_a_minute};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, warn};

use crate::users::Identity;
pub use board::{Board, BoardState};
use deaths::Orphaned;
use events::{Set, Subject};
use proof::Proof;
use room::{Room, Share};
pub use waiting::Mode;
use waiting::{Refusals, Refused};

/// How soon is tried again what was not possible.
const SOON: Duration = Duration::from_millis(20);

pub struct Keeper {
    /// Of the pool, for messages.
    pool: String,
    table: Table,
    /// What leaders get.
    memory: OwnedFd,
    sender: Sender,
    receiver: Receiver,
    set: Set,
    /// By the index of their entries.
    kept: HashMap<u32, Kept>,
    /// The pool's, and how many workers each may have at a time.
    leaders: Vec<(i32, usize)>,
    /// As whom workers run, as far as that is known.
    identity: Identity,
    /// That live, by their numbers.
    workers: HashMap<u32, Worker>,
    /// Connections that are ours, by index: idle, and nobody serves them.
    waiting: BTreeMap<u32, Place>,
    /// Connections that are idle, or have a request that was not answered, with when they are closed if nothing comes.
    unsure: HashMap<u32, (Place, Asked, Instant)>,
    mode: Mode,
    /// Something has arrived for a pool at rest.
    is_wanted: bool,
    refusals: Refusals,
    /// Connections that were on their way when a worker died.
    on_their_way: Vec<Place>,
    /// When it is looked at those again.
    look_at: Option<Instant>,
    /// Leaders that have died.
    orphaned: Vec<Orphaned>,
    /// What those and their workers had counted that are gone.
    counted: Totals,
    /// Workers that have died, by pid, for whoever forgets what they have counted.
    dead: Vec<i32>,
    /// When connections that wait are given away, if that was not possible.
    give_at: Option<Instant>,
    _share: Share,
}

/// A duplicate.
struct Kept {
    connection: Arc<OwnFd>,
    place: Place,
    _room: Room,
}

struct Worker {
    owner: Owner,
    pid: i32,
    leader: i32,
    /// `None`: there was no room for it.
    pidfd: Option<OwnFd>,
    /// Where it can be asked something; `None` for one of an older program, too.
    asks: Option<OwnFd>,
    /// For the two descriptors.
    _room: [Room; 2],
}

/// Why a worker was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unasked {
    #[error("there is no such worker, or it has not loaded the application yet")]
    Unknown,
    #[error(
        "it can't be asked: it is of an older wsgi-fpm than the one that runs now (a reload replaces it), or the supervisor \
         had no descriptor left when it started (raise LimitNOFILE, or ulimit -n)"
    )]
    HasNoChannel,
    #[error("it does not listen: it was asked several times, and has not answered")]
    DoesNotListen,
}

/// What there is to do.
pub enum Work {
    Happened(Vec<Subject>),
    Refused(Refused),
    IsDue,
}

impl Keeper {
    /// # Errors
    /// The system's.
    pub fn new(pool: &str) -> io::Result<Self> {
        let (sender, receiver) = channel::pair()?;
        Self::with(pool, Table::create(ENTRIES)?, sender, receiver)
    }

    fn with(pool: &str, memory: OwnedFd, sender: Sender, receiver: Receiver) -> io::Result<Self> {
        let set = Set::new()?;
        set.add_channel(&receiver)?;
        Ok(Self {
            pool: pool.to_owned(),
            table: Table::map(&memory)?,
            memory,
            sender,
            receiver,
            set,
            kept: HashMap::new(),
            leaders: Vec::new(),
            identity: Identity::default(),
            workers: HashMap::new(),
            waiting: BTreeMap::new(),
            unsure: HashMap::new(),
            mode: Mode::Holds,
            is_wanted: false,
            refusals: Refusals::new(),
            on_their_way: Vec::new(),
            look_at: None,
            orphaned: Vec::new(),
            counted: Totals::default(),
            dead: Vec::new(),
            give_at: None,
            _share: Share::new(),
        })
    }

    /// Connections that it has duplicates of, and how many of these no worker has.
    pub fn kept(&self) -> (usize, usize) {
        (self.kept.len(), self.waiting.len())
    }

    /// For a leader: the table's memory and the workers' end of the channel.
    pub fn ends(&self) -> [BorrowedFd<'_>; 2] {
        [self.memory.as_fd(), self.sender.as_fd()]
    }

    /// What there is to do next, for [`Keeper::work`]; waits until there is something.
    pub async fn next(&mut self) -> Work {
        let orphaned = self.orphaned.iter().map(|orphaned| orphaned.until);
        let due = [self.look_at, self.give_at, self.refusals.resume_at()];
        let unsure = self.unsure.values().map(|(_, _, until)| *until);
        let due = due.into_iter().flatten().chain(orphaned).chain(unsure).min();
        let is_due = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        tokio::select! {
            subjects = self.set.next() => Work::Happened(subjects),
            refused = self.refusals.next() => Work::Refused(refused),
            () = is_due => Work::IsDue,
        }
    }

    pub fn work(&mut self, work: Work, handover: &Handover) {
        match work {
            Work::Happened(subjects) => {
                for subject in subjects {
                    self.happened(subject, handover);
                }
            }
            Work::Refused(refused) => self.refused(refused),
            Work::IsDue => self.due(handover),
        }
    }

    fn happened(&mut self, subject: Subject, handover: &Handover) {
        match subject {
            Subject::Channel => {
                self.listen();
                self.give_waiting(handover);
            }
            Subject::Worker(number) => self.died(number, handover),
            Subject::Listener(_) if self.mode == Mode::Rests => self.is_wanted = true,
            Subject::Listener(number) => self.accept(number),
            Subject::Handover => {
                // First of all who they are that come.
                self.listen();
                self.take_in(handover);
            }
            Subject::Connection {
                index,
                generation,
                ended,
            } => {
                let known = self.kept.get(&index).map(|kept| kept.place);
                // The connection of an event that comes late is gone.
                let Some(place) = known.filter(|place| events::is_of(generation, *place)) else {
                    return;
                };
                if ended {
                    self.ended(place);
                } else if self.unsure.remove(&index).is_some() {
                    self.waits(place);
                    self.give_waiting(handover);
                } else if self.mode == Mode::Rests {
                    self.is_wanted = true;
                } else {
                    self.refuse(place);
                }
            }
        }
    }

    fn due(&mut self, handover: &Handover) {
        let now = Instant::now();
        if self.give_at.is_some_and(|at| at <= now) {
            self.give_at = None;
            self.give_waiting(handover);
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            self.look_for_lost(handover);
        }
        self.end_unsure(now);
        self.end_orphans(now, handover);
        self.resume_refusals(now);
    }

    /// What workers say: at most a message for each connection that there can be, for somebody may send them as fast as they are
    /// read.
    fn listen(&mut self) {
        for _ in 0..ENTRIES {
            match self.receiver.receive() {
                Ok(Some((Message::Worker { owner, pid, leader }, fds))) => {
                    let mut fds = fds.into_iter();
                    self.introduce(owner, pid, leader, fds.next(), fds.next());
                }
                Ok(Some((Message::Connection(place), mut fds))) => match fds.pop() {
                    Some(connection) => self.keep(place, connection),
                    None => self.can_not_keep(place),
                },
                Ok(Some((Message::Left(place), _))) => self.left(place),
                Ok(None) => return,
                Err(error) => {
                    limited!(
                        "messages to the keeper that make no sense",
                        error!(pool = self.pool, %error, "a worker has told of a connection what makes no sense")
                    );
                    return;
                }
            }
        }
    }

    /// Which leaders the pool has, each with the places that its workers have: nobody else's are workers.
    pub fn set_leaders(&mut self, leaders: impl Iterator<Item = (i32, usize)>) {
        self.leaders.clear();
        self.leaders.extend(leaders);
    }

    /// That the workers of a leader have, which may have died just now.
    fn places(&self, leader: i32) -> Option<usize> {
        let live = self.leaders.iter().find(|(known, _)| *known == leader);
        let died = || self.orphaned.iter().find(|orphaned| orphaned.leader == leader);
        live.map(|(_, places)| *places)
            .or_else(|| died().map(|orphaned| orphaned.places))
    }

    /// As whom the pool's workers run.
    pub fn set_identity(&mut self, identity: &Identity) {
        self.identity = identity.clone();
    }

    /// Somebody says that this is a worker.
    fn introduce(&mut self, number: u32, pid: i32, leader: i32, pidfd: Option<OwnFd>, asks: Option<OwnFd>) {
        let places = self.places(leader);
        let of_leader = self.workers.values().filter(|worker| worker.leader == leader).count();
        // Those that have ended may not have been heard of yet.
        let has_room = places.is_some_and(|places| of_leader < 2 * places);
        let proof = pidfd.as_ref().map_or(Proof::Child, |pidfd| {
            proof::of_child(pidfd, pid, leader, &self.identity)
        });
        if pidfd.is_none() {
            error!(
                pool = self.pool,
                worker = pid,
                "the supervisor has no descriptor for a worker: its connections end with it (raise the limit of open files)"
            );
        }
        if let Proof::Unseen(error) = &proof {
            limited!(
                "workers that can't be seen",
                error!(
                    pool = self.pool,
                    worker = pid,
                    leader,
                    %error,
                    "the supervisor can't see in /proc whose child a worker is, and does not look after it: its connections end with it \
                     (/proc may be mounted with hidepid, by ProtectProc= of the unit, too: give the supervisor CAP_SYS_PTRACE)"
                )
            );
        }
        if !has_room || matches!(proof, Proof::Other) {
            limited!(
                "processes that are no workers",
                error!(
                    pool = self.pool,
                    worker = pid,
                    leader,
                    "a worker tells of a process that is no worker of the pool, or of too many: the supervisor does not look after it"
                )
            );
        }
        match (has_room, proof) {
            (false, _) => {}
            (true, Proof::Child) => self.know(number, pid, leader, pidfd, asks),
            // One whose leader has just died is known by its number alone, and forgotten with those of that leader.
            (true, Proof::Other | Proof::Unseen(_)) => self.know(number, pid, leader, None, None),
        }
    }

    fn know(&mut self, number: u32, pid: i32, leader: i32, pidfd: Option<OwnFd>, asks: Option<OwnFd>) {
        // Somebody may have sent one with the same number. What is closed here may be open elsewhere, and would stay in the set.
        if let Some(before) = self.workers.remove(&number).and_then(|worker| worker.pidfd) {
            self.set.remove(before);
        }
        let watched = pidfd.filter(|pidfd| self.set.add_worker(number, pidfd).is_ok());
        self.workers.insert(
            number,
            Worker {
                owner: channel::owner(number),
                pid,
                leader,
                pidfd: watched,
                asks,
                _room: [Room::keep(), Room::keep()],
            },
        );
    }

    /// Asks the worker `pid`, who writes its answer to `answer`.
    ///
    /// # Errors
    /// It can't be asked.
    pub fn ask(&self, pid: i32, question: &ToWorker, answer: BorrowedFd<'_>) -> Result<(), Unasked> {
        let mut workers = self.workers.values();
        let worker = workers.find(|worker| worker.pid == pid).ok_or(Unasked::Unknown)?;
        let asks = worker.asks.as_ref().ok_or(Unasked::HasNoChannel)?;
        match worker::ask(asks, question, answer) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Unasked::DoesNotListen),
            Err(_) => Err(Unasked::Unknown),
        }
    }

    fn keep(&mut self, place: Place, connection: OwnFd) {
        // Its entry may have been free again before the last connection's end was told.
        self.let_go(place.index);
        // It may be over already.
        let Some((owner, _)) = self.table.read(place) else {
            return;
        };
        let is_told_of = |owner: Owner| {
            let mut workers = self.workers.values();
            workers.any(|worker| worker.owner == owner && worker.pidfd.is_some())
        };
        if owner != Owner::NOBODY && owner != Owner::KEEPER && !is_told_of(owner) {
            return;
        }
        let Some(room) = Room::take() else {
            return self.can_not_keep(place);
        };
        if let Err(error) = self.set.add_connection(place, &connection) {
            debug!(pool = self.pool, %error, "a connection can't be watched");
            return self.can_not_keep(place);
        }
        let kept = Kept {
            connection: Arc::new(connection),
            place,
            _room: room,
        };
        self.kept.insert(place.index, kept);
    }

    fn can_not_keep(&self, place: Place) {
        once_a_minute!(
            "connections that are not kept",
            warn!(
                pool = self.pool,
                kept = room::kept(),
                limit = room::limit(),
                for_all_else = room::spared(),
                "the supervisor may not have more open files: further connections would end with their worker if it is \
                 killed (raise LimitNOFILE, or ulimit -n)"
            )
        );
        debug!(pool = self.pool, entry = place.index, "a connection is not kept");
    }

    /// A worker had no room for it.
    fn left(&mut self, place: Place) {
        match (self.table.read(place), self.known(place)) {
            (Some((Owner::KEEPER, State::Idle)), Some(place)) => self.waits(place),
            // A part of its request is lost, or nobody has it any more.
            (Some((Owner::KEEPER, _)), _) => self.end(place),
            _ => {}
        }
    }

    /// Ends a connection that is ours.
    fn end(&mut self, place: Place) {
        self.table.free(place);
        if let Some(connection) = self.let_go(place.index) {
            answers::hang_up(&connection);
        }
    }

    /// Its peer is gone, or whoever had it has shut it down.
    fn ended(&mut self, place: Place) {
        if let Some((Owner::KEEPER, _)) = self.table.read(place) {
            self.table.free(place);
            self.waiting.remove(&place.index);
            self.unsure.remove(&place.index);
        }
        self.let_go(place.index);
    }

    /// Whatever its count: the entry of a connection that is kept.
    fn known(&self, place: Place) -> Option<Place> {
        let known = self.kept.get(&place.index).map(|kept| kept.place);
        known.filter(|known| known.generation == place.generation)
    }

    /// Closes a duplicate.
    fn let_go(&mut self, index: u32) -> Option<Arc<OwnFd>> {
        let kept = self.kept.remove(&index)?;
        self.set.remove(&*kept.connection);
        Some(kept.connection)
    }
}
