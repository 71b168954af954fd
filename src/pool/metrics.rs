//! What the pool's application counts: memory that is the pool's, over generations and upgrades.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use contract::metrics::{Family, Memory, Reader};
use tracing::debug;

use crate::inherited::Passed;

pub struct Metrics {
    /// What leaders get.
    memory: OwnedFd,
    reader: Reader,
}

impl Metrics {
    /// For so many series.
    ///
    /// # Errors
    /// The system's, if it has no memory or no descriptor.
    pub fn new(most: u64) -> io::Result<Self> {
        Self::with(Memory::create(most)?)
    }

    fn with(memory: OwnedFd) -> io::Result<Self> {
        let reader = Reader::new(Memory::map(&memory)?);
        Ok(Self { memory, reader })
    }

    /// Those that another program had in whose place this one is; `None` if they can't be read.
    pub fn resume(passed: Passed) -> Option<Self> {
        let resumed = passed.take().and_then(Self::with);
        resumed
            .inspect_err(|error| debug!(%error, "the application's metrics begin anew"))
            .ok()
    }

    /// # Errors
    /// No descriptor is left.
    pub fn state(&self) -> io::Result<Passed> {
        Passed::copy(&self.memory)
    }

    /// Whether they are for so many series.
    pub fn are_for(&self, most: u64) -> bool {
        self.reader.memory().most() == most
    }

    /// What there is now.
    pub fn families(&mut self) -> Vec<Family> {
        self.reader.families()
    }

    /// Series for which there was no room.
    pub fn dropped(&self) -> u64 {
        self.reader.dropped()
    }

    /// The worker is dead: its gauges count no more.
    pub fn forget(&self, worker: i32) {
        self.reader.memory().forget(worker);
    }
}

impl AsFd for Metrics {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}
