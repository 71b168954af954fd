//! The table: shared memory with one entry for each kept connection of a pool, over generations.
//!
//! Only who has a connection writes its entry: a worker, or the supervisor once that worker is gone. Each entry has a cache
//! line of its own, so that workers don't wait for each other's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::process::{Resource, getrlimit};

use super::Place;
use super::state::{Owner, State, decode, encode};
use crate::shared::{Mapping, shared};

/// Connections that a pool can have kept. Entries that nobody has used take no memory.
pub const ENTRIES: u32 = 65_536;

shared! {
    struct Slot {
        word: AtomicU64,
        /// How often the entry was taken: what is said of an earlier connection is not about this one.
        generation: AtomicU64,
        /// Requests that the connection has brought.
        requests: AtomicU64,
        /// 1: its front server is nginx.
        is_nginx: AtomicU32,
    }
}

shared! {
    struct Front {
        /// Numbers that workers have got.
        workers: AtomicU32,
        /// Entries up to this one have been used.
        used: AtomicU32,
    }
}

/// The mapping of one pool's table.
pub struct Table(Mapping<Front, Slot>);

impl Table {
    /// Makes the memory for so many entries, at most [`ENTRIES`], or as many as a file may be long (`ulimit -f`); the descriptor is for [`Table::map`] and for leaders.
    ///
    /// # Errors
    /// The system's, if it has no memory or no memfd.
    pub fn create(entries: u32) -> io::Result<OwnedFd> {
        let longest = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        let possible = longest.saturating_sub(Mapping::<Front, Slot>::length(0) as u64) / size_of::<Slot>() as u64;
        let entries = u64::from(entries.min(ENTRIES)).min(possible);
        Mapping::<Front, Slot>::create("wsgi-fpm-connections", entries as usize)
    }

    /// Maps what [`Table::create`] made. The mapping outlives `fd`.
    ///
    /// # Errors
    /// The system's, if `fd` can't be mapped; `InvalidData` for more entries than there can be.
    pub fn map(fd: impl AsFd) -> io::Result<Self> {
        let mapping = Mapping::<Front, Slot>::map(fd)?;
        match mapping.slots().len() <= ENTRIES as usize {
            true => Ok(Self(mapping)),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn front(&self) -> &Front {
        self.0.front()
    }

    fn slots(&self) -> &[Slot] {
        self.0.slots()
    }

    fn entries(&self) -> u32 {
        self.slots().len() as u32
    }

    /// A number for a worker that no other has had.
    pub fn new_owner(&self) -> Owner {
        Owner::worker(self.front().workers.fetch_add(1, Relaxed) + 1)
    }

    /// Takes a free entry, looked for from `cursor` on, which is moved on; `None` if there is none.
    pub fn take(&self, owner: Owner, cursor: &AtomicU32) -> Option<Place> {
        let begin = cursor.load(Relaxed).min(self.entries());
        let place = (begin..self.entries())
            .chain(0..begin)
            .find_map(|index| self.take_at(owner, index))?;
        cursor.store(place.index + 1, Relaxed);
        Some(place)
    }

    /// Takes this entry, if it is free.
    pub fn take_at(&self, owner: Owner, index: u32) -> Option<Place> {
        let slot = self.slots().get(index as usize)?;
        if slot.word.load(Relaxed) != 0 {
            return None;
        }
        // Before it is: whoever dies in between has left nothing beyond.
        self.front().used.fetch_max(index + 1, Relaxed);
        let taken = encode(owner, State::Receiving);
        slot.word.compare_exchange(0, taken, AcqRel, Relaxed).ok()?;
        // Nobody else writes it, now that the entry is taken.
        let generation = slot.generation.load(Relaxed) + 1;
        slot.generation.store(generation, Release);
        Some(Place {
            index,
            generation,
            count: 0,
        })
    }

    /// Whether the entry is still the one that was named.
    pub fn is(&self, place: Place) -> bool {
        self.slots()
            .get(place.index as usize)
            .is_some_and(|slot| slot.generation.load(Acquire) == place.generation)
    }

    /// Who has the connection, and how far it is; `None` if the entry is free, or another one's by now.
    pub fn read(&self, place: Place) -> Option<(Owner, State)> {
        if !self.is(place) {
            return None;
        }
        let (owner, state) = decode(self.slots()[place.index as usize].word.load(Acquire));
        (owner != Owner::FREE).then_some((owner, state))
    }

    /// For who has the connection.
    #[inline]
    pub fn write(&self, place: Place, owner: Owner, state: State) {
        if let Some(slot) = self.slots().get(place.index as usize) {
            slot.word.store(encode(owner, state), Relaxed);
        }
    }

    /// The same where somebody else might do it, too: whether the entry was as it is said to have been.
    pub fn exchange(&self, place: Place, before: (Owner, State), after: (Owner, State)) -> bool {
        let (before, after) = (encode(before.0, before.1), encode(after.0, after.1));
        let slot = self.slots().get(place.index as usize).filter(|_| self.is(place));
        slot.is_some_and(|slot| slot.word.compare_exchange(before, after, AcqRel, Relaxed).is_ok())
    }

    /// Has a connection that somebody has given away be `owner`'s: what it is for him. `None` if somebody else has it.
    pub fn take_given(&self, place: Place, owner: Owner) -> Option<State> {
        let kinds = [
            (State::Given(place.count), State::Idle),
            (State::GivenWithBytes(place.count), State::Receiving),
        ];
        let given = |(given, state): &(State, State)| self.exchange(place, (Owner::NOBODY, *given), (owner, *state));
        kinds.into_iter().find(given).map(|(_, state)| state)
    }

    /// Connections that somebody has given away, and nobody has taken.
    pub fn given(&self) -> Vec<Place> {
        let used = self.front().used.load(Relaxed).min(self.entries());
        let given = |(index, slot): (u32, &Slot)| match decode(slot.word.load(Acquire)) {
            (Owner::NOBODY, State::Given(count) | State::GivenWithBytes(count)) => Some(Place {
                index,
                generation: slot.generation.load(Acquire),
                count,
            }),
            _ => None,
        };
        (0..used).zip(self.slots()).filter_map(given).collect()
    }

    /// Requests that the connection has brought so far.
    pub fn requests(&self, place: Place) -> u64 {
        let slot = self.slots().get(place.index as usize);
        slot.map_or(0, |slot| slot.requests.load(Relaxed))
    }

    #[inline]
    pub fn count_requests(&self, place: Place, requests: u64) {
        if let Some(slot) = self.slots().get(place.index as usize) {
            slot.requests.store(requests, Relaxed);
        }
    }

    /// Whether the connection's front server is nginx, which must be told that a connection is not kept.
    pub fn is_nginx(&self, place: Place) -> bool {
        let slot = self.slots().get(place.index as usize);
        slot.is_some_and(|slot| slot.is_nginx.load(Relaxed) == 1)
    }

    pub fn note_front(&self, place: Place, is_nginx: bool) {
        if let Some(slot) = self.slots().get(place.index as usize) {
            slot.is_nginx.store(is_nginx.into(), Relaxed);
        }
    }

    /// The connection is gone.
    pub fn free(&self, place: Place) {
        if self.is(place) {
            self.slots()[place.index as usize].word.store(0, Release);
        }
    }

    /// Frees entries that are `owner`'s and that `is_known` does not name: it died before anybody was told of them.
    pub fn free_unknown(&self, owner: Owner, is_known: impl Fn(u32) -> bool) {
        let used = self.front().used.load(Relaxed).min(self.entries());
        for (index, slot) in (0..used).zip(self.slots()) {
            if decode(slot.word.load(Acquire)).0 == owner && !is_known(index) {
                slot.word.store(0, Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::state::Asked;

    fn tables<const N: usize>(entries: u32) -> [Table; N] {
        let fd = Table::create(entries).unwrap();
        [(); N].map(|()| Table::map(&fd).unwrap())
    }

    #[test]
    fn what_a_worker_writes_is_read_through_another_mapping() {
        let [worker, supervisor] = tables(4);
        let owner = worker.new_owner();
        let place = worker.take(owner, &AtomicU32::new(0)).unwrap();
        assert_eq!(supervisor.read(place), Some((owner, State::Receiving)));
        let asked = State::Unanswered(Asked {
            id: 7,
            is_head: true,
            is_whole: false,
            runs: true,
        });
        worker.write(place, owner, asked);
        worker.count_requests(place, 3);
        for is_nginx in [true, false] {
            worker.note_front(place, is_nginx);
            assert_eq!(supervisor.is_nginx(place), is_nginx);
        }
        assert_eq!(
            (supervisor.read(place), supervisor.requests(place)),
            (Some((owner, asked)), 3)
        );
        worker.free(place);
        assert_eq!(supervisor.read(place), None);
    }

    #[test]
    fn workers_get_numbers_and_entries_of_their_own() {
        let [one, other] = tables(3);
        let owners = [one.new_owner(), other.new_owner()];
        assert_ne!(owners[0], owners[1]);
        let cursor = AtomicU32::new(0);
        let places = [one.take(owners[0], &cursor), other.take(owners[1], &AtomicU32::new(0))].map(Option::unwrap);
        assert_ne!(places[0].index, places[1].index);
        let third = one.take(owners[0], &cursor).unwrap();
        assert_eq!(one.take(owners[0], &cursor), None, "the table is full");
        one.free(places[0]);
        let again = other.take(owners[1], &AtomicU32::new(2)).unwrap();
        assert_eq!(again.index, places[0].index);
        assert_ne!(again.generation, places[0].generation);
        // Who speaks of the earlier connection changes nothing of the later one.
        one.free(places[0]);
        let idle = (owners[0], State::Idle);
        assert!(!one.exchange(places[0], (owners[1], State::Receiving), idle));
        assert_eq!((one.read(places[0]), one.is(places[0])), (None, false));
        assert_eq!(one.read(again), Some((owners[1], State::Receiving)));
        assert!(one.is(third));
    }

    #[test]
    fn connection_on_its_way_is_taken_once() {
        let [table] = tables(1);
        let [giver, taker] = [table.new_owner(), table.new_owner()];
        let place = table.take(giver, &AtomicU32::new(0)).unwrap();
        let given = (Owner::NOBODY, State::Given(1));
        table.write(place, given.0, given.1);
        assert!(table.exchange(place, given, (taker, State::Idle)));
        assert!(!table.exchange(place, given, (giver, State::Idle)));
        assert_eq!(table.read(place), Some((taker, State::Idle)));
    }

    #[test]
    fn what_is_on_its_way_is_named_with_how_often_it_was_given() {
        let [table] = tables(8);
        let owner = table.new_owner();
        let cursor = AtomicU32::new(0);
        let places = [(); 3].map(|()| table.take(owner, &cursor).unwrap());
        table.write(places[0], Owner::NOBODY, State::Given(3));
        table.write(places[2], Owner::NOBODY, State::GivenWithBytes(4));
        let given = [(places[0], 3, State::Idle), (places[2], 4, State::Receiving)];
        let named = given.map(|(place, count, _)| Place { count, ..place });
        assert_eq!(table.given(), named);
        for (place, (_, _, state)) in named.into_iter().zip(given) {
            assert_eq!(table.take_given(place, owner), Some(state));
            assert_eq!(table.take_given(place, owner), None);
        }
        assert_eq!(table.given(), []);
    }

    #[test]
    fn entries_of_the_dead_of_which_nobody_knows_are_freed() {
        let [table] = tables(8);
        let [dead, lives] = [table.new_owner(), table.new_owner()];
        let cursor = AtomicU32::new(0);
        let take = |owner| table.take(owner, &cursor).unwrap();
        let (known, unknown, other) = (take(dead), take(dead), take(lives));
        table.free_unknown(dead, |index| index == known.index);
        assert!(table.read(known).is_some() && table.read(other).is_some());
        assert_eq!(table.read(unknown), None);
    }

    #[test]
    fn places_that_no_table_has_are_nobodys() {
        let [table] = tables(1);
        let place = Place {
            index: 1,
            generation: 0,
            count: 0,
        };
        table.write(place, Owner::KEEPER, State::Idle);
        table.count_requests(place, 1);
        table.free(place);
        assert_eq!(
            (table.read(place), table.requests(place), table.is(place)),
            (None, 0, false)
        );
    }

    #[test]
    fn memory_with_more_entries_than_there_can_be_is_no_table() {
        let most = Mapping::<Front, Slot>::create("most", ENTRIES as usize).unwrap();
        assert!(Table::map(&most).is_ok());
        let more = Mapping::<Front, Slot>::create("more", ENTRIES as usize + 1).unwrap();
        assert!(Table::map(&more).is_err());
    }
}
