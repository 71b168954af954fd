//! What the keeper of a pool waits for, in one epoll set: messages of workers, their ends, the ends of connections, and while
//! nobody serves what arrives.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use contract::keeper::Place;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use crate::readiness;

/// Taken at once.
const EVENTS: usize = 64;
/// Peers that have gone. Data never wakes the supervisor.
const ENDS: EventFlags = EventFlags::RDHUP.union(EventFlags::ET);
/// The same, and data does.
const ENDS_AND_DATA: EventFlags = ENDS.union(EventFlags::IN);

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Channel,
    /// The worker with this number.
    Worker(u32),
    /// The listener with this number.
    Listener(u32),
    /// Workers that go have given connections away.
    Handover,
    /// The connection with this entry; `ended`: its peer has gone.
    Connection {
        index: u32,
        generation: u64,
        ended: bool,
    },
}

const CHANNEL: u64 = u64::MAX;
const HANDOVER: u64 = u64::MAX - 1;
const WORKER: u64 = 1 << 63;
const LISTENER: u64 = 1 << 62;
/// Of a connection's key 16 bits are the index, the rest its generation.
const GENERATION_BITS: u32 = 46;

pub struct Set(AsyncFd<OwnedFd>);

impl Set {
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        Ok(Self(readiness::of_reading(epoll::create(CreateFlags::CLOEXEC)?)?))
    }

    /// What has happened; waits until something has. Nothing is lost if the caller stops waiting.
    pub async fn next(&self) -> Vec<Subject> {
        loop {
            let taken = match self.0.readable().await {
                Ok(mut guard) => guard.try_io(|epoll| take(epoll.get_ref())),
                Err(error) => Ok(Err(error)),
            };
            match taken {
                Ok(Ok(subjects)) => return subjects,
                Ok(Err(error)) => {
                    tracing::error!(%error, "connections can't be watched any more");
                    std::future::pending::<()>().await;
                }
                // Nothing was there.
                Err(_) => {}
            }
        }
    }

    /// # Errors
    /// The system's.
    pub fn add_channel(&self, channel: impl AsFd) -> io::Result<()> {
        self.add(channel, CHANNEL, EventFlags::IN)
    }

    /// # Errors
    /// The system's.
    pub fn add_worker(&self, number: u32, pidfd: impl AsFd) -> io::Result<()> {
        self.add(pidfd, WORKER | u64::from(number), EventFlags::IN)
    }

    /// # Errors
    /// The system's.
    pub fn add_listener(&self, number: u32, listener: impl AsFd) -> io::Result<()> {
        self.add(listener, LISTENER | u64::from(number), EventFlags::IN)
    }

    /// # Errors
    /// The system's.
    pub fn add_handover(&self, handover: impl AsFd) -> io::Result<()> {
        self.add(handover, HANDOVER, EventFlags::IN)
    }

    /// # Errors
    /// The system's.
    pub fn add_connection(&self, place: Place, connection: impl AsFd) -> io::Result<()> {
        self.add(connection, key(place), ENDS)
    }

    /// Whether data on a connection is an event; what is there already is one at once.
    ///
    /// # Errors
    /// The system's.
    pub fn watch(&self, place: Place, connection: impl AsFd, for_data: bool) -> io::Result<()> {
        let events = if for_data { ENDS_AND_DATA } else { ENDS };
        Ok(epoll::modify(
            self.0.get_ref(),
            connection,
            EventData::new_u64(key(place)),
            events,
        )?)
    }

    fn add(&self, fd: impl AsFd, key: u64, events: EventFlags) -> io::Result<()> {
        Ok(epoll::add(self.0.get_ref(), fd, EventData::new_u64(key), events)?)
    }

    /// Before it is closed: others have it open, and it would stay in the set.
    pub fn remove(&self, fd: impl AsFd) {
        // It can only be missing from the set, which is what we want.
        let _ = epoll::delete(self.0.get_ref(), fd);
    }
}

fn key(place: Place) -> u64 {
    let generation = place.generation & ((1 << GENERATION_BITS) - 1);
    generation << 16 | u64::from(place.index as u16)
}

/// # Errors
/// `WouldBlock` if nothing has happened.
fn take(epoll: &OwnedFd) -> io::Result<Vec<Subject>> {
    let mut events = [MaybeUninit::uninit(); EVENTS];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match epoll::wait(epoll, &mut events, Some(&at_once)) {
        Ok(([], _)) => Err(io::ErrorKind::WouldBlock.into()),
        Ok((events, _)) => Ok(events.iter().map(subject).collect()),
        Err(Errno::INTR) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn subject(event: &Event) -> Subject {
    let flags = event.flags;
    match event.data.u64() {
        CHANNEL => Subject::Channel,
        HANDOVER => Subject::Handover,
        key if key & WORKER != 0 => Subject::Worker(key as u32),
        key if key & LISTENER != 0 => Subject::Listener(key as u32),
        key => Subject::Connection {
            index: u32::from(key as u16),
            generation: key >> 16,
            ended: flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
        },
    }
}

/// Whether an event with this generation is about the entry.
pub fn is_of(generation: u64, place: Place) -> bool {
    key(place) >> 16 == generation
}
