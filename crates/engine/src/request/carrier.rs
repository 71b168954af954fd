//! What brings requests and takes responses, as the exchange sees it: a FastCGI connection or CGI's streams.
//!
//! Knows no FastCGI and no Python. Nothing here ever blocks; the exchange does the waiting.

use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use contract::own::OwnFd;
use settings::Setting;
use settings::values::Timeout;

use crate::request::body::Body;

/// How a response ends on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// 0: the application did its work; 1: it failed (SPEC E16).
    Complete { app_status: u32 },
    /// The request asked for a role that we don't play (SPEC E10).
    UnknownRole,
}

/// What is sent, and how far it has been taken.
pub struct Payload<'a> {
    slices: &'a [&'a [u8]],
    index: usize,
    offset: usize,
    remaining: usize,
}

impl<'a> Payload<'a> {
    pub fn new(slices: &'a [&'a [u8]]) -> Self {
        Self {
            slices,
            index: 0,
            offset: 0,
            remaining: slices.iter().map(|slice| slice.len()).sum(),
        }
    }

    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// Takes up to `max` bytes that stand together; nothing only at the end.
    pub fn take(&mut self, max: usize) -> &'a [u8] {
        while let Some(slice) = self.slices.get(self.index) {
            let rest = &slice[self.offset..];
            if rest.is_empty() {
                self.index += 1;
                self.offset = 0;
                continue;
            }
            let taken = &rest[..rest.len().min(max)];
            self.offset += taken.len();
            self.remaining -= taken.len();
            return taken;
        }
        &[]
    }

    /// The same payload from the same place on, to look ahead.
    pub fn peek(&self) -> Payload<'a> {
        Payload { ..*self }
    }
}

/// Bytes `offset..end` of a regular file, and how far they have been sent.
pub struct FilePart<'a> {
    pub file: &'a File,
    pub offset: u64,
    pub end: u64,
}

/// A response that breaks off after its Content-Length was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lack {
    /// Body bytes that were sent.
    pub sent: u64,
    /// Body bytes that will not come.
    pub missing: u64,
}

/// What a carrier waits for; the descriptors stay open while this lives.
pub struct Handles {
    /// More of the request comes from here; `None` when it is complete.
    pub input: Option<Arc<OwnFd>>,
    pub output: Arc<OwnFd>,
}

/// Why nothing more can be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    #[error("the front server is gone")]
    Gone,
    #[error("the front server has aborted the request")]
    Aborted,
    #[error("the front server breaks the protocol: {0}")]
    Protocol(String),
    #[error("the request body can't be kept: {0}")]
    Spool(io::Error),
    #[error("no progress in writing the response for {} ({})", ***.0, .0.name())]
    WriteStall(Box<Setting<Timeout>>),
    #[error("no byte of the request body for {} ({})", ***.0, .0.name())]
    BodyStall(Box<Setting<Timeout>>),
    #[error("the file became shorter while it was sent")]
    FileShrank,
    #[error("the file can't be read: {0}")]
    File(io::Error),
    #[error("the request was given up after its time limit")]
    TimedOut,
    #[error("another thread is writing this response")]
    Busy,
    #[error("the request has ended")]
    Ended,
}

/// What brings a request and takes its response: a FastCGI connection or CGI's streams. Never blocks.
pub trait Carrier: Send {
    fn body(&mut self) -> &mut Body;
    /// Takes from `payload` what can be sent or staged, then ends the response if `ending` says so and everything was
    /// taken. Returns whether everything has left this process. Called again with the same arguments until it has:
    /// a record may be half-way out, so that nothing else can be sent before. The exchange admits one sender at a time.
    fn send(&mut self, payload: &mut Payload<'_>, ending: Option<Ending>) -> Result<bool, CarrierError>;
    /// The same for a part of a regular file, without its bytes coming through this process.
    fn send_file(&mut self, part: &mut FilePart<'_>, ending: Option<Ending>) -> Result<bool, CarrierError>;
    /// Ends the response of a request that the front server has aborted; whether everything has left. Nothing else may
    /// be sent then.
    fn end_aborted(&mut self) -> Result<bool, CarrierError>;
    /// Receives what is there; whether anything was.
    fn receive(&mut self) -> Result<bool, CarrierError>;
    /// Looks whether the peer still wants the response; receives what is there.
    fn look(&mut self) -> Result<(), CarrierError>;
    /// For waiting.
    fn handles(&self) -> Handles;
    /// Ends the connection under a thread that waits to send: its wait is over.
    fn hang_up(&mut self);
    /// The request is about to run. Descriptor and request id, for an answer when the process crashes.
    fn begin(&mut self, is_head: bool) -> Option<(RawFd, u16)>;
    /// The response was ended: the connection can serve others.
    fn done(self: Box<Self>);
    /// The response must visibly break off (SPEC E8a). `lack`: what it lacks, if its length was promised.
    fn cut(self: Box<Self>, lack: Option<Lack>);
}
