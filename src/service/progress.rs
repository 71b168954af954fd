//! What the service manager waits for: at a start, pools that have no socket yet; in a reload, pools that neither serve yet nor have
//! failed.

use std::sync::Arc;
use std::thread;

use rustix::time::{ClockId, clock_gettime};

use super::{Service, State};

/// The service is not ready before this is over. Held by a pool, until it has its sockets; dropped by what ends the whole program.
#[derive(Debug)]
pub struct Start(Arc<Service>);

/// A reload is not over before this and all its clones are dropped. Held by pools, until they serve, rest or have failed.
#[derive(Debug)]
pub struct Reload(Arc<Service>);

impl Service {
    /// One more that the service is not ready without.
    pub fn starts(self: &Arc<Self>) -> Start {
        self.lock().starting += 1;
        self.changed.notify_one();
        Start(Arc::clone(self))
    }

    /// Begins a reload. A service manager that has asked for one by a signal compares the time with that of its signal, so it is told
    /// anew, also within another reload.
    pub fn reloads(self: &Arc<Self>) -> Reload {
        let mut state = self.lock();
        state.reloads += 1;
        state.pulse.extended = None;
        if state.is_ready && !state.is_stopping {
            let now = clock_gettime(ClockId::Monotonic);
            let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
            self.tell_status(&mut state, &format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\n"));
        }
        drop(state);
        self.changed.notify_one();
        Reload(Arc::clone(self))
    }

    pub(super) fn becomes_ready(&self, state: &mut State) {
        state.starting = 0;
        if !state.is_stopping && !state.is_ready {
            state.is_ready = true;
            self.tell_status(state, "READY=1\n");
        }
    }
}

impl Start {
    /// It has its sockets, or can't have them.
    pub fn over(self) {
        self.count();
    }

    fn count(&self) {
        let mut state = self.0.lock();
        match state.starting {
            0 => {}
            1 => self.0.becomes_ready(&mut state),
            _ => state.starting -= 1,
        }
    }
}

/// One that has panicked never gets there, and keeps nobody waiting.
impl Drop for Start {
    fn drop(&mut self) {
        if thread::panicking() {
            self.count();
        }
    }
}

impl Clone for Reload {
    fn clone(&self) -> Self {
        self.0.lock().reloads += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.reloads -= 1;
        if state.reloads == 0 && state.is_ready && !state.is_stopping {
            self.0.tell_status(&mut state, "READY=1\n");
        }
    }
}
