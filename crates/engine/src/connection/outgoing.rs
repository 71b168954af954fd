//! Responses into records and onto the socket.

use std::io::IoSlice;
use std::os::fd::AsFd;

use fastcgi::encode;
use fastcgi::record::ProtocolStatus;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use crate::exchange::{CarrierError, Ending, Payload};

/// What could not be sent yet, and how far the response is.
#[derive(Default)]
pub struct Outgoing {
    /// Whole records, or the rest of one: at most one STDOUT record and what follows it.
    pub pending: Vec<u8>,
    /// The end of the response stands in `pending` or has been sent.
    ended: bool,
}

/// Responses up to this size are copied into one record and sent with one `send`; larger ones are gathered from where
/// they lie, which costs a message header and a list.
const COPIED_RESPONSE: usize = 16 * 1024;
/// Content of a full STDOUT record: the largest multiple of 8 that its length can say.
const FULL_RECORD: usize = 65_528;
/// Records gathered for one `sendmsg`: 1 MiB.
const RECORDS_AT_ONCE: usize = 16;
/// Slices that Linux takes at once.
const MAX_SLICES: usize = 1024;

impl Outgoing {
    /// The next response begins.
    pub fn restart(&mut self) {
        self.ended = false;
    }

    /// See [`crate::exchange::Carrier::send`].
    pub fn send(
        &mut self,
        fd: impl AsFd,
        id: u16,
        payload: &mut Payload<'_>,
        ending: Option<Ending>,
    ) -> Result<bool, CarrierError> {
        if !self.pending.is_empty() && !self.flush(&fd)? {
            return Ok(false);
        }
        while payload.remaining() > COPIED_RESPONSE {
            if !self.gather(&fd, id, payload, ending)? {
                return Ok(false);
            }
        }
        let length = payload.remaining();
        if length > 0 {
            self.pending
                .extend_from_slice(&encode::stdout_header(id, length as u16));
            while payload.remaining() > 0 {
                self.pending.extend_from_slice(payload.take(length));
            }
        }
        if let (Some(ending), false) = (ending, self.ended) {
            self.ended = true;
            encode_ending(&mut self.pending, id, ending);
        }
        self.flush(&fd)
    }

    /// Sends what is pending; whether all of it is gone.
    pub fn flush(&mut self, fd: impl AsFd) -> Result<bool, CarrierError> {
        let mut sent = 0;
        while sent < self.pending.len() {
            match send(&fd, &self.pending[sent..], SendFlags::NOSIGNAL) {
                Ok(n) => sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Err(CarrierError::Gone),
            }
        }
        if sent == self.pending.len() {
            self.pending.clear();
            if self.pending.capacity() > FULL_RECORD {
                self.pending = Vec::new();
            }
            return Ok(true);
        }
        self.pending.drain(..sent);
        Ok(false)
    }

    /// Sends up to [`RECORDS_AT_ONCE`] records from where the payload lies, and stages the rest of one that went only
    /// in part. Whether everything that it took is gone.
    fn gather(
        &mut self,
        fd: impl AsFd,
        id: u16,
        payload: &mut Payload<'_>,
        ending: Option<Ending>,
    ) -> Result<bool, CarrierError> {
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
        let mut slices = Vec::with_capacity(2 * records + 2);
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
            // An application that returns thousands of tiny blocks gets them sent in turns.
            let some = &slices[..slices.len().min(MAX_SLICES)];
            match sendmsg(&fd, some, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL) {
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
            if sent < 8 + length {
                self.pending.extend_from_slice(&header[sent.min(8)..]);
                skip(payload, sent.saturating_sub(8));
                let mut left = length - sent.saturating_sub(8);
                while left > 0 {
                    let piece = payload.take(left);
                    left -= piece.len();
                    self.pending.extend_from_slice(piece);
                }
                return self.flush(&fd);
            }
            skip(payload, length);
            sent -= 8 + length;
        }
        if !tail.is_empty() {
            self.ended = true;
            self.pending.extend_from_slice(&tail[sent..]);
            return self.flush(&fd);
        }
        Ok(true)
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
