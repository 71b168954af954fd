//! Waiting for a peer, until a deadline or a signal.

use std::io;
use std::time::Instant;

use contract::own::OwnFd;
use contract::wait::timespec;
use rustix::event::{PollFd, PollFlags, poll};

/// What a wait has found.
pub struct Ready {
    pub input: bool,
    pub output: bool,
    /// A signal has ended the wait.
    pub signal: bool,
}

/// Waits until one of the two is ready or broken; neither is after the deadline, or when a signal has come.
///
/// # Errors
/// The system's.
pub fn wait(input: Option<&OwnFd>, output: Option<&OwnFd>, deadline: Option<Instant>) -> io::Result<Ready> {
    let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let timeout = timeout.map(timespec);
    let mut fds: Vec<_> = input.map(|fd| PollFd::new(fd, PollFlags::IN)).into_iter().collect();
    fds.extend(output.map(|fd| PollFd::new(fd, PollFlags::OUT)));
    let signal = match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => false,
        Err(rustix::io::Errno::INTR) => true,
        Err(error) => return Err(error.into()),
    };
    let ready = |fd: Option<&PollFd<'_>>| fd.is_some_and(|fd| !fd.revents().is_empty());
    Ok(Ready {
        input: input.is_some() && ready(fds.first()),
        output: output.is_some() && ready(fds.last()),
        signal,
    })
}
