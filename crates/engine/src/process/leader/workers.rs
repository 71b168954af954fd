//! The leader's workers: forking, watching and replacing them.

mod load;
mod manage;
mod stuck;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use contract::own::Own;
use contract::scoreboard::{Cause, Scoreboard, Seat, Slot, now_ms};
use contract::settings::Size;
use contract::wait::is_ready;
use pyo3::prelude::*;
use rustix::event::PollFlags;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal, setpgid};
use settings::sections::{Limits, Recycle};

use super::recycling::Recycling;
use super::size::Sizing;
use super::vacancies::Vacancies;
use super::watched::{Death, Worker};
use crate::base::ffi;
use crate::base::forked;
use crate::base::printing;
use crate::process::interrupt::log_cut_off;
use crate::process::watchdog::Farewell;
use crate::process::worker;

pub struct Workers {
    /// The place of each worker on the scoreboard, by number.
    seats: Vec<Option<Worker>>,
    vacancies: Vacancies,
    sizing: Sizing,
    /// When it was looked at what they use of processors.
    used_at: Instant,
    recycling: Recycling,
    /// Since when a worker is being replaced that works.
    replacing_since: Option<Instant>,
    /// When the next one may be.
    replace_at: Instant,
    threads: usize,
    scoreboard: Scoreboard,
    limits: Limits,
    /// The supervisor has written something.
    pub control_ready: bool,
    /// When workers are looked at next.
    look_at: Instant,
    /// When it is noted next how much there is to do.
    load_at: Instant,
}

/// The two sides of a fork.
pub enum Forked {
    Parent,
    /// The new worker's end of its link to the leader.
    Child(Own<UnixStream>),
}

/// How long a worker that is given up for not being ready may take to say what it is doing.
const LAST_STACK: Duration = Duration::from_secs(1);
/// How often it is looked whether workers run: one that is found stopped so many times in a row is killed. Counting, not
/// measuring, lets a machine or a container sleep.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS: u32 = 5;

impl Workers {
    pub fn new(range: Size, threads: usize, scoreboard: Scoreboard, limits: Limits, recycle: Recycle) -> Self {
        let now = Instant::now();
        let sizing = Sizing::new(range, threads, now);
        Self {
            seats: (0..scoreboard.slots().len() / threads).map(|_| None).collect(),
            vacancies: Vacancies::new(sizing.size(), now),
            sizing,
            used_at: now,
            recycling: Recycling::new(recycle, now),
            replacing_since: None,
            replace_at: now,
            threads,
            scoreboard,
            limits,
            control_ready: false,
            look_at: now + LOOK,
            load_at: now,
        }
    }

    /// A seat for which a worker is to be forked now.
    pub fn due(&self) -> Option<usize> {
        let is_due = self.vacancies.next().is_some_and(|due| due <= Instant::now());
        is_due.then(|| self.free_seat()).flatten()
    }

    pub fn next_due(&self) -> Option<Instant> {
        let replace_at = (self.replacing_since.is_none() && self.is_any_enough()).then_some(self.replace_at);
        let fork_at = self.free_seat().and_then(|_| self.vacancies.next());
        [replace_at, fork_at].into_iter().flatten().min()
    }

    fn is_any_enough(&self) -> bool {
        self.staying().any(|worker| worker.enough.is_some())
    }

    fn staying(&self) -> impl Iterator<Item = &Worker> {
        self.seats.iter().flatten().filter(|worker| worker.stays())
    }

    fn requests_of(&self, index: usize, pid: i32) -> u64 {
        self.slots_of(index, pid).map(|(_, slot)| slot.requests()).sum()
    }

    /// Where it stands how the worker in a seat is.
    fn seat(&self, index: usize) -> &Seat {
        &self.scoreboard.slots()[index * self.threads].seat
    }

    /// Writes how far workers are, for who looks from outside.
    pub fn show_phases(&self) {
        for (index, worker) in self.seats.iter().enumerate() {
            if let Some(worker) = worker {
                self.seat(index).set(worker.phase());
            }
        }
    }

    fn free_seat(&self) -> Option<usize> {
        self.seats.iter().position(Option::is_none)
    }

    /// Forks the worker for a seat, through CPython's own hooks.
    pub fn fork(&mut self, py: Python<'_>, index: usize) -> PyResult<Forked> {
        let (ours, theirs) = UnixStream::pair()?;
        let read_ours = ours.try_clone()?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        rustix::io::ioctl_fionbio(&reader, true).map_err(io::Error::from)?;
        let leader = getpid();
        printing::flush(py)?;
        // What the application forks in its hooks is its own.
        let forked = ffi::fork(py, |fork| forked::own_fork(fork));
        if getpid() != leader {
            if let Err(error) = self.become_worker(&writer, leader) {
                worker::stillborn(&error);
            }
            return Ok(Forked::Child(Own::new(theirs)));
        }
        let Some(pid) = Pid::from_raw(forked?) else {
            return Err(io::Error::other("a fork without a number").into());
        };
        self.seats[index] = Some(Worker::new(pid, ours, read_ours, reader)?);
        self.seat(index).take(pid.as_raw_nonzero().get(), now_ms());
        self.vacancies.fill();
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
        self.seats.iter().flatten().flat_map(Worker::fds)
    }

    pub fn forward_output(&mut self) {
        self.seats.iter_mut().flatten().for_each(Worker::forward_output);
    }

    /// Reads what workers say and collects those that ended.
    pub fn reap(&mut self) -> Vec<Death> {
        let mut deaths = Vec::new();
        for index in 0..self.seats.len() {
            let Some(mut death) = self.seats[index].as_mut().and_then(|worker| worker.ending(index)) else {
                continue;
            };
            self.seats[index] = None;
            self.seat(index).leave();
            death.life.served = self.requests_of(index, death.pid) > 0;
            death.life.was_last = self.staying().next().is_none();
            deaths.push(death);
        }
        deaths
    }

    /// One line for the end, and one for each request that it cost.
    pub fn log_death(&self, death: &Death) {
        let Death { pid, how, .. } = death;
        for (index, slot) in self.slots_of(death.seat, *pid) {
            if slot.busy_since_ms().is_some() {
                tracing::error!(
                    worker = pid,
                    request = self.request_name(index),
                    "a request died with its worker, which {how}"
                );
                slot.count_lost();
            }
            slot.assign(0);
        }
        if !death.is_expected && !death.was_killed {
            self.scoreboard.count_replaced(Cause::Died);
        }
        match &death.reason {
            _ if death.is_expected => tracing::debug!(worker = pid, "a worker has stopped"),
            Some(reason) => {
                let traceback = tracing::field::display(contract::log::block(&death.detail));
                tracing::error!(worker = pid, traceback, "{reason}");
            }
            None => tracing::error!(worker = pid, "a worker {how}"),
        }
    }

    /// Plans the replacement of a worker that ended; returns the wait.
    pub fn schedule_replacement(&mut self, death: &Death) -> Duration {
        self.vacancies.replace(death.life, Instant::now())
    }

    /// Plans another try where forking has failed.
    pub fn schedule_retry(&mut self) {
        self.vacancies.postpone(Instant::now());
    }

    pub fn all_ready(&self) -> bool {
        self.vacancies.len() == 0 && self.seats.iter().flatten().all(|worker| worker.ready)
    }

    pub fn is_empty(&self) -> bool {
        self.seats.iter().all(Option::is_none)
    }

    /// Lets those that are ready take connections. Not one by one: what a generation that can't start has taken would end with it.
    pub fn begin(&mut self) {
        self.seats.iter_mut().flatten().for_each(Worker::begin);
    }

    /// Asks all workers to finish their requests and end.
    pub fn send_home(&mut self, farewell: Farewell) {
        self.vacancies.clear();
        self.seats
            .iter_mut()
            .flatten()
            .for_each(|worker| worker.send_home(farewell));
    }

    /// Ends those that are not ready, and forwards what they say they are doing.
    pub fn abort_unready(&mut self) {
        let late = self.seats.iter_mut().flatten().filter(|worker| !worker.ready);
        late.for_each(|worker| worker.process.abort());
        let unready = |worker: &&Worker| !worker.ready;
        let until = Instant::now() + LAST_STACK;
        let lives = |worker: &Worker| !is_ready(&worker.process, PollFlags::IN);
        while self.seats.iter().flatten().filter(unready).any(lives) && Instant::now() < until {
            self.forward_output();
            std::thread::sleep(LAST_STACK / 100);
        }
    }

    /// Kills all workers and waits for their end, which SIGKILL makes certain.
    pub fn kill(&mut self) {
        self.seats.iter_mut().flatten().for_each(|worker| worker.process.kill());
        self.seats.iter_mut().filter_map(Option::take).for_each(|mut worker| {
            worker.wait();
            super::forget(worker.pid());
        });
    }

    /// Kills all workers where a stop waits for nothing, and says what that cuts off.
    pub fn cut(&mut self) {
        for (worker, request) in self.running() {
            tracing::error!(worker, request, "cut off: the stop waits for no request");
        }
        self.kill();
        self.count_lost();
    }

    /// The same where requests have had their time.
    pub fn cut_late(&mut self) {
        self.log_late();
        self.kill();
        self.count_lost();
    }

    /// Requests that run: the worker, and what the log calls them.
    fn running(&self) -> Vec<(i32, String)> {
        let slots = self.scoreboard.slots().iter().enumerate();
        let running = slots.filter(|(_, slot)| slot.busy_since_ms().is_some());
        running
            .map(|(index, slot)| (slot.pid.load(Relaxed), self.request_name(index)))
            .collect()
    }

    fn count_lost(&self) {
        self.scoreboard.slots().iter().for_each(Slot::count_lost);
    }

    fn log_late(&self) {
        for (worker, request) in self.running() {
            log_cut_off(Some(worker), &request, &self.limits.stop_timeout);
        }
        for (index, worker) in (0..self.seats.len()).filter_map(|index| Some((index, self.living(index)?))) {
            let mut slots = self.slots_of(index, worker);
            if self.is_stopped(index) || !slots.any(|(_, slot)| slot.busy_since_ms().is_some()) {
                self.log_lingering(index, worker);
            }
        }
    }

    /// Kills workers that were retired, serve no more and yet don't end.
    pub fn kill_lingering(&mut self) {
        let now = Instant::now();
        for index in 0..self.seats.len() {
            let Some(pid) = self.living(index) else { continue };
            let serves = self.slots_of(index, pid).next().is_some();
            let Some(worker) = &mut self.seats[index] else { continue };
            if worker.stays() || serves {
                continue;
            }
            let since = *worker.served_until.get_or_insert(now);
            if self
                .limits
                .stop_timeout
                .deadline(since)
                .is_some_and(|deadline| now >= deadline)
            {
                self.log_lingering(index, pid);
                self.kill_one(index);
            }
        }
    }

    /// Says why a worker is killed that should have ended.
    fn log_lingering(&self, index: usize, worker: i32) {
        let stop_timeout = self.limits.stop_timeout.name();
        if self.is_stopped(index) {
            tracing::error!(
                worker,
                "cut off: a signal has stopped the worker, and nobody has continued it, so that it could not end within \
                 {stop_timeout}"
            );
            return;
        }
        tracing::error!(
            worker,
            "cut off: no request runs, but the application has kept the worker from ending within {stop_timeout} (a thread \
             that is no daemon, or a function of atexit)"
        );
    }

    fn is_stopped(&self, index: usize) -> bool {
        let worker = self.seats[index].as_ref();
        worker.is_some_and(|worker| worker.process.is_stopped())
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
            let worker = self.seats[index].as_mut();
            if worker.is_some_and(|worker| worker.process.times_stopped() >= LOOKS) {
                tracing::error!(
                    worker = pid,
                    "a worker is killed: a signal has stopped it, and nobody has continued it for {LOOKS} s"
                );
                self.scoreboard.count_replaced(Cause::Stopped);
                self.kill_one(index);
            }
        }
    }

    /// The worker in a seat, unless it has been killed.
    fn living(&self, index: usize) -> Option<i32> {
        let worker = self.seats[index].as_ref();
        worker.filter(|worker| !worker.process.is_killed()).map(Worker::pid)
    }

    fn kill_one(&mut self, index: usize) {
        if let Some(worker) = &mut self.seats[index] {
            worker.process.kill();
        }
    }

    /// Number, method and path of the request in a slot.
    fn request_name(&self, index: usize) -> String {
        self.scoreboard.slots()[index].request_name(index % self.threads)
    }

    /// Those of the worker in a seat, each with its place on the scoreboard.
    fn slots_of(&self, index: usize, pid: i32) -> impl Iterator<Item = (usize, &Slot)> {
        let first = index * self.threads;
        let slots = self.scoreboard.slots().iter().enumerate();
        let slots = slots.skip(first).take(self.threads);
        slots.filter(move |(_, slot)| slot.pid.load(Relaxed) == pid)
    }
}
