//! The leader's workers: forking, watching and replacing them.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use contract::backoff::Backoff;
use contract::control::Messages;
use contract::own::Own;
use contract::scoreboard::{Scoreboard, Slot, now_ms};
use contract::wait::is_ready;
use pyo3::prelude::*;
use rustix::event::PollFlags;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal, setpgid};
use settings::sections::Limits;

use super::process::{Ending, Process};
use crate::base::forked;
use crate::base::output::Output;
use crate::base::{printing, request_id};
use crate::process::interrupt::{log_cut_off, log_stuck};
use crate::process::watchdog::Farewell;
use crate::process::worker::{self, FromWorker};

pub struct Workers {
    seats: Vec<Seat>,
    threads: usize,
    scoreboard: Scoreboard,
    limits: Limits,
    /// The supervisor has written something.
    pub control_ready: bool,
    /// When workers are looked at next.
    look_at: Instant,
}

/// The place of one worker in the pool.
struct Seat {
    worker: Option<Worker>,
    /// When a worker is to be forked for it; `None` while it has one.
    due: Option<Instant>,
    /// Waits before replacements of those that die before they have served.
    backoff: Backoff,
}

struct Worker {
    process: Process,
    link: Own<UnixStream>,
    messages: Messages<Own<UnixStream>>,
    output: Option<Output>,
    born: Instant,
    ready: bool,
    failed: Option<(String, String)>,
}

/// The two sides of a fork.
pub enum Forked {
    Parent,
    /// The new worker's end of its link to the leader.
    Child(Own<UnixStream>),
}

/// A worker's end.
pub struct Death {
    pub index: usize,
    pub pid: i32,
    /// `exited with code 3` or `was killed by signal 11 (SIGSEGV)`.
    pub how: String,
    /// What it had to say itself.
    pub reason: Option<String>,
    pub detail: String,
    clean: bool,
    lived: Duration,
    /// It has had a request.
    served: bool,
}

/// One that has served is replaced at once, but in one place not more often than this.
const SHORTEST_LIFE: Duration = Duration::from_millis(100);
/// A worker that lived so long was healthy: the next wait is the first again.
const HEALTHY_LIFE: Duration = Duration::from_secs(30);
/// How often it is looked whether workers run: one that is found stopped so many times in a row is killed. Counting, not
/// measuring, lets a machine or a container sleep.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS: u32 = 5;

impl Workers {
    pub fn new(count: usize, threads: usize, scoreboard: Scoreboard, limits: Limits) -> Self {
        let seat = || Seat {
            worker: None,
            due: Some(Instant::now()),
            backoff: Backoff::new(HEALTHY_LIFE),
        };
        Self {
            seats: (0..count).map(|_| seat()).collect(),
            threads,
            scoreboard,
            limits,
            control_ready: false,
            look_at: Instant::now() + LOOK,
        }
    }

    /// A seat for which a worker is to be forked now.
    pub fn due(&self) -> Option<usize> {
        let now = Instant::now();
        self.seats
            .iter()
            .position(|seat| seat.due.is_some_and(|due| due <= now))
    }

    pub fn next_due(&self) -> Option<Instant> {
        self.seats.iter().filter_map(|seat| seat.due).min()
    }

    /// Forks the worker for a seat, through CPython's own hooks.
    pub fn fork(&mut self, py: Python<'_>, index: usize) -> PyResult<Forked> {
        let (ours, theirs) = UnixStream::pair()?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        rustix::io::ioctl_fionbio(&reader, true).map_err(io::Error::from)?;
        let leader = getpid();
        printing::flush(py)?;
        let forked = forked::own_fork(|| py.import("os")?.call_method0("fork")?.extract());
        if getpid() != leader {
            if let Err(error) = self.become_worker(&writer, leader) {
                worker::stillborn(&error);
            }
            return Ok(Forked::Child(Own::new(theirs)));
        }
        let Some(pid) = Pid::from_raw(forked?) else {
            return Err(io::Error::other("a fork without a number").into());
        };
        let worker = Worker::new(pid, ours, reader)?;
        let seat = &mut self.seats[index];
        seat.due = None;
        seat.worker = Some(worker);
        Ok(Forked::Parent)
    }

    /// In the child: what belongs to the leader is closed, and standard output and error go to the leader.
    fn become_worker(&mut self, writer: &OwnedFd, leader: Pid) -> io::Result<()> {
        self.seats.clear();
        // What the application starts ends with this process, unless it leaves the group.
        setpgid(None, None)?;
        // Until the watchdog runs, importing the application may take for ever.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(leader) {
            return Err(io::Error::other("the leader is gone"));
        }
        rustix::stdio::dup2_stdout(writer)?;
        rustix::stdio::dup2_stderr(writer)?;
        // Children of the application write there too.
        fcntl_setfd(io::stdout(), FdFlags::empty())?;
        fcntl_setfd(io::stderr(), FdFlags::empty())?;
        // A name for ps and top; nothing depends on it.
        let _ = rustix::thread::set_name(c"wsgi-fpm worker");
        Ok(())
    }

    /// What there is to poll.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.seats
            .iter()
            .filter_map(|seat| seat.worker.as_ref())
            .flat_map(|worker| {
                // Once the worker has spoken, only its end is of interest.
                let link = (!worker.ready && worker.failed.is_none()).then(|| worker.messages.as_fd());
                [
                    Some(worker.process.as_fd()),
                    link,
                    worker.output.as_ref().map(AsFd::as_fd),
                ]
                .into_iter()
                .flatten()
            })
    }

    pub fn forward_output(&mut self) {
        for worker in self.seats.iter_mut().filter_map(|seat| seat.worker.as_mut()) {
            if worker.output.as_mut().is_some_and(|output| !output.forward()) {
                worker.output = None;
            }
        }
    }

    /// Reads what workers say and collects those that ended.
    pub fn reap(&mut self) -> Vec<Death> {
        let mut deaths = Vec::new();
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let Some(worker) = &mut seat.worker else { continue };
            let Some(Ending { how, clean }) = worker.process.ending() else {
                worker.listen();
                continue;
            };
            worker.listen();
            if let Some(output) = &mut worker.output {
                output.forward();
                output.end();
            }
            let (reason, detail) = worker
                .failed
                .take()
                .map_or((None, String::new()), |(r, d)| (Some(r), d));
            deaths.push(Death {
                index,
                pid: worker.process.pid(),
                how,
                reason,
                detail,
                clean,
                lived: worker.born.elapsed(),
                served: false,
            });
            seat.worker = None;
        }
        for death in &mut deaths {
            death.served = self.slots_of(death.pid).any(|(_, slot)| slot.serial() > 0);
        }
        deaths
    }

    /// One line for the end, and one for each request that it cost.
    pub fn log_death(&self, death: &Death, expected: bool) {
        let Death { pid, how, .. } = death;
        for (index, slot) in self.slots_of(*pid) {
            if slot.busy_since_ms().is_some() {
                tracing::error!(
                    worker = pid,
                    request = %self.request_name(index),
                    "a request died with its worker, which {how}"
                );
            }
            slot.assign(0);
        }
        match &death.reason {
            _ if expected && death.clean => tracing::debug!(worker = pid, "a worker has stopped"),
            Some(reason) => {
                let traceback = tracing::field::display(contract::log::block(&death.detail));
                tracing::error!(worker = pid, traceback, "{reason}");
            }
            None => tracing::error!(worker = pid, "a worker {how}"),
        }
    }

    /// Plans the replacement of a worker that ended; returns the wait.
    pub fn schedule_replacement(&mut self, death: &Death) -> Duration {
        let seat = &mut self.seats[death.index];
        let wait = if death.served {
            seat.backoff.reset();
            SHORTEST_LIFE.saturating_sub(death.lived)
        } else {
            seat.backoff.after(death.lived)
        };
        seat.due = Some(Instant::now() + wait);
        wait
    }

    /// Plans another try where forking has failed.
    pub fn schedule_retry(&mut self, index: usize) {
        let seat = &mut self.seats[index];
        seat.due = Some(Instant::now() + seat.backoff.after(Duration::ZERO));
    }

    pub fn all_ready(&self) -> bool {
        self.seats
            .iter()
            .all(|seat| seat.worker.as_ref().is_some_and(|worker| worker.ready))
    }

    pub fn is_empty(&self) -> bool {
        self.seats.iter().all(|seat| seat.worker.is_none())
    }

    /// Asks all workers to finish their requests and end.
    pub fn send_home(&mut self, farewell: Farewell) {
        for seat in &mut self.seats {
            seat.due = None;
            if let Some(worker) = &mut seat.worker
                && let Err(error) = worker.link.write_all(&[farewell as u8])
            {
                tracing::debug!(%error, "a worker is gone already");
            }
        }
    }

    /// Kills all workers and waits for their end, which SIGKILL makes certain.
    pub fn kill(&mut self) {
        for worker in self.seats.iter_mut().filter_map(|seat| seat.worker.as_mut()) {
            worker.process.kill();
        }
        for mut worker in self.seats.iter_mut().filter_map(|seat| seat.worker.take()) {
            worker.process.wait();
            if let Some(output) = &mut worker.output {
                output.forward();
                output.end();
            }
        }
    }

    /// Says what a stop cuts off.
    pub fn log_cut(&self) {
        let stop_timeout = self.limits.stop_timeout.name();
        for (index, slot) in self.scoreboard.slots().iter().enumerate() {
            if slot.busy_since_ms().is_some() {
                let (worker, request) = (slot.pid.load(Relaxed), self.request_name(index));
                log_cut_off(Some(worker), &request, &self.limits.stop_timeout);
            }
        }
        for worker in (0..self.seats.len()).filter_map(|index| self.living(index)) {
            if !self.slots_of(worker).any(|(_, slot)| slot.busy_since_ms().is_some()) {
                tracing::error!(
                    worker,
                    "cut off: no request runs, but the application has kept the worker from ending within {stop_timeout} \
                     (a thread that is no daemon, or a function of atexit)"
                );
            }
        }
    }

    /// Kills workers with a request that has outlived its limits: one that never lets go of the GIL can't be stopped
    /// from inside.
    pub fn kill_stuck(&mut self) {
        let longest = self.limits.request_timeout.and_then(*self.limits.kill_timeout);
        let now = now_ms();
        for index in 0..self.seats.len() {
            let Some(pid) = self.living(index) else { continue };
            let stuck = |(_, slot): &(usize, &Slot)| {
                slot.busy_since_ms()
                    .is_some_and(|since| longest.is_reached_after(now.saturating_sub(since)))
            };
            let Some((slot, _)) = self.slots_of(pid).find(stuck) else {
                continue;
            };
            let request = self.request_name(slot);
            log_stuck(
                Some(pid),
                &request,
                &self.limits.request_timeout,
                &self.limits.kill_timeout,
            );
            self.kill_one(index);
        }
    }

    /// Kills workers that somebody has stopped (SIGSTOP) and not continued: nobody else would get their connections, and
    /// the kernel may wake them for new ones.
    pub fn kill_stopped(&mut self) {
        let now = Instant::now();
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK;
        for index in 0..self.seats.len() {
            let Some(pid) = self.living(index) else { continue };
            let worker = self.seats[index].worker.as_mut();
            if worker.is_some_and(|worker| worker.process.times_stopped() >= LOOKS) {
                tracing::error!(
                    worker = pid,
                    "a worker is killed: a signal has stopped it, and nobody has continued it for {LOOKS} s"
                );
                self.kill_one(index);
            }
        }
    }

    /// The worker in a seat, unless it has been killed.
    fn living(&self, index: usize) -> Option<i32> {
        let worker = self.seats[index].worker.as_ref();
        let worker = worker.filter(|worker| !worker.process.is_killed());
        worker.map(|worker| worker.process.pid())
    }

    fn kill_one(&mut self, index: usize) {
        if let Some(worker) = &mut self.seats[index].worker {
            worker.process.kill();
        }
    }

    /// Number, method and path of the request in a slot.
    fn request_name(&self, index: usize) -> String {
        let slot = &self.scoreboard.slots()[index];
        let id = request_id::name(slot.pid.load(Relaxed), index % self.threads, slot.serial());
        format!("{id} {}", slot.request_line())
    }

    /// Each with its place on the scoreboard.
    fn slots_of(&self, pid: i32) -> impl Iterator<Item = (usize, &Slot)> {
        debug_assert_eq!(self.scoreboard.slots().len() % self.threads, 0);
        self.scoreboard
            .slots()
            .iter()
            .enumerate()
            .filter(move |(_, slot)| slot.pid.load(Relaxed) == pid)
    }
}

impl Worker {
    fn new(pid: Pid, link: UnixStream, output: OwnedFd) -> io::Result<Self> {
        // Both before the process: without them nobody would look after it.
        let messages = Messages::new(Own::new(link.try_clone()?));
        Ok(Self {
            process: Process::new(pid)?,
            messages,
            link: Own::new(link),
            output: Some(Output::new(output, pid.as_raw_nonzero().get())),
            born: Instant::now(),
            ready: false,
            failed: None,
        })
    }

    /// Reads its one message, if it has come.
    fn listen(&mut self) {
        if self.ready || self.failed.is_some() || !is_ready(&self.messages, PollFlags::IN) {
            return;
        }
        match self.messages.receive() {
            Ok(Some(FromWorker::Ready)) => self.ready = true,
            Ok(Some(FromWorker::Failed { reason, detail })) => self.failed = Some((reason, detail)),
            // It ended in the middle; its exit tells the rest.
            Ok(None) | Err(_) => {}
        }
    }
}
