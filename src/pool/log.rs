//! The log as pools know it: where their processes send events, and what it looks like, which is said once for the whole program.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use contract::log::LogSettings;

#[derive(Debug)]
pub struct Log {
    sending: OwnedFd,
    program: LogSettings,
}

impl Log {
    /// `program`: what was said of the log of this program.
    pub fn new(sending: OwnedFd, program: LogSettings) -> Self {
        Self { sending, program }
    }

    /// Has a pool log as the others.
    pub fn adapt(&self, pool: &mut LogSettings) {
        pool.format = self.program.format;
        pool.to = self.program.to.clone();
        pool.ansi = self.program.ansi;
    }
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sending.as_fd()
    }
}
