//! One FastCGI connection: a socket, the codec, and what is on its way in both directions.
//!
//! Never blocks and knows no Python. Between requests it is parked in the reactor; while a request runs it is the
//! exchange's carrier.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fastcgi::record::ProtocolStatus;
use fastcgi::{BeginRequest, Event, Pairs, encode};
use pool::scoreboard::now_ms;
use pool::settings::Limits;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown};

use crate::body::Body;
use crate::exchange::{Carrier, CarrierError, Ending, Payload};
use crate::reactor::{Key, Parked, Reactor};

/// What all connections of a worker share.
pub struct Hub {
    pub reactor: Reactor<Connection>,
    pub limits: Limits,
    /// Truthful answers to GET_VALUES: connections and requests that the whole pool takes at once.
    pub max_conns: usize,
    pub max_reqs: usize,
    /// Input buffers without an owner: parked connections have none.
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// Room for one read. A request with a body of 64 KiB comes in one piece; a GET_VALUES record fits whole.
const INPUT_SIZE: usize = 96 * 1024;
/// Input buffers kept for later.
const KEPT_BUFFERS: usize = 16;
/// Responses up to this size are copied into one record and sent with one `send`; larger ones are gathered from where
/// they lie. Measured: the copy is cheaper than a message header up to about 16 KiB.
const COPIED_RESPONSE: usize = 16 * 1024;
/// Content of a full STDOUT record: the largest multiple of 8 that its length can say.
const FULL_RECORD: usize = 65_528;
/// Records gathered for one `sendmsg`: 1 MiB.
const RECORDS_AT_ONCE: usize = 16;
/// What tells nginx, mod_proxy_fcgi and Caddy that a response broke off: a record of a version that doesn't exist.
/// lighttpd and mod_fcgid skip it and see the end of file (SPEC E8a).
const POISON: [u8; 8] = [0; 8];

impl Hub {
    pub fn new(reactor: Reactor<Connection>, limits: Limits, workers: usize, threads: usize) -> Self {
        Self {
            reactor,
            limits,
            max_conns: limits.connections * workers,
            max_reqs: threads * workers,
            buffers: Mutex::default(),
        }
    }

    fn buffer(&self) -> Vec<u8> {
        let kept = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| vec![0; INPUT_SIZE])
    }

    fn keep_buffer(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.len() == INPUT_SIZE && buffers.len() < KEPT_BUFFERS {
            buffers.push(buffer);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between requests.
    Idle,
    /// A request has begun and is not complete enough for a thread.
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
    /// The peer is gone or mad: drop it.
    Close,
}

pub struct Connection {
    hub: Arc<Hub>,
    fd: Arc<OwnedFd>,
    key: Option<Key>,
    codec: fastcgi::Connection,
    /// Bytes `start..end` have been received and not consumed. Empty (no memory) while nothing is there.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Whole records, or the rest of one, that could not be sent yet.
    out: Vec<u8>,
    /// The end of the response stands in `out` or has been sent.
    ended: bool,
    aborted: bool,
    body: Body,
    phase: Phase,
    /// The request's params were longer than the limit.
    params_too_large: bool,
    /// When the present phase began, or its last progress: milliseconds of `now_ms`.
    since_ms: u64,
    requests: u64,
    drained: u64,
    /// Not kept after this response, whatever the front server asked for.
    closing: bool,
}

impl Connection {
    pub fn new(hub: &Arc<Hub>, fd: OwnedFd) -> Box<Self> {
        Box::new(Self {
            hub: Arc::clone(hub),
            fd: Arc::new(fd),
            key: None,
            codec: fastcgi::Connection::new(hub.limits.params_bytes),
            input: Vec::new(),
            start: 0,
            end: 0,
            out: Vec::new(),
            ended: false,
            aborted: false,
            body: Body::default(),
            phase: Phase::Idle,
            params_too_large: false,
            since_ms: now_ms(),
            requests: 0,
            drained: 0,
            closing: false,
        })
    }

    /// Receives what is there, until a request can start or nothing more is there. Called by whoever has taken the
    /// connection from the reactor.
    pub fn progress(&mut self) -> Step {
        match self.try_progress() {
            Ok(step) => step,
            Err(CarrierError::Gone) => {
                if self.phase == Phase::Receiving {
                    tracing::debug!("the front server closed a connection before its request was complete");
                }
                Step::Close
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was closed");
                Step::Close
            }
        }
    }

    fn try_progress(&mut self) -> Result<Step, CarrierError> {
        if self.phase == Phase::Lingering {
            return self.drain();
        }
        if !self.flush()? {
            return Ok(Step::Park); // a peer that doesn't read answers to GET_VALUES; its next byte brings us back
        }
        loop {
            self.consume()?;
            if self.codec.params_ended() && (self.body.complete() || self.can_start()) {
                return match self.codec.active() {
                    Some(begin) => {
                        self.phase = Phase::Running;
                        Ok(Step::Serve(begin))
                    }
                    None => Ok(Step::Close),
                };
            }
            if self.phase == Phase::Running {
                return Ok(Step::Close); // the request was aborted before it could start, and so was the connection
            }
            if !self.fill()? {
                return Ok(Step::Park);
            }
        }
    }

    /// Whether the application can start although the body has not ended: enough of it is there, or none will come.
    fn can_start(&mut self) -> bool {
        if self.body.received >= self.hub.limits.body_buffer as u64 && self.body.expected.is_some() {
            return true;
        }
        if self.body.too_large {
            return true;
        }
        // Without a length: wait for the whole body, so that the application can be told its length (SPEC C46), but only
        // where there may be one. A request without STDIN must not wait for it (SPEC A20).
        let mut length = None;
        let mut method: &[u8] = b"";
        let mut chunked = false;
        for (name, value) in Pairs::new(self.codec.params()).flatten() {
            match name {
                b"CONTENT_LENGTH" if !value.is_empty() => length = Some(value),
                b"REQUEST_METHOD" => method = value,
                b"HTTP_TRANSFER_ENCODING" => chunked = !value.is_empty(),
                _ => {}
            }
        }
        let Some(length) = length else {
            return !chunked && matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"DELETE" | b"");
        };
        let length = std::str::from_utf8(length).ok().and_then(|digits| digits.parse().ok());
        // What is no length or more than allowed is answered without the body.
        let Some(length) = length.filter(|&length| length <= self.hub.limits.body_max) else {
            return true;
        };
        self.body.expected = Some(length);
        self.body.complete() || self.body.received >= self.hub.limits.body_buffer as u64
    }

    /// Feeds the codec with what has been received.
    fn consume(&mut self) -> Result<(), CarrierError> {
        loop {
            let input = &self.input[self.start..self.end];
            let (consumed, event) = self
                .codec
                .advance(input)
                .map_err(|error| CarrierError::Protocol(error.to_string()))?;
            self.start += consumed;
            match event {
                Some(Event::Request { params_too_large, .. }) => {
                    self.params_too_large = params_too_large;
                    self.body.reset();
                    self.aborted = false;
                    self.requests += 1;
                    self.phase = Phase::Receiving;
                }
                Some(Event::Stdin(data)) => {
                    let limits = &self.hub.limits;
                    self.body
                        .push(data, limits.body_memory, limits.body_max)
                        .map_err(CarrierError::Spool)?;
                    self.since_ms = now_ms();
                }
                Some(Event::StdinEnd) => {
                    self.body.ended = true;
                    return Ok(());
                }
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
                    tracing::warn!(
                        id,
                        "a second request on a busy connection was refused: multiplexing is not offered"
                    );
                    encode::end_request(&mut self.out, id, 0, ProtocolStatus::CantMpxConn);
                }
                Some(Event::GetValues(query)) => {
                    encode::get_values_result(&mut self.out, query, self.hub.max_conns, self.hub.max_reqs);
                }
                Some(Event::UnknownType(kind)) => encode::unknown_type(&mut self.out, kind),
                Some(Event::Ignored(what)) => log_ignored(what),
                None => break,
            }
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.codec.active().is_some() && self.phase == Phase::Idle {
            self.phase = Phase::Receiving;
            self.since_ms = now_ms();
        }
        self.flush()?;
        Ok(())
    }

    /// ABORT_REQUEST before the application was called: END_REQUEST says that it is over (SPEC A23).
    fn answer_abort(&mut self, begin: Option<BeginRequest>) -> Result<(), CarrierError> {
        tracing::info!("the front server aborted a request before it was complete");
        let Some(begin) = begin else { return Ok(()) };
        encode::end_request(&mut self.out, begin.id, 0, ProtocolStatus::RequestComplete);
        self.phase = Phase::Idle;
        if !begin.keep_conn {
            self.flush()?;
            return Err(CarrierError::Gone);
        }
        Ok(())
    }

    /// Receives once; whether anything came.
    fn fill(&mut self) -> Result<bool, CarrierError> {
        if self.input.len() < INPUT_SIZE {
            let mut buffer = self.hub.buffer();
            let rest = &self.input[self.start..self.end];
            buffer[..rest.len()].copy_from_slice(rest);
            (self.start, self.end) = (0, rest.len());
            self.input = buffer;
        } else if self.start > 0 {
            // The codec leaves at most one incomplete record, which is short unless it is GET_VALUES.
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        loop {
            match recv(&self.fd, &mut self.input[self.end..], RecvFlags::empty()) {
                Ok((_, 0)) => return Err(CarrierError::Gone),
                Ok((_, received)) => {
                    self.end += received;
                    return Ok(true);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(_) => return Err(CarrierError::Gone),
            }
        }
    }

    /// Sends what stands in `out`; whether all of it is gone.
    fn flush(&mut self) -> Result<bool, CarrierError> {
        let mut sent = 0;
        while sent < self.out.len() {
            match send(&self.fd, &self.out[sent..], SendFlags::NOSIGNAL) {
                Ok(n) => sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Err(CarrierError::Gone),
            }
        }
        if sent == self.out.len() {
            self.out.clear();
            if self.out.capacity() > 2 * FULL_RECORD {
                self.out = Vec::new();
            }
            return Ok(true);
        }
        self.out.drain(..sent);
        Ok(false)
    }

    /// Sends up to [`RECORDS_AT_ONCE`] records from where the payload lies, and stages the rest of one that went only
    /// in part. Whether everything that it took is gone.
    fn gather(&mut self, id: u16, payload: &mut Payload<'_>, ending: Option<Ending>) -> Result<bool, CarrierError> {
        let total = payload.remaining().min(RECORDS_AT_ONCE * FULL_RECORD);
        let records = total.div_ceil(FULL_RECORD);
        let length_of = |record: usize| FULL_RECORD.min(total - record * FULL_RECORD);
        let mut headers = [[0; 8]; RECORDS_AT_ONCE];
        for (record, header) in headers.iter_mut().enumerate().take(records) {
            *header = encode::stdout_header(id, length_of(record) as u16);
        }
        let mut tail = Vec::new();
        if let Some(ending) = ending.filter(|_| total == payload.remaining()) {
            encode_ending(&mut tail, id, ending);
        }
        let mut slices = Vec::with_capacity(3 * records + 1);
        let mut ahead = payload.peek();
        for (record, header) in headers.iter().enumerate().take(records) {
            slices.push(IoSlice::new(header));
            let mut left = length_of(record);
            while left > 0 {
                let piece = ahead.take(left);
                left -= piece.len();
                slices.push(IoSlice::new(piece));
            }
        }
        slices.push(IoSlice::new(&tail));
        let mut sent = loop {
            // Linux takes 1,024 slices; an application that returns thousands of tiny blocks gets them in turns.
            let some = &slices[..slices.len().min(1024)];
            match sendmsg(
                &self.fd,
                some,
                &mut SendAncillaryBuffer::new(&mut [] as &mut [MaybeUninit<u8>]),
                SendFlags::NOSIGNAL,
            ) {
                Ok(sent) => break sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(_) => return Err(CarrierError::Gone),
            }
        };
        for (record, header) in headers.iter().enumerate().take(records) {
            if sent == 0 {
                return Ok(false);
            }
            let length = length_of(record);
            let whole = 8 + length;
            if sent < whole {
                self.out.extend_from_slice(&header[sent.min(8)..]);
                skip(payload, sent.saturating_sub(8));
                let mut left = length - sent.saturating_sub(8);
                while left > 0 {
                    let piece = payload.take(left);
                    left -= piece.len();
                    self.out.extend_from_slice(piece);
                }
                return self.flush();
            }
            skip(payload, length);
            sent -= whole;
        }
        if !tail.is_empty() {
            self.ended = true;
            self.out.extend_from_slice(&tail[sent..]);
            return self.flush();
        }
        Ok(true)
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
        self.drained = 0;
        if !matches!(self.progress(), Step::Park) {
            return;
        }
        self.park();
    }

    fn drain(&mut self) -> Result<Step, CarrierError> {
        loop {
            self.drained += (self.end - self.start) as u64;
            (self.start, self.end) = (0, 0);
            if self.drained > self.hub.limits.drain_bytes {
                return Ok(Step::Close);
            }
            if !self.fill()? {
                return Ok(Step::Park);
            }
        }
    }

    /// Gives the connection back to the reactor.
    pub fn park(mut self: Box<Self>) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            let buffer = std::mem::take(&mut self.input);
            self.hub.keep_buffer(buffer);
        } else if self.input.len() == INPUT_SIZE {
            let rest = self.input[self.start..self.end].to_vec();
            (self.start, self.end) = (0, rest.len());
            let buffer = std::mem::replace(&mut self.input, rest);
            self.hub.keep_buffer(buffer);
        }
        let hub = Arc::clone(&self.hub);
        // A pipelined request may stand in the input: nothing new need arrive for it.
        // A request that could start is parked only by the watchdog, which can't start it.
        let ready = self.phase == Phase::Running || self.phase == Phase::Idle && self.end > self.start;
        hub.reactor.park(self, ready);
    }

    /// The params of the request that can start.
    pub fn params(&self) -> &[u8] {
        self.codec.params()
    }

    pub fn params_too_large(&self) -> bool {
        self.params_too_large
    }

    /// Says why it is closed at its deadline.
    pub fn log_expiry(&self) {
        match self.phase {
            Phase::Receiving => {
                tracing::info!("a connection was closed: its request did not arrive (--params-timeout)")
            }
            Phase::Idle => tracing::debug!("an idle connection was closed (--idle-timeout)"),
            Phase::Running | Phase::Lingering => tracing::debug!("a connection was closed"),
        }
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The next response is the connection's last.
    pub fn close_after_response(&mut self) {
        self.closing = true;
    }

    /// Whether a request is waiting for the rest of its body: at its deadline it deserves an answer.
    pub fn waits_for_body(&self) -> bool {
        self.phase == Phase::Receiving && self.codec.params_ended()
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
            Phase::Idle => limits.idle_timeout,
            Phase::Receiving if self.codec.params_ended() => limits.body_timeout,
            Phase::Receiving => limits.params_timeout,
            Phase::Lingering => limits.drain_timeout,
            Phase::Running => return None,
        };
        (!timeout.is_zero()).then(|| self.since_ms + timeout.as_millis() as u64)
    }

    fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }
}

impl Carrier for Connection {
    fn body(&mut self) -> &mut Body {
        &mut self.body
    }

    fn send(&mut self, payload: &mut Payload<'_>, ending: Option<Ending>) -> Result<bool, CarrierError> {
        if self.aborted {
            return Err(CarrierError::Aborted);
        }
        let Some(BeginRequest { id, .. }) = self.codec.active() else {
            return Err(CarrierError::Ended);
        };
        if !self.out.is_empty() && !self.flush()? {
            return Ok(false);
        }
        while payload.remaining() > COPIED_RESPONSE {
            if !self.gather(id, payload, ending)? {
                return Ok(false);
            }
        }
        let length = payload.remaining();
        if length > 0 {
            self.out.extend_from_slice(&encode::stdout_header(id, length as u16));
            while payload.remaining() > 0 {
                self.out.extend_from_slice(payload.take(length));
            }
        }
        if let (Some(ending), false) = (ending, self.ended) {
            self.ended = true;
            encode_ending(&mut self.out, id, ending);
        }
        self.flush()
    }

    fn receive(&mut self) -> Result<bool, CarrierError> {
        let received = self.fill()?;
        if received {
            self.consume()?;
        }
        if self.aborted {
            Err(CarrierError::Aborted)
        } else {
            Ok(received)
        }
    }

    fn handle(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
    }

    fn crash_address(&self) -> Option<(RawFd, u16)> {
        self.codec.active().map(|begin| (self.fd.as_raw_fd(), begin.id))
    }

    fn done(mut self: Box<Self>) {
        let Some(begin) = self.codec.active() else { return };
        self.codec.finish();
        self.codec.clear_params();
        let stdin_ended = self.codec.stdin_ended();
        let over = self.closing || self.requests >= self.hub.limits.connection_requests || self.hub.reactor.draining();
        if !self.out.is_empty() {
            return; // the watchdog's answer to a peer that doesn't read
        }
        if !begin.keep_conn || over {
            if !stdin_ended {
                self.linger();
            }
            return;
        }
        self.ended = false;
        self.body.reset();
        self.phase = Phase::Idle;
        self.since_ms = now_ms();
        self.park();
    }

    fn cut(mut self: Box<Self>) {
        // Only a whole record may stand before it, or the peer would take it for content.
        if self.out.is_empty() && !self.aborted {
            self.out.extend_from_slice(&POISON);
            // Whether it arrives or not: closing follows.
            let _ = self.flush();
        } else if self.aborted {
            if let Some(begin) = self.codec.active() {
                encode::end_request(&mut self.out, begin.id, 0, ProtocolStatus::RequestComplete);
                let flushed = self.flush();
                if begin.keep_conn && matches!(flushed, Ok(true)) {
                    return self.done();
                }
            }
        }
        // A child that the application has forked may hold the socket open: closing alone would not tell the peer.
        let _ = shutdown(&self.fd, Shutdown::Both);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.hub.reactor.closed(self.key);
        let input = std::mem::take(&mut self.input);
        self.hub.keep_buffer(input);
    }
}

fn skip(payload: &mut Payload<'_>, mut length: usize) {
    while length > 0 {
        length -= payload.take(length).len();
    }
}

fn encode_ending(out: &mut Vec<u8>, id: u16, ending: Ending) {
    encode::end_stdout(out, id);
    match ending {
        Ending::Complete { app_status } => encode::end_request(out, id, app_status, ProtocolStatus::RequestComplete),
        Ending::UnknownRole => encode::end_request(out, id, 0, ProtocolStatus::UnknownRole),
    }
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
