//! What all connections of a worker share.

use std::sync::{Mutex, PoisonError};

use pool::settings::Limits;

use super::Connection;
use super::ends::Doubts;
use crate::reactor::Reactor;

/// Where connections come from and go to.
pub struct Hub {
    pub reactor: Reactor<Connection>,
    pub limits: Limits,
    /// Truthful answers to GET_VALUES: connections and requests that the whole pool takes at once.
    pub max_conns: usize,
    pub max_reqs: usize,
    pub(super) doubts: Doubts,
    /// Input buffers without an owner: parked connections have none.
    buffers: Mutex<Vec<Vec<u8>>>,
    /// The same for bodies.
    bodies: Mutex<Vec<Vec<u8>>>,
}

/// Room for one read. A request with a body of 64 KiB comes in one piece; a GET_VALUES record fits whole.
pub const INPUT_SIZE: usize = 96 * 1024;
/// Buffers of each kind kept for later.
const KEPT_BUFFERS: usize = 16;

impl Hub {
    pub fn new(reactor: Reactor<Connection>, limits: Limits, workers: usize, threads: usize) -> Self {
        Self {
            reactor,
            limits,
            max_conns: limits.connections * workers,
            max_reqs: threads * workers,
            doubts: Doubts::default(),
            buffers: Mutex::default(),
            bodies: Mutex::default(),
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
        if memory.capacity() == 0 || memory.capacity() > 2 * self.limits.body_memory {
            return;
        }
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        if bodies.len() < KEPT_BUFFERS {
            bodies.push(memory);
        }
    }
}
