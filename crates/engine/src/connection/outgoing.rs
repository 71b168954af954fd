//! Responses into records and onto the socket.

use std::io::IoSlice;
use std::os::fd::AsFd;

use fastcgi::encode;
use fastcgi::record::ProtocolStatus;
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use crate::base::lost;
use crate::request::carrier::{CarrierError, Ending, FilePart, Payload};

/// What could not be sent yet, and how far the response is.
#[derive(Default)]
pub struct Outgoing {
    /// Bytes that come next on the wire: small responses, the rest of a record's header, the end.
    pending: Vec<u8>,
    /// Content that the record whose header was sent last still lacks; it comes from the payload, behind `pending`.
    record_left: usize,
    /// Whole records that answer management records; they wait for the end of the current record.
    answers: Vec<u8>,
    /// The end of the response stands in `pending` or has been sent.
    ended: bool,
    /// The connection is closed behind that response, although the front server wants to keep it.
    last: bool,
}

/// How a response ends on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Tail {
    pub ending: Ending,
    /// The front server wants to keep the connection, and it is closed all the same.
    pub last: bool,
    /// The connection is closed, and the front server has to be told so by [`encode::POISON`].
    pub poison: bool,
}

/// Responses up to this size are copied into one record and sent with one `send`; larger ones are gathered from where
/// they lie, which costs a message header and a list.
pub(super) const COPIED_RESPONSE: usize = 16 * 1024;
/// Memory for small responses that a connection keeps while it rests: taking it anew costs as much as sending does.
const KEPT_AT_REST: usize = 1024;
/// Content of a full STDOUT record: the largest multiple of 8 that its length can say.
const FULL_RECORD: usize = 65_528;
/// Records gathered for one `sendmsg`: 1 MiB.
const RECORDS_AT_ONCE: usize = 16;
/// Gatherings in one call: others want the exchange's lock too, however fast the peer reads.
const MAX_TURNS: usize = 4;
/// Slices that Linux takes at once.
const MAX_SLICES: usize = 1024;

impl Outgoing {
    /// The next response begins.
    pub fn restart(&mut self) {
        self.ended = false;
    }

    /// Whether the response's end has been sent or is pending.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Ends a response that the peer has aborted, once; whether everything is gone. A record that was begun is filled up:
    /// nobody reads it.
    pub fn end_aborted(&mut self, fd: impl AsFd, id: u16) -> Result<bool, CarrierError> {
        self.pending
            .resize(self.pending.len() + std::mem::take(&mut self.record_left), 0);
        if !std::mem::replace(&mut self.ended, true) {
            encode::end_request(&mut self.pending, id, 0, ProtocolStatus::RequestComplete);
        }
        self.flush(fd)
    }

    /// Whether the response that has ended was the connection's last.
    pub fn was_last(&self) -> bool {
        self.last
    }

    /// Where answers to management records are put; [`Outgoing::flush`] sends them.
    pub fn answers(&mut self) -> &mut Vec<u8> {
        &mut self.answers
    }

    /// Bytes of answers that the peer has not taken.
    pub fn unread_answers(&self) -> usize {
        self.answers.len()
    }

    /// Gives memory back that a connection without a request has no use for.
    pub fn rest(&mut self) {
        for buffer in [&mut self.pending, &mut self.answers] {
            if buffer.is_empty() && buffer.capacity() > KEPT_AT_REST {
                *buffer = Vec::new();
            }
        }
    }

    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.is_between_records() && self.answers.is_empty()
    }

    /// Whether the next byte would begin a record, and nothing waits to be sent.
    pub fn is_between_records(&self) -> bool {
        self.pending.is_empty() && self.record_left == 0
    }

    /// See [`crate::request::carrier::Carrier::send`].
    pub fn send(
        &mut self,
        fd: impl AsFd,
        id: u16,
        payload: &mut Payload<'_>,
        tail: Option<Tail>,
    ) -> Result<bool, CarrierError> {
        let mut turns = 0;
        while self.record_left > 0 || payload.remaining() > COPIED_RESPONSE {
            turns += 1;
            if !self.gather(&fd, id, payload, tail)? || turns == MAX_TURNS {
                return Ok(false);
            }
        }
        let length = payload.remaining();
        if length > 0 {
            // Once, with the header and the end of the response.
            self.pending.reserve(length + 64);
            self.pending
                .extend_from_slice(&encode::stdout_header(id, length as u16));
            while payload.remaining() > 0 {
                self.pending.extend_from_slice(payload.take(length));
            }
        }
        self.end(id, tail);
        self.flush(&fd)
    }

    /// See [`crate::request::carrier::Carrier::send_file`].
    pub fn send_file(
        &mut self,
        fd: impl AsFd,
        id: u16,
        part: &mut FilePart<'_>,
        tail: Option<Tail>,
    ) -> Result<bool, CarrierError> {
        for turn in 0.. {
            if !self.flush(&fd)? || turn == MAX_TURNS * RECORDS_AT_ONCE {
                return Ok(false);
            }
            if self.record_left == 0 {
                if part.offset == part.end {
                    break;
                }
                self.record_left = FULL_RECORD.min((part.end - part.offset) as usize);
                self.pending
                    .extend_from_slice(&encode::stdout_header(id, self.record_left as u16));
                continue;
            }
            match sendfile(&fd, part.file, Some(&mut part.offset), self.record_left) {
                Ok(0) => return Err(CarrierError::FileShrank),
                Ok(sent) => self.record_left -= sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Err(CarrierError::Gone),
                Err(error) => return Err(CarrierError::File(error.into())),
            }
        }
        self.end(id, tail);
        self.flush(&fd)
    }

    /// Puts the end of the response behind what is pending, once.
    fn end(&mut self, id: u16, tail: Option<Tail>) {
        if let (Some(tail), false) = (tail, self.ended) {
            self.note_end(tail);
            tail.encode(&mut self.pending, id);
        }
    }

    /// Sends what is pending, and answers where a record may begin; whether all of it is gone.
    pub fn flush(&mut self, fd: impl AsFd) -> Result<bool, CarrierError> {
        loop {
            if self.pending.is_empty() {
                if self.record_left > 0 || self.answers.is_empty() {
                    return Ok(true);
                }
                std::mem::swap(&mut self.pending, &mut self.answers);
            }
            match send(&fd, &self.pending, SendFlags::NOSIGNAL) {
                Ok(sent) if sent == self.pending.len() => {
                    self.pending.clear();
                    if self.pending.capacity() > FULL_RECORD {
                        self.pending = Vec::new();
                    }
                }
                Ok(sent) => drop(self.pending.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(gone(error)),
            }
        }
    }

    /// Sends what is pending, the rest of the current record and up to [`RECORDS_AT_ONCE`] more from where the payload
    /// lies. Whether all of that is gone.
    fn gather(
        &mut self,
        fd: impl AsFd,
        id: u16,
        payload: &mut Payload<'_>,
        tail: Option<Tail>,
    ) -> Result<bool, CarrierError> {
        // Only another payload than the one that the record was begun with could be too short for it.
        let rest = payload
            .remaining()
            .checked_sub(self.record_left)
            .ok_or(CarrierError::Ended)?;
        let total = rest.min(RECORDS_AT_ONCE * FULL_RECORD);
        let records = total.div_ceil(FULL_RECORD);
        let length_of = |record: usize| FULL_RECORD.min(total - record * FULL_RECORD);
        let mut headers = [[0; 8]; RECORDS_AT_ONCE];
        for (record, header) in headers.iter_mut().enumerate().take(records) {
            *header = encode::stdout_header(id, length_of(record) as u16);
        }
        let tail = tail.filter(|_| self.record_left + total == payload.remaining() && !self.ended);
        let mut end = Vec::new();
        if let Some(tail) = tail {
            tail.encode(&mut end, id);
        }
        let mut slices = Vec::with_capacity(2 * records + 4);
        slices.push(IoSlice::new(&self.pending));
        let mut ahead = payload.peek();
        push_slices(&mut slices, &mut ahead, self.record_left);
        for (record, header) in headers.iter().enumerate().take(records) {
            slices.push(IoSlice::new(header));
            push_slices(&mut slices, &mut ahead, length_of(record));
        }
        slices.push(IoSlice::new(&end));
        let mut sent = loop {
            // An application that returns thousands of tiny blocks gets them sent in turns.
            let some = &slices[..slices.len().min(MAX_SLICES)];
            match sendmsg(&fd, some, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL) {
                Ok(sent) => break sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(gone(error)),
            }
        };
        let wanted = self.pending.len() + self.record_left + total + 8 * records + end.len();
        let complete = sent == wanted;
        self.pending.drain(..take(&mut sent, self.pending.len()));
        self.skip_content(payload, &mut sent);
        for (record, header) in headers.iter().enumerate().take(records) {
            if sent == 0 {
                return Ok(false);
            }
            let of_header = take(&mut sent, header.len());
            self.pending.extend_from_slice(&header[of_header..]);
            self.record_left = length_of(record);
            self.skip_content(payload, &mut sent);
        }
        if let (Some(tail), true) = (tail, self.is_between_records()) {
            self.note_end(tail);
            self.pending.extend_from_slice(&end[sent..]);
        }
        Ok(complete)
    }

    fn note_end(&mut self, tail: Tail) {
        self.ended = true;
        self.last = tail.last;
    }

    /// So much of the current record's content has been sent.
    fn skip_content(&mut self, payload: &mut Payload<'_>, sent: &mut usize) {
        let mut length = take(sent, self.record_left);
        self.record_left -= length;
        while length > 0 {
            length -= payload.take(length).len();
        }
    }
}

/// Takes up to `most` from `amount`.
fn take(amount: &mut usize, most: usize) -> usize {
    let taken = most.min(*amount);
    *amount -= taken;
    taken
}

/// What follows when the system does not take bytes any more: the peer is gone, or the application has closed what is ours.
#[cold]
fn gone(error: Errno) -> CarrierError {
    lost::check_connection(error);
    CarrierError::Gone
}

fn push_slices<'a>(slices: &mut Vec<IoSlice<'a>>, payload: &mut Payload<'a>, mut length: usize) {
    while length > 0 && slices.len() < MAX_SLICES {
        let piece = payload.take(length);
        length -= piece.len();
        slices.push(IoSlice::new(piece));
    }
}

impl Tail {
    fn encode(self, out: &mut Vec<u8>, id: u16) {
        encode::end_stdout(out, id);
        let (app_status, status) = match self.ending {
            Ending::Complete { app_status } => (app_status, ProtocolStatus::RequestComplete),
            Ending::UnknownRole => (0, ProtocolStatus::UnknownRole),
        };
        encode::end_request(out, id, app_status, status);
        if self.poison {
            out.extend_from_slice(&encode::POISON);
        }
    }
}
