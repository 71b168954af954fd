//! The side of a connection that a running request sees: its response, and what becomes of the connection behind it.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use contract::scoreboard::now_ms;
use fastcgi::record::ProtocolStatus;
use fastcgi::{BeginRequest, Pairs, encode};
use rustix::net::{Shutdown, shutdown};

use super::ends::End;
use super::outgoing::{COPIED_RESPONSE, Tail};
use super::{Connection, Phase, Step, log_surplus};
use crate::base::sigpipe;
use crate::request::body::Body;
use crate::request::carrier::{Carrier, CarrierError, Ending, FilePart, Handles, Lack, Payload};

/// Bytes of a page that Apache may append (`ErrorDocument`): more than pages of this kind have.
const ERROR_PAGE: u64 = 64 * 1024;
/// Bytes that mod_fcgid collects before it sends any (`FcgidOutputBufferSize`).
const UNSENT: u64 = 64 * 1024;

impl Connection {
    /// The id of the request that is being answered, and how its response ends.
    fn sending(&self, ending: Option<Ending>) -> Result<(u16, Option<Tail>), CarrierError> {
        self.check_unbroken()?;
        if self.aborted {
            return Err(CarrierError::Aborted);
        }
        let BeginRequest { id, keep_conn, .. } = self.codec.active().ok_or(CarrierError::Ended)?;
        let last = keep_conn && ending.is_some() && self.is_last_request();
        let closes = ending.is_some() && (last || !keep_conn);
        // With `keepalive` in upstream{} and `fastcgi_buffering off`, nginx keeps even a connection that it has not asked
        // to be kept, and a POST that it sends there before it sees the end is lost.
        let poison = closes && self.is_from(b"nginx");
        Ok((id, ending.map(|ending| Tail { ending, last, poison })))
    }

    /// Whether the web server of this name has sent the request; nginx's own files of params and ours say so, Apache always.
    pub(super) fn is_from(&self, server: &[u8]) -> bool {
        Pairs::new(self.codec.params())
            .flatten()
            .any(|(name, value)| name == b"SERVER_SOFTWARE" && value.starts_with(server))
    }

    /// Whether the end of the connection would be covered up: mod_fcgid appends Apache's error page to a response that
    /// breaks off, and with a Content-Length the beginning of that page takes the place of the missing bytes. An end of the
    /// stream leaves them missing. Where Apache has not sent the head yet, its page is what the client ought to get.
    fn would_be_filled_up(&self, lack: Lack) -> bool {
        (1..=ERROR_PAGE).contains(&lack.missing) && lack.sent > UNSENT && self.is_from(b"Apache")
    }

    /// Whether the connection is closed after this request, though the front server may want to keep it.
    fn is_last_request(&self) -> bool {
        let used_up = self.hub.limits.connection_requests.is_reached_by(self.requests);
        // Once the peer was told, it stays so: draining may begin in between.
        self.closing || used_up || self.outgoing.was_last() || self.closes_when_drained()
    }

    /// Whether the worker is to end, and nobody takes its connections.
    pub(super) fn closes_when_drained(&self) -> bool {
        self.hub.reactor.draining() && !self.hub.reactor.retiring()
    }

    /// `result` of sending, with `tail` behind it.
    fn sent(&mut self, tail: Option<Tail>, result: Result<bool, CarrierError>) -> Result<bool, CarrierError> {
        let all = matches!(result, Ok(true));
        self.note_sent(all, tail.is_some());
        if all && tail.is_some_and(|tail| tail.last) {
            // Apache looks whether a connection has ended before it uses it again, and doesn't repeat what it has lost: the end
            // has to be there before it can have read the response. An error means that it is over already.
            let _ = shutdown(&self.fd, Shutdown::Write);
        }
        result
    }

    /// After the last response of a connection that isn't kept: wait for the peer to finish, within limits (SPEC A26).
    /// Closing now would make it lose the response.
    fn linger(mut self: Box<Self>) {
        if shutdown(&self.fd, Shutdown::Write).is_err() {
            return; // already gone
        }
        self.phase = Phase::Lingering;
        self.since_ms = now_ms();
        self.body.discard();
        self.hub.note_body_memory(std::mem::take(&mut self.body_memory), 0);
        if matches!(self.progress(), Step::Park) {
            self.park();
        }
    }
}

impl Carrier for Connection {
    fn body(&mut self) -> &mut Body {
        &mut self.body
    }

    fn send(&mut self, payload: &mut Payload<'_>, ending: Option<Ending>) -> Result<bool, CarrierError> {
        let (id, tail) = self.sending(ending)?;
        let at_once = payload.remaining() <= COPIED_RESPONSE;
        self.note_response(tail, at_once);
        let sent = self.outgoing.send(&self.fd, id, payload, tail);
        self.sent(tail, sent)
    }

    fn send_file(&mut self, part: &mut FilePart<'_>, ending: Option<Ending>) -> Result<bool, CarrierError> {
        let (id, tail) = self.sending(ending)?;
        self.note_response(tail, false);
        let sent = sigpipe::without(|| self.outgoing.send_file(&self.fd, id, part, tail));
        self.sent(tail, sent)
    }

    fn receive(&mut self) -> Result<bool, CarrierError> {
        // Once the peer may have read the end, what comes is its next request, before this one is done with here.
        if self.outgoing.has_ended() && self.outgoing.is_between_records() {
            return Ok(false);
        }
        self.check_unbroken()?;
        let before = self.body.surplus();
        let received = self.fill()?.is_some();
        if !received {
            // Answers to management records that the peer did not take at once.
            self.answer()?;
        }
        if received {
            self.consume()?;
            if !before && self.body.surplus() {
                log_surplus();
            }
        }
        if self.aborted {
            Err(CarrierError::Aborted)
        } else {
            Ok(received)
        }
    }

    fn look(&mut self) -> Result<(), CarrierError> {
        self.receive()?;
        if self.end == End::Seen && self.is_gone() {
            return Err(CarrierError::Gone);
        }
        Ok(())
    }

    fn handles(&self) -> Handles {
        Handles {
            input: (self.end != End::Seen).then(|| Arc::clone(&self.fd)),
            output: Arc::clone(&self.fd),
        }
    }

    fn hang_up(&mut self) {
        // An error means that it has been closed by the other side.
        let _ = shutdown(&self.fd, Shutdown::Both);
    }

    fn begin(&mut self, is_head: bool) -> Option<(RawFd, u16)> {
        self.note_running(is_head);
        self.codec.active().map(|begin| (self.fd.as_raw_fd(), begin.id))
    }

    fn done(mut self: Box<Self>) {
        let Some(begin) = self.codec.active() else { return };
        self.codec.finish();
        self.codec.clear_params();
        let over = self.is_last_request();
        if !self.outgoing.is_between_records() {
            return; // the watchdog's answer to a peer that doesn't read
        }
        self.drained = 0;
        self.owing = self.lacks_body();
        if !begin.keep_conn || over {
            if !self.codec.stdin_ended() {
                self.linger();
            }
            return;
        }
        self.outgoing.restart();
        self.forget_body();
        self.phase = Phase::Idle;
        self.since_ms = now_ms();
        // The next request may be there already: nothing new need arrive for it.
        // So may the rest of a body that nobody has read or the end of the connection, for which no event will come.
        let ready = !self.incoming.is_empty() || self.owes_body() || self.end != End::Unknown;
        if !ready && self.hub.reactor.retiring() {
            let hub = Arc::clone(&self.hub);
            if let Err(connection) = hub.reactor.give(self) {
                connection.park_as(false);
            }
            return;
        }
        self.park_as(ready);
    }

    fn end_aborted(&mut self) -> Result<bool, CarrierError> {
        match self.codec.active().filter(|_| self.aborted) {
            Some(begin) => {
                self.note_sending();
                self.outgoing.end_aborted(&self.fd, begin.id)
            }
            None => Ok(true),
        }
    }

    fn cut(mut self: Box<Self>, lack: Option<Lack>) {
        if self.outgoing.is_between_records() {
            let keeps = self.codec.active().is_some_and(|begin| begin.keep_conn);
            if self.aborted && self.outgoing.has_ended() && keeps {
                return self.done();
            }
            // Only behind a whole record, or the peer would take it for content; and who breaks the protocol gets no reply.
            if self.broken.is_none() {
                match self.codec.active() {
                    Some(begin) if lack.is_some_and(|lack| self.would_be_filled_up(lack)) => {
                        let end = self.outgoing.answers();
                        encode::end_stdout(end, begin.id);
                        encode::end_request(end, begin.id, 1, ProtocolStatus::RequestComplete);
                    }
                    _ => self.outgoing.answers().extend_from_slice(&encode::POISON),
                }
            }
        }
        // Whether it arrives or not: closing follows.
        let _ = self.outgoing.flush(&self.fd);
        // A child that the application has forked may hold the socket open: closing alone would not tell the peer.
        let _ = shutdown(&self.fd, Shutdown::Both);
    }
}
