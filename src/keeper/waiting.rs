//! Connections that no worker has: they are given to those that serve, wait for a generation that starts, or are answered with
//! 503 while there is none.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use contract::handover::{Handed, Handover, Passage};
use contract::keeper::{Owner, Place, State};
use contract::once_a_minute;
use contract::own::{self, Own, OwnFd};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{SocketFlags, accept_with};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::answers::{self, End};
use super::room::{self, Room};
use super::{Keeper, SOON};

/// What becomes of connections without a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A generation serves: they are given to it.
    Gives,
    /// One starts: they wait.
    Holds,
    /// None runs until something arrives: connections wait, and so do requests on them.
    Rests,
    /// There is none until then, if that is known: requests are answered with 503.
    Refuses(Option<Instant>),
    /// The pool stops: they are closed.
    Ends,
}

impl Mode {
    /// Whether what arrives is an event.
    fn is_told_of_requests(self) -> bool {
        matches!(self, Self::Rests | Self::Refuses(_))
    }
}

/// Requests that are answered at a time; others wait in the listeners' backlogs.
const AT_ONCE: usize = 256;
/// How long accepting pauses when descriptors or memory are lacking.
const PAUSE: Duration = Duration::from_millis(100);
/// Counts of connections that the keeper has given begin here, so that they are none of the workers'.
const OURS: u16 = 0x8000;

/// The answers that are under way.
pub struct Refusals {
    /// While requests are answered: the pool's.
    listeners: Vec<OwnedFd>,
    /// They are in the epoll set.
    is_listening: bool,
    resume_at: Option<Instant>,
    under_way: usize,
    /// Of kept connections, by index.
    kept: HashMap<u32, Place>,
    report: mpsc::UnboundedSender<Refused>,
    reports: mpsc::UnboundedReceiver<Refused>,
    /// How often connections were given.
    count: u16,
}

/// One was answered.
pub struct Refused {
    /// Of a kept connection.
    place: Option<Place>,
    end: End,
}

impl Refusals {
    pub fn new() -> Self {
        let (report, reports) = mpsc::unbounded_channel();
        Self {
            listeners: Vec::new(),
            is_listening: false,
            resume_at: None,
            under_way: 0,
            kept: HashMap::new(),
            report,
            reports,
            count: OURS,
        }
    }

    pub async fn next(&mut self) -> Refused {
        match self.reports.recv().await {
            Some(refused) => refused,
            None => pending().await,
        }
    }

    pub fn resume_at(&self) -> Option<Instant> {
        self.resume_at
    }

    /// `rooms`: for the descriptors that this takes.
    fn begin(&mut self, connection: Arc<OwnFd>, place: Option<Place>, retry_after: u64, rooms: impl Send + 'static) {
        self.under_way += 1;
        if let Some(place) = place {
            self.kept.insert(place.index, place);
        }
        let report = self.report.clone();
        tokio::spawn(async move {
            let end = answers::refuse(connection, retry_after, place.is_some()).await;
            drop(rooms);
            // Nobody asks any more once the pool has ended.
            let _ = report.send(Refused { place, end });
        });
    }
}

impl Keeper {
    /// The connection is ours, and idle.
    pub(super) fn waits(&mut self, place: Place) {
        self.table.write(place, Owner::KEEPER, State::Idle);
        self.waiting.insert(place.index, place);
        self.watch(place, self.mode.is_told_of_requests());
    }

    pub(super) fn watch(&mut self, place: Place, for_data: bool) {
        let Some(kept) = self.kept.get(&place.index) else {
            return;
        };
        if let Err(error) = self.set.watch(place, &*kept.connection, for_data) {
            debug!(pool = self.pool, %error, "a connection can't be watched");
        }
    }

    /// What becomes of connections from now on. `listeners`: where new ones come from, while they are refused.
    pub fn set_mode<'a>(&mut self, mode: Mode, listeners: impl Iterator<Item = BorrowedFd<'a>>, handover: &Handover) {
        let before = std::mem::replace(&mut self.mode, mode);
        if before == mode || matches!((before, mode), (Mode::Refuses(_), Mode::Refuses(_))) {
            return;
        }
        if before.is_told_of_requests() {
            self.stop_listening();
            self.refusals.listeners.clear();
            self.refusals.resume_at = None;
            self.watch_waiting(false);
        }
        if before == Mode::Rests {
            self.end_rest(handover);
        }
        match mode {
            Mode::Gives => self.give_waiting(handover),
            Mode::Ends => self.end_waiting(),
            Mode::Refuses(_) => {
                self.listen_on(listeners);
                self.begin_refusals(handover);
                self.watch_waiting(true);
            }
            Mode::Rests => {
                self.listen_on(listeners);
                self.begin_rest(handover);
                self.watch_waiting(true);
            }
            Mode::Holds => {}
        }
    }

    fn listen_on<'a>(&mut self, listeners: impl Iterator<Item = BorrowedFd<'a>>) {
        let cloned: Result<Vec<_>, _> = listeners.map(|listener| listener.try_clone_to_owned()).collect();
        match cloned {
            Ok(listeners) => self.refusals.listeners = listeners,
            Err(error) => warn!(pool = self.pool, %error, "connections wait, for listeners can't be watched now"),
        }
        self.listen_for_new();
    }

    fn watch_waiting(&mut self, for_data: bool) {
        for place in self.waiting.clone().into_values() {
            if !self.is_refused(place) {
                self.watch(place, for_data);
            }
        }
    }

    fn end_waiting(&mut self) {
        for place in std::mem::take(&mut self.waiting).into_values() {
            self.end(place);
        }
    }

    /// Gives what waits to those that serve, as far as they take it.
    pub(super) fn give_waiting(&mut self, handover: &Handover) {
        if self.mode != Mode::Gives {
            return;
        }
        let (mut stay, mut is_full) = (BTreeMap::new(), false);
        for (index, place) in std::mem::take(&mut self.waiting) {
            let is_refused = self.is_refused(place);
            if is_refused || is_full || !self.give(place, handover) {
                // What is being answered comes back by itself.
                is_full |= !is_refused;
                stay.insert(index, place);
            }
        }
        if is_full {
            self.give_at = Some(Instant::now() + SOON);
        }
        self.waiting = stay;
    }

    fn give(&mut self, place: Place, handover: &Handover) -> bool {
        let Some(kept) = self.kept.get(&place.index) else {
            return true;
        };
        let count = self.refusals.count.wrapping_add(1) | OURS;
        self.refusals.count = count;
        self.table.write(place, Owner::NOBODY, State::Given(count));
        let passage = Passage {
            requests: self.table.requests(place),
            entry: Some(Place { count, ..place }),
            begun: None,
        };
        let given = handover
            .give(kept.connection.as_fd(), passage, &[])
            .unwrap_or_else(|error| {
                error!(pool = self.pool, %error, "a connection can't be given to a worker");
                false
            });
        if !given {
            self.table.write(place, Owner::KEEPER, State::Idle);
        }
        given
    }

    /// From now on requests are refused, and so is what waits in the handover.
    fn begin_refusals(&mut self, handover: &Handover) {
        loop {
            match handover.take() {
                Ok(Some(Handed::Connection(connection, passage, _))) => self.take_back(connection, passage),
                Ok(Some(Handed::Nudge | Handed::Lost)) => {}
                Ok(None) => return,
                Err(error) => {
                    debug!(pool = self.pool, %error, "a connection on its way can't be taken back");
                    return;
                }
            }
        }
    }

    /// Nobody will take what was on its way.
    fn take_back(&mut self, connection: OwnFd, passage: Passage) {
        let Some(place) = passage.entry else {
            // What was read of it came with it.
            return match passage.begun {
                Some(_) => answers::hang_up(&connection),
                None => self.refuse_new(connection, [Room::keep(), Room::keep()]),
            };
        };
        match (self.table.take_given(place, Owner::KEEPER), self.known(place)) {
            (Some(State::Idle), Some(known)) => self.waits(known),
            // It has no duplicate, and is like a new one.
            (Some(State::Idle), None) => {
                self.table.free(place);
                self.refuse_new(connection, [Room::keep(), Room::keep()]);
            }
            (Some(_), _) => {
                self.end(place);
                answers::hang_up(&connection);
            }
            // Somebody else has it.
            (None, _) => {}
        }
    }

    fn listen_for_new(&mut self) {
        if std::mem::replace(&mut self.refusals.is_listening, true) {
            return;
        }
        for (number, listener) in (0..).zip(&self.refusals.listeners) {
            if let Err(error) = self.set.add_listener(number, listener) {
                debug!(pool = self.pool, %error, "a listener can't be watched");
            }
        }
    }

    fn stop_listening(&mut self) {
        if std::mem::take(&mut self.refusals.is_listening) {
            self.refusals
                .listeners
                .iter()
                .for_each(|listener| self.set.remove(listener));
        }
    }

    /// Somebody has connected.
    pub(super) fn accept(&mut self, number: u32) {
        while self.refusals.is_listening {
            if self.refusals.under_way >= AT_ONCE {
                return self.stop_listening();
            }
            let Some(listener) = self.refusals.listeners.get(number as usize) else {
                return;
            };
            let (Some(one), Some(other)) = (Room::take(), Room::take()) else {
                once_a_minute!(
                    "connections that can't even be refused",
                    warn!(
                        pool = self.pool,
                        kept = room::kept(),
                        limit = room::limit(),
                        for_all_else = room::spared(),
                        "the supervisor may not have more open files: connections wait to be answered with 503 (raise LimitNOFILE, or ulimit -n)"
                    )
                );
                return self.pause_refusals();
            };
            // Whoever has it, too, may have made it blocking, and may take the connection that was there.
            let _ = ioctl_fionbio(listener, true);
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match own::make(|| accept_with(listener, flags).map(Own::new)) {
                Ok(connection) => self.refuse_new(connection, [one, other]),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    once_a_minute!(
                        "connections that can't even be refused",
                        warn!(pool = self.pool, %error, "connections can't be accepted, to be answered with 503")
                    );
                    return self.pause_refusals();
                }
            }
        }
    }

    fn pause_refusals(&mut self) {
        self.stop_listening();
        self.refusals.resume_at = Some(Instant::now() + PAUSE);
    }

    /// It takes two descriptors: one is the runtime's.
    fn refuse_new(&mut self, connection: OwnFd, rooms: [Room; 2]) {
        let retry_after = self.retry_after();
        self.refusals.begin(Arc::new(connection), None, retry_after, rooms);
    }

    /// Whether a request on it is being answered.
    pub(super) fn is_refused(&self, place: Place) -> bool {
        self.refusals.kept.get(&place.index) == Some(&place)
    }

    /// A request arrives on a connection that waits.
    pub(super) fn refuse(&mut self, place: Place) {
        let is_refused = self.is_refused(place);
        if is_refused || !matches!(self.mode, Mode::Refuses(_)) || !self.waiting.contains_key(&place.index) {
            return;
        }
        let Some(connection) = self.kept.get(&place.index).map(|kept| Arc::clone(&kept.connection)) else {
            return;
        };
        self.watch(place, false);
        let retry_after = self.retry_after();
        self.refusals.begin(connection, Some(place), retry_after, Room::keep());
    }

    /// Seconds until the next try, as far as that is known.
    fn retry_after(&self) -> u64 {
        let Mode::Refuses(Some(until)) = self.mode else {
            return 1;
        };
        let left = until.saturating_duration_since(Instant::now());
        left.as_millis().div_ceil(1000).max(1) as u64
    }

    /// An answer is out.
    pub(super) fn refused(&mut self, Refused { place, end }: Refused) {
        self.refusals.under_way -= 1;
        let is_refusing = matches!(self.mode, Mode::Refuses(_));
        if let Some(place) = place {
            // The entry may be another connection's by now, on which a request is being answered, too.
            if self.is_refused(place) {
                self.refusals.kept.remove(&place.index);
            }
            let is_ours = self.table.read(place) == Some((Owner::KEEPER, State::Idle));
            match end {
                End::Over if is_ours => self.ended(place),
                End::Idle if is_ours && self.mode.is_told_of_requests() => self.watch(place, true),
                End::Idle if is_ours => self.give_at = Some(Instant::now()),
                End::Over | End::Idle => {}
            }
        }
        if is_refusing && self.refusals.resume_at.is_none() {
            self.listen_for_new();
        }
    }

    pub(super) fn resume_refusals(&mut self, now: Instant) {
        if self.refusals.resume_at.is_some_and(|at| at <= now) {
            self.refusals.resume_at = None;
            if matches!(self.mode, Mode::Refuses(_)) {
                self.listen_for_new();
            }
        }
    }
}
