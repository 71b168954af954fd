//! The state of one response: what was promised and what has been sent.

use super::head::Head;
use super::lenient::Deviations;
use crate::request::carrier::Lack;

/// From the request's start to the response's end.
#[derive(Default)]
pub struct Response {
    /// A call of `start_response` has succeeded.
    pub start_called: bool,
    /// A call of `start_response` has raised.
    pub start_refused: bool,
    /// What `write` has served against PEP 3333, and nobody has logged yet.
    pub deviations: Deviations,
    /// Stored and not sent. Taken when it is sent; `sent` then says what it was.
    pub head: Option<Head>,
    /// Memory for a head, while there is none.
    buffer: Vec<u8>,
    sent: Option<SentHead>,
    /// `write` was called with data.
    pub wrote: bool,
    /// The method is HEAD.
    pub is_head: bool,
    /// Body bytes that were sent.
    pub body_sent: u64,
    /// The gateway sends a page of its own instead.
    replaced: bool,
}

#[derive(Debug, Clone, Copy)]
struct SentHead {
    status: u16,
    content_length: Option<u64>,
    allows_body: bool,
}

impl Response {
    pub fn new(is_head: bool, buffer: Vec<u8>) -> Self {
        Self {
            is_head,
            buffer,
            ..Self::default()
        }
    }

    pub fn head_sent(&self) -> bool {
        self.sent.is_some()
    }

    /// Whether `start_response` has succeeded.
    pub fn started(&self) -> bool {
        self.sent.is_some() || self.head.is_some()
    }

    /// Takes the head for sending it.
    pub fn take_head(&mut self) -> Option<Head> {
        if self.sent.is_some() {
            return None;
        }
        let head = self.head.take()?;
        self.sent = Some(SentHead {
            status: head.status,
            content_length: head.content_length,
            allows_body: head.allows_body() && !self.is_head,
        });
        Some(head)
    }

    /// Status that was sent; 0 if none was.
    pub fn status(&self) -> u16 {
        self.sent.map_or(0, |sent| sent.status)
    }

    /// Whether body bytes may be sent, after the head.
    pub fn allows_body(&self) -> bool {
        self.sent.is_some_and(|sent| sent.allows_body)
    }

    pub fn content_length(&self) -> Option<u64> {
        self.sent.and_then(|sent| sent.content_length)
    }

    /// Content-Length as the application has set it, whether it was sent or not.
    pub fn promised_length(&self) -> Option<u64> {
        let unsent = || self.head.as_ref().and_then(|head| head.content_length);
        self.content_length().or_else(unsent)
    }

    /// Whether a Content-Length would be right here, and the application has set none (SPEC C25).
    pub fn wants_length(&self) -> bool {
        let head = self.head.as_ref().filter(|_| self.sent.is_none());
        !self.is_head && !self.wrote && head.is_some_and(|head| head.content_length.is_none() && head.allows_body())
    }

    /// A block of `length` bytes is to be sent: the head, if it must be sent before, and how many of the bytes may be.
    /// `only`: it is the whole body. `None`: the gateway sends a page of its own, and nothing else may be sent.
    pub fn begin_block(&mut self, length: u64, only: bool) -> Option<(Option<Head>, u64)> {
        if self.replaced {
            return None;
        }
        if only
            && self.wants_length()
            && let Some(head) = &mut self.head
        {
            head.set_content_length(length);
        }
        let head = self.take_head();
        let allowed = if self.allows_body() { length.min(self.room()) } else { 0 };
        self.body_sent += allowed;
        Some((head, allowed))
    }

    /// The gateway sends a page of its own, with this status and so many bytes.
    pub fn replace(&mut self, status: u16, bytes: u64) {
        self.body_sent = bytes;
        self.replaced = true;
        self.sent = Some(SentHead {
            status,
            content_length: None,
            allows_body: true,
        });
    }

    /// Keeps a head's memory for the next request.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
    }

    /// Memory for the next head; one that is stored is given up for it.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        match self.head.take() {
            Some(head) => head.bytes,
            None => std::mem::take(&mut self.buffer),
        }
    }

    /// Body bytes that Content-Length still allows.
    pub fn room(&self) -> u64 {
        self.content_length()
            .map_or(u64::MAX, |length| length.saturating_sub(self.body_sent))
    }

    /// Whether a body of `length` bytes, of which nothing was sent, is less than Content-Length promises (SPEC C29): nobody
    /// has seen the head yet.
    pub fn would_be_short(&self, length: u64) -> bool {
        let head = self
            .head
            .as_ref()
            .filter(|head| self.sent.is_none() && head.allows_body());
        !self.is_head && head.is_some_and(|head| head.content_length.is_some_and(|promised| length < promised))
    }

    /// What a response with a Content-Length lacks if it ends now.
    pub fn lack(&self) -> Option<Lack> {
        let missing = self.content_length().filter(|_| self.allows_body())?;
        Some(Lack {
            sent: self.body_sent,
            missing: missing.saturating_sub(self.body_sent),
        })
    }

    /// Whether everything that Content-Length promised has been sent (SPEC C29). HEAD, 204 and 304 promise nothing.
    pub fn is_short(&self) -> bool {
        self.allows_body() && self.content_length().is_some_and(|length| self.body_sent < length)
    }
}
