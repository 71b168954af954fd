//! Signals that the supervisor obeys.

use std::future::pending;
use std::io;
use std::task::{Context, Waker};
use std::time::Duration;

use nix::sys::signal::{Signal as Number, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// SIGTERM: finish running requests.
    Stop,
    /// SIGINT, SIGQUIT: at once.
    Quit,
    /// SIGUSR1: log files were put away, new ones in their places.
    Reopen,
    /// SIGUSR2: the program on disk in place of this one.
    Upgrade,
    /// SIGHUP: to a daemon a new generation; in a terminal, the terminal is gone.
    HangUp,
    /// SIGTTIN: one worker more, in each pool.
    More,
    /// SIGTTOU: one worker less.
    Fewer,
}

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
    hang_up: Signal,
    more: Signal,
    fewer: Option<Signal>,
}

impl Signals {
    /// From now on these signals have no effect but through [`Signals::next`].
    ///
    /// # Errors
    /// The system's, if a handler can't be set.
    pub fn new() -> io::Result<Self> {
        // A log that has grown over the limit for files (RLIMIT_FSIZE) is an error of write, not the end. A handler, since
        // the programs that this one starts get the default back.
        let _ = signal(of(rustix::process::Signal::XFSZ))?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            hang_up: signal(SignalKind::hangup())?,
            more: signal(of(rustix::process::Signal::TTIN))?,
            // A terminal sends it to those in the background that write there, again and again until they stop.
            fewer: match io::IsTerminal::is_terminal(&io::stderr()) {
                true => None,
                false => Some(signal(of(rustix::process::Signal::TTOU))?),
            },
        })
    }

    /// Sends those that have come, and that nobody has asked for, once more: to a program that holds them back, and so to
    /// whoever takes its place.
    pub async fn put_back(&mut self) {
        // The runtime looks what has come.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut now = Context::from_waker(Waker::noop());
        for (signal, number) in [
            (&mut self.terminate, Number::SIGTERM),
            (&mut self.interrupt, Number::SIGINT),
            (&mut self.quit, Number::SIGQUIT),
            (&mut self.user1, Number::SIGUSR1),
            (&mut self.user2, Number::SIGUSR2),
            (&mut self.hang_up, Number::SIGHUP),
            (&mut self.more, Number::SIGTTIN),
        ]
        .into_iter()
        .chain(self.fewer.as_mut().map(|fewer| (fewer, Number::SIGTTOU)))
        {
            if signal.poll_recv(&mut now).is_ready() {
                // To oneself it can't fail.
                let _ = kill(Pid::this(), number);
            }
        }
    }

    /// The next signal's name and meaning.
    pub async fn next(&mut self) -> (&'static str, Wish) {
        tokio::select! {
                _ = self.terminate.recv() => ("SIGTERM", Wish::Stop),
                _ = self.interrupt.recv() => ("SIGINT", Wish::Quit),
                _ = self.quit.recv() => ("SIGQUIT", Wish::Quit),
                _ = self.user2.recv() => ("SIGUSR2", Wish::Upgrade),
                _ = self.hang_up.recv() => ("SIGHUP", Wish::HangUp),
                _ = self.more.recv() => ("SIGTTIN", Wish::More),
                _ = next(&mut self.fewer) => ("SIGTTOU", Wish::Fewer),
                _ = self.user1.recv() => ("SIGUSR1", Wish::Reopen),
        }
    }
}

fn of(signal: rustix::process::Signal) -> SignalKind {
    SignalKind::from_raw(signal.as_raw())
}

/// Never ends where there is none.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => pending().await,
    }
}
