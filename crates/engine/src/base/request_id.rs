//! The number of a request, for the log: the same in every line about it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The current request of one thread.
pub struct RequestId {
    thread: usize,
    /// Counts the thread's requests.
    serial: AtomicU64,
    running: AtomicU64,
}

impl RequestId {
    pub fn new(thread: usize) -> Self {
        Self {
            thread,
            serial: AtomicU64::new(0),
            running: AtomicU64::new(0),
        }
    }

    /// The number of the request that begins.
    pub fn begin(&self) -> u64 {
        let serial = self.serial.load(Relaxed) + 1;
        self.serial.store(serial, Relaxed);
        self.running.store(serial, Relaxed);
        serial
    }

    pub fn end(&self) {
        self.running.store(0, Relaxed);
    }

    /// `pid-thread-number` while a request runs.
    pub fn current(&self) -> Option<String> {
        let serial = self.running.load(Relaxed);
        (serial != 0).then(|| self.name(serial))
    }

    /// The same for any of the thread's requests.
    pub fn name(&self, serial: u64) -> String {
        name(std::process::id() as i32, self.thread, serial)
    }
}

/// The same for a request of any process.
pub fn name(pid: i32, thread: usize, serial: u64) -> String {
    format!("{pid}-{thread}-{serial}")
}
