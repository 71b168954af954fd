//! How many descriptors the supervisor may spend on duplicates of connections: what it needs itself it must never lack.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

/// Descriptors that the supervisor needs for all else, beside what pools have: its log, signals, accounts, a start that is under way.
const OWN: u64 = 64;
/// The same for each pool: listeners, what its leaders are started with, and what is open while one takes another's place.
const PER_POOL: u64 = 48;

static DUPLICATES: AtomicU64 = AtomicU64::new(0);
static POOLS: AtomicU64 = AtomicU64::new(0);

/// The right to one duplicate.
#[derive(Debug)]
pub struct Room(());

impl Room {
    /// `None` if there are as many already as there may be.
    pub fn take() -> Option<Self> {
        let before = DUPLICATES.fetch_add(1, Ordering::Relaxed);
        let room = Self(());
        (before < limit().saturating_sub(spared())).then_some(room)
    }

    /// The right to one that is open already, or that nothing goes without.
    pub fn keep() -> Self {
        DUPLICATES.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        DUPLICATES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One more pool, for as long as this lives.
#[derive(Debug)]
pub struct Share(());

impl Share {
    pub fn new() -> Self {
        POOLS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        POOLS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many descriptors this process may have.
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Those of them that are for all else.
pub fn spared() -> u64 {
    OWN + PER_POOL * POOLS.load(Ordering::Relaxed)
}

/// How many duplicates there are, of all pools.
pub fn kept() -> u64 {
    DUPLICATES.load(Ordering::Relaxed)
}

/// Descriptors that a pool needs in the supervisor if so many connections are kept.
pub fn needed(connections: u64) -> u64 {
    connections + OWN + PER_POOL
}
