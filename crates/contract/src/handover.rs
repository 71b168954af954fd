//! The handover: a socket pair that all workers of a pool share, over generations. A worker that is replaced gives its
//! connections away through it, and whichever worker comes first takes them, as if it had accepted them.
//!
//! A message is one connection (SCM_RIGHTS) with what must be known of it, or a nudge: the kernel wakes one idle worker for
//! what arrives, and one that can't take it must wake another. Nobody ever waits: a full socket keeps the connection with
//! its giver, who tries again later.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use crate::own::{self, Own, OwnFd};

/// What the next worker must know of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Requests that it has brought so far.
    pub requests: u64,
}

/// What comes through the handover.
#[derive(Debug)]
pub enum Handed {
    Connection(OwnFd, Passage),
    /// Somebody who can't take what has arrived asks others to look.
    Nudge,
}

/// Longest message.
const MESSAGE: usize = 256;
const NUDGE: &[u8] = b"look";

/// Both ends: every worker may give and take.
#[derive(Debug)]
pub struct Handover {
    give: OwnFd,
    take: OwnFd,
}

impl Handover {
    /// A new pair.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (give, take) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok(Self::from_ends([Own::new(give), Own::new(take)]))
    }

    /// The ends as another process has received them, in the order of [`Handover::ends`].
    pub fn from_ends([give, take]: [OwnFd; 2]) -> Self {
        Self { give, take }
    }

    pub fn ends(&self) -> [BorrowedFd<'_>; 2] {
        [self.give.as_fd(), self.take.as_fd()]
    }

    /// Readable when there is something to take.
    pub fn takes(&self) -> BorrowedFd<'_> {
        self.take.as_fd()
    }

    /// Gives `connection` to whoever takes it; whether that was possible now. The caller's own descriptor stays open.
    ///
    /// # Errors
    /// The socket's, which another try would not mend.
    pub fn give(&self, connection: BorrowedFd<'_>, passage: Passage) -> io::Result<bool> {
        let message = serde_json::to_vec(&passage)?;
        self.send(&message, Some(connection))
    }

    /// Wakes another worker, to look at the listeners and here; whether that was possible now.
    ///
    /// # Errors
    /// The socket's, which another try would not mend.
    pub fn nudge(&self) -> io::Result<bool> {
        self.send(NUDGE, None)
    }

    fn send(&self, message: &[u8], connection: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if connection.is_some() {
            ancillary.push(SendAncillaryMessage::ScmRights(connection.as_slice()));
        }
        let message = [IoSlice::new(message)];
        match sendmsg(&self.give, &message, &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(true),
            // TOOMANYREFS: as many descriptors are on their way as this user may have open.
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::TOOMANYREFS | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What somebody has sent; `None` if there is nothing now.
    ///
    /// # Errors
    /// The socket's; `InvalidData` for a message that no worker sends.
    pub fn take(&self) -> io::Result<Option<Handed>> {
        own::make(|| self.receive())
    }

    fn receive(&self) -> io::Result<Option<Handed>> {
        let mut message = [0; MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(
                &self.take,
                &mut [IoSliceMut::new(&mut message)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(received) => break received.bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        if message[..received] == *NUDGE {
            return Ok(Some(Handed::Nudge));
        }
        let connection = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let passage = serde_json::from_slice(&message[..received])?;
        match connection {
            Some(connection) => Ok(Some(Handed::Connection(Own::new(connection), passage))),
            // No room for a descriptor in this process: the connection is gone.
            None => Err(Errno::MFILE.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn taken(handover: &Handover) -> (OwnFd, Passage) {
        match handover.take().unwrap() {
            Some(Handed::Connection(connection, passage)) => (connection, passage),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nudge_is_no_connection() {
        let handover = Handover::new().unwrap();
        assert!(handover.nudge().unwrap());
        assert!(matches!(handover.take().unwrap(), Some(Handed::Nudge)));
        assert!(handover.take().unwrap().is_none());
    }

    #[test]
    fn connection_arrives_with_its_unread_bytes_and_passage() {
        let handover = Handover::new().unwrap();
        assert!(handover.take().unwrap().is_none());
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(b"unread").unwrap();
        assert!(handover.give(server.as_fd(), Passage { requests: 7 }).unwrap());
        drop(server);
        let (taken, passage) = taken(&handover);
        assert_eq!(passage, Passage { requests: 7 });
        let mut taken = UnixStream::from(taken.as_fd().try_clone_to_owned().unwrap());
        let mut read = [0; 6];
        taken.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"unread");
        taken.write_all(b"answer").unwrap();
        client.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"answer");
    }

    #[test]
    fn full_handover_refuses_and_takes_again_later() {
        let handover = Handover::new().unwrap();
        let (_client, server) = UnixStream::pair().unwrap();
        let mut given = 0;
        while handover.give(server.as_fd(), Passage { requests: given }).unwrap() {
            given += 1;
            assert!(given < 100_000, "a socket has an end");
        }
        assert!(given > 0);
        for requests in 0..given {
            assert_eq!(taken(&handover).1, Passage { requests });
        }
        assert!(handover.take().unwrap().is_none());
        assert!(handover.give(server.as_fd(), Passage { requests: 0 }).unwrap());
    }
}
