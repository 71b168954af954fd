//! One receiver of lines, and how it gets them.

mod file;
mod journald;
mod regular;
mod service;
mod syslog;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, write};
use settings::values::Destination;

use file::LogFile;
use journald::Journal;
use service::Service;
use syslog::Daemon;

/// How long a write that has to wait does so before it looks whether something else is wanted.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

pub(super) enum Output {
    /// What whoever has started this program reads.
    Descriptor(OwnedFd),
    File(LogFile),
    Syslog(Service<Daemon>),
    Journald(Service<Journal>),
}

impl Output {
    /// # Errors
    /// Standard error has no duplicate. A file that can't be opened is tried again.
    pub(super) fn to(destination: &Destination) -> io::Result<Self> {
        Ok(match destination {
            Destination::Stderr => Self::Descriptor(io::stderr().as_fd().try_clone_to_owned()?),
            Destination::File(path) => Self::File(LogFile::new(path.clone())),
            Destination::Syslog(to) => Self::Syslog(Service::new(&to.socket, Daemon::new(to))),
            Destination::Journald(to) => Self::Journald(Service::new(&to.socket, Journal::new(to))),
        })
    }

    /// Opens a file anew; nothing else can be. What was open stays so if that fails.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn reopen(&mut self) -> Result<(), Errno> {
        match self {
            Self::File(file) => file.open(),
            Self::Descriptor(_) | Self::Syslog(_) | Self::Journald(_) => Ok(()),
        }
    }

    /// Whether what is written next stands at the beginning of a file, whatever was written before: somebody has removed the one that
    /// was there, or emptied it.
    pub(super) fn begins_anew(&mut self) -> bool {
        match self {
            Self::File(file) => file.begins_anew(),
            Self::Descriptor(output) => regular::length(output) == Some(0),
            Self::Syslog(_) | Self::Journald(_) => false,
        }
    }

    /// Writes events, with their tags if it is a service. `gives_up`: whether to wait no longer for one who takes nothing.
    ///
    /// # Errors
    /// How much was written, and why no more.
    pub(super) fn write(&mut self, bytes: &[u8], gives_up: &dyn Fn() -> bool) -> Result<(), (usize, Errno)> {
        match self {
            Self::Descriptor(output) => write_lines(output.as_fd(), bytes, gives_up),
            Self::File(file) => {
                let written = write_lines(file.descriptor().map_err(|error| (0, error))?, bytes, gives_up);
                written.inspect_err(|_| file.was_left())
            }
            Self::Syslog(daemon) => daemon.write(bytes),
            Self::Journald(journal) => journal.write(bytes),
        }
    }
}

/// In a file no line stays whose end finds no room.
fn write_lines(output: BorrowedFd<'_>, bytes: &[u8], gives_up: &dyn Fn() -> bool) -> Result<(), (usize, Errno)> {
    let before = regular::length(output);
    write_all(output, bytes, gives_up)
        .map_err(|(written, error)| (regular::keep_lines(output, before, &bytes[..written]), error))
}

fn write_all(output: impl AsFd, bytes: &[u8], gives_up: &dyn Fn() -> bool) -> Result<(), (usize, Errno)> {
    let mut written = 0;
    while written < bytes.len() {
        match write(&output, &bytes[written..]) {
            Ok(length) => written += length,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if gives_up() => return Err((written, Errno::AGAIN)),
            // Who gave us standard error does not want to wait for it: we do.
            Err(Errno::AGAIN) => {
                // An error (EINTR) is told again by the next write.
                let _ = poll(&mut [PollFd::new(&output, PollFlags::OUT)], Some(&LOOK));
            }
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}
