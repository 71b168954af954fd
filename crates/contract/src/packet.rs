//! Messages of a SEQPACKET pair, each with a few descriptors or without any. Nobody waits: neither who sends nor who receives. Each call
//! says so itself, for whoever else has an end may change what that says of waiting (O_NONBLOCK).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::own::{self, Own, OwnFd};

/// Longest message.
pub const LONGEST: usize = 512;
/// Most descriptors of a message.
pub const MOST_FDS: usize = 3;

/// What was received.
#[derive(Debug)]
pub struct Packet {
    bytes: [u8; LONGEST],
    length: usize,
    /// Fewer than were sent where this process has no room for more.
    pub fds: Vec<OwnFd>,
}

impl Packet {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The two ends: to send and to receive.
///
/// # Errors
/// The system's.
pub fn pair() -> io::Result<[OwnFd; 2]> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (send, receive) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok([Own::new(send), Own::new(receive)])
}

/// Sends `message`, and up to [`MOST_FDS`] descriptors with it; whether that was possible now.
///
/// # Errors
/// The socket's, which another try would not mend.
pub fn send(socket: impl AsFd, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match sendmsg(socket, &[IoSlice::new(message)], &mut ancillary, flags) {
        Ok(_) => Ok(true),
        // TOOMANYREFS: as many descriptors are on their way as this user may have open.
        Err(Errno::AGAIN | Errno::NOBUFS | Errno::TOOMANYREFS | Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What somebody has sent; `None` if there is nothing now.
///
/// # Errors
/// The socket's.
pub fn receive(socket: impl AsFd) -> io::Result<Option<Packet>> {
    own::make(|| {
        let mut bytes = [0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            let mut message = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            match recvmsg(&socket, &mut message, &mut ancillary, flags) {
                Ok(received) => break received.bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received.map(Own::new));
            }
        }
        Ok(Some(Packet { bytes, length, fds }))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use rustix::io::ioctl_fionbio;

    use super::*;

    #[test]
    fn nobody_waits_at_a_socket_that_somebody_else_has_made_blocking() {
        let [sending, receiving] = pair().unwrap();
        ioctl_fionbio(&sending, false).unwrap();
        ioctl_fionbio(&receiving, false).unwrap();
        let (done, over) = mpsc::channel();
        thread::spawn(move || {
            assert!(receive(&receiving).unwrap().is_none());
            while send(&sending, b"x", &[]).unwrap() {}
            done.send(()).unwrap();
            drop((sending, receiving));
        });
        assert_eq!(over.recv_timeout(Duration::from_secs(20)), Ok(()));
    }
}
