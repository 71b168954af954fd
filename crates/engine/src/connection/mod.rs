//! One FastCGI connection: a socket, the codec, and what is on its way in both directions.
//!
//! Never blocks and knows no Python. Between requests it is parked in the reactor; while a request runs it is the
//! exchange's carrier.

mod ends;
mod hub;
mod incoming;
mod kept;
mod outgoing;
mod params;
mod parked;
mod passage;
mod sending;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contract::keeper::Entry;
use contract::limited;
use contract::own::OwnFd;
use contract::scoreboard::now_ms;
use fastcgi::record::{ProtocolStatus, role};
use fastcgi::{BeginRequest, Event, Pairs, encode};
use rustix::net::{Shutdown, shutdown};

use crate::base::{crash, forked};
use crate::reactor::{Key, Parked};
use crate::request::body::{Body, NoLength, declared_length};
use crate::request::carrier::CarrierError;
use ends::End;
pub use hub::Hub;
use incoming::Incoming;
use outgoing::Outgoing;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between requests, and nothing of the next one is there.
    Idle,
    /// Something of a request is there, not enough for a thread.
    Receiving,
    /// A thread has it.
    Running,
    /// The last response is out and the peer is still sending: everything is thrown away.
    Lingering,
}

/// What becomes of a connection after [`Connection::progress`].
#[derive(Debug)]
pub enum Step {
    /// Nothing more for now: park it.
    Park,
    /// A request can start.
    Serve(BeginRequest),
    /// The peer is gone, or what it sends makes no sense: drop it.
    Close,
}

/// Most reads at once: a peer that sends faster than this must wait until others have had their turn.
const RECEIVES: usize = 16;
/// Answers to management records that a peer may leave unread.
const UNREAD_ANSWERS: usize = 128 * 1024;

pub struct Connection {
    hub: Arc<Hub>,
    fd: Arc<OwnFd>,
    /// Who has connected, once somebody wanted to know.
    peer: OnceCell<Cow<'static, str>>,
    key: Option<Key>,
    codec: fastcgi::Connection,
    incoming: Incoming,
    outgoing: Outgoing,
    aborted: bool,
    /// How the peer has broken the protocol: nothing more is read from it or sent to it (SPEC A4, E12).
    broken: Option<String>,
    body: Body,
    /// The memory that it has, as the hub knows it.
    body_memory: usize,
    phase: Phase,
    /// The request's params were longer than the limit.
    params_too_large: bool,
    /// When the present phase began, or its last progress: milliseconds of `now_ms`.
    since_ms: u64,
    requests: u64,
    /// The body of the last request had not all arrived when it was answered.
    owing: bool,
    /// Bytes thrown away since the last response.
    drained: u64,
    /// Not kept after this response, whatever the front server asked for.
    closing: bool,
    /// More may be there to receive: no event will come for it.
    unread: bool,
    /// Another worker has it.
    given: bool,
    /// A part of a response has been sent, or was to be, and its end has not.
    answering: bool,
    /// What the keeper is told of it, once it has been kept for a further request.
    entry: Option<Entry>,
    end: End,
    /// The time that the present request's body takes to arrive.
    arrival: Arrival,
}

/// How long the request that was received last has waited for its body: from when its params were read until it could
/// start, in milliseconds of `now_ms`. That is its front server's doing, not ours.
#[derive(Debug, Clone, Copy, Default)]
struct Arrival {
    since_ms: Option<u64>,
    took_ms: u64,
}

impl Connection {
    pub fn new(hub: &Arc<Hub>, fd: OwnFd) -> Box<Self> {
        Box::new(Self {
            hub: Arc::clone(hub),
            fd: Arc::new(fd),
            peer: OnceCell::new(),
            key: None,
            codec: fastcgi::Connection::new(hub.limits.params_bytes.get().in_memory()),
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            aborted: false,
            broken: None,
            body: Body::default(),
            body_memory: 0,
            phase: Phase::Idle,
            params_too_large: false,
            since_ms: now_ms(),
            requests: 0,
            owing: false,
            drained: 0,
            closing: false,
            unread: false,
            given: false,
            answering: false,
            entry: None,
            end: End::Unwatched,
            arrival: Arrival::default(),
        })
    }

    /// Receives what is there, until a request can start or nothing more is there. Called by whoever has taken the
    /// connection from the reactor.
    pub fn progress(&mut self) -> Step {
        crash::hold_if_crashed();
        match self.try_progress() {
            Ok(step) => step,
            Err(CarrierError::Gone) => {
                if self.phase == Phase::Receiving {
                    let request = self.request_line();
                    limited!(
                        "connections that were closed before a thread had their request",
                        tracing::info!(
                            request,
                            "the front server closed a connection before a thread had its request"
                        )
                    );
                }
                Step::Close
            }
            // That was said where it was found.
            Err(CarrierError::Protocol(_)) => Step::Close,
            Err(error) => {
                limited!(
                    "connections that failed",
                    tracing::warn!(%error, "a connection was closed")
                );
                Step::Close
            }
        }
    }

    fn try_progress(&mut self) -> Result<Step, CarrierError> {
        self.unread = false;
        if self.phase == Phase::Lingering {
            return self.drain();
        }
        if !self.outgoing.flush(&self.fd)? {
            return Ok(Step::Park); // a peer that doesn't read answers to GET_VALUES
        }
        if self.phase == Phase::Running {
            self.receive_queued()?;
        }
        let mut received = 0;
        for _ in 0..RECEIVES {
            self.consume()?;
            if self.codec.params_ended() && (self.body.complete() || self.can_start()) {
                self.check_peer_of_queued()?;
                let Some(begin) = self.codec.active() else { continue };
                if let Some(since) = self.arrival.since_ms.take() {
                    self.arrival.took_ms = now_ms() - since;
                }
                self.phase = Phase::Running;
                return Ok(Step::Serve(begin));
            }
            if self.codec.params_ended() {
                self.arrival.since_ms.get_or_insert_with(now_ms);
            }
            if self.owes_body() {
                self.count_drained(received);
                if self.has_drained_enough() {
                    return Ok(Step::Park);
                }
            }
            received = match self.fill()? {
                Some(received) => received,
                None => return Ok(Step::Park),
            };
        }
        self.unread = true;
        Ok(Step::Park)
    }

    /// Whether the application can start although the body has not ended: enough of it is there, or none will come.
    fn can_start(&mut self) -> bool {
        if self.body.received >= self.hub.limits.body_buffer.bytes() && self.body.expected.is_some() {
            return true;
        }
        // A role that we don't play is refused without its body (SPEC E10).
        let other_role = || self.codec.active().is_some_and(|begin| begin.role != role::RESPONDER);
        if self.body.too_large || self.body.lost.is_some() || other_role() {
            return true;
        }
        // Without a length: wait for the whole body, so that the application can be told its length (SPEC C46), but only
        // where there may be one. A request without STDIN must not wait for it (SPEC A20).
        let mut length = Ok(None);
        let mut method: &[u8] = b"";
        let mut chunked = false;
        for (name, value) in Pairs::new(self.codec.params()).flatten() {
            match name {
                b"CONTENT_LENGTH" => length = declared_length(value),
                b"REQUEST_METHOD" => method = value,
                b"HTTP_TRANSFER_ENCODING" => chunked = !value.is_empty(),
                _ => {}
            }
        }
        let length = match length {
            Ok(None) => return !chunked && !matches!(method, b"POST" | b"PUT" | b"PATCH"),
            Ok(Some(length)) if !self.hub.limits.body_max.is_exceeded_by(length) => length,
            // What is no length or more than allowed is answered without the body.
            Ok(Some(_)) | Err(NoLength) => return true,
        };
        self.body.expected = Some(length);
        self.body.complete() || self.body.received >= self.hub.limits.body_buffer.bytes()
    }

    /// Feeds the codec with what has been received, and answers management records.
    fn consume(&mut self) -> Result<(), CarrierError> {
        let consumed = self.take_events().and_then(|()| self.answer());
        match &consumed {
            Err(CarrierError::Protocol(what)) => {
                limited!(
                    "front servers that break the protocol",
                    tracing::warn!(
                        error = what,
                        peer = self.peer(),
                        request = self.request_line(),
                        "a front server breaks the protocol: its connection is closed"
                    )
                );
                self.broken = Some(what.clone());
            }
            // Nothing more of this peer once the running response is out.
            Err(_) => self.closing = true,
            Ok(()) => {}
        }
        consumed
    }

    fn answer(&mut self) -> Result<(), CarrierError> {
        self.outgoing.flush(&self.fd)?;
        if !self.outgoing.is_between_records() {
            self.note_sending();
        }
        if self.outgoing.unread_answers() > UNREAD_ANSWERS {
            return Err(CarrierError::Protocol(
                "it asks for values and does not read the answers".into(),
            ));
        }
        Ok(())
    }

    /// # Errors
    /// The peer has broken the protocol before.
    fn check_unbroken(&self) -> Result<(), CarrierError> {
        match &self.broken {
            Some(what) => Err(CarrierError::Protocol(what.clone())),
            None => Ok(()),
        }
    }

    fn take_events(&mut self) -> Result<(), CarrierError> {
        loop {
            let (bytes, start) = self.incoming.bytes_and_start();
            let advanced = self.codec.advance(bytes);
            let (consumed, event) = advanced.map_err(|error| CarrierError::Protocol(error.to_string()))?;
            // At once: the codec must never see a byte a second time, whatever fails below.
            *start += consumed;
            match event {
                Some(Event::Request { params_too_large, .. }) => {
                    self.params_too_large = params_too_large;
                    self.forget_body();
                    self.aborted = false;
                    self.arrival = Arrival::default();
                    self.requests += 1;
                    self.phase = Phase::Receiving;
                }
                Some(Event::Stdin(data)) => {
                    let in_memory = self.hub.body_memory_limit();
                    if in_memory > 0 && self.body.needs_memory() {
                        self.body.give_memory(self.hub.body_memory());
                    }
                    self.body.push(data, in_memory, *self.hub.limits.body_max);
                    self.note_body_memory();
                    self.since_ms = now_ms();
                }
                Some(Event::StdinEnd) => self.body.ended = true,
                Some(Event::Abort) if self.phase == Phase::Running => {
                    self.aborted = true;
                    return Ok(());
                }
                Some(Event::Abort) => {
                    let begin = self.codec.active();
                    self.codec.finish();
                    self.answer_abort(begin)?;
                }
                Some(Event::AbortedEarly(begin)) => self.answer_abort(Some(begin))?,
                Some(Event::SecondRequest { id }) => {
                    limited!(
                        "second requests on busy connections",
                        tracing::warn!(
                            id,
                            "a second request on a busy connection was refused: multiplexing is not offered"
                        )
                    );
                    encode::end_request(self.outgoing.answers(), id, 0, ProtocolStatus::CantMpxConn);
                }
                Some(Event::GetValues(query)) => {
                    let (conns, reqs) = (self.hub.max_conns, self.hub.max_reqs);
                    encode::get_values_result(self.outgoing.answers(), query, conns, reqs);
                }
                Some(Event::UnknownType(kind)) => encode::unknown_type(self.outgoing.answers(), kind),
                Some(Event::Ignored(what)) => log_ignored(what),
                None => break,
            }
        }
        self.note_partial_request();
        Ok(())
    }

    /// Between requests a first byte starts the time that the params may take.
    fn note_partial_request(&mut self) {
        let something = self.codec.active().is_some() || !self.incoming.is_empty();
        match self.phase {
            Phase::Idle if something => self.phase = Phase::Receiving,
            Phase::Receiving if !something => self.phase = Phase::Idle,
            _ => return,
        }
        self.since_ms = now_ms();
    }

    fn note_body_memory(&mut self) {
        let before = std::mem::replace(&mut self.body_memory, self.body.capacity());
        self.hub.note_body_memory(before, self.body_memory);
    }

    /// Gives the body's memory to the next one.
    fn forget_body(&mut self) {
        self.hub.note_body_memory(std::mem::take(&mut self.body_memory), 0);
        self.hub.keep_body_memory(self.body.reset());
    }

    /// Whether the peer is still sending the body of a request that was answered.
    fn owes_body(&self) -> bool {
        self.phase == Phase::Idle && self.owing && !self.codec.stdin_ended()
    }

    /// ABORT_REQUEST before the application was called: END_REQUEST says that it is over (SPEC A23).
    fn answer_abort(&mut self, begin: Option<BeginRequest>) -> Result<(), CarrierError> {
        let request = self.request_line();
        limited!(
            "requests that were aborted before a thread had them",
            tracing::info!(request, "the front server aborted a request before a thread had it")
        );
        self.forget_body();
        let Some(begin) = begin else { return Ok(()) };
        encode::end_request(self.outgoing.answers(), begin.id, 0, ProtocolStatus::RequestComplete);
        self.phase = Phase::Idle;
        if !begin.keep_conn {
            self.outgoing.flush(&self.fd)?;
            return Err(CarrierError::Gone);
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<Step, CarrierError> {
        for _ in 0..RECEIVES {
            self.count_drained(self.incoming.bytes().len());
            self.incoming.clear();
            if self.deadline().is_some_and(|deadline| deadline <= now_ms()) {
                return Ok(Step::Close);
            }
            if self.has_drained_enough() || self.fill()?.is_none() {
                return Ok(Step::Park);
            }
        }
        self.unread = true;
        Ok(Step::Park)
    }

    fn count_drained(&mut self, received: usize) {
        let before = self.has_drained_enough();
        self.drained += received as u64;
        if !before && self.has_drained_enough() {
            limited!(
                "unread bodies that are too long to be received",
                tracing::info!(
                    "the rest of an unread body is more than {}: no more of it is received",
                    self.hub.limits.drain_bytes
                )
            );
        }
    }

    /// Whether no more of an unread body is received (`drain_bytes`). The connection stays open until
    /// `drain_timeout` all the same: closing it while the peer is still sending would reset it (TCP), and the peer
    /// would lose the response that it has not read yet.
    fn has_drained_enough(&self) -> bool {
        self.hub.limits.drain_bytes.is_exceeded_by(self.drained)
    }

    /// The params of the request that can start.
    pub fn params(&self) -> &[u8] {
        self.codec.params()
    }

    /// How long the request that can start has waited for its body to arrive.
    pub fn body_took(&self) -> Duration {
        Duration::from_millis(self.arrival.took_ms)
    }

    pub fn params_too_large(&self) -> bool {
        self.params_too_large
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The next response is the connection's last.
    pub fn close_after_response(&mut self) {
        self.closing = true;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The keeper has it, too, or a child of the application that is just being forked: closing alone would not end it. A
        // system call for each connection, so only where there may be one.
        if (self.entry.is_some() || forked::may_share()) && !self.given {
            // An error means that it is over already.
            let _ = shutdown(&self.fd, Shutdown::Both);
        }
        self.hub.reactor.closed(self.key);
        self.forget_body();
        self.incoming.clear();
        self.incoming.rest(&self.hub);
    }
}

/// SPEC C44.
pub fn log_surplus() {
    limited!(
        "bodies longer than their CONTENT_LENGTH",
        tracing::warn!("a request body is longer than its CONTENT_LENGTH: the rest is ignored")
    );
}

/// Tolerated oddities: once at info for each worker, so that a mad client can't fill the log.
fn log_ignored(what: fastcgi::Ignored) {
    static LOGGED: AtomicBool = AtomicBool::new(false);
    if !LOGGED.swap(true, Ordering::Relaxed) {
        tracing::info!(
            ?what,
            "a front server sent a record that makes no sense; ignored, and not logged again"
        );
    }
}
