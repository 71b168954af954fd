//! A connection in the reactor: until when it may wait, for what, and who else may get it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use contract::handover::Handover;
use contract::limited;
use rustix::net::{RecvFlags, recv};

use super::ends::End;
use super::{Connection, Phase};
use crate::reactor::{Key, Parked};

/// How long a draining worker waits for the first byte of a connection that it has accepted already.
const FIRST_BYTE: Duration = Duration::from_secs(1);

impl Connection {
    /// Whether nobody need know of what has passed here: no part of a record is here without the rest of it, in neither
    /// direction (such as the padding of a request that is over).
    pub(super) fn is_between_records(&self) -> bool {
        self.codec.between_records() && self.incoming.is_empty() && self.outgoing.is_empty()
    }

    /// Gives the connection to the reactor.
    pub fn park(self: Box<Self>) {
        // A request that could start is parked only by the watchdog, which can't start it.
        let ready = self.phase == Phase::Running || self.unread;
        self.park_as(ready);
    }

    pub(super) fn park_as(mut self: Box<Self>, ready: bool) {
        self.note_parked();
        let hub = Arc::clone(&self.hub);
        self.incoming.rest(&hub);
        self.outgoing.rest();
        hub.reactor.park(self, ready);
    }

    /// Whether it is parked as ready, since more may be there to receive.
    pub fn has_unread(&self) -> bool {
        self.unread
    }

    /// Whether a request is waiting for the rest of its body: at its deadline it deserves an answer.
    pub fn waits_for_body(&self) -> bool {
        self.phase == Phase::Receiving && self.codec.params_ended()
    }

    /// Says why it is closed at its deadline.
    pub fn log_expiry(&self) {
        let limits = &self.hub.limits;
        match self.phase {
            Phase::Receiving => {
                limited!(
                    "requests that did not arrive",
                    tracing::info!(
                        "a connection was closed: its request did not arrive ({})",
                        limits.params_timeout.name()
                    )
                );
            }
            Phase::Idle if self.owes_body() => {
                limited!(
                    "bodies of answered requests that stopped",
                    tracing::info!(
                        "a connection was closed: the body of an answered request stopped ({})",
                        limits.drain_timeout.name()
                    )
                );
            }
            Phase::Idle => {
                tracing::debug!("an idle connection was closed ({})", limits.idle_timeout.name());
            }
            Phase::Running | Phase::Lingering => tracing::debug!("a connection was closed"),
        }
    }
}

/// Whether the first record that is unread belongs to a request: what is asked of the gateway itself (SPEC A8) is answered where
/// it arrives, and so is the end of the connection.
fn begins_request(socket: impl AsFd) -> bool {
    let mut header = [0; 4];
    match recv(socket, &mut header, RecvFlags::PEEK) {
        Ok((_, 0)) | Err(_) => false,
        Ok((_, received)) => received < header.len() || header[2..] != [0, 0],
    }
}

impl Parked for Connection {
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn key(&mut self) -> &mut Option<Key> {
        &mut self.key
    }

    fn deadline(&self) -> Option<u64> {
        let limits = &self.hub.limits;
        let timeout = match self.phase {
            Phase::Idle if self.owes_body() => *limits.drain_timeout,
            Phase::Idle if self.hub.reactor.draining() && !self.hub.reactor.retiring() => FIRST_BYTE.into(),
            Phase::Idle => *limits.idle_timeout,
            Phase::Receiving if self.codec.params_ended() => *limits.body_timeout,
            Phase::Receiving => *limits.params_timeout,
            Phase::Lingering => *limits.drain_timeout,
            Phase::Running => return None,
        };
        timeout
            .duration()
            .map(|timeout| self.since_ms + timeout.as_millis() as u64)
    }

    fn is_idle(&self) -> bool {
        // A front server connects because it has a request: before the first one, a connection isn't idle, unless
        // another worker will take that request.
        let first = self.requests == 0 && !self.hub.reactor.retiring();
        self.phase == Phase::Idle && !first && !self.owes_body() && self.is_between_records()
    }

    fn wants_any_thread(&self) -> bool {
        let is_idle = || self.phase == Phase::Idle && !self.owes_body() && self.is_between_records();
        self.request_can_travel() || (is_idle() && begins_request(&self.fd))
    }

    fn idle_since(&self, now_ms: u64) -> Option<u64> {
        // Who has connected has a request; if it is not there after a while, it was no reason.
        let used = self.requests > 0 || now_ms.saturating_sub(self.since_ms) >= FIRST_BYTE.as_millis() as u64;
        let idle = self.phase == Phase::Idle && used && !self.owes_body() && self.is_between_records();
        idle.then_some(self.since_ms)
    }

    fn wants_to_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    fn peer_has_ended(&mut self) {
        if self.end != End::Seen {
            self.end = End::Near;
        }
    }

    fn give(&mut self, handover: &Handover) -> bool {
        self.given = (self.is_between_records() || self.request_can_travel()) && self.give_to(handover);
        self.given
    }
}
