//! A leader's process, by a descriptor (pidfd): a signal reaches it and nobody else, and whoever is its parent can wait for it,
//! whether it has started it or was handed on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use contract::wait::is_ready;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, pidfd_open, pidfd_send_signal,
    waitid, waitpid,
};
use tokio::io::unix::AsyncFd;

use crate::children::Ours;
use crate::readiness;

/// Killed when it is dropped before it has ended.
#[derive(Debug)]
pub struct Leader {
    pid: Pid,
    process: AsyncFd<OwnedFd>,
    has_ended: bool,
    _ours: Ours,
}

impl Leader {
    /// The child `pid` of this process, which nobody else waits for.
    ///
    /// # Errors
    /// There is no such child, or no descriptor is left.
    pub fn new(pid: u32) -> io::Result<Self> {
        let ours = Ours::new(pid);
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let process = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        Ok(Self {
            pid,
            process: readiness::of_reading(process)?,
            has_ended: false,
            _ours: ours,
        })
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until it has ended. Nothing is lost by not waiting to the end.
    ///
    /// # Errors
    /// The system's: somebody else has waited for it.
    pub async fn end(&mut self) -> io::Result<ExitStatus> {
        loop {
            let mut readable = self.process.readable().await?;
            if is_ready(self.process.get_ref(), PollFlags::IN) {
                // What importing the application has started ends with it, as with a worker; its number is its own until it has been
                // waited for. An error means that nobody is left there, or that it leads no group.
                let _ = kill_process_group(self.pid, Signal::KILL);
            }
            match waitpid(Some(self.pid), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => {
                    self.has_ended = true;
                    return Ok(ExitStatus::from_raw(status.as_raw()));
                }
                Ok(None) => readable.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.has_ended = true;
                    return Err(error.into());
                }
            }
        }
    }

    /// Whether a signal has stopped it (SIGSTOP). A debugger does not.
    pub fn is_stopped(&self) -> bool {
        let looking = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that it has been waited for.
        waitid(WaitId::PidFd(self.process.get_ref().as_fd()), looking).is_ok_and(|status| status.is_some())
    }

    /// # Errors
    /// It has been waited for, or the system's.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(self.process.get_ref(), signal)?)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.has_ended {
            // It may have ended without having been waited for.
            let _ = self.signal(Signal::KILL);
            // What it has started goes with it. Its number is not another's: it has not been waited for.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn end_is_seen_however_early_it_came_and_however_often_nobody_waited_for_it() {
        let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        let mut leader = Leader::new(child.id()).unwrap();
        assert_eq!(leader.end().await.unwrap().code(), Some(3));
        assert!(child.wait().is_err(), "it has been waited for");
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let mut leader = Leader::new(child.id()).unwrap();
        tokio::select! {
            biased;
            _ = leader.end() => panic!("it has not ended"),
            () = tokio::task::yield_now() => {}
        }
        leader.signal(Signal::KILL).unwrap();
        assert_eq!(leader.end().await.unwrap().signal(), Some(9));
        leader.signal(Signal::KILL).unwrap_err();
        assert!(child.wait().is_err());
    }

    #[tokio::test]
    async fn whoever_is_no_child_is_no_leader() {
        let parent = std::os::unix::process::parent_id();
        let mut leader = Leader::new(parent).unwrap();
        // Not killed: it is not ours.
        leader.has_ended = true;
        assert!(waitpid(Some(leader.pid), WaitOptions::NOHANG).is_err());
    }
}
