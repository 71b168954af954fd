//! Through it workers tell the supervisor of themselves and of their connections. All workers of a pool have one end, over
//! generations; a full channel is no reason to wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use serde::{Deserialize, Serialize};

use super::{Owner, Place};
use crate::own::OwnFd;
use crate::packet;

/// What a worker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// This is a worker, the first descriptor its pidfd, the second where it can be asked something ([`crate::worker`]). Until it
    /// has been told of, it has no connections.
    Worker { owner: u32, pid: i32, leader: i32 },
    /// The descriptor is the connection that has this entry.
    Connection(Place),
    /// Without a descriptor: nobody has this connection any more but the supervisor.
    Left(Place),
}

impl Message {
    pub fn worker(owner: Owner, pid: i32, leader: i32) -> Self {
        Self::Worker {
            owner: owner.number(),
            pid,
            leader,
        }
    }
}

/// The owner with a number that a message had.
pub fn owner(number: u32) -> Owner {
    Owner::worker(number)
}

/// The ends of a new channel.
///
/// # Errors
/// The system's.
pub fn pair() -> io::Result<(Sender, Receiver)> {
    let [send, receive] = packet::pair()?;
    Ok((Sender(send), Receiver(receive)))
}

/// The workers' end.
#[derive(Debug)]
pub struct Sender(OwnFd);

impl Sender {
    /// The end as another process has received it.
    pub fn new(end: OwnFd) -> Self {
        Self(end)
    }

    /// Says it; whether that was possible now.
    ///
    /// # Errors
    /// The socket's: the supervisor is gone.
    pub fn send(&self, message: Message, fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
        packet::send(&self.0, &serde_json::to_vec(&message)?, fds)
    }
}

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The supervisor's end.
#[derive(Debug)]
pub struct Receiver(OwnFd);

impl Receiver {
    /// The end as another program has passed it on.
    pub fn new(end: OwnFd) -> Self {
        Self(end)
    }

    /// What was said, with its descriptors, the first of them if this process has no room for more; `None` if there is nothing now.
    ///
    /// # Errors
    /// The socket's; `InvalidData` for a message that no worker sends.
    pub fn receive(&self) -> io::Result<Option<(Message, Vec<OwnFd>)>> {
        let Some(packet) = packet::receive(&self.0)? else {
            return Ok(None);
        };
        Ok(Some((serde_json::from_slice(packet.bytes())?, packet.fds)))
    }
}

/// Readable when something was said.
impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn message_arrives_with_its_descriptor_or_without_one() {
        let (sender, receiver) = pair().unwrap();
        assert!(receiver.receive().unwrap().is_none());
        let place = Place {
            index: u32::MAX,
            generation: u64::MAX,
            count: u16::MAX,
        };
        let (mut reader, writer) = std::io::pipe().unwrap();
        let said = Message::Connection(place);
        assert!(sender.send(said, &[writer.as_fd()]).unwrap());
        assert!(sender.send(Message::Left(place), &[]).unwrap());
        drop(writer);
        let (message, fds) = receiver.receive().unwrap().unwrap();
        assert_eq!(message, said);
        rustix::io::write(&fds[0], b"x").unwrap();
        drop(fds);
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "x");
        let (message, fds) = receiver.receive().unwrap().unwrap();
        assert_eq!((message, fds.is_empty()), (Message::Left(place), true));
    }

    #[test]
    fn full_channel_refuses_and_takes_again_later() {
        let (sender, receiver) = pair().unwrap();
        let said = Message::worker(owner(3), 4, 5);
        let mut sent = 0;
        while sender.send(said, &[]).unwrap() {
            sent += 1;
            assert!(sent < 100_000, "a socket has an end");
        }
        for _ in 0..sent {
            assert_eq!(receiver.receive().unwrap().unwrap().0, said);
        }
        assert!(sender.send(said, &[]).unwrap());
    }
}
