//! A worker's watchdog: a thread without Python that acts when those with Python can't. It never waits for the
//! GIL itself, and one second at most for somebody who does.
//!
//! It ends connections whose time is over, answers requests that run too long (SPEC E4), and management records while
//! every thread is busy (SPEC A8), and obeys the leader: a byte means stop, end of file means that the leader is gone.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use pool::log::escape_bytes;
use pool::own::Own;
use pool::scoreboard::now_ms;
use pool::settings::Entry;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process, kill_process_group};

use crate::access::Access;
use crate::connection::{Connection, Step};
use crate::ffi;
use crate::interrupt::{PYTHON_WAIT, interrupt, kill, report};
use crate::reactor::Reactor;
use crate::request_id::RequestId;
use crate::thread::{Shared, Station, refuse, request_name};
use crate::wsgi::reject::{self, Rejection};
use crate::wsgi::respond::Outcome;

/// How often it looks while something is to be watched. Timeouts are late by up to this.
const TICK: Duration = Duration::from_millis(250);
/// The same while the worker drains: its last connections should not hold it up.
const DRAIN_TICK: Duration = Duration::from_millis(20);
/// Asks faulthandler for all threads' stacks. Linux itself never sends it, and applications don't know it.
pub const STACK_SIGNAL: Signal = Signal::STKFLT;
/// How long faulthandler's stacks may take to appear.
const STACK_WAIT: Duration = Duration::from_millis(200);

/// The byte by which a leader sends a worker home. Any other one means `Stop`, too: where a web server is the leader, it is
/// a signal's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Farewell {
    /// Close idle connections, finish running requests, end.
    Stop = b'S',
    /// The same, but give connections to those that stay.
    Retire = b'R',
}

pub struct Watchdog {
    shared: Arc<Shared>,
    link: Own<UnixStream>,
    /// Where faulthandler writes.
    stacks: File,
    /// By thread: the request that was timed out last, by its start.
    timed_out: Vec<Option<u64>>,
    /// What the reactor had given to threads at the last tick.
    taken: u64,
    /// Without a leader: when what still runs is cut.
    stop_at: Option<Instant>,
    /// Numbers for requests that no thread has had.
    requests: RequestId,
}

impl Watchdog {
    pub fn new(shared: &Arc<Shared>, link: Own<UnixStream>, stacks: File) -> Self {
        Self {
            shared: Arc::clone(shared),
            link,
            stacks,
            timed_out: vec![None; shared.stations.len()],
            taken: 0,
            stop_at: None,
            // Behind those of the threads.
            requests: RequestId::new(shared.stations.len()),
        }
    }

    /// Whether there is no leader: then the end of this process is its own business.
    fn is_alone(&self) -> bool {
        self.shared.settings.entry != Entry::Pool
    }

    /// Never returns: it watches until the process ends.
    pub fn run(mut self) {
        loop {
            let timeout = self.timeout();
            let timeout = timeout.map(|timeout| Timespec {
                tv_sec: timeout.as_secs() as i64,
                tv_nsec: timeout.subsec_nanos().into(),
            });
            let mut fds = [
                PollFd::new(&self.link, PollFlags::IN),
                PollFd::new(&self.shared.bell, PollFlags::IN),
            ];
            // Only EINTR is possible; then nothing is ready and the next round tells.
            let _ = poll(&mut fds, timeout.as_ref());
            let link_ready = !fds[0].revents().is_empty();
            self.shared.bell.wake_up();
            if link_ready {
                self.obey();
            }
            self.tick();
        }
    }

    /// How long it may sleep: for ever if nothing runs and nobody is connected.
    fn timeout(&self) -> Option<Duration> {
        let reactor = &self.shared.hub.reactor;
        if reactor.draining() {
            return Some(DRAIN_TICK);
        }
        self.shared.bell.fall_asleep();
        if self.anything_to_watch() {
            self.shared.bell.wake_up();
            return Some(TICK);
        }
        None
    }

    fn anything_to_watch(&self) -> bool {
        self.shared.hub.reactor.needs_watching()
            || pool::log::is_owing()
            || self
                .shared
                .stations
                .iter()
                .any(|station| self.shared.slot(station).busy_since_ms().is_some())
    }

    fn obey(&mut self) {
        let mut byte = [0];
        match (&*self.link).read(&mut byte) {
            Ok(1) => {
                self.shared.hub.reactor.drain(byte[0] == Farewell::Retire as u8);
                let timeout = self.shared.settings.limits.stop_timeout;
                if self.is_alone() && !timeout.is_zero() {
                    self.stop_at.get_or_insert(Instant::now() + timeout);
                }
            }
            // The leader is gone, and with it everybody who could want something of this process. Python can't be
            // asked to end: it may be busy for ever.
            _ => {
                tracing::error!("the leader is gone");
                // It leads its group (`leader::process`).
                let group = kill_process_group(getpid(), Signal::KILL);
                let killed = group.or_else(|_| kill_process(getpid(), Signal::KILL));
                tracing::error!(?killed, "this worker can't end itself");
            }
        }
    }

    fn tick(&mut self) {
        let reactor = &self.shared.hub.reactor;
        let now = now_ms();
        for connection in reactor.expired(now) {
            if connection.waits_for_body() {
                self.refuse_stalled(connection);
            } else {
                connection.log_expiry();
            }
        }
        if reactor.draining() {
            reactor.drain(reactor.retiring());
        }
        for index in 0..self.shared.stations.len() {
            self.check_time(index, now);
        }
        self.answer_management();
        pool::log::report();
        if self.is_alone() {
            self.end_if_due(now);
        }
    }

    /// The body has stopped coming, before a thread had the request.
    fn refuse_stalled(&self, connection: Box<Connection>) {
        self.requests.begin();
        let (method, path) = connection.method_and_path();
        let id = self.requests.current().unwrap_or_default();
        let request = format!("{id} {} {}", escape_bytes(method), escape_bytes(&path));
        Rejection::BodyTimeout.log(&request);
        let access = self.shared.settings.log.access.then(|| {
            let mut access = Access::begin(Some(id), connection.peer());
            access.asks_for(method, &path);
            access.comes_from(connection.param(b"REMOTE_ADDR"));
            access
        });
        let (status, bytes) = refuse(connection, &Rejection::BodyTimeout);
        if let Some(access) = access {
            access.log(status, bytes, Outcome::Refused);
        }
        self.requests.end();
    }

    /// Ends this process where a leader would kill it.
    fn end_if_due(&self, now: u64) {
        if self.stop_at.is_some_and(|stop_at| Instant::now() >= stop_at) {
            for station in &self.shared.stations {
                if self.shared.slot(station).busy_since_ms().is_some() {
                    let request = request_name(&self.shared, station);
                    tracing::error!(request, "cut: it still ran at the end of --stop-timeout");
                }
            }
            ffi::exit_now(1);
        }
        let limits = &self.shared.settings.limits;
        let longest = (limits.request_timeout + limits.kill_timeout).as_millis() as u64;
        for (station, timed_out) in self.shared.stations.iter().zip(&self.timed_out) {
            let since = self.shared.slot(station).busy_since_ms();
            if since.is_some_and(|since| *timed_out == Some(since) && now.saturating_sub(since) >= longest) {
                let request = request_name(&self.shared, station);
                kill(&request);
            }
        }
    }

    /// No thread has taken anything since the last tick: all are busy, or can't have the GIL. What connections ask of
    /// the gateway itself is answered here, and what they send is received. Requests wait for a thread.
    fn answer_management(&mut self) {
        let reactor = &self.shared.hub.reactor;
        for station in &self.shared.stations {
            if self.shared.slot(station).busy_since_ms().is_some() {
                station.exchange.receive_meanwhile();
            }
        }
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
            progress_without_python(reactor, connection);
        }
        // Another worker may have a free thread for a connection in the backlog, or this one's successor, if it is going
        // to be killed for a request that does not end.
        if self.shared.settings.workers == 1 && !self.is_stuck() {
            for next in reactor.accept_pending() {
                if let Some(connection) = self.shared.connection(next) {
                    progress_without_python(reactor, connection);
                }
            }
        }
    }

    /// Whether a request is running on although its time is over.
    fn is_stuck(&self) -> bool {
        let mut stations = self.shared.stations.iter().zip(&self.timed_out);
        stations
            .any(|(station, timed_out)| timed_out.is_some() && self.shared.slot(station).busy_since_ms() == *timed_out)
    }

    fn check_time(&mut self, index: usize, now: u64) {
        let limit = self.shared.settings.limits.request_timeout.as_millis() as u64;
        let station = &self.shared.stations[index];
        let Some(since) = self.shared.slot(station).busy_since_ms() else {
            return;
        };
        if limit == 0 || now.saturating_sub(since) < limit || self.timed_out[index] == Some(since) {
            return;
        }
        // The next request may have begun since.
        let serial = station.exchange.serial();
        if self.shared.slot(station).busy_since_ms() != Some(since) {
            return;
        }
        self.timed_out[index] = Some(since);
        let request = request_name(&self.shared, station);
        let page = reject::page(reject::TIMED_OUT);
        let answered = station.exchange.take_over(serial, |is_head| page.answer(is_head));
        let stack = match interrupt_station(&self.shared, index, since).recv_timeout(PYTHON_WAIT) {
            Ok(stack) => stack,
            Err(RecvTimeoutError::Timeout) => self.stack_without_python(station),
            Err(RecvTimeoutError::Disconnected) => String::new(),
        };
        report(&request, answered, &stack);
        station.exchange.end_sending(serial);
        self.shared.hub.reactor.wake();
    }

    /// What the thread is doing in Python, by faulthandler, which needs no GIL. Only while somebody holds it for long:
    /// faulthandler reads the frames of all threads as they lie in memory, and one that runs meanwhile may free what it
    /// reads. Measured: that crashed the process in one of a hundred time-outs, with three busy threads beside.
    fn stack_without_python(&self, station: &Station) -> String {
        let ident = format!("{:x} ", station.ident.load(Ordering::Relaxed));
        if self.stacks.set_len(0).is_err() || kill_process(getpid(), STACK_SIGNAL).is_err() {
            return String::new();
        }
        let deadline = Instant::now() + STACK_WAIT;
        loop {
            let mut text = vec![0; 64 * 1024];
            let length = self.stacks.read_at(&mut text, 0).unwrap_or(0);
            let text = String::from_utf8_lossy(&text[..length]).into_owned();
            let mine = text
                .split("\n\n")
                .find(|block| block.lines().next().is_some_and(|line| line.contains(&ident)));
            match mine {
                // The main thread's block comes last: once it is there, all is.
                Some(block) if text.ends_with('\n') => return block.to_owned(),
                _ if Instant::now() >= deadline => return text,
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// Raises RequestTimeout in a thread that has had a request since `since`, if it still has; its stack before that.
fn interrupt_station(shared: &Arc<Shared>, index: usize, since: u64) -> Receiver<String> {
    let (asking, raising) = (Arc::clone(shared), Arc::clone(shared));
    interrupt(
        shared.stations[index].ident.load(Ordering::Relaxed),
        move || asking.slot(&asking.stations[index]).busy_since_ms() == Some(since),
        move || raising.stations[index].interrupted.store(true, Ordering::Relaxed),
    )
}

/// Receives what is there. A request that could start waits for a thread.
fn progress_without_python(reactor: &Reactor<Connection>, mut connection: Box<Connection>) {
    match connection.progress() {
        Step::Park => connection.park(),
        Step::Serve(_) => {
            connection.park();
            // A thread may have gone to sleep meanwhile.
            reactor.wake();
        }
        Step::Close => {}
    }
}
