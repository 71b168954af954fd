//! The number of a request, for the log: the same in every line about it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use contract::log::{Trace, set_trace};
use contract::scoreboard::write_request_id;

/// The current request of one thread.
pub struct RequestId {
    /// Of the process that has made this: to ask for it costs a system call.
    pid: i32,
    thread: usize,
    /// Counts the thread's requests.
    serial: AtomicU64,
    running: AtomicU64,
    /// The halves of the running request's trace; zeros: it has none.
    trace: [AtomicU64; 2],
}

impl RequestId {
    pub fn new(thread: usize) -> Self {
        Self {
            pid: std::process::id() as i32,
            thread,
            serial: AtomicU64::new(0),
            running: AtomicU64::new(0),
            trace: Default::default(),
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
        if self.trace().is_some() {
            self.trace.iter().for_each(|half| half.store(0, Relaxed));
            set_trace(None);
        }
        self.running.store(0, Relaxed);
    }

    /// The running request belongs to this trace: what its thread, the calling one, logs says so.
    pub fn belongs_to(&self, trace: Trace) {
        for (half, value) in self.trace.iter().zip(trace.halves()) {
            half.store(value, Relaxed);
        }
        set_trace(Some(trace));
    }

    /// The running request's, for whoever else logs something about it.
    pub fn trace(&self) -> Option<Trace> {
        Trace::of_halves([0, 1].map(|half: usize| self.trace[half].load(Relaxed)))
    }

    /// The number of the request that runs.
    pub fn running(&self) -> Option<u64> {
        Some(self.running.load(Relaxed)).filter(|&number| number != 0)
    }

    /// `pid-thread-number` while a request runs.
    pub fn current(&self) -> Option<String> {
        self.running().map(|number| self.name(number))
    }

    /// The same, behind what `out` has.
    pub fn write_running(&self, out: &mut String) {
        if let Some(number) = self.running() {
            self.write(number, out);
        }
    }

    /// The same for any of the thread's requests.
    pub fn name(&self, serial: u64) -> String {
        let mut name = String::new();
        self.write(serial, &mut name);
        name
    }

    /// The same, behind what `out` has.
    pub fn write(&self, serial: u64, out: &mut String) {
        write_request_id(out, self.pid, self.thread, serial);
    }
}
