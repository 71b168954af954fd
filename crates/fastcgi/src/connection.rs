//! The state of one connection, as the application sees it: bytes in, events out.
//!
//! One request at a time (§3.3 leaves multiplexing to the application; this side refuses it, §5.5). Knows neither
//! what a role means nor what a param says, and writes nothing: the driver answers with [`encode`](crate::encode).

use std::fmt;

use crate::encode;
use crate::error::ProtocolError;
use crate::event::{BeginRequest, Event, Ignored};
use crate::record::{HEADER_LENGTH, Header, KEEP_CONN, MAX_CONTENT, VERSION, kind};

/// Most bytes that [`Connection::advance`] leaves unconsumed while it waits for more: a whole `GET_VALUES` record.
/// A driver's input buffer has to be able to grow to this size.
pub const MAX_UNCONSUMED: usize = HEADER_LENGTH + MAX_CONTENT;

/// Bytes of a `BEGIN_REQUEST` body (§5.1). More are ignored, fewer are an error.
const BEGIN_LENGTH: usize = 8;

/// A params buffer larger than this is freed by [`Connection::clear_params`], not kept for the next request. Params
/// of real front servers take 0.5 to 4 KiB. An idle connection keeps the memory, and there may be thousands of them.
const KEPT_PARAMS: usize = 2 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request is active.
    Idle,
    /// The active request's params have not ended.
    Params,
    /// They have: the request can run.
    Running,
}

/// The streams whose content is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Params,
    Stdin,
}

/// One connection's codec.
pub struct Connection {
    /// Bytes that are still to come of the current record's content, which belongs to `stream`.
    content_left: usize,
    stream: Stream,
    /// Bytes behind them that nobody looks at: padding, or all of an ignored record.
    skip_left: usize,
    phase: Phase,
    /// The last request; active unless the phase is `Idle`.
    begin: BeginRequest,
    stdin_ended: bool,
    aborted: bool,
    /// invariant: params.len() <= max_params, and empty if params_too_large
    params: Vec<u8>,
    params_too_large: bool,
    max_params: usize,
    /// Set once: nothing is read after an error, for what looks like a record may be anything (SPEC F15).
    failed: Option<ProtocolError>,
}

impl Connection {
    /// A new connection, whose requests may have up to `max_params` bytes of encoded params.
    pub fn new(max_params: usize) -> Connection {
        Connection {
            content_left: 0,
            stream: Stream::Params,
            skip_left: 0,
            phase: Phase::Idle,
            begin: BeginRequest {
                id: 0,
                role: 0,
                keep_conn: false,
            },
            stdin_ended: false,
            aborted: false,
            params: Vec::new(),
            params_too_large: false,
            max_params,
            failed: None,
        }
    }

    /// Consumes from `input`; returns how many bytes it took, and the event if those bytes completed one.
    ///
    /// To be called again with the rest until there is no event: then everything that can be consumed is, and what is
    /// left, at most [`MAX_UNCONSUMED`] bytes, must be passed again together with more input.
    ///
    /// # Errors
    /// If the peer broke the protocol in a manner that makes the rest of the stream doubtful. The driver closes the
    /// connection without an answer; further calls give the same error.
    #[inline]
    pub fn advance<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Event<'a>>), ProtocolError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut rest = input;
        loop {
            if let Some(event) = self.read_content(&mut rest) {
                return Ok((input.len() - rest.len(), Some(event)));
            }
            if !self.between_records() {
                debug_assert!(rest.is_empty());
                return Ok((input.len(), None));
            }
            match self.read_header(&mut rest) {
                Ok(Step::Record) => {}
                Ok(Step::Event(event)) => {
                    self.skip(&mut rest);
                    return Ok((input.len() - rest.len(), Some(event)));
                }
                Ok(Step::NeedsInput) => return Ok((input.len() - rest.len(), None)),
                Err(error) => {
                    self.failed = Some(error);
                    return Err(error);
                }
            }
        }
    }

    /// The encoded params of the active request, whole after [`Event::Request`]: to be read by
    /// [`Pairs`](crate::Pairs). They stay until the next request begins, or [`clear_params`](Self::clear_params).
    #[inline]
    pub fn params(&self) -> &[u8] {
        &self.params
    }

    /// Forgets the params once they have been used, and gives their memory back if it grew large.
    pub fn clear_params(&mut self) {
        if self.params.capacity() > KEPT_PARAMS {
            self.params = Vec::new();
        } else {
            self.params.clear();
        }
    }

    /// The request that has begun and is not finished.
    #[inline]
    pub fn active(&self) -> Option<BeginRequest> {
        match self.phase {
            Phase::Idle => None,
            Phase::Params | Phase::Running => Some(self.begin),
        }
    }

    /// Whether the params of the active request have ended.
    #[inline]
    pub fn params_ended(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether the body of the last request has ended. Kept up to date after [`finish`](Self::finish) too, so that a
    /// driver can go on reading until the peer has sent all of it, and close only then.
    #[inline]
    pub fn stdin_ended(&self) -> bool {
        self.stdin_ended
    }

    /// The driver has queued `END_REQUEST`: the id is inactive from now on, late records for it are ignored.
    #[inline]
    pub fn finish(&mut self) {
        self.phase = Phase::Idle;
        // The rest of a body that nobody read.
        self.skip_left += self.content_left;
        self.content_left = 0;
    }

    /// Whether no part of a record has been consumed without the rest of it. If no request is active either, there is
    /// nothing that whoever takes the connection over has to know but its unconsumed input.
    #[inline]
    pub fn between_records(&self) -> bool {
        self.content_left == 0 && self.skip_left == 0
    }

    /// Whether [`export`](Self::export) can say where it stands: not if it has failed, nor if params were too large to be kept.
    pub fn is_exportable(&self) -> bool {
        self.failed.is_none() && (self.phase == Phase::Idle || !self.params_too_large)
    }

    /// Appends what a new connection has to be fed with to stand where this one does: the active request's params, the ends of
    /// its streams, and of a record that was consumed in part the header that its rest would have. Of the body there is
    /// nothing: who has got it passes it on. Unconsumed input follows behind it. Only of what [is exportable](Self::is_exportable).
    pub fn export(&self, out: &mut Vec<u8>) {
        debug_assert!(self.is_exportable());
        let BeginRequest { id, role, keep_conn } = self.begin;
        if self.phase != Phase::Idle {
            encode::begin_request(out, id, role, if keep_conn { KEEP_CONN } else { 0 });
            for params in self.params.chunks(MAX_CONTENT) {
                encode::record(out, kind::PARAMS, id, params, 0);
            }
        }
        if self.phase == Phase::Running {
            encode::record(out, kind::PARAMS, id, b"", 0);
            if self.aborted {
                encode::abort_request(out, id);
            }
            if self.stdin_ended {
                encode::end_stdin(out, id);
            }
        }
        let (kind, id, content) = match (self.content_left, self.stream) {
            // Whatever it was, nobody looks at it: as the DATA of a request that there isn't (§3.3).
            (0, _) => (kind::DATA, id % u16::MAX + 1, self.skip_left.min(MAX_CONTENT)),
            (left, Stream::Params) => (kind::PARAMS, id, left),
            (left, Stream::Stdin) => (kind::STDIN, id, left),
        };
        if !self.between_records() {
            let header = Header {
                version: VERSION,
                kind,
                request_id: id,
                // Neither is more than a header has said, or both together what two fields can say.
                content_length: content as u16,
                padding_length: (self.content_left + self.skip_left - content) as u8,
            };
            out.extend_from_slice(&header.encode());
        }
    }

    /// Reads on in the current record, as far as the input reaches.
    #[inline]
    fn read_content<'a>(&mut self, rest: &mut &'a [u8]) -> Option<Event<'a>> {
        let mut event = None;
        if self.content_left > 0 {
            let (content, after) = rest.split_at(self.content_left.min(rest.len()));
            *rest = after;
            self.content_left -= content.len();
            match self.stream {
                Stream::Params => self.append_params(content),
                Stream::Stdin if content.is_empty() => {}
                Stream::Stdin => event = Some(Event::Stdin(content)),
            }
        }
        self.skip(rest);
        event
    }

    #[inline]
    fn skip(&mut self, rest: &mut &[u8]) {
        // Padding stands behind the content.
        debug_assert!(self.content_left == 0 || rest.is_empty());
        let skipped = self.skip_left.min(rest.len());
        *rest = &rest[skipped..];
        self.skip_left -= skipped;
    }

    #[inline]
    fn append_params(&mut self, content: &[u8]) {
        if self.params_too_large {
            return;
        }
        let length = self.params.len() + content.len();
        if length > self.max_params {
            self.params_too_large = true;
            self.clear_params();
            return;
        }
        if length > self.params.capacity() {
            // Grows by what has arrived, never by what was declared, doubles to stay linear, and stops at the limit.
            let capacity = length.max((2 * self.params.capacity()).min(self.max_params));
            self.params.reserve_exact(capacity - self.params.len());
        }
        self.params.extend_from_slice(content);
    }

    /// Reads the next record's header, and the body of those records that are only of use when they are whole.
    #[inline]
    fn read_header<'a>(&mut self, rest: &mut &'a [u8]) -> Result<Step<'a>, ProtocolError> {
        let Some((bytes, after)) = rest.split_first_chunk::<HEADER_LENGTH>() else {
            return Ok(Step::NeedsInput);
        };
        let header = Header::decode(bytes);
        if header.version != VERSION {
            return Err(ProtocolError::Version { header: *bytes });
        }
        let content_length = usize::from(header.content_length);
        let padding_length = usize::from(header.padding_length);
        let active = self.phase != Phase::Idle && header.request_id == self.begin.id;
        match header.kind {
            kind::PARAMS if active && self.phase == Phase::Params => {
                *rest = after;
                self.skip_left = padding_length;
                if content_length > 0 {
                    self.stream = Stream::Params;
                    self.content_left = content_length;
                    return Ok(Step::Record);
                }
                self.phase = Phase::Running;
                let params_too_large = self.params_too_large;
                Ok(Step::Event(Event::Request {
                    begin: self.begin,
                    params_too_large,
                }))
            }
            kind::STDIN if active && self.phase == Phase::Running && !self.stdin_ended => {
                *rest = after;
                self.skip_left = padding_length;
                if content_length > 0 {
                    self.stream = Stream::Stdin;
                    self.content_left = content_length;
                    return Ok(Step::Record);
                }
                self.stdin_ended = true;
                Ok(Step::Event(Event::StdinEnd))
            }
            kind::BEGIN_REQUEST if header.request_id != 0 => {
                // §5.1 gives the body eight bytes; more could only be meant by a later version.
                if content_length < BEGIN_LENGTH {
                    return Err(ProtocolError::ShortBeginRequest { header: *bytes });
                }
                // §3.3: an id is in use until END_REQUEST. Starting it anew would mix two requests.
                if active {
                    return Err(ProtocolError::ActiveId { header: *bytes });
                }
                let Some((body, after)) = after.split_first_chunk::<BEGIN_LENGTH>() else {
                    return Ok(Step::NeedsInput);
                };
                *rest = after;
                self.skip_left = content_length - BEGIN_LENGTH + padding_length;
                if self.phase != Phase::Idle {
                    return Ok(Step::Event(Event::SecondRequest { id: header.request_id }));
                }
                self.begin(header.request_id, body);
                Ok(Step::Record)
            }
            kind::GET_VALUES if header.request_id == 0 => {
                let Some((query, after)) = after.split_at_checked(content_length) else {
                    return Ok(Step::NeedsInput);
                };
                *rest = after;
                self.skip_left = padding_length;
                Ok(Step::Event(Event::GetValues(query)))
            }
            _ => {
                let event = self.discarded(header, bytes)?;
                *rest = after;
                self.skip_left = content_length + padding_length;
                Ok(event.map_or(Step::Record, Step::Event))
            }
        }
    }

    #[inline]
    fn begin(&mut self, id: u16, body: &[u8; BEGIN_LENGTH]) {
        let [role1, role0, flags, ..] = *body;
        self.begin = BeginRequest {
            id,
            role: u16::from_be_bytes([role1, role0]),
            keep_conn: flags & KEEP_CONN != 0,
        };
        self.phase = Phase::Params;
        self.stdin_ended = false;
        self.aborted = false;
        self.params.clear();
        self.params_too_large = false;
    }

    /// What to do about a record whose content is of no interest.
    fn discarded(&mut self, header: Header, bytes: &[u8; 8]) -> Result<Option<Event<'static>>, ProtocolError> {
        let Header {
            kind, request_id: id, ..
        } = header;
        let active = self.phase != Phase::Idle && id == self.begin.id;
        let event = match kind {
            kind::BEGIN_REQUEST | kind::ABORT_REQUEST | kind::PARAMS | kind::STDIN | kind::DATA if id == 0 => {
                Some(Event::Ignored(Ignored::NullId { kind }))
            }
            kind::ABORT_REQUEST if active => match self.phase {
                Phase::Running if self.aborted => None,
                Phase::Running => {
                    self.aborted = true;
                    Some(Event::Abort)
                }
                Phase::Idle | Phase::Params => {
                    self.finish();
                    self.clear_params();
                    Some(Event::AbortedEarly(self.begin))
                }
            },
            // §6.1 has PARAMS end before STDIN starts. Whoever breaks this cannot be trusted with a body either.
            kind::STDIN | kind::DATA if active && self.phase == Phase::Params => {
                return Err(ProtocolError::BeforeParamsEnd { header: *bytes });
            }
            kind::PARAMS | kind::STDIN if active && header.content_length > 0 => {
                Some(Event::Ignored(Ignored::AfterStreamEnd { kind, id }))
            }
            kind::STDIN if !active && id == self.begin.id && header.content_length == 0 => {
                // The body of the finished request has now been sent to its end.
                self.stdin_ended = true;
                None
            }
            // §3.3: records for an inactive id are ignored. DATA is only for filters, whom nobody serves here (§6.4).
            // The second of two empty PARAMS is nginx's way to send none at all.
            kind::ABORT_REQUEST | kind::PARAMS | kind::STDIN | kind::DATA => None,
            kind::END_REQUEST | kind::STDOUT | kind::STDERR | kind::GET_VALUES_RESULT | kind::UNKNOWN_TYPE => {
                Some(Event::Ignored(Ignored::ApplicationToServer { kind, id }))
            }
            kind::GET_VALUES => Some(Event::Ignored(Ignored::ManagementWithId { kind, id })),
            // §4.2 asks for an answer to management records only.
            _ if id == 0 => Some(Event::UnknownType(kind)),
            _ => Some(Event::Ignored(Ignored::UnknownType { kind, id })),
        };
        Ok(event)
    }
}

/// Params are secrets (cookies, authorization), so only their size is shown.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("active", &self.active())
            .field("params_length", &self.params.len())
            .field("params_ended", &self.params_ended())
            .field("stdin_ended", &self.stdin_ended)
            .field("content_left", &self.content_left)
            .field("skip_left", &self.skip_left)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// What a header led to.
enum Step<'a> {
    /// The record's content is next.
    Record,
    Event(Event<'a>),
    NeedsInput,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;
    use crate::record::role;

    /// The head of a PARAMS record which declares more than ever comes.
    const LARGE_PARAMS: [u8; 8] = [1, kind::PARAMS, 0, 1, 0xff, 0xff, 0, 0];

    fn begun(max_params: usize) -> Connection {
        let mut connection = Connection::new(max_params);
        let mut input = Vec::new();
        encode::begin_request(&mut input, 1, role::RESPONDER, KEEP_CONN);
        assert_eq!(connection.advance(&input), Ok((16, None)));
        connection
    }

    #[test]
    fn declared_length_allocates_nothing() {
        let mut connection = begun(256 * 1024);
        assert_eq!(connection.advance(&LARGE_PARAMS), Ok((8, None)));
        assert_eq!(connection.params.capacity(), 0);
        assert_eq!(connection.advance(&[0; 100]), Ok((100, None)));
        assert!(connection.params.capacity() < 200);
    }

    #[test]
    fn params_buffer_doubles_with_what_arrives_and_stops_growing_at_the_limit() {
        let mut connection = begun(1000);
        connection.advance(&LARGE_PARAMS).expect("a valid head");
        let mut capacities = Vec::new();
        for length in (7..=994).step_by(7) {
            connection.advance(&[0; 7]).expect("params");
            let capacity = connection.params.capacity();
            assert!(capacity <= 1000 && capacity < 2 * length, "{capacity} for {length}");
            capacities.push(capacity);
        }
        capacities.dedup();
        assert_eq!(capacities, [7, 14, 28, 56, 112, 224, 448, 896, 1000]);
        connection.advance(&[0; 6]).expect("params");
        assert!(!connection.params_too_large && connection.params.len() == 1000);
        connection.advance(&[0]).expect("one byte too many");
        assert!(connection.params_too_large && connection.params.is_empty());
        connection.advance(&[0; 50_000]).expect("the rest is discarded");
        assert!(connection.params.capacity() <= 1000);
    }

    #[test]
    fn clear_params_frees_buffers_over_2_kib_and_keeps_others() {
        for (length, kept) in [(2048, true), (2049, false)] {
            let mut connection = begun(256 * 1024);
            connection.advance(&LARGE_PARAMS).expect("a valid head");
            connection.advance(&vec![0; length]).expect("params");
            connection.clear_params();
            assert!(connection.params().is_empty());
            assert_eq!(connection.params.capacity() > 0, kept);
        }
    }

    #[test]
    fn input_buffer_has_to_hold_the_largest_get_values_record_and_no_more() {
        let mut input = Vec::new();
        encode::record(&mut input, kind::GET_VALUES, 0, &[0; MAX_CONTENT], 0);
        assert_eq!(input.len(), MAX_UNCONSUMED);
        let mut connection = Connection::new(1000);
        assert_eq!(connection.advance(&input[..MAX_UNCONSUMED - 1]), Ok((0, None)));
        let whole = Event::GetValues(&input[HEADER_LENGTH..]);
        assert_eq!(connection.advance(&input), Ok((MAX_UNCONSUMED, Some(whole))));
    }

    #[test]
    fn params_have_ended_from_their_last_record_to_the_answer() {
        let mut connection = begun(1000);
        assert!(!connection.params_ended());
        let mut input = Vec::new();
        encode::params(&mut input, 1, &[(b"K", b"v")]);
        connection.advance(&input[..input.len() - 8]).expect("params");
        assert!(!connection.params_ended());
        connection.advance(&input[input.len() - 8..]).expect("their end");
        assert!(connection.params_ended());
        connection.finish();
        assert!(!connection.params_ended());
    }

    #[test]
    fn debug_shows_no_params() {
        let mut connection = begun(1000);
        let mut input = Vec::new();
        encode::params(&mut input, 1, &[(b"HTTP_COOKIE", b"secret")]);
        connection.advance(&input).expect("params");
        let shown = format!("{connection:?}");
        assert!(
            shown.contains("params_length: 19") && !shown.contains("secret"),
            "{shown}"
        );
    }

    #[test]
    fn usual_request_is_one_event_and_its_end_another() {
        let mut connection = Connection::new(1000);
        let mut input = Vec::new();
        encode::begin_request(&mut input, 1, role::RESPONDER, 0);
        encode::params(&mut input, 1, &[(b"K", b"v")]);
        encode::end_stdin(&mut input, 1);
        let begin = BeginRequest {
            id: 1,
            role: role::RESPONDER,
            keep_conn: false,
        };
        let request = Event::Request {
            begin,
            params_too_large: false,
        };
        assert_eq!(connection.advance(&input), Ok((input.len() - 8, Some(request))));
        assert_eq!(connection.params(), b"\x01\x01Kv");
        assert_eq!(
            connection.advance(&input[input.len() - 8..]),
            Ok((8, Some(Event::StdinEnd)))
        );
        assert!(connection.between_records());
    }

    #[test]
    fn padding_that_is_there_is_consumed_with_the_event() {
        let mut connection = begun(1000);
        let mut input = Vec::new();
        encode::record(&mut input, kind::PARAMS, 1, b"", 7);
        let (taken, event) = connection.advance(&input).expect("params");
        assert!(taken == 15 && event.is_some() && connection.between_records());
    }
}
