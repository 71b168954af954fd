//! Where new connections come from: the listeners, and the handover from other workers; and when nothing is taken from them.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

use pool::handover::{Handed, Passage};
use pool::limited;
use pool::own::{self, Own, OwnFd};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{SocketFlags, accept_with};

use super::{LISTENER_BIT, Next, Parked, Reactor};
use crate::crash;

pub(super) struct Listeners {
    /// Emptied when the worker drains, so that nobody connects to a socket that nobody serves.
    pub(super) fds: Vec<OwnFd>,
    /// Whether they are in the epoll set.
    pub(super) watched: bool,
}

/// How long accepting pauses when the process or the system is out of descriptors or memory.
const ACCEPT_PAUSE_MS: u64 = 100;
/// How often it is said at most that there are too many connections.
const WARN_PAUSE_MS: u64 = 1000;
/// The handover's number among the listeners, of which there are fewer.
const HANDOVER: usize = 63;

impl<C: Parked> Reactor<C> {
    pub(super) fn accept(&self) -> Option<Next<C>> {
        let mut hints = self.hints.load(Ordering::Relaxed);
        while hints != 0 {
            if crash::has_crashed() {
                self.stop_listening();
                self.nudge();
                return None;
            }
            let number = hints.trailing_zeros() as usize;
            if self.open() >= self.max_open {
                self.stop_listening();
                self.nudge();
                self.warn_full();
                // One may have been closed in between, and not have seen that we stopped.
                if self.open() < self.max_open {
                    self.resume_listening();
                }
                return None;
            }
            let accepted = match self.listeners().fds.get(number) {
                Some(listener) => own::make(|| {
                    let accepted = accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC);
                    accepted.map(|fd| (Own::new(fd), None))
                }),
                None => self.take_handed(),
            };
            match accepted {
                Ok((fd, passage)) => {
                    self.open.fetch_add(1, Ordering::SeqCst);
                    match away_from_standard_streams(fd) {
                        Ok(fd) => {
                            return Some(match passage {
                                Some(passage) => Next::Handed(fd, passage),
                                None => Next::Accepted(fd, number),
                            });
                        }
                        Err(error) => {
                            self.open.fetch_sub(1, Ordering::SeqCst);
                            self.pause_accepting(error);
                        }
                    }
                }
                // The peer was gone before we came; the next one may be there.
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(error) => self.pause_accepting(error),
            }
            self.hints.fetch_and(!(1 << number), Ordering::Relaxed);
            hints &= !(1 << number);
        }
        None
    }

    /// A connection that another worker has given away.
    fn take_handed(&self) -> Result<(OwnFd, Option<Passage>), Errno> {
        let taken = match &self.handover {
            Some(handover) if !self.draining() => handover.take(),
            _ => Ok(None),
        };
        match taken {
            Ok(Some(Handed::Connection(fd, passage))) => Ok((fd, Some(passage))),
            // Listeners are looked at now, because this thread is awake.
            Ok(Some(Handed::Nudge)) => Err(Errno::INTR),
            Ok(None) => Err(Errno::AGAIN),
            Err(error) => {
                limited!(
                    "connections that were lost on their way from another worker",
                    tracing::error!(%error, "a connection that another worker has given away is lost")
                );
                Err(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))
            }
        }
    }

    /// Says so, but not for each of the many connections that may have to wait.
    fn warn_full(&self) {
        let now = pool::scoreboard::now_ms();
        if now >= self.warn_after_ms.load(Ordering::Relaxed) {
            self.warn_after_ms.store(now + WARN_PAUSE_MS, Ordering::Relaxed);
            tracing::warn!(
                connections = self.max_open,
                "as many connections as allowed: accepting pauses (--connections)"
            );
        }
    }

    fn pause_accepting(&self, error: Errno) {
        tracing::error!(%error, "can't accept connections: trying again in {ACCEPT_PAUSE_MS} ms");
        self.stop_listening();
        self.nudge();
        self.accept_after_ms
            .store(pool::scoreboard::now_ms() + ACCEPT_PAUSE_MS, Ordering::Relaxed);
    }

    pub(super) fn listen(&self) -> io::Result<()> {
        let mut listeners = self.listeners();
        if listeners.watched {
            return Ok(());
        }
        for (number, listener) in listeners.fds.iter().enumerate() {
            let key = EventData::new_u64(LISTENER_BIT | number as u64);
            epoll::add(&self.epoll, listener, key, EventFlags::IN | EventFlags::EXCLUSIVE)?;
        }
        if let Some(handover) = &self.handover {
            let key = EventData::new_u64(LISTENER_BIT | HANDOVER as u64);
            epoll::add(
                &self.epoll,
                handover.takes(),
                key,
                EventFlags::IN | EventFlags::EXCLUSIVE,
            )?;
        }
        listeners.watched = true;
        Ok(())
    }

    pub(super) fn resume_listening(&self) {
        if let Err(error) = self.listen() {
            tracing::error!(%error, "can't watch the listeners");
        }
        self.wake();
    }

    /// Wakes another worker, once after listening has stopped: this one may have been woken for what it did not take.
    pub(super) fn nudge(&self) {
        let Some(handover) = &self.handover else { return };
        if !self.nudged.swap(true, Ordering::SeqCst) {
            let sent = handover.nudge().unwrap_or_else(|error| {
                tracing::error!(%error, "other workers can't be woken");
                true
            });
            self.nudged.store(sent, Ordering::SeqCst);
        }
    }

    pub(super) fn stop_listening(&self) {
        let mut listeners = self.listeners();
        if std::mem::take(&mut listeners.watched) {
            self.hints.store(0, Ordering::Relaxed);
            for listener in &listeners.fds {
                // It can only be missing from the set, which is what we want.
                let _ = epoll::delete(&self.epoll, listener);
            }
            if let Some(handover) = &self.handover {
                let _ = epoll::delete(&self.epoll, handover.takes());
            }
            self.nudged.store(false, Ordering::SeqCst);
        }
    }
}

/// An application that has closed its standard streams must not get connections in their place (SPEC F8).
fn away_from_standard_streams(fd: OwnFd) -> Result<OwnFd, Errno> {
    if fd.as_raw_fd() > 2 {
        Ok(fd)
    } else {
        own::make(|| fcntl_dupfd_cloexec(fd, 3).map(Own::new))
    }
}
