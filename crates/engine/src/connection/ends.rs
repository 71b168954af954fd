//! The end of what a peer sends: it may be gone, or only have nothing more to say and wait for its response.
//!
//! A request of a peer that is gone is not run (SPEC A22), that of one which has shut down its sending side is. Over a unix
//! socket the kernel tells them apart; over TCP both are a FIN, and only a reset, which the first byte of a response
//! brings about, shows that nobody is there. So a FIN behind a whole request leaves it to run, unless nginx has sent it:
//! nginx never shuts down one side, and closes when its own client has left.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use contract::scoreboard::now_ms;
use contract::wait::is_ready;
use rustix::event::PollFlags;

use super::incoming::Received;
use super::{Connection, Phase, RECEIVES};
use crate::request::carrier::CarrierError;

/// What is known of the end of a peer's sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing: it is looked for only where the system has told of one.
    Unknown,
    /// A connection that this process has not watched: nobody would have told of its end.
    Unwatched,
    /// The system says that it stands behind what was sent.
    Near,
    /// It has been read, behind a whole request: that is answered, and then the connection is closed.
    Seen,
}

/// When a request that came on an unwatched connection is looked at once more before it runs: a system call that is in
/// vain as long as requests are taken soon. So once in a tick of the coarse clock (1 to 4 ms), which is each time if
/// requests run for longer than that, and again and again while peers are found to be gone.
#[derive(Default)]
pub struct Doubts {
    looked_ms: AtomicU64,
    found_gone: AtomicBool,
}

impl Doubts {
    fn are_due(&self) -> bool {
        let now = now_ms();
        self.looked_ms.swap(now, Ordering::Relaxed) != now || self.found_gone.load(Ordering::Relaxed)
    }

    fn note(&self, gone: bool) {
        self.found_gone.store(gone, Ordering::Relaxed);
    }
}

impl Connection {
    /// Receives once, without waiting; how many bytes came, `None` if none are there now.
    ///
    /// # Errors
    /// The peer is gone.
    pub(super) fn fill(&mut self) -> Result<Option<usize>, CarrierError> {
        if self.end != End::Seen {
            self.note_receiving();
            match self.incoming.fill(&self.fd, &self.hub)? {
                Received::Bytes(received) => {
                    self.note_received();
                    return Ok(Some(received));
                }
                Received::Nothing => return Ok(None),
                Received::End => self.end = End::Seen,
            }
            if self.has_whole_request() && self.is_gone() {
                return Err(CarrierError::Gone);
            }
        }
        if !self.has_whole_request() {
            return Err(CarrierError::Gone);
        }
        // If it has no body, reading that must not wait for the end of its stream.
        self.body.ended = true;
        Ok(None)
    }

    /// Whether a peer whose stream has ended is gone altogether.
    pub(super) fn is_gone(&self) -> bool {
        if self.is_from(b"nginx") {
            return true;
        }
        is_ready(&self.fd, PollFlags::empty())
    }

    /// Whether everything that the active request needs of its peer has come.
    fn has_whole_request(&mut self) -> bool {
        self.codec.params_ended() && (self.body.complete() || (!self.lacks_body() && self.can_start()))
    }

    /// Without a body nobody need send the end of its stream (SPEC A20).
    pub(super) fn lacks_body(&self) -> bool {
        !self.body.complete() && self.body.expected.or(Some(self.body.received)) != Some(0)
    }

    /// A request can start: it is looked at once more if its peer may have left while it waited for a thread.
    ///
    /// # Errors
    /// The peer is gone.
    pub(super) fn check_peer_of_queued(&mut self) -> Result<(), CarrierError> {
        match self.end {
            End::Unwatched => {
                self.end = End::Unknown;
                // Who is found to be gone in the middle of a body fails the application's read.
                if !self.lacks_body() && self.hub.doubts.are_due() {
                    let looked = self.receive_queued();
                    self.hub.doubts.note(looked.is_err());
                    return looked;
                }
                Ok(())
            }
            End::Near => {
                self.end = End::Unknown;
                self.receive_queued()
            }
            End::Unknown | End::Seen => Ok(()),
        }
    }

    /// A request that could start has waited for a thread: its front server may have aborted it (SPEC A23) or be gone.
    pub(super) fn receive_queued(&mut self) -> Result<(), CarrierError> {
        self.phase = Phase::Receiving;
        for _ in 0..RECEIVES {
            self.consume()?;
            if self.codec.active().is_none() || self.fill()?.is_none() {
                break;
            }
        }
        self.consume()
    }
}
