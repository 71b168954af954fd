//! Children that the supervisor has not started: as process 1 of a container it gets whoever loses his parent, and a shell
//! that became it by exec may have left some. They are reaped, or they would stay as zombies.

use std::io;
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use tracing::debug;

use crate::children::is_ours;

/// How soon a child that has ended is reaped by who waits for it.
const OURS: Duration = Duration::from_millis(100);

pub struct Orphans {
    ended: Signal,
    /// A child of ours that has ended hides those behind it.
    hidden: bool,
}

impl Orphans {
    /// SIGCHLD has a handler from now on, even if whoever started this program ignores it: children can be waited for.
    ///
    /// # Errors
    /// The system's, if the handler can't be set.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            ended: signal(SignalKind::child())?,
            hidden: false,
        })
    }

    /// Returns when there may be somebody to reap.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.ended.recv() => {}
            () = sleep(OURS), if self.hidden => {}
        }
    }

    /// Reaps all that have ended, but for those that somebody waits for.
    pub fn reap(&mut self) {
        self.hidden = false;
        let looking = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        // An error means that there are no children.
        while let Ok(status) = waitid(Id::All, looking) {
            let Some(pid) = status.pid() else { return };
            if is_ours(pid.as_raw() as u32) {
                self.hidden = true;
                return;
            }
            let reaped = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            debug!(?reaped, "somebody else's child was reaped");
            if reaped.is_err() {
                return;
            }
        }
    }
}
