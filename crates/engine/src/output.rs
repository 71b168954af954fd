//! What a worker writes to its standard output and error, line by line into the log.
//!
//! The leader reads it, so that a worker's last words survive the worker.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pool::own::Own;

pub struct Output {
    pipe: Own<File>,
    pid: i32,
    partial: Vec<u8>,
}

/// A line without an end is logged in pieces of this size.
const MAX_LINE: usize = 8 * 1024;

const CHUNKS_AT_ONCE: usize = 16;

impl Output {
    /// `pipe` is the reading end, non-blocking.
    pub fn new(pipe: OwnedFd, pid: i32) -> Self {
        Self {
            pipe: Own::new(File::from(pipe)),
            pid,
            partial: Vec::new(),
        }
    }

    /// Logs what is there; false at the end of the stream.
    pub fn forward(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        // A worker that prints without end must not keep the leader from everything else.
        for _ in 0..CHUNKS_AT_ONCE {
            match self.pipe.read(&mut chunk) {
                Ok(0) => {
                    self.end();
                    return false;
                }
                Ok(length) => self.take(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// The worker is gone: logs what it wrote last.
    pub fn end(&mut self) {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            self.log(&rest);
        }
    }

    fn take(&mut self, data: &[u8]) {
        self.partial.extend_from_slice(data);
        let mut lines = std::mem::take(&mut self.partial);
        let mut start = 0;
        while let Some(length) = lines[start..].iter().position(|&byte| byte == b'\n') {
            self.log(&lines[start..start + length]);
            start += length + 1;
        }
        while lines.len() - start > MAX_LINE {
            self.log(&lines[start..start + MAX_LINE]);
            start += MAX_LINE;
        }
        lines.drain(..start);
        self.partial = lines;
    }

    fn log(&self, line: &[u8]) {
        tracing::info!(target: pool::log::APP, worker = self.pid, "{}", pool::log::escape(&String::from_utf8_lossy(line)));
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
