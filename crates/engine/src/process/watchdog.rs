//! A worker's watchdog: a thread without Python that acts when those with Python can't. It waits for nobody: not for the
//! GIL, not for a disk.
//!
//! It answers requests that run too long (SPEC E4), and obeys the leader: a byte means begin or stop, end of file means that the
//! leader is gone.

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use contract::own::Own;
use contract::scoreboard::now_ms;
use contract::settings::Entry;
use contract::wait::timespec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_type;
use rustix::process::{Signal, getpid, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::base::{ffi, lost};
use crate::process::asked::Questions;
use crate::process::interrupt::{Cause, log_cut_off, log_stuck};
use crate::process::overdue::Overdue;
use crate::process::slow::Slow;
use crate::process::stacks::Stacks;
use crate::process::thread::{Shared, request_name};

/// How often it looks while something is to be watched. Timeouts are late by up to this.
const TICK: Duration = Duration::from_millis(250);
/// The same while the worker drains, whose last connections should not hold it up, or a request gets its end.
const SHORT_TICK: Duration = Duration::from_millis(20);

/// What an application may close that is the watchdog's, for the log.
const LINK: &str = "the link to the leader, or what wakes the watchdog";

/// The byte by which a leader lets a worker take connections.
pub const BEGIN: u8 = b'B';

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
    stacks: Stacks,
    questions: Questions,
    /// Has the receiver look.
    receiver: SyncSender<()>,
    /// By thread: the request that was slow last.
    slow: Vec<Option<Slow>>,
    /// By thread: the request that was over its time last.
    overdue: Vec<Option<Overdue>>,
    /// Without a leader: when what still runs is cut.
    stop_at: Option<Instant>,
    /// The leader knows that this worker has had its requests.
    has_told: bool,
    /// Since when all threads were busy at each look.
    busy_since: Option<Instant>,
    /// What the reactor had given to threads at the last look.
    taken: u64,
    looked_at: Instant,
    /// None had taken anything by then, and something waited.
    is_stalled: bool,
}

/// What a worker tells its leader.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// It has loaded the application and serves.
    Ready,
    Failed {
        reason: String,
        detail: String,
    },
    /// It has had as many requests as it should have.
    Spent,
    /// It can't take what waits for it any more; the scoreboard says for how long that holds.
    Full,
}

impl Watchdog {
    /// `stacks`: where faulthandler writes; `receiver`: see [`crate::process::receiver::Receiver::start`].
    pub fn new(
        shared: &Arc<Shared>,
        link: Own<UnixStream>,
        stacks: File,
        receiver: SyncSender<()>,
        questions: Questions,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            link,
            stacks: Stacks::new(stacks),
            questions,
            receiver,
            slow: shared.stations.iter().map(|_| None).collect(),
            overdue: shared.stations.iter().map(|_| None).collect(),
            stop_at: None,
            has_told: false,
            busy_since: None,
            taken: 0,
            looked_at: Instant::now(),
            is_stalled: false,
        }
    }

    /// Whether there is no leader: then the end of this process is its own business.
    fn is_alone(&self) -> bool {
        self.shared.settings.entry != Entry::Pool
    }

    /// Never returns: it watches until the process ends.
    pub fn run(mut self) {
        loop {
            let timeout = self.timeout().map(timespec);
            let mut fds = vec![
                PollFd::new(&self.link, PollFlags::IN),
                PollFd::new(&self.shared.bell, PollFlags::IN),
            ];
            let questions = self.questions.fd();
            fds.extend(questions.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            // Only EINTR is possible; then nothing is ready and the next round tells.
            let _ = poll(&mut fds, timeout.as_ref());
            if fds.iter().any(|fd| fd.revents().contains(PollFlags::NVAL)) {
                lost::give_up(LINK, Errno::BADF);
            }
            let link_ready = !fds[0].revents().is_empty();
            let is_asked = fds.get(2).is_some_and(|fd| !fd.revents().is_empty());
            drop(fds);
            self.shared.bell.wake_up();
            if link_ready {
                self.obey();
            }
            if is_asked {
                self.questions.listen(&mut self.overdue);
            }
            self.tick();
        }
    }

    /// How long it may sleep: for ever if nothing runs and nobody is connected.
    fn timeout(&self) -> Option<Duration> {
        let reactor = &self.shared.hub.reactor;
        let is_urgent = self.overdue.iter().flatten().any(Overdue::is_urgent);
        let is_urgent = is_urgent || self.questions.is_urgent();
        if reactor.draining() || is_urgent || self.slow.iter().flatten().any(Slow::is_urgent) {
            return Some(SHORT_TICK);
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
            || contract::log::is_owing()
            // What holds no longer is to be taken back.
            || self.shared.slot(&self.shared.stations[0]).is_full()
            || self
                .shared
                .stations
                .iter()
                .any(|station| self.shared.slot(station).busy_since_ms().is_some())
    }

    fn obey(&mut self) {
        let mut byte = [0];
        match (&*self.link).read(&mut byte) {
            Ok(1) if byte[0] == BEGIN && !self.is_alone() => self.shared.hub.reactor.begin(),
            Ok(1) => {
                self.drain(byte[0] == Farewell::Retire as u8);
                if self.is_alone() && self.stop_at.is_none() {
                    self.stop_at = self.shared.settings.limits.stop_timeout.deadline(Instant::now());
                }
            }
            // The leader is gone, and with it everybody who could want something of this process. Python can't be
            // asked to end: it may be busy for ever.
            _ => {
                if let Err(error) = socket_type(&self.link) {
                    lost::give_up(LINK, error);
                }
                // Whoever has ended it says so, and the supervisor what that has cost.
                tracing::debug!(worker = std::process::id(), "the leader is gone, and this worker ends");
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
        if reactor.draining() {
            self.drain(reactor.retiring());
        }
        for index in 0..self.shared.stations.len() {
            self.check_time(index, now);
        }
        self.questions.go_on(&mut self.stacks, &self.overdue);
        // It may be looking already, or be held up.
        let _ = self.receiver.try_send(());
        contract::log::report();
        if self.is_alone() {
            self.end_if_due(now);
            return;
        }
        if self.shared.quota.is_spent() && !std::mem::replace(&mut self.has_told, true) {
            self.tell(&FromWorker::Spent);
        }
        // Where the number of workers is fixed, too: somebody may give it a range.
        self.note_load();
    }

    /// Whether requests wait for this worker, or the next one would: all of its threads have been busy for a tick, or none took
    /// anything for two although something waits, because somebody holds the GIL.
    fn note_load(&mut self) {
        let now = Instant::now();
        let reactor = &self.shared.hub.reactor;
        let stations = &self.shared.stations;
        let all_busy = stations
            .iter()
            .all(|station| self.shared.slot(station).busy_since_ms().is_some());
        let busy_since = self.busy_since.get_or_insert(now);
        if !all_busy {
            self.busy_since = None;
        } else if now - *busy_since >= TICK {
            self.set_full(true);
            return;
        }
        if now - self.looked_at < TICK {
            return;
        }
        self.looked_at = now;
        let took_nothing = std::mem::replace(&mut self.taken, reactor.taken()) == reactor.taken();
        let is_stalled = took_nothing && reactor.has_arrivals();
        let was_stalled = std::mem::replace(&mut self.is_stalled, is_stalled);
        if !all_busy {
            self.set_full(is_stalled && was_stalled);
        }
    }

    fn set_full(&self, full: bool) {
        let first = &self.shared.stations[0];
        if self.shared.slot(first).set_full(full) && full {
            self.tell(&FromWorker::Full);
        }
    }

    fn tell(&self, message: &FromWorker) {
        // The leader may be gone; that is noticed elsewhere.
        let _ = contract::control::send(&self.link, message);
    }

    /// Takes leave of connections. If the worker stops, nobody else would take what the kernel has accepted already: it is
    /// served. The backlog of a listener that was inherited stays with it, for whoever serves it next.
    fn drain(&self, retiring: bool) {
        let reactor = &self.shared.hub.reactor;
        let settings = &self.shared.settings;
        let is_own = |number| settings.entry == Entry::Pool && !settings.inherited_listeners.contains(&number);
        reactor.drain(retiring, is_own);
        if !retiring {
            for next in reactor.take_backlog() {
                if let Some(connection) = self.shared.connection(next) {
                    connection.park();
                }
            }
            reactor.wake();
        }
    }

    fn check_time(&mut self, index: usize, now: u64) {
        let limits = &self.shared.settings.limits;
        let (slow_request, limit) = (*limits.slow_request, *limits.request_timeout);
        let since = self.shared.slot(&self.shared.stations[index]).busy_since_ms();
        let is_slow = |since: &u64| slow_request.is_reached_after(now.saturating_sub(*since));
        let slow = &mut self.slow[index];
        if let Some(since) = since.filter(is_slow)
            && slow.as_ref().is_none_or(|known| known.since != since)
        {
            *slow = Slow::new(&self.shared, index, since);
        }
        if let Some(slow) = slow {
            slow.go_on(&self.shared);
        }
        let is_over = |since: &u64| limit.is_reached_after(now.saturating_sub(*since));
        let overdue = &mut self.overdue[index];
        if let Some(since) = since.filter(is_over)
            && overdue
                .as_ref()
                .is_none_or(|known| known.since != since && !known.is_urgent())
        {
            let cause = Cause::Time(limits.request_timeout.clone());
            *overdue = Overdue::new(&self.shared, index, since, cause);
        }
        if let Some(overdue) = overdue {
            overdue.go_on(&self.shared, &mut self.stacks);
        }
    }

    /// Ends this process where a leader would kill it.
    fn end_if_due(&self, now: u64) {
        let limits = &self.shared.settings.limits;
        if self.stop_at.is_some_and(|stop_at| Instant::now() >= stop_at) {
            for station in &self.shared.stations {
                if self.shared.slot(station).busy_since_ms().is_some() {
                    let request = request_name(&self.shared, station);
                    log_cut_off(None, &request, &limits.stop_timeout);
                }
            }
            ffi::exit_now(1);
        }
        let longest = limits.request_timeout.and_then(*limits.kill_timeout);
        for (station, overdue) in self.shared.stations.iter().zip(&self.overdue) {
            let since = self.shared.slot(station).busy_since_ms();
            let is_known = |since: &u64| overdue.as_ref().is_some_and(|overdue| overdue.since == *since);
            if since
                .filter(is_known)
                .is_some_and(|since| longest.is_reached_after(now.saturating_sub(since)))
            {
                let request = request_name(&self.shared, station);
                log_stuck(None, &request, limits.request_timeout.name(), &limits.kill_timeout);
                ffi::exit_now(1);
            }
        }
    }
}
