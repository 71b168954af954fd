//! Where the reactor keeps its connections, and which of them are ready.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use super::Parked;

/// A slot and its generation: a late event for a connection that is gone finds another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// Generations start at 1, so that the high half is never zero, as it is in a listener's key.
    fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    fn from_u64(key: u64) -> Self {
        Self {
            index: key as u32,
            generation: (key >> 32) as u32,
        }
    }
}

enum Place<C> {
    Free,
    /// Nothing has arrived.
    Parked(Box<C>),
    /// Something has arrived; the index stands in `Slots::ready`.
    Ready(Box<C>),
    /// A thread has it. `arrived`: something came meanwhile.
    Away {
        arrived: bool,
    },
}

struct Slot<C> {
    generation: u32,
    place: Place<C>,
    /// The system has told that the peer has ended its side.
    ended: bool,
    /// It is watched for room to write, too.
    writes: bool,
}

/// What connections are watched for. Edges of room to write come with every byte that a peer takes from a unix socket, so
/// they are asked for only where something waits to be written.
const READS: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);
const READS_AND_WRITES: EventFlags = READS.union(EventFlags::OUT);

pub struct Slots<C> {
    slots: Vec<Slot<C>>,
    free: Vec<u32>,
    ready: VecDeque<u32>,
}

impl<C: Parked> Slots<C> {
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn count_ready(&self) -> usize {
        self.ready.len()
    }

    pub fn pop_ready(&mut self) -> Option<Box<C>> {
        while let Some(index) = self.ready.pop_front() {
            let slot = &mut self.slots[index as usize];
            match std::mem::replace(&mut slot.place, Place::Away { arrived: false }) {
                Place::Ready(mut connection) => {
                    if slot.ended {
                        connection.peer_has_ended();
                    }
                    return Some(connection);
                }
                other => slot.place = other,
            }
        }
        None
    }

    /// Takes the first ready connection that `wanted` names.
    pub fn take_ready(&mut self, wanted: impl Fn(&C) -> bool) -> Option<Box<C>> {
        let is_wanted = |index: &u32| {
            let place = &self.slots[*index as usize].place;
            matches!(place, Place::Ready(connection) if wanted(connection))
        };
        let position = self.ready.iter().position(is_wanted)?;
        let slot = &mut self.slots[self.ready.remove(position)? as usize];
        match std::mem::replace(&mut slot.place, Place::Away { arrived: false }) {
            Place::Ready(connection) => Some(connection),
            other => {
                slot.place = other;
                None
            }
        }
    }

    /// Takes back what [`Slots::take_ready`] has given: it is ready before all others.
    pub fn put_back(&mut self, mut connection: Box<C>) {
        if let Some(key) = *connection.key() {
            self.slots[key.index as usize].place = Place::Ready(connection);
            self.ready.push_front(key.index);
        }
    }

    /// Keeps `connection`, watched by `epoll`, where it is registered the first time. `ready`: it has unread input, whatever
    /// epoll says.
    ///
    /// # Errors
    /// The system's, if it can't be watched; with it the connection comes back.
    pub fn park(&mut self, mut connection: Box<C>, ready: bool, epoll: impl AsFd) -> Result<(), (Errno, Box<C>)> {
        let writes = connection.wants_to_write();
        let events = if writes { READS_AND_WRITES } else { READS };
        if let Some(key) = *connection.key() {
            let slot = &mut self.slots[key.index as usize];
            debug_assert_eq!(slot.generation, key.generation);
            if slot.writes != writes {
                if let Err(error) = epoll::modify(epoll, connection.fd(), EventData::new_u64(key.to_u64()), events) {
                    return Err((error, connection));
                }
                slot.writes = writes;
            }
            if ready || matches!(slot.place, Place::Away { arrived: true }) {
                slot.place = Place::Ready(connection);
                self.ready.push_back(key.index);
            } else {
                slot.place = Place::Parked(connection);
            }
            return Ok(());
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 1,
                place: Place::Free,
                ended: false,
                writes: false,
            });
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        let key = Key {
            index,
            generation: slot.generation,
        };
        if let Err(error) = epoll::add(epoll, connection.fd(), EventData::new_u64(key.to_u64()), events) {
            self.free.push(index);
            return Err((error, connection));
        }
        *connection.key() = Some(key);
        (slot.ended, slot.writes) = (false, writes);
        slot.place = Place::Parked(connection);
        if ready {
            self.make_ready(index);
        }
        Ok(())
    }

    /// epoll says that something has arrived.
    pub fn arrived(&mut self, key: u64, events: EventFlags) {
        let key = Key::from_u64(key);
        let slot = self.slots.get_mut(key.index as usize);
        if let Some(slot) = slot.filter(|slot| slot.generation == key.generation) {
            slot.ended |= events.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            self.make_ready(key.index);
        }
    }

    fn make_ready(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        match std::mem::replace(&mut slot.place, Place::Free) {
            Place::Parked(connection) => {
                slot.place = Place::Ready(connection);
                self.ready.push_back(index);
            }
            Place::Away { .. } => slot.place = Place::Away { arrived: true },
            other => slot.place = other,
        }
    }

    /// Takes the parked connections that `wanted` names.
    pub fn take_parked(&mut self, wanted: impl Fn(&C) -> bool) -> Vec<Box<C>> {
        let mut taken = Vec::new();
        for slot in &mut self.slots {
            if matches!(&slot.place, Place::Parked(connection) if wanted(connection))
                && let Place::Parked(connection) = std::mem::replace(&mut slot.place, Place::Away { arrived: false })
            {
                taken.push(connection);
            }
        }
        taken
    }

    /// Takes the parked connection that has been idle for longest, if one is. Looks at all of them: only for a worker that has
    /// as many as it may have.
    pub fn take_longest_idle(&mut self, now_ms: u64) -> Option<Box<C>> {
        let idle = self.slots.iter_mut().filter_map(|slot| match &slot.place {
            Place::Parked(connection) => connection.idle_since(now_ms).map(|since| (since, slot)),
            _ => None,
        });
        let (_, slot) = idle.min_by_key(|(since, _)| *since)?;
        match std::mem::replace(&mut slot.place, Place::Away { arrived: false }) {
            Place::Parked(connection) => Some(connection),
            other => {
                slot.place = other;
                None
            }
        }
    }

    pub fn release(&mut self, key: Key) {
        let slot = &mut self.slots[key.index as usize];
        if slot.generation == key.generation {
            // 31 bits: the top one would look like the waker's key one day.
            slot.generation = (slot.generation % 0x7fff_ffff) + 1;
            slot.place = Place::Free;
            self.free.push(key.index);
        }
    }
}
