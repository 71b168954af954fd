//! A worker's process as its leader has it: by a pidfd, never by a number that may be somebody else's by now.
//!
//! A worker leads a process group of its own, and what its application has started ends with it, unless that has left the
//! group. The dead worker keeps the group's number taken until it is reaped, so that no other group can be meant.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use contract::own::{Own, OwnFd};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, kill_process, kill_process_group,
    pidfd_open, pidfd_send_signal, setpgid, waitid, waitpid,
};

use crate::base::lost;

pub struct Process {
    pid: Pid,
    pidfd: OwnFd,
    /// It was sent SIGABRT.
    aborted: bool,
    /// It was sent SIGKILL.
    killed: bool,
    /// How often in a row it was found stopped.
    stopped: u32,
}

/// How a process has ended.
pub struct Ending {
    /// `exited with code 3`, `was killed by signal 11 (SIGSEGV)` or `was killed by its leader`.
    pub how: String,
    pub clean: bool,
}

impl Process {
    /// For a child that was just forked.
    ///
    /// # Errors
    /// The system's, if it has no pidfd to give; the child is ended.
    pub fn new(pid: Pid) -> io::Result<Self> {
        // The child does it too: whoever comes first. An error means that it has ended.
        let _ = setpgid(Some(pid), Some(pid));
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).inspect_err(|_| {
            // Nobody would ever look after it. Nobody has waited for it, so the number is still its own.
            let killed = kill_process(pid, Signal::KILL);
            let reaped = waitpid(Some(pid), WaitOptions::empty());
            tracing::debug!(?killed, ?reaped, "a worker was given up");
        })?;
        Ok(Self {
            pid,
            pidfd: Own::new(pidfd),
            aborted: false,
            killed: false,
            stopped: 0,
        })
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends SIGKILL, once.
    pub fn kill(&mut self) {
        if !std::mem::replace(&mut self.killed, true)
            && let Err(error) = pidfd_send_signal(&self.pidfd, Signal::KILL)
        {
            tracing::debug!(%error, "a worker is gone already");
        }
    }

    /// Has it end with the stacks of its threads on standard error; once.
    pub fn abort(&mut self) {
        if !std::mem::replace(&mut self.aborted, true)
            && let Err(error) = pidfd_send_signal(&self.pidfd, Signal::ABORT)
        {
            tracing::debug!(%error, "a worker is gone already");
        }
    }

    pub fn is_aborted(&self) -> bool {
        self.aborted
    }

    pub fn is_killed(&self) -> bool {
        self.killed
    }

    /// How it has ended, with its group; `None` while it lives.
    pub fn ending(&self) -> Option<Ending> {
        self.ended(WaitIdOptions::NOHANG)
    }

    /// Waits for its end.
    pub fn wait(&self) -> Ending {
        loop {
            if let Some(ending) = self.ended(WaitIdOptions::empty()) {
                return ending;
            }
        }
    }

    fn ended(&self, options: WaitIdOptions) -> Option<Ending> {
        let exited = options | WaitIdOptions::EXITED;
        match waitid(self.id(), exited | WaitIdOptions::NOWAIT) {
            Ok(Some(_)) => {}
            Ok(None) | Err(Errno::INTR) => return None,
            Err(error) => return Some(Ending::unknown(error)),
        }
        // An error means that nobody else is in the group.
        let _ = kill_process_group(self.pid, Signal::KILL);
        loop {
            match waitid(self.id(), exited) {
                Ok(Some(status)) => return Some(self.ending_of(&status)),
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) => return Some(Ending::unknown(error)),
            }
        }
    }

    /// By what this process has sent it, if it ended by that, and not by somebody else's signal.
    fn ending_of(&self, status: &WaitIdStatus) -> Ending {
        match status.terminating_signal() {
            Some(libc::SIGKILL) if self.killed => Ending::by_us("was killed by its leader"),
            Some(libc::SIGABRT) if self.aborted => Ending::by_us("was ended by its leader"),
            _ => Ending::of(status),
        }
    }

    /// Whether a signal has stopped it. A debugger stops it otherwise.
    pub fn is_stopped(&self) -> bool {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(self.id(), options), Ok(Some(_)))
    }

    /// How often in a row it was found stopped, this time included.
    pub fn times_stopped(&mut self) -> u32 {
        self.stopped = if self.is_stopped() { self.stopped + 1 } else { 0 };
        self.stopped
    }

    fn id(&self) -> WaitId<'_> {
        WaitId::PidFd(self.pidfd.as_fd())
    }
}

/// Readable when it has ended.
impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Ending {
    fn of(status: &WaitIdStatus) -> Self {
        let how = match (status.exit_status(), status.terminating_signal()) {
            (Some(lost::CODE), _) => format!(
                "exited with code {}: the application has closed descriptors of wsgi-fpm (look for os.closerange(), \
                 os.close() and libraries that start daemons)",
                lost::CODE
            ),
            (Some(code), _) => format!("exited with code {code}"),
            (_, Some(signal)) => format!("was killed by signal {signal}{}", signal_name(signal)),
            _ => "ended".into(),
        };
        Self {
            how,
            clean: status.exit_status() == Some(0),
        }
    }

    fn by_us(how: &str) -> Self {
        let how = how.to_owned();
        Self { how, clean: false }
    }

    fn unknown(error: Errno) -> Self {
        let how = match error {
            Errno::CHILD => "ended: something in the leader has reaped it, its status is unknown".to_owned(),
            error => format!("can't be waited for any more: {error}"),
        };
        Self { how, clean: false }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGKILL => " (SIGKILL: by hand, or out of memory)",
        libc::SIGTERM => " (SIGTERM)",
        _ => "",
    }
}
