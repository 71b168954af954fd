//! Receives while every serving thread is busy or can't have the GIL: what connections ask of the gateway itself (SPEC A8),
//! the bodies of running requests (SPEC A28), the end of those whose time is over.
//!
//! A thread of its own, without Python. What it receives may go to a disk, and a disk may hang: the watchdog, which holds the
//! time limits, asks for it and never waits for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use contract::log::escape_bytes;
use contract::scoreboard::{Finished, Refusal, Slot, now_ms};

use crate::base::defect;
use crate::base::request_id::RequestId;
use crate::connection::{Connection, Step};
use crate::process::access::Access;
use crate::process::thread::{Shared, refuse};
use crate::wsgi::reject::Rejection;

pub struct Receiver {
    shared: Arc<Shared>,
    /// What the reactor had given to threads when it was asked last.
    taken: u64,
    /// Numbers for requests that no thread has had.
    requests: RequestId,
}

impl Receiver {
    /// Starts the thread. Each message has it look once; while it looks, one more may wait.
    ///
    /// # Errors
    /// The system's.
    pub fn start(shared: &Arc<Shared>) -> io::Result<SyncSender<()>> {
        let mut receiver = Self {
            shared: Arc::clone(shared),
            taken: 0,
            // Behind those of the threads.
            requests: RequestId::new(shared.stations.len()),
        };
        let (ask, asked) = sync_channel(1);
        let look = move || asked.into_iter().for_each(|()| receiver.look());
        defect::start_thread("receiver", look)?;
        Ok(ask)
    }

    fn look(&mut self) {
        for connection in self.shared.hub.reactor.expired(now_ms()) {
            if connection.waits_for_body() {
                self.refuse_stalled(connection);
            } else {
                connection.log_expiry();
            }
        }
        for station in &self.shared.stations {
            if self.shared.slot(station).busy_since_ms().is_some() {
                station.exchange.receive_meanwhile();
            }
        }
        let mut asked = Vec::new();
        self.stand_in(&mut asked);
        let reactor = &self.shared.hub.reactor;
        let waiting = if reactor.has_waiter() { 0 } else { reactor.count_ready() };
        self.shared.note_waiting(waiting);
        for connection in asked {
            self.shared.answer_status(Box::new(connection));
        }
        if contract::log::is_owing() {
            // The watchdog, which says what was left out, may have gone to sleep meanwhile.
            self.shared.bell.ring_if_asleep();
        }
    }

    /// The body has stopped coming, before a thread had the request.
    fn refuse_stalled(&self, connection: Box<Connection>) {
        let started = Instant::now();
        self.requests.begin();
        let (method, path) = connection.method_and_path();
        let id = self.requests.current().unwrap_or_default();
        let request = format!("{id} {} {}", escape_bytes(method), escape_bytes(&path));
        Rejection::BodyTimeout.log(&request, &self.shared.settings);
        let access = self.shared.settings.log.access.then(|| {
            let mut access = Access::default();
            access.begin(|name| name.push_str(&id), connection.peer());
            access.guesses(method, &path, |name| connection.param(name));
            access
        });
        let answered = refuse(connection, &Rejection::BodyTimeout);
        let took = started.elapsed();
        if let Some(mut access) = access {
            access.log(&answered, took);
        }
        if let Some(first) = self.shared.stations.first() {
            self.shared.slot(first).seat.counts.count(&Finished {
                status: answered.status_seen(),
                outcome: answered.outcome,
                refusal: Some(Refusal::BodyTimeout),
                received: 0,
                sent: answered.bytes,
                took,
                queued: None,
            });
        }
        self.requests.end();
    }

    /// No thread has taken anything since the last time: all are busy, or can't have the GIL. What connections ask of
    /// the gateway itself is answered here, and what they send is received. Requests wait for a thread; those that want to know how the
    /// pool is are `asked`, to be answered when everything has been looked at.
    fn stand_in(&mut self, asked: &mut Vec<Connection>) {
        let reactor = &self.shared.hub.reactor;
        if reactor.has_waiter() {
            // It takes what is ready, if it was told.
            if reactor.has_ready() {
                reactor.wake();
            }
            return;
        }
        let taken = reactor.taken();
        if std::mem::replace(&mut self.taken, taken) != taken {
            return;
        }
        for connection in reactor.take_ready() {
            self.progress_without_python(connection, asked);
        }
        // Another worker may have a free thread for a connection in the backlog, or this one's successor, if it is going
        // to be killed for a request that does not end.
        if self.shared.settings.size.limit() == 1 && !self.is_stuck() {
            for next in reactor.accept_pending() {
                if let Some(connection) = self.shared.connection(next) {
                    self.progress_without_python(connection, asked);
                }
            }
        }
        self.look_for_status(asked);
    }

    /// Whether a request is running on although its time is over.
    fn is_stuck(&self) -> bool {
        let limit = *self.shared.settings.limits.request_timeout;
        let is_over = |since| limit.is_reached_after(now_ms().saturating_sub(since));
        let mut stations = self.shared.stations.iter();
        stations.any(|station| self.shared.slot(station).busy_since_ms().is_some_and(is_over))
    }

    /// Everybody is busy, in other workers too: new connections that may ask how the pool is are looked at here. The others stay
    /// unread, for whoever is free first.
    fn look_for_status(&self, asked: &mut Vec<Connection>) {
        let Some(page) = &self.shared.status else { return };
        let mut slots = self.shared.scoreboard.slots().iter();
        let is_free = |slot: &Slot| slot.pid.load(Relaxed) != 0 && slot.busy_since_ms().is_none();
        if self.is_stuck() || slots.any(is_free) {
            return;
        }
        for next in self.shared.hub.reactor.accept_pending() {
            match self.shared.connection(next) {
                Some(connection) if page.may_be_asked(&connection) => self.progress_without_python(connection, asked),
                Some(connection) => connection.park(),
                None => {}
            }
        }
    }

    /// Receives what is there. A request that could start waits for a thread, unless it needs none.
    fn progress_without_python(&self, mut connection: Box<Connection>, asked: &mut Vec<Connection>) {
        match connection.progress() {
            Step::Park => connection.park(),
            Step::Serve(begin) if self.shared.asks_for_status(&connection, begin) => asked.push(*connection),
            Step::Serve(_) => {
                connection.park();
                // A thread may have gone to sleep meanwhile.
                self.shared.hub.reactor.wake();
            }
            Step::Close => {}
        }
    }
}
