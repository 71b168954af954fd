//! A request that is slow: its thread's stack for the log, once. Python alone is asked for it, which reads no memory of a
//! thread that runs: faulthandler's way could end the process, and this request has done nothing wrong.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use contract::log::{Trace, traced};

use crate::process::interrupt::{PYTHON_WAIT, log_slow, stack_of};
use crate::process::thread::{Shared, request_name};

pub struct Slow {
    thread: usize,
    /// When it has begun, as on the scoreboard.
    pub since: u64,
    /// Its name in the log.
    request: String,
    trace: Option<Trace>,
    noticed: Instant,
    /// `None`: it is in the log.
    stack: Option<Receiver<String>>,
}

impl Slow {
    /// `None` if the request that has begun at `since` has ended meanwhile.
    pub fn new(shared: &Arc<Shared>, thread: usize, since: u64) -> Option<Self> {
        let station = &shared.stations[thread];
        let request = request_name(shared, station);
        // The next request may have begun since.
        if shared.slot(station).busy_since_ms() != Some(since) {
            return None;
        }
        let asking = Arc::clone(shared);
        let has_request = move || asking.slot(&asking.stations[thread]).busy_since_ms() == Some(since);
        Some(Self {
            thread,
            since,
            request,
            trace: station.request.trace(),
            noticed: Instant::now(),
            stack: Some(stack_of(station.ident.load(Ordering::Relaxed), has_request)),
        })
    }

    /// Whether its stack is about to come. Where something holds the GIL it comes when that lets go.
    pub fn is_urgent(&self) -> bool {
        self.stack.is_some() && self.noticed.elapsed() < PYTHON_WAIT
    }

    /// Logs the stack, if it has come. Never waits.
    pub fn go_on(&mut self, shared: &Shared) {
        let Some(stack) = &self.stack else { return };
        let stack = match stack.try_recv() {
            Ok(stack) => stack,
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => {
                "unknown: the request ended before Python could be asked; something may have held the GIL".to_owned()
            }
        };
        self.stack = None;
        shared.slot(&shared.stations[self.thread]).counts.count_slow();
        let limit = &shared.settings.limits.slow_request;
        traced(self.trace, || log_slow(&self.request, limit, &stack));
    }
}
