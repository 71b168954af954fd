//! What a worker prints, read for the log.
//!
//! The leader reads it, so that a worker's last words survive the worker.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use contract::log::{Printed, Printer};
use contract::own::Own;

pub struct Output {
    pipe: Own<File>,
    printed: Printed,
}

const CHUNKS_AT_ONCE: usize = 16;

impl Output {
    /// `pipe` is the reading end, non-blocking.
    pub fn new(pipe: OwnedFd, pid: i32) -> Self {
        Self {
            pipe: Own::new(File::from(pipe)),
            printed: Printed::new(Printer::Worker(pid)),
        }
    }

    /// Logs what is there, and from time to time what has waited for its end for too long; false at the end of the stream.
    pub fn forward(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        // A worker that prints without end must not keep the leader from everything else.
        for _ in 0..CHUNKS_AT_ONCE {
            match self.pipe.read(&mut chunk) {
                Ok(0) => {
                    self.end();
                    return false;
                }
                Ok(length) => self.printed.take(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.printed.give_up();
                    return error.kind() == ErrorKind::WouldBlock;
                }
            }
        }
        true
    }

    /// The worker is gone: logs what it wrote last.
    pub fn end(&mut self) {
        self.printed.end();
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
