//! A worker's side: its link to the keeper, and the entries of its connections.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, getpid, getppid, pidfd_open};

use super::channel::{Message, Sender};
use super::{Owner, Place, State, Table};
use crate::once_a_minute;
use crate::own::{self, Own, OwnFd};
use crate::scoreboard::now_ms;
use crate::wait::timespec;
use crate::worker::{self, Asked};

/// How long a worker that starts waits for room in the channel.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many free entries are remembered: looking for one goes through those of all connections that are kept.
const MOST_FREED: usize = 1024;
/// For how long nobody looks for an entry once there was none.
const PAUSE_MS: u64 = 1000;

/// A worker's link to the keeper.
pub struct Link {
    table: Table,
    sender: Sender,
    owner: Owner,
    /// Where the next free entry may be, if it is none of these.
    cursor: AtomicU32,
    /// Entries that were this worker's last.
    freed: Mutex<Vec<u32>>,
    /// The table was full: nobody looks for an entry before.
    full_until_ms: AtomicU64,
}

impl Link {
    /// For this process, of which the supervisor is told, with the end at which it asks something.
    ///
    /// # Errors
    /// The system's; the supervisor does not listen.
    pub fn new(table: impl AsFd, channel: OwnFd) -> io::Result<(Arc<Self>, Asked)> {
        let table = Table::map(table)?;
        let link = Self {
            owner: table.new_owner(),
            table,
            sender: Sender::new(channel),
            cursor: AtomicU32::new(0),
            freed: Mutex::default(),
            full_until_ms: AtomicU64::new(0),
        };
        let (asks, asked) = worker::pair()?;
        link.announce(&asks)?;
        Ok((Arc::new(link), asked))
    }

    fn announce(&self, asks: &OwnFd) -> io::Result<()> {
        let pid = getpid();
        let leader = getppid().map_or(0, |leader| leader.as_raw_nonzero().get());
        let pidfd = own::make(|| pidfd_open(pid, PidfdFlags::empty()).map(Own::new))?;
        let message = Message::worker(self.owner, pid.as_raw_nonzero().get(), leader);
        let end = Instant::now() + PATIENCE;
        while !self.sender.send(message, &[pidfd.as_fd(), asks.as_fd()])? {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // An error (EINTR) is like room in it: the next try tells.
            let _ = poll(&mut [PollFd::new(&self.sender, PollFlags::OUT)], Some(&timespec(left)));
        }
        Ok(())
    }

    /// An entry for `connection`, which the supervisor gets a duplicate of. `None` if it can't have one now: then it ends with
    /// this process. `is_nginx`: whether that is its front server.
    pub fn keep(self: &Arc<Self>, connection: BorrowedFd<'_>, is_nginx: bool) -> Option<Entry> {
        if now_ms() < self.full_until_ms.load(Relaxed) {
            return None;
        }
        let freed = self.freed().pop();
        let freed = freed.and_then(|index| self.table.take_at(self.owner, index));
        let Some(place) = freed.or_else(|| self.table.take(self.owner, &self.cursor)) else {
            self.full_until_ms.store(now_ms() + PAUSE_MS, Relaxed);
            once_a_minute!(
                "kept connections for which the pool's table has no room",
                tracing::warn!(
                    entries = super::ENTRIES,
                    "the pool's table of kept connections is full: further ones would end with their worker if it is killed"
                )
            );
            return None;
        };
        self.table.note_front(place, is_nginx);
        let sent = self.sender.send(Message::Connection(place), &[connection]);
        if !matches!(sent, Ok(true)) {
            // A full channel will have room when the connection has brought its next request, and without a supervisor
            // this process is about to end.
            self.table.free(place);
            return None;
        }
        Some(Entry::new(self, place, State::Receiving))
    }

    fn freed(&self) -> MutexGuard<'_, Vec<u32>> {
        self.freed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of a connection that came through the handover; `None` if the keeper has given it to somebody else since.
    pub fn take(self: &Arc<Self>, place: Place) -> Option<Entry> {
        let state = self.table.take_given(place, self.owner)?;
        Some(Entry::new(self, place, state))
    }

    /// This process can't take a connection that came through the handover: the keeper gives it to another one, or ends it if a
    /// part of a request was lost with it.
    pub fn refuse(&self, place: Place) {
        if self.table.take_given(place, Owner::KEEPER).is_some() {
            // In vain only if the supervisor is gone, or looks anyway, since it is told of that much.
            let _ = self.sender.send(Message::Left(place), &[]);
        }
    }
}

/// The entry of a connection that this process has. Dropping it frees it: the connection is over, and must have been shut
/// down, or the keeper's duplicate keeps it open.
pub struct Entry {
    link: Arc<Link>,
    place: Place,
    state: State,
    /// It is somebody else's.
    is_gone: bool,
}

impl Entry {
    fn new(link: &Arc<Link>, place: Place, state: State) -> Self {
        Self {
            link: Arc::clone(link),
            place,
            state,
            is_gone: false,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// The connection is so far. To be called before the read or write that makes it so.
    #[inline]
    pub fn mark(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.link.table.write(self.place, self.link.owner, state);
        }
    }

    /// It has brought so many requests, and is idle.
    #[inline]
    pub fn rest(&mut self, requests: u64) {
        self.link.table.count_requests(self.place, requests);
        self.mark(State::Idle);
    }

    /// The connection is about to be given away; where its entry is. `with_bytes`: what was read of it goes with it.
    pub fn give(&mut self, with_bytes: bool) -> Place {
        self.place.count = self.place.count.wrapping_add(1);
        let state = match with_bytes {
            false => State::Given(self.place.count),
            true => State::GivenWithBytes(self.place.count),
        };
        self.link.table.write(self.place, Owner::NOBODY, state);
        self.is_gone = true;
        self.place
    }

    /// That was not possible.
    pub fn take_back(&mut self) {
        self.is_gone = false;
        self.link.table.write(self.place, self.link.owner, self.state);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.is_gone {
            self.link.table.free(self.place);
            let mut freed = self.link.freed();
            if freed.len() < MOST_FREED {
                freed.push(self.place.index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::super::channel::{self, Receiver};
    use super::*;

    /// Workers that are all this process, and what the supervisor has.
    fn workers<const N: usize>(entries: u32) -> (Table, Receiver, [Arc<Link>; N]) {
        let fd = Table::create(entries).unwrap();
        let (sender, receiver) = channel::pair().unwrap();
        let links = [(); N].map(|()| {
            let end = own::make(|| sender.as_fd().try_clone_to_owned().map(Own::new)).unwrap();
            Link::new(&fd, end).unwrap().0
        });
        (Table::map(&fd).unwrap(), receiver, links)
    }

    fn said(receiver: &Receiver) -> (Message, Option<OwnFd>) {
        let (message, mut fds) = receiver.receive().unwrap().expect("something was said");
        (message, (!fds.is_empty()).then(|| fds.remove(0)))
    }

    #[test]
    fn worker_tells_of_itself_and_of_each_connection_once() {
        let (table, receiver, [link]) = workers(4);
        let (Message::Worker { owner, pid, leader }, Some(_pidfd)) = said(&receiver) else {
            panic!("no worker");
        };
        assert_eq!((channel::owner(owner), pid), (link.owner, std::process::id() as i32));
        assert_eq!(leader, std::os::unix::process::parent_id() as i32);
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let mut entry = link.keep(ours.as_fd(), false).unwrap();
        let (Message::Connection(place), Some(kept)) = said(&receiver) else {
            panic!("no connection");
        };
        entry.rest(5);
        entry.mark(State::Sending);
        entry.rest(6);
        assert!(receiver.receive().unwrap().is_none());
        assert_eq!(
            (table.read(place), table.requests(place)),
            (Some((link.owner, State::Idle)), 6)
        );
        // Closing it is not enough while the supervisor has it, too.
        drop(ours);
        UnixStream::from(kept.as_fd().try_clone_to_owned().unwrap())
            .write_all(b"x")
            .unwrap();
        peer.read_exact(&mut [0]).unwrap();
        drop(entry);
        assert_eq!(table.read(place), None);
    }

    #[test]
    fn given_connection_takes_its_entry_along() {
        let (table, receiver, [giver, taker]) = workers(1);
        let (ours, _peer) = UnixStream::pair().unwrap();
        let mut entry = giver.keep(ours.as_fd(), false).unwrap();
        entry.rest(1);
        let place = entry.give(false);
        entry.take_back();
        assert_eq!(table.read(place), Some((giver.owner, State::Idle)));
        assert!(taker.take(place).is_none(), "it was not given");
        let place = entry.give(true);
        assert_eq!(table.read(place), Some((Owner::NOBODY, State::GivenWithBytes(2))));
        drop(entry);
        let mut taken = taker.take(place).unwrap();
        assert_eq!(table.read(place), Some((taker.owner, State::Receiving)));
        assert!(giver.take(place).is_none(), "somebody has it");
        let place = taken.give(false);
        drop(taken);
        let taken = giver.take(place).unwrap();
        assert_eq!(table.read(place), Some((giver.owner, State::Idle)));
        drop(taken);
        assert_eq!(table.read(place), None);
        drop(receiver);
    }

    #[test]
    fn connection_that_can_not_be_taken_is_the_keepers() {
        for (with_bytes, state) in [(false, State::Idle), (true, State::Receiving)] {
            let (table, receiver, [giver, taker]) = workers(1);
            let (ours, _peer) = UnixStream::pair().unwrap();
            let place = giver.keep(ours.as_fd(), false).unwrap().give(with_bytes);
            for _ in 0..3 {
                said(&receiver);
            }
            taker.refuse(place);
            assert_eq!(said(&receiver).0, Message::Left(place));
            assert_eq!(table.read(place), Some((Owner::KEEPER, state)));
            taker.refuse(place);
            assert!(receiver.receive().unwrap().is_none(), "that was said");
        }
    }

    #[test]
    fn entry_that_was_freed_is_taken_again_before_another_one() {
        let (_table, _receiver, [one, other]) = workers(8);
        let (ours, _peer) = UnixStream::pair().unwrap();
        let mut entries: Vec<_> = (0..4).map(|_| one.keep(ours.as_fd(), false).unwrap()).collect();
        let freed = entries.remove(1).place.index;
        let again = one.keep(ours.as_fd(), false).unwrap();
        assert_eq!(again.place.index, freed);
        // Somebody else may have come first.
        drop(again);
        let taken = other.keep(ours.as_fd(), false).unwrap();
        assert_eq!(taken.place.index, freed);
        assert_eq!(one.keep(ours.as_fd(), false).unwrap().place.index, 4);
    }

    #[test]
    fn connection_without_an_entry_is_looked_at_again_later() {
        let (table, receiver, [link]) = workers(1);
        let (ours, _peer) = UnixStream::pair().unwrap();
        let entry = link.keep(ours.as_fd(), false).unwrap();
        assert!(link.keep(ours.as_fd(), false).is_none(), "the table is full");
        drop(entry);
        assert!(link.keep(ours.as_fd(), false).is_none(), "nobody looks so soon");
        link.full_until_ms.store(0, Relaxed);
        let entry = link.keep(ours.as_fd(), false).unwrap();
        drop(entry);
        // Nobody reads the channel.
        while let Some(entry) = link.keep(ours.as_fd(), false) {
            drop(entry);
        }
        while receiver.receive().unwrap().is_some() {}
        let place = link.keep(ours.as_fd(), false).unwrap().place;
        assert_eq!(table.read(place), None);
    }
}
