//! Bytes that have been received and that the codec has not consumed.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::hub::{Hub, INPUT_SIZE};
use crate::base::lost;
use crate::request::carrier::CarrierError;

/// Bytes `start..end` of `buffer` are there. A connection at rest has no buffer, or one just large enough.
#[derive(Default)]
pub struct Incoming {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// What receiving once has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes.
    Bytes(usize),
    /// Nothing is there now.
    Nothing,
    /// The peer sends nothing more.
    End,
}

impl Incoming {
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes, and where they begin, to be moved on by what is consumed.
    pub fn bytes_and_start(&mut self) -> (&[u8], &mut usize) {
        (&self.buffer[self.start..self.end], &mut self.start)
    }

    /// What another worker has received, in place of what is here.
    pub fn put(&mut self, bytes: Vec<u8>) {
        (self.start, self.end) = (0, bytes.len());
        self.buffer = bytes;
    }

    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Receives once, without waiting.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn fill(&mut self, fd: impl AsFd, hub: &Hub) -> Result<Received, CarrierError> {
        if self.is_empty() {
            self.clear();
        }
        if self.buffer.len() < INPUT_SIZE {
            let mut buffer = hub.buffer();
            let rest = self.bytes();
            let length = rest.len();
            buffer[..length].copy_from_slice(rest);
            *self = Self {
                buffer,
                start: 0,
                end: length,
            };
        } else if self.start > 0 {
            // The codec leaves at most one incomplete record, which is short unless it is GET_VALUES.
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        loop {
            match recv(&fd, &mut self.buffer[self.end..], RecvFlags::empty()) {
                Ok((_, 0)) => return Ok(Received::End),
                Ok((_, received)) => {
                    self.end += received;
                    return Ok(Received::Bytes(received));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                Err(error) => {
                    lost::check_connection(error);
                    return Err(CarrierError::Gone);
                }
            }
        }
    }

    /// Gives the large buffer back: the connection rests.
    pub fn rest(&mut self, hub: &Hub) {
        let rest = self.bytes().to_vec();
        let end = rest.len();
        let Self { buffer, .. } = std::mem::replace(
            self,
            Self {
                buffer: rest,
                start: 0,
                end,
            },
        );
        hub.keep_buffer(buffer);
    }
}
