//! A worker as its leader has it: its process, what it says and what it prints.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use contract::control::{Messages, NotStarted};
use contract::own::Own;
use contract::process::Stat;
use contract::scoreboard::Phase;
use contract::settings::Settings;
use contract::wait::is_ready;
use rustix::event::PollFlags;
use rustix::process::Pid;

use super::process::Process;
use super::recycling::Enough;
use super::vacancies::Life;
use crate::base::output::Output;
use crate::process::watchdog::{BEGIN, Farewell, FromWorker};

pub struct Worker {
    pub process: Process,
    link: Own<UnixStream>,
    messages: Messages<Own<UnixStream>>,
    /// It may say something yet.
    speaks: bool,
    output: Option<Output>,
    pub born: Instant,
    /// It has loaded the application and can serve.
    pub ready: bool,
    failed: Option<(String, String)>,
    /// It has had as many requests as it should have.
    pub is_spent: bool,
    /// What it had had when its memory was looked at; `None`: it never was.
    pub weighed_at: Option<u64>,
    /// It had more memory than it should have from the beginning.
    pub is_large: bool,
    /// It is to be replaced, for this reason.
    pub enough: Option<Enough>,
    /// What it had used of processors when that was looked at.
    used: Option<Duration>,
    /// Was told that it may take connections.
    begun: bool,
    /// Was told to give its connections away and to end.
    retired: bool,
    /// When it was first seen without a serving thread.
    pub served_until: Option<Instant>,
}

/// A worker's end.
pub struct Death {
    pub seat: usize,
    pub pid: i32,
    /// `exited with code 3` or `was killed by signal 11 (SIGSEGV)`.
    pub how: String,
    /// What it had to say itself.
    pub reason: Option<String>,
    pub detail: String,
    /// It was asked to, and has obeyed.
    pub is_expected: bool,
    /// Nobody need take its place.
    pub was_retired: bool,
    /// The leader has killed it.
    pub was_killed: bool,
    pub was_ready: bool,
    /// It was ended for not being ready in time.
    pub was_late: bool,
    pub life: Life,
}

impl Death {
    /// Why it has never served; `None` if it could.
    pub fn not_started(&self, settings: &Settings) -> Option<NotStarted> {
        let reason = match &self.reason {
            _ if self.was_ready || self.was_retired => return None,
            Some(reason) => reason.clone(),
            None if self.was_late => settings.not_ready_in_time(None),
            None => format!("a worker {} while it started", self.how),
        };
        let detail = self.detail.clone();
        Some(NotStarted { reason, detail })
    }
}

impl Worker {
    /// For a child that was just forked. `read_link`: a duplicate of `link`, made before: there may be no room for one now.
    ///
    /// # Errors
    /// The system's; the process is ended.
    pub fn new(pid: Pid, link: UnixStream, read_link: UnixStream, output: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            process: Process::new(pid)?,
            messages: Messages::new(Own::new(read_link)),
            speaks: true,
            link: Own::new(link),
            output: Some(Output::new(output, pid.as_raw_nonzero().get())),
            born: Instant::now(),
            ready: false,
            failed: None,
            is_spent: false,
            weighed_at: None,
            is_large: false,
            enough: None,
            used: None,
            begun: false,
            retired: false,
            served_until: None,
        })
    }

    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// What there is to poll.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let link = self.speaks.then(|| self.messages.as_fd());
        let output = self.output.as_ref().map(AsFd::as_fd);
        [Some(self.process.as_fd()), link, output].into_iter().flatten()
    }

    pub fn forward_output(&mut self) {
        if self.output.as_mut().is_some_and(|output| !output.forward()) {
            self.output = None;
        }
    }

    /// Reads what it has said.
    pub fn listen(&mut self) {
        while self.speaks && (self.messages.has_buffered() || is_ready(&self.messages, PollFlags::IN)) {
            match self.messages.receive() {
                Ok(Some(FromWorker::Ready)) => self.ready = true,
                Ok(Some(FromWorker::Spent)) => self.is_spent = true,
                // It stands on the scoreboard, and somebody looks there now.
                Ok(Some(FromWorker::Full)) => {}
                Ok(Some(FromWorker::Failed { reason, detail })) => self.failed = Some((reason, detail)),
                // It ends, perhaps in the middle; its exit tells the rest.
                Ok(None) | Err(_) => self.speaks = false,
            }
        }
    }

    /// Whether it takes requests, and goes on to.
    pub fn serves(&self) -> bool {
        self.ready && !self.retired
    }

    /// Whether it serves or is going to.
    pub fn stays(&self) -> bool {
        !self.retired
    }

    pub fn phase(&self) -> Phase {
        match (self.retired, self.ready) {
            (true, _) => Phase::Retiring,
            (false, true) => Phase::Serving,
            (false, false) => Phase::Starting,
        }
    }

    /// Lets it take connections, if it is ready and does not yet.
    pub fn begin(&mut self) {
        if self.serves() && !std::mem::replace(&mut self.begun, true) {
            self.tell(BEGIN);
        }
    }

    /// Asks it to finish its requests and to end.
    pub fn send_home(&mut self, farewell: Farewell) {
        self.retired = true;
        self.tell(farewell as u8);
    }

    fn tell(&mut self, word: u8) {
        if let Err(error) = self.link.write_all(&[word]) {
            tracing::debug!(%error, "a worker is gone already");
        }
    }

    /// Its end, if that has come; `seat`: its own. What it has said and printed until then is heard.
    pub fn ending(&mut self, seat: usize) -> Option<Death> {
        let ending = self.process.ending();
        self.listen();
        let ending = ending?;
        self.last_words();
        let (reason, detail) = self.failed.take().map_or((None, String::new()), |(r, d)| (Some(r), d));
        Some(Death {
            seat,
            pid: self.pid(),
            how: ending.how,
            is_expected: self.retired && ending.clean,
            was_retired: self.retired,
            was_killed: self.process.is_killed(),
            was_ready: self.ready,
            was_late: self.process.is_aborted(),
            reason,
            detail,
            life: Life {
                lasted: self.born.elapsed(),
                served: false,
                was_last: false,
            },
        })
    }

    /// How much time of processors it has used since this was asked last.
    pub fn used(&mut self) -> Duration {
        let used = processor_time(self.pid());
        let before = std::mem::replace(&mut self.used, used);
        match (used, before) {
            (Some(used), Some(before)) => used.saturating_sub(before),
            _ => Duration::ZERO,
        }
    }

    /// Waits for the end of one that was killed.
    pub fn wait(&mut self) {
        self.process.wait();
        self.last_words();
    }

    fn last_words(&mut self) {
        if let Some(output) = &mut self.output {
            output.forward();
            output.end();
        }
    }
}

/// `None`: the system does not say.
fn processor_time(pid: i32) -> Option<Duration> {
    Stat::of(pid).ok()?.processor_time()
}
