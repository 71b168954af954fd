//! What all connections of a worker share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use contract::keeper::Link;
use settings::sections::Limits;

use super::Connection;
use super::ends::Doubts;
use crate::reactor::Reactor;

/// Where connections come from and go to.
pub struct Hub {
    pub reactor: Reactor<Connection>,
    pub limits: Limits,
    /// Who keeps connections beyond the end of this process, if anybody does.
    pub(super) keeper: Option<Arc<Link>>,
    /// The answers to GET_VALUES (SPEC A8): connections and requests that the whole pool takes at once, not this worker alone.
    pub max_conns: usize,
    pub max_reqs: usize,
    pub(super) doubts: Doubts,
    /// How much of one body may be in memory.
    memory_per_body: usize,
    /// Memory that the bodies of all connections have.
    bodies_memory: AtomicUsize,
    /// Once they have so much, bodies go to their files at once.
    bodies_memory_limit: usize,
    /// Input buffers that no connection uses now: a parked one has none.
    buffers: Mutex<Vec<Vec<u8>>>,
    /// The same for bodies.
    bodies: Mutex<Vec<Vec<u8>>>,
}

/// Room for one read. A request with a body of 64 KiB comes in one piece; a GET_VALUES record fits whole.
pub const INPUT_SIZE: usize = 96 * 1024;
/// Whole times `body_memory` that the bodies of a worker may have together, beside one for each thread: thousands of half-sent
/// requests must not take thousands of them.
const RESTING_BODIES: usize = 64;
/// Buffers of each kind kept for later.
const KEPT_BUFFERS: usize = 16;

impl Hub {
    pub fn new(
        reactor: Reactor<Connection>,
        limits: Limits,
        keeper: Option<Arc<Link>>,
        workers: usize,
        threads: usize,
    ) -> Self {
        let body_memory = limits.body_memory.in_memory();
        Self {
            reactor,
            keeper,
            max_conns: limits.connections.get() as usize * workers,
            max_reqs: threads * workers,
            doubts: Doubts::default(),
            bodies_memory: AtomicUsize::new(0),
            bodies_memory_limit: (threads + RESTING_BODIES).saturating_mul(body_memory),
            memory_per_body: body_memory,
            buffers: Mutex::default(),
            bodies: Mutex::default(),
            limits,
        }
    }

    /// A buffer of [`INPUT_SIZE`].
    pub fn buffer(&self) -> Vec<u8> {
        let kept = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| vec![0; INPUT_SIZE])
    }

    /// Takes a buffer back; what isn't one is dropped.
    pub fn keep_buffer(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.len() == INPUT_SIZE && buffers.len() < KEPT_BUFFERS {
            buffers.push(buffer);
        }
    }

    /// How much of one body may be in memory now.
    pub(super) fn body_memory_limit(&self) -> usize {
        let full = self.bodies_memory.load(Ordering::Relaxed) >= self.bodies_memory_limit;
        if full { 0 } else { self.memory_per_body }
    }

    /// A body that had `before` bytes of memory has `now`.
    pub(super) fn note_body_memory(&self, before: usize, now: usize) {
        if now != before {
            self.bodies_memory
                .fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Empty memory for a body.
    pub fn body_memory(&self) -> Vec<u8> {
        self.bodies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default()
    }

    /// Takes a body's memory back.
    pub fn keep_body_memory(&self, memory: Vec<u8>) {
        if memory.capacity() == 0 || memory.capacity() > 2 * self.memory_per_body {
            return;
        }
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        if bodies.len() < KEPT_BUFFERS {
            bodies.push(memory);
        }
    }
}
