//! How events get from leaders and workers to the supervisor, which alone writes the log: a pipe that all of them share, over
//! generations. It takes up to 4 KiB (PIPE_BUF) whole or not at all, so an event that short goes as it is. A longer one goes
//! in parts, which the receiver puts together.
//!
//! Nobody waits for the log. The supervisor always receives, whether or not somebody reads what it writes; a sender waits
//! for a moment, and only if the supervisor was quick before. What does not get through is counted, and the count is sent
//! when there is room again.
//!
//! A socket would keep messages apart by itself, but costs a request of a small application two thirds more processor time:
//! a message in it is allocated, and received, on its own.

mod receiver;
mod sender;

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PIPE_BUF, PipeFlags, fcntl_setpipe_size, pipe_with};

pub use receiver::{Received, Receiver, Unread};
pub use sender::Sender;

/// What may be on its way: some five thousand lines. Linux allows everybody so much (`fs.pipe-max-size`).
const ROOM: usize = 1024 * 1024;

/// Longest event. None is as long as that: a block of lines is cut at 128 KiB.
const LONGEST: usize = 1024 * 1024;

/// What is no event as it is begins with a byte that no event has: [`MARK`], then its [`Kind`], the length of what follows
/// (2 bytes) and the number of the event that it belongs to (8 bytes).
const HEADER: usize = 12;
const MARK: u8 = 0;
const MOST_IN_A_PART: usize = PIPE_BUF - HEADER;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// The middle of an event.
    Part = 1,
    LastPart,
    /// So many events of a sender did not get through (8 bytes).
    Lost,
    /// Nothing more. What stands in place of the number says who says so.
    End,
    /// The beginning of an event. What had the same number has no end: its sender has died, and this one got his pid.
    FirstPart,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Part, Self::LastPart, Self::Lost, Self::End, Self::FirstPart];
}

fn frame(kind: Kind, event: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend([MARK, kind as u8]);
    frame.extend((payload.len() as u16).to_le_bytes());
    frame.extend(event.to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The sending end, which every process of a pool has, and the receiving one.
///
/// # Errors
/// The system's.
pub fn pair() -> io::Result<(OwnedFd, Receiver)> {
    let (receiving, sending) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // It may be refused to a user with many pipes: then there is less room.
    let _ = fcntl_setpipe_size(&sending, ROOM);
    Ok((sending, Receiver::new(receiving)))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::io::read;

    use super::*;
    use crate::log::Sink;
    use crate::own::Own;

    /// All that is there, and how many were lost.
    pub(super) fn received(receiver: &mut Receiver) -> (Vec<u8>, u64) {
        let (mut all, mut count) = (Vec::new(), 0);
        loop {
            match receiver.receive() {
                Received::Events(events) => all.extend_from_slice(events),
                Received::Lost(lost) => count += lost,
                Received::Nothing | Received::End(_) | Received::Closed => return (all, count),
            }
        }
    }

    /// What a pipe has now, as it was sent.
    pub(super) fn raw(receiver: &Receiver) -> Vec<u8> {
        let mut raw = vec![0; ROOM];
        let length = read(receiver.as_fd(), &mut raw).unwrap();
        raw.truncate(length);
        raw
    }

    #[test]
    fn event_arrives_whole_whatever_its_length() {
        let (sending, mut receiver) = pair().unwrap();
        let sender = Sender::new(Own::new(sending));
        for length in [1, 4095, 4096, 4097, 100_000, 300_000] {
            let event = "x".repeat(length - 1) + "\n";
            sender.write(event.as_bytes());
            assert_eq!(receiver.receive(), Received::Events(event.as_bytes()));
        }
        sender.write(b"with \0 in it\n");
        assert_eq!(receiver.receive(), Received::Events(b"with \0 in it\n"));
        assert_eq!(receiver.receive(), Received::Nothing);
        sender.end(7);
        assert_eq!(receiver.receive(), Received::End(7));
    }
}
