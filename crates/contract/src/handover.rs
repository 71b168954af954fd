//! The handover: a socket pair that all workers of a pool share, over generations. A worker that is replaced gives its
//! connections away through it, and whichever worker comes first takes them, as if it had accepted them.
//!
//! A message is one connection (SCM_RIGHTS) with what must be known of it and what was received of its request, or a nudge: the kernel wakes one idle worker for
//! what arrives, and one that can't take it must wake another. Nobody ever waits: a full socket keeps the connection with
//! its giver, who tries again later.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::{Errno, fcntl_dupfd_cloexec, ioctl_fionread};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use serde::{Deserialize, Serialize};

use crate::keeper::{Link, Place};
use crate::own::{self, OwnFd};
use crate::packet;

/// What the next worker must know of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Requests that it has brought so far.
    pub requests: u64,
    /// Its entry in the keeper's table, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Place>,
    /// What has been received of its next request, if anything has: that comes in files beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Begun>,
}

/// What has been received of a request. The first file has the request's head in records, so many bytes of its body, and what the
/// codec has not consumed; a second one the rest of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Bytes.
    pub head: u64,
    pub body: u64,
    /// Bytes of the second file.
    pub spooled: u64,
    /// When it has begun to arrive, or last went on: milliseconds of `now_ms`.
    pub since_ms: u64,
    /// Since when only its body is to come.
    pub body_since_ms: Option<u64>,
}

impl Passage {
    fn files(&self) -> usize {
        self.begun.map_or(0, |begun| 1 + usize::from(begun.spooled > 0))
    }
}

/// What comes through the handover.
#[derive(Debug)]
pub enum Handed {
    /// With the files beside it.
    Connection(OwnFd, Passage, Vec<OwnFd>),
    /// Somebody who can't take what has arrived asks others to look.
    Nudge,
    /// A connection for which this process had no room left when it came. The keeper is told, if it has it, too.
    Lost,
}

const NUDGE: &[u8] = b"look";
/// What is said of a connection is as long, or seldom twice as long: so the bytes that wait tell how many wait.
const LENGTH: usize = 192;

/// Both ends: every worker may give and take.
pub struct Handover {
    give: OwnFd,
    take: OwnFd,
    /// Who has a duplicate of what can't be taken here.
    keeper: Option<Arc<Link>>,
}

impl Handover {
    /// A new pair.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        Ok(Self::from_ends(packet::pair()?))
    }

    /// The ends as another process has received them, in the order of [`Handover::ends`].
    pub fn from_ends([give, take]: [OwnFd; 2]) -> Self {
        Self {
            give,
            take,
            keeper: None,
        }
    }

    /// For a worker: the keeper is told of what comes here while this process has no room for a descriptor.
    pub fn refusing_to(self, keeper: &Arc<Link>) -> Self {
        Self {
            keeper: Some(Arc::clone(keeper)),
            ..self
        }
    }

    pub fn ends(&self) -> [BorrowedFd<'_>; 2] {
        [self.give.as_fd(), self.take.as_fd()]
    }

    /// Readable when there is something to take.
    pub fn takes(&self) -> BorrowedFd<'_> {
        self.take.as_fd()
    }

    /// Gives `connection` and its `files` to whoever takes it; whether that was possible now. The caller's own descriptors stay
    /// open.
    ///
    /// # Errors
    /// The socket's, which another try would not mend.
    pub fn give(&self, connection: BorrowedFd<'_>, passage: Passage, files: &[BorrowedFd<'_>]) -> io::Result<bool> {
        debug_assert_eq!(files.len(), passage.files());
        let mut message = serde_json::to_vec(&passage)?;
        message.resize(message.len().next_multiple_of(LENGTH), b' ');
        let fds: Vec<_> = [connection].into_iter().chain(files.iter().copied()).collect();
        packet::send(&self.give, &message, &fds)
    }

    /// Wakes another worker, to look at the listeners and here; whether that was possible now.
    ///
    /// # Errors
    /// The socket's, which another try would not mend.
    pub fn nudge(&self) -> io::Result<bool> {
        packet::send(&self.give, NUDGE, &[])
    }

    /// How many connections wait to be taken, about.
    pub fn waiting(&self) -> usize {
        ioctl_fionread(&self.take).map_or(0, |bytes| bytes as usize / LENGTH)
    }

    /// What somebody has sent; `None` if there is nothing now.
    ///
    /// # Errors
    /// The socket's; `InvalidData` for a message that no worker sends; `MFILE` and its like if this process has no room for a
    /// connection: then it stays here for others.
    pub fn take(&self) -> io::Result<Option<Handed>> {
        if !self.is_nudge_next()? {
            self.look_for_room()?;
        }
        let Some(mut packet) = packet::receive(&self.take)? else {
            return Ok(None);
        };
        if packet.bytes() == NUDGE {
            return Ok(Some(Handed::Nudge));
        }
        let passage: Passage = serde_json::from_slice(packet.bytes())?;
        if packet.fds.len() == 1 + passage.files() {
            let files = packet.fds.split_off(1);
            let connection = packet.fds.pop();
            return Ok(connection.map(|connection| Handed::Connection(connection, passage, files)));
        }
        // The room was taken in between.
        if let Some(connection) = packet.fds.first() {
            // What was received of its request is lost. An error means that the peer has ended it.
            let _ = shutdown(connection, Shutdown::Both);
        }
        if let (Some(keeper), Some(place)) = (&self.keeper, passage.entry) {
            keeper.refuse(place);
        }
        Ok(Some(Handed::Lost))
    }

    /// Whether what comes next needs no room; also if nothing does, which is for [`packet::receive`] to say.
    fn is_nudge_next(&self) -> io::Result<bool> {
        let mut first = [0; NUDGE.len() + 1];
        match recv(&self.take, &mut first, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, length)) => Ok(&first[..length.min(NUDGE.len() + 1)] == NUDGE),
            Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// A message that comes without room for its descriptors is gone, and so are they: whoever has given them has closed its own.
    fn look_for_room(&self) -> io::Result<()> {
        let take_up = || (0..packet::MOST_FDS).map(|_| fcntl_dupfd_cloexec(&self.take, 0));
        let room = own::make(|| take_up().collect::<Result<Vec<_>, _>>().map(drop));
        // INVAL: where there may be none at all.
        Ok(room.map_err(|error| if error == Errno::INVAL { Errno::MFILE } else { error })?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;
    use crate::tests::{in_a_process, is_in_a_process};

    fn after(requests: u64) -> Passage {
        Passage {
            requests,
            entry: None,
            begun: None,
        }
    }

    fn taken(handover: &Handover) -> (OwnFd, Passage) {
        match handover.take().unwrap() {
            Some(Handed::Connection(connection, passage, _)) => (connection, passage),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nobody_waits_for_a_connection_where_somebody_else_has_made_that_blocking() {
        let handover = Handover::new().unwrap();
        for end in handover.ends() {
            rustix::io::ioctl_fionbio(end, false).unwrap();
        }
        let (done, over) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(matches!(handover.take(), Ok(None))));
        assert_eq!(over.recv_timeout(std::time::Duration::from_secs(20)), Ok(true));
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
        assert!(handover.give(server.as_fd(), after(7), &[]).unwrap());
        drop(server);
        let (taken, passage) = taken(&handover);
        assert_eq!(passage, after(7));
        let mut taken = UnixStream::from(taken.as_fd().try_clone_to_owned().unwrap());
        let mut read = [0; 6];
        taken.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"unread");
        taken.write_all(b"answer").unwrap();
        client.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"answer");
    }

    #[test]
    fn connection_arrives_with_what_was_received_of_its_request() {
        let handover = Handover::new().unwrap();
        let (_client, server) = UnixStream::pair().unwrap();
        for spooled in [0, 5] {
            let begun = Begun {
                head: u64::MAX,
                body: u64::MAX,
                spooled,
                since_ms: u64::MAX,
                body_since_ms: Some(u64::MAX),
            };
            let passage = Passage {
                begun: Some(begun),
                ..after(u64::MAX)
            };
            let sent: Vec<_> = (0..passage.files()).map(|_| std::io::pipe().unwrap()).collect();
            let readers: Vec<_> = sent.iter().map(|(reader, _)| reader.as_fd()).collect();
            assert!(handover.give(server.as_fd(), passage, &readers).unwrap());
            let Some(Handed::Connection(_, taken, files)) = handover.take().unwrap() else {
                panic!("a connection")
            };
            assert_eq!((taken, files.len()), (passage, 1 + usize::from(spooled > 0)));
            for ((_, mut writer), file) in sent.into_iter().zip(files) {
                writer.write_all(b"x").unwrap();
                let mut received = std::fs::File::from(file.as_fd().try_clone_to_owned().unwrap());
                let mut byte = [0];
                received.read_exact(&mut byte).unwrap();
            }
        }
    }

    #[test]
    fn connections_that_wait_are_counted_and_nudges_are_not() {
        let handover = Handover::new().unwrap();
        let (_client, server) = UnixStream::pair().unwrap();
        assert_eq!(handover.waiting(), 0);
        for waiting in 1..=5 {
            assert!(handover.give(server.as_fd(), after(waiting), &[]).unwrap());
            assert!(handover.nudge().unwrap());
            assert_eq!(handover.waiting() as u64, waiting);
        }
        taken(&handover);
        assert_eq!(handover.waiting(), 4);
    }

    #[test]
    fn connection_for_which_there_is_no_room_stays_for_others() {
        if !is_in_a_process() {
            let this = "connection_for_which_there_is_no_room_stays_for_others";
            in_a_process(&format!("handover::tests::{this}"), &[]);
            return;
        }
        let handover = Handover::new().unwrap();
        let (_client, server) = UnixStream::pair().unwrap();
        assert!(handover.nudge().unwrap());
        assert!(handover.give(server.as_fd(), after(7), &[]).unwrap());
        let before = getrlimit(Resource::Nofile);
        let none = Rlimit {
            current: Some(0),
            ..before
        };
        setrlimit(Resource::Nofile, none).unwrap();
        assert!(matches!(handover.take().unwrap(), Some(Handed::Nudge)), "it needs none");
        for _ in 0..2 {
            let error = handover.take().unwrap_err();
            assert_eq!(Errno::from_io_error(&error), Some(Errno::MFILE));
        }
        setrlimit(Resource::Nofile, before).unwrap();
        assert_eq!(taken(&handover).1, after(7));
        setrlimit(Resource::Nofile, none).unwrap();
        assert!(handover.take().unwrap().is_none());
    }

    #[test]
    fn full_handover_refuses_and_takes_again_later() {
        let handover = Handover::new().unwrap();
        let (_client, server) = UnixStream::pair().unwrap();
        let mut given = 0;
        while handover.give(server.as_fd(), after(given), &[]).unwrap() {
            given += 1;
            assert!(given < 100_000, "a socket has an end");
        }
        assert!(given > 0);
        for requests in 0..given {
            assert_eq!(taken(&handover).1, after(requests));
        }
        assert!(handover.take().unwrap().is_none());
        assert!(handover.give(server.as_fd(), after(0), &[]).unwrap());
    }
}
