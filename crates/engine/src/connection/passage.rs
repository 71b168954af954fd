//! What goes with a connection to another worker of which something has been received already: its request so far.
//!
//! It travels in a file in memory beside the connection: records that bring a new codec to where this one stands, the body so far, and
//! what was received and not consumed. What of the body is in a file stays there, and that comes along, so that nobody waits for a disk.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use contract::handover::{Begun, Handover, Passage};
use contract::limited;
use contract::memory;
use contract::own::{self, Own, OwnFd};
use rustix::fs::MemfdFlags;

use super::{Connection, Hub, Phase};
use crate::base::lost;
use crate::request::body::Kept;
use crate::request::carrier::CarrierError;

impl Connection {
    /// Whether its request so far, which no thread has had, can go to another worker.
    pub(super) fn request_can_travel(&self) -> bool {
        let waits = matches!(self.phase, Phase::Receiving | Phase::Running);
        let is_sound = self.broken.is_none() && !self.aborted && !self.closing && self.codec.is_exportable();
        waits && is_sound && self.outgoing.is_empty() && self.body.kept().is_some()
    }

    /// Gives it to whoever takes it; whether that was possible now.
    pub(super) fn give_to(&mut self, handover: &Handover) -> bool {
        let given = match self.phase {
            Phase::Idle => {
                let entry = self.entry.as_mut().map(|entry| entry.give(false));
                let passage = Passage {
                    requests: self.requests,
                    entry,
                    begun: None,
                };
                handover.give(self.fd.as_fd(), passage, &[])
            }
            _ => self.give_with_request(handover),
        };
        let given = given.unwrap_or_else(|error| {
            if rustix::io::Errno::from_io_error(&error).is_some_and(lost::is_lost) {
                lost::give_up("the handover", error);
            }
            limited!(
                "connections that can't be given to another worker",
                tracing::error!(%error, "a connection can't be given to another worker")
            );
            false
        });
        if let (false, Some(entry)) = (given, &mut self.entry) {
            entry.take_back();
        }
        given
    }

    fn give_with_request(&mut self, handover: &Handover) -> io::Result<bool> {
        let Some(Kept { memory: body, spool }) = self.body.kept() else {
            return Ok(false);
        };
        let mut head = Vec::new();
        self.codec.export(&mut head);
        let make = || memory::file("wsgi-fpm-request", MemfdFlags::CLOEXEC).map(|file| Own::new(File::from(file)));
        let mut baggage = own::make(make)?;
        for part in [&head[..], body, self.incoming.bytes()] {
            baggage.write_all(part)?;
        }
        let entry = self.entry.as_mut().map(|entry| entry.give(true));
        let passage = Passage {
            // The next worker counts it, when it comes to the end of its params.
            requests: self.requests - u64::from(self.codec.params_ended()),
            entry,
            begun: Some(Begun {
                head: head.len() as u64,
                body: body.len() as u64,
                spooled: spool.map_or(0, |(_, length)| length),
                since_ms: self.since_ms,
                body_since_ms: self.arrival.since_ms,
            }),
        };
        let spool = spool.map(|(file, _)| file.as_fd());
        let files: Vec<_> = [baggage.as_fd()].into_iter().chain(spool).collect();
        handover.give(self.fd.as_fd(), passage, &files)
    }

    /// A connection that another worker has given away, with the files that came beside it; `None` if it is somebody else's by
    /// now, or what came is not what that worker can have sent.
    pub fn handed(hub: &Arc<Hub>, fd: OwnFd, passage: Passage, files: Vec<OwnFd>) -> Option<Box<Self>> {
        let mut connection = Self::new(hub, fd);
        connection.requests = passage.requests;
        if let (Some(place), Some(keeper)) = (passage.entry, &hub.keeper) {
            connection.entry = keeper.take(place);
            connection.given = connection.entry.is_none();
        }
        let resumed = passage.begun.map_or(Ok(()), |begun| connection.resume(begun, files));
        if let Err(error) = &resumed {
            tracing::error!(%error, "a connection that another worker has given away is lost");
        }
        (resumed.is_ok() && !connection.given).then_some(connection)
    }

    fn resume(&mut self, begun: Begun, files: Vec<OwnFd>) -> Result<(), CarrierError> {
        // A body's file is no secret of ours, and the other one is closed here.
        let mut files = files.into_iter().map(|file| File::from(file.into_inner()));
        let mut bytes = Vec::new();
        if let Some(mut file) = files.next() {
            file.rewind().map_err(CarrierError::File)?;
            file.read_to_end(&mut bytes).map_err(CarrierError::File)?;
        }
        let cut = || CarrierError::File(io::ErrorKind::UnexpectedEof.into());
        let (head, rest) = bytes.split_at_checked(begun.head as usize).ok_or_else(cut)?;
        let (body, unread) = rest.split_at_checked(begun.body as usize).ok_or_else(cut)?;
        self.incoming.put(head.to_vec());
        self.take_events()?;
        let spool = files.next().map(|file| (file, begun.spooled));
        self.body.resume(body.to_vec(), spool);
        self.note_body_memory();
        self.incoming.put(unread.to_vec());
        self.note_partial_request();
        self.since_ms = begun.since_ms;
        self.arrival.since_ms = begun.body_since_ms;
        // It may be all that there is to come.
        self.unread = true;
        Ok(())
    }
}
