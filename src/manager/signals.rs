//! Signals that the supervisor obeys.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// SIGTERM: finish running requests.
    Stop,
    /// SIGINT, SIGQUIT: at once.
    Quit,
    /// SIGUSR2: a new generation.
    Reload,
    /// SIGHUP: to a daemon the same as SIGUSR2; in a terminal, the terminal is gone.
    HangUp,
}

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From now on these signals have no effect but through [`Signals::next`].
    ///
    /// # Errors
    /// The system's, if a handler can't be set.
    pub fn new() -> io::Result<Self> {
        // A log that has grown over the limit for files (RLIMIT_FSIZE) is an error of write, not the end. A handler, since
        // the programs that this one starts get the default back.
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal's name and meaning.
    pub async fn next(&mut self) -> (&'static str, Wish) {
        loop {
            return tokio::select! {
                _ = self.terminate.recv() => ("SIGTERM", Wish::Stop),
                _ = self.interrupt.recv() => ("SIGINT", Wish::Quit),
                _ = self.quit.recv() => ("SIGQUIT", Wish::Quit),
                _ = self.user2.recv() => ("SIGUSR2", Wish::Reload),
                _ = self.hang_up.recv() => ("SIGHUP", Wish::HangUp),
                // logrotate sends it to daemons that write files of their own; by default it would end this one.
                _ = self.user1.recv() => {
                    info!(signal = "SIGUSR1", "there is no log file to open anew: the log goes to standard error");
                    continue;
                }
            };
        }
    }
}
