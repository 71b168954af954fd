//! Where new connections come from: the listeners, and the handover from other workers; and when nothing is taken from them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::Ordering;

use contract::handover::{Handed, Passage};
use contract::own::{self, Own, OwnFd};
use contract::scoreboard::now_ms;
use contract::wait::is_ready;
use contract::{limited, once_a_minute};
use rustix::event::PollFlags;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{SocketFlags, accept_with};

use super::{LISTENER_BIT, Next, Parked, Reactor};
use crate::base::{crash, lost};

pub(super) struct Listeners {
    /// By number; `None` once it is closed, so that nobody connects to a socket that nobody serves.
    pub(super) fds: Vec<Option<OwnFd>>,
    /// Whether they are in the epoll set.
    pub(super) watched: bool,
}

/// How long accepting pauses when the process or the system is out of descriptors or memory.
const ACCEPT_PAUSE_MS: u64 = 100;
/// How often it is said at most that there are too many connections.
const WARN_PAUSE_MS: u64 = 1000;
/// For how long idle connections are given up at once after it was seen that no other worker takes new ones.
const CROWDED_MS: u64 = 1000;
/// The handover's number among the listeners, of which there are fewer.
const HANDOVER: usize = 63;

impl<C: Parked> Reactor<C> {
    pub(super) fn accept(&self) -> Option<Next<C>> {
        // Who drains has a way of its own.
        let mut hints = if self.draining() {
            0
        } else {
            self.hints.load(Ordering::Relaxed)
        };
        while hints != 0 {
            if crash::has_crashed() {
                self.stop_listening();
                self.nudge();
                return None;
            }
            let number = next_in_turn(hints, self.turn.load(Ordering::Relaxed)) as usize;
            if self.open() >= *self.max_open && !self.is_pending(number) {
                // A hint that is out of date costs nobody his connection.
                self.hints.fetch_and(!(1 << number), Ordering::Relaxed);
                hints &= !(1 << number);
                continue;
            }
            if self.open() >= *self.max_open && !self.make_room() {
                self.stop_listening();
                self.full.store(true, Ordering::SeqCst);
                self.nudge();
                self.warn_full("accepting pauses");
                // One may have been closed in between, and not have seen that we stopped.
                if self.open() < *self.max_open {
                    self.resume_listening();
                }
                return None;
            }
            match self.accept_from(number) {
                Ok(next) => {
                    self.turn.store(number as u32 + 1, Ordering::Relaxed);
                    return Some(next);
                }
                Err(Errno::INTR) => {
                    hints = self.hints.load(Ordering::Relaxed);
                    continue;
                }
                // The peer was gone before we came; whether there is another one, epoll tells.
                Err(error) if is_of_one_connection(error) => {}
                Err(Errno::AGAIN) => {}
                Err(error) => self.pause_accepting(error),
            }
            self.hints.fetch_and(!(1 << number), Ordering::Relaxed);
            hints &= !(1 << number);
        }
        None
    }

    /// A new connection from the source `number`, counted as open.
    fn accept_from(&self, number: usize) -> Result<Next<C>, Errno> {
        let (fd, passage) = if number == HANDOVER {
            let (fd, passage, files) = self.take_handed()?;
            (fd, Some((passage, files)))
        } else {
            (self.accept_on(number)?, None)
        };
        let fd = away_from_standard_streams(fd)?;
        self.open.fetch_add(1, Ordering::SeqCst);
        Ok(match passage {
            Some((passage, files)) => Next::Handed(fd, passage, files),
            None => Next::Accepted(fd, number),
        })
    }

    fn accept_on(&self, number: usize) -> Result<OwnFd, Errno> {
        let listeners = self.listeners();
        let Some(Some(listener)) = listeners.fds.get(number) else {
            return Err(Errno::AGAIN);
        };
        let accepted = own::make(|| accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC).map(Own::new));
        if let Err(error @ (Errno::BADF | Errno::NOTSOCK | Errno::INVAL | Errno::OPNOTSUPP)) = accepted
            && !socket_acceptconn(listener).unwrap_or(false)
        {
            lost::give_up("a listener", error);
        }
        accepted
    }

    /// What the kernel has accepted for listeners that are the pool's own, as far as there is room; then they are closed. For
    /// a worker that stops: nobody else would take it. Called again for the rest.
    pub fn take_backlog(&self) -> Vec<Next<C>> {
        let mut taken = Vec::new();
        let sources = self.listeners().fds.len();
        for number in (0..sources).chain([HANDOVER]) {
            loop {
                if self.open() >= *self.max_open {
                    return taken;
                }
                match self.accept_from(number) {
                    Ok(next) => taken.push(next),
                    Err(Errno::INTR) => {}
                    Err(error) if is_of_one_connection(error) => {}
                    Err(Errno::AGAIN) => break,
                    Err(error) => {
                        once_a_minute!(
                            "connections that can't be accepted",
                            tracing::error!(%error, "connections that wait can't be accepted now")
                        );
                        return taken;
                    }
                }
            }
            if let Some(listener) = self.listeners().fds.get_mut(number) {
                *listener = None;
            }
        }
        taken
    }

    /// Whether connections may wait that this worker will still take.
    pub(super) fn has_listeners(&self) -> bool {
        self.listeners().fds.iter().any(Option::is_some)
    }

    /// Whether a connection waits at the source `number`.
    fn is_pending(&self, number: usize) -> bool {
        match (self.listeners().fds.get(number), &self.handover) {
            (Some(Some(listener)), _) => is_ready(listener.as_fd(), PollFlags::IN),
            (None, Some(handover)) => is_ready(handover.takes(), PollFlags::IN),
            _ => false,
        }
    }

    /// At the limit: closes the connection that has been idle for longest; whether there was one. Other workers may have
    /// room, so that theirs is the new connection, unless it was seen to wait in vain.
    fn make_room(&self) -> bool {
        let now = now_ms();
        if self.draining() || (!self.is_alone && now >= self.crowded_until_ms.load(Ordering::Relaxed)) {
            return false;
        }
        loop {
            let spared = self.slots().take_longest_idle(now);
            let Some(connection) = spared else { return false };
            if !is_ready(connection.fd(), PollFlags::IN) {
                self.warn_full("idle ones are closed for new ones");
                return true;
            }
            // Not idle any more, though epoll was not asked yet.
            self.park(connection, true);
        }
    }

    /// Called now and then: a connection that waits for a worker which has all it may have gets the place of an idle one.
    pub(super) fn relieve(&self, now_ms: u64) {
        if !self.full.load(Ordering::SeqCst) || self.draining() {
            return;
        }
        let waits = self
            .listeners()
            .fds
            .iter()
            .flatten()
            .any(|fd| is_ready(fd.as_fd(), PollFlags::IN));
        // The first time, another worker may be about to take it.
        if self.kept_waiting.swap(waits, Ordering::Relaxed) && waits {
            self.crowded_until_ms.store(now_ms + CROWDED_MS, Ordering::Relaxed);
            // Closing it makes this worker listen again.
            self.make_room();
        }
    }

    /// A connection that another worker has given away.
    fn take_handed(&self) -> Result<(OwnFd, Passage, Vec<OwnFd>), Errno> {
        let Some(handover) = &self.handover else {
            return Err(Errno::AGAIN);
        };
        match handover.take() {
            Ok(Some(Handed::Connection(fd, passage, files))) => Ok((fd, passage, files)),
            // Somebody else was woken for what waits: this worker's epoll set says nothing of it.
            Ok(Some(Handed::Nudge)) => {
                let sources = self.listeners().fds.len();
                self.hints.fetch_or((1 << sources) - 1, Ordering::Relaxed);
                Err(Errno::INTR)
            }
            Ok(Some(Handed::Lost)) => {
                limited!(
                    "connections that were lost on their way from another worker",
                    tracing::error!(
                        "a connection that another worker has given away is lost: this one has no room for more open files \
                         (raise LimitNOFILE, or ulimit -n)"
                    )
                );
                Err(Errno::MFILE)
            }
            Ok(None) => Err(Errno::AGAIN),
            Err(error) => {
                let number = Errno::from_io_error(&error);
                if number.is_some_and(lost::is_lost) {
                    lost::give_up("the handover", error);
                }
                // Without room for it here, it stays there for others.
                Err(number.unwrap_or_else(|| {
                    limited!(
                        "messages of other workers that make no sense",
                        tracing::error!(%error, "what another worker has given away makes no sense")
                    );
                    Errno::AGAIN
                }))
            }
        }
    }

    /// Says so, but not for each of the many connections that may have to wait.
    fn warn_full(&self, consequence: &str) {
        let now = contract::scoreboard::now_ms();
        if now >= self.warn_after_ms.load(Ordering::Relaxed) {
            self.warn_after_ms.store(now + WARN_PAUSE_MS, Ordering::Relaxed);
            tracing::warn!(
                connections = *self.max_open,
                "as many connections as allowed: {consequence} ({})",
                self.max_open.name()
            );
        }
    }

    fn pause_accepting(&self, error: Errno) {
        once_a_minute!(
            "connections that can't be accepted",
            tracing::error!(%error, "can't accept connections: trying again every {ACCEPT_PAUSE_MS} ms")
        );
        self.stop_listening();
        self.nudge();
        self.accept_after_ms
            .store(contract::scoreboard::now_ms() + ACCEPT_PAUSE_MS, Ordering::Relaxed);
    }

    pub(super) fn listen(&self) -> io::Result<()> {
        let mut listeners = self.listeners();
        if listeners.watched {
            return Ok(());
        }
        for (number, listener) in listeners.fds.iter().enumerate() {
            let Some(listener) = listener else { continue };
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
        self.full.store(false, Ordering::SeqCst);
        Ok(())
    }

    pub(super) fn resume_listening(&self) {
        if self.listeners().watched || !self.begun.load(Ordering::SeqCst) {
            return;
        }
        if let Err(error) = self.listen() {
            if Errno::from_io_error(&error).is_some_and(lost::is_lost) {
                lost::give_up("a listener", error);
            }
            tracing::error!(%error, "can't watch the listeners");
        }
        self.wake();
    }

    /// Wakes another worker, once after listening has stopped: this one may have been woken for what it did not take.
    pub(super) fn nudge(&self) {
        let Some(handover) = &self.handover else { return };
        if !self.nudged.swap(true, Ordering::SeqCst) {
            let sent = handover.nudge().unwrap_or_else(|error| {
                if Errno::from_io_error(&error).is_some_and(lost::is_lost) {
                    lost::give_up("the handover", error);
                }
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
            for listener in listeners.fds.iter().flatten() {
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

/// The first of the sources with a bit in `hints`, counted from `turn` on: each has its turn, however busy the others are.
fn next_in_turn(hints: u64, turn: u32) -> u32 {
    (hints.rotate_right(turn).trailing_zeros() + turn) % u64::BITS
}

/// Whether accept4 has told of what befell the connection that it took from its queue (its manual page).
fn is_of_one_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::NETDOWN
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
    )
}

/// An application that has closed its standard streams must not get connections in their place (SPEC F8).
fn away_from_standard_streams(fd: OwnFd) -> Result<OwnFd, Errno> {
    if fd.as_raw_fd() > 2 {
        Ok(fd)
    } else {
        own::make(|| fcntl_dupfd_cloexec(fd, 3).map(Own::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_take_turns() {
        let hints = 1 | 1 << 5 | 1 << HANDOVER;
        let mut turn = 0;
        let mut taken = Vec::new();
        for _ in 0..6 {
            let number = next_in_turn(hints, turn);
            taken.push(number);
            turn = number + 1;
        }
        assert_eq!(taken, [0, 5, 63, 0, 5, 63]);
    }

    #[test]
    fn network_errors_of_accept_are_of_one_connection() {
        for error in [Errno::NETDOWN, Errno::PROTO, Errno::HOSTUNREACH, Errno::CONNABORTED] {
            assert!(is_of_one_connection(error));
        }
        for error in [Errno::AGAIN, Errno::MFILE, Errno::NOBUFS, Errno::BADF] {
            assert!(!is_of_one_connection(error));
        }
    }
}
