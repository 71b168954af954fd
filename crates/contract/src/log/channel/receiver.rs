//! The supervisor's end, which receives.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use serde::{Deserialize, Serialize};

use super::{HEADER, Kind, LONGEST, MARK, MOST_IN_A_PART};

/// Received at once.
const CHUNK: usize = 256 * 1024;

/// The supervisor's end.
#[derive(Debug)]
pub struct Receiver {
    receiving: OwnedFd,
    buffer: Vec<u8>,
    /// What of it is still to be looked at.
    unseen: Range<usize>,
    /// Events of which the last part has not come. A sender may have died in the middle, so the oldest go when they are
    /// too much.
    begun: VecDeque<(u64, Vec<u8>)>,
    whole: Vec<u8>,
}

/// What a receiver has got and not given, for the one that goes on in its place.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    bytes: Vec<u8>,
    begun: VecDeque<(u64, Vec<u8>)>,
}

/// What senders have sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// One or more, each with its newline.
    Events(&'a [u8]),
    /// So many events of a sender did not get through.
    Lost(u64),
    /// Nothing now.
    Nothing,
    /// Nothing more.
    End,
}

impl Receiver {
    pub(super) fn new(receiving: OwnedFd) -> Self {
        Self::resume(receiving, Unread::default())
    }

    /// One that goes on where another one has stopped.
    pub fn resume(receiving: OwnedFd, unread: Unread) -> Self {
        let mut buffer = unread.bytes;
        // More than a buffer has room for can't have been in one.
        buffer.truncate(CHUNK);
        let unseen = 0..buffer.len();
        buffer.resize(CHUNK, 0);
        Self {
            receiving,
            buffer,
            unseen,
            begun: unread.begun,
            whole: Vec::new(),
        }
    }

    /// What it has got and not given.
    pub fn unread(&self) -> Unread {
        Unread {
            bytes: self.buffer[self.unseen.clone()].to_owned(),
            begun: self.begun.clone(),
        }
    }

    /// What is there, without waiting.
    pub fn receive(&mut self) -> Received<'_> {
        loop {
            let before = self.unseen.start;
            if let Some(events) = self.take_events() {
                return Received::Events(&self.buffer[events]);
            }
            if let Some((kind, event, payload)) = self.take_frame() {
                match kind {
                    Kind::Part => self.put(event, payload),
                    Kind::LastPart => {
                        self.put(event, payload);
                        let last = self.begun.iter().position(|(number, _)| *number == event);
                        if let Some((_, whole)) = last.and_then(|last| self.begun.remove(last)) {
                            self.whole = whole;
                            return Received::Events(&self.whole);
                        }
                    }
                    Kind::Lost => {
                        let count = self.buffer[payload].try_into().map_or(0, u64::from_le_bytes);
                        return Received::Lost(count);
                    }
                    Kind::End => return Received::End,
                }
            }
            if self.unseen.start != before {
                continue;
            }
            match self.fill() {
                Ok(0) => return Received::End,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Received::Nothing,
                Err(_) => return Received::End,
            }
        }
    }

    /// Whole events that are as they are.
    fn take_events(&mut self) -> Option<Range<usize>> {
        let unseen = &self.buffer[self.unseen.clone()];
        let end = unseen.iter().position(|&byte| byte == MARK).unwrap_or(unseen.len());
        let length = unseen[..end]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |last| last + 1);
        let start = self.unseen.start;
        self.unseen.start += length;
        if end < unseen.len() {
            // Without an end it was no event: somebody has written to a descriptor that is not his.
            self.unseen.start = start + end;
        }
        (length > 0).then_some(start..start + length)
    }

    fn take_frame(&mut self) -> Option<(Kind, u64, Range<usize>)> {
        loop {
            let unseen = &self.buffer[self.unseen.clone()];
            let header = unseen.first_chunk::<HEADER>().filter(|header| header[0] == MARK)?;
            let length = usize::from(u16::from_le_bytes([header[2], header[3]]));
            let kind = Kind::ALL.into_iter().find(|&kind| kind as u8 == header[1]);
            let Some(kind) = kind.filter(|_| length <= MOST_IN_A_PART) else {
                // As above.
                self.unseen.start += 1;
                continue;
            };
            if unseen.len() < HEADER + length {
                return None;
            }
            let [.., a, b, c, d, e, f, g, h] = *header;
            let start = self.unseen.start + HEADER;
            self.unseen.start = start + length;
            return Some((
                kind,
                u64::from_le_bytes([a, b, c, d, e, f, g, h]),
                start..start + length,
            ));
        }
    }

    fn put(&mut self, event: u64, payload: Range<usize>) {
        let payload = &self.buffer[payload];
        match self.begun.iter_mut().find(|(number, _)| *number == event) {
            Some((_, begun)) => begun.extend_from_slice(payload),
            None => self.begun.push_back((event, payload.to_vec())),
        }
        while self.begun.iter().map(|(_, begun)| begun.len()).sum::<usize>() > 4 * LONGEST {
            self.begun.pop_front();
        }
    }

    fn fill(&mut self) -> Result<usize, Errno> {
        self.buffer.copy_within(self.unseen.clone(), 0);
        self.unseen = 0..self.unseen.len();
        if self.unseen.end == CHUNK {
            // No event is so long.
            self.unseen.end = 0;
        }
        let length = read(&self.receiving, &mut self.buffer[self.unseen.end..])?;
        self.unseen.end += length;
        Ok(length)
    }

    /// Waits until there is something.
    pub fn wait(&self) {
        // An error (EINTR) is like nothing having come.
        let _ = poll(&mut [PollFd::new(&self.receiving, PollFlags::IN)], None);
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiving.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rustix::io::write;

    use super::super::tests::{raw, received};
    use super::super::{Sender, frame, pair};
    use super::*;
    use crate::log::Sink;
    use crate::own::Own;

    #[test]
    fn what_is_no_event_harms_none() {
        let (sending, mut receiver) = pair().unwrap();
        let sender = Sender::new(Own::new(sending.try_clone().unwrap()));
        // An application that writes to a descriptor which it has not opened, a sender that died in the middle.
        for garbage in [
            b"no end".as_slice(),
            b"\0\0\0\0",
            b"\0\x01\xff\xff",
            &[MARK; 100],
            &frame(Kind::Part, 7, b"x"),
        ] {
            write(&sending, garbage).unwrap();
            sender.write(&[b"y".repeat(5000), b"\n".to_vec()].concat());
            sender.write(b"event\n");
            let (all, lost) = received(&mut receiver);
            assert!(all.ends_with(b"yy\nevent\n"), "{:?}", garbage);
            assert_eq!(lost, 0);
        }
    }

    #[test]
    fn receiver_sleeps_until_something_comes() {
        let (sending, receiver) = pair().unwrap();
        let sent = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            let now = Instant::now();
            Sender::new(Own::new(sending)).write(b"event\n");
            now
        });
        receiver.wait();
        let woken = Instant::now();
        assert_eq!(raw(&receiver), b"event\n");
        assert!(woken >= sent.join().unwrap());
    }

    #[test]
    fn bytes_without_an_end_are_thrown_away_before_they_fill_the_memory() {
        let (sending, mut receiver) = pair().unwrap();
        for _ in 0..6 {
            write(&sending, &[b'x'; 50_000]).unwrap();
            assert_eq!(receiver.receive(), Received::Nothing);
        }
        write(&sending, b"\n").unwrap();
        let Received::Events(rest) = receiver.receive() else {
            panic!()
        };
        assert_eq!(rest.len(), 6 * 50_000 - CHUNK + 1);
    }

    #[test]
    fn four_mebibytes_of_events_without_their_end_are_kept() {
        for (length, kept) in [(4 << 20, true), ((4 << 20) + 1, false)] {
            let (sending, mut receiver) = pair().unwrap();
            for part in vec![b'x'; length].chunks(MOST_IN_A_PART) {
                write(&sending, &frame(Kind::Part, 7, part)).unwrap();
                assert_eq!(receiver.receive(), Received::Nothing);
            }
            write(&sending, &frame(Kind::LastPart, 7, b"")).unwrap();
            let Received::Events(event) = receiver.receive() else {
                panic!()
            };
            assert_eq!(event.len(), if kept { length } else { 0 });
        }
    }

    #[test]
    fn events_without_their_end_take_no_memory_for_ever() {
        let (sending, mut receiver) = pair().unwrap();
        for number in 0..2000 {
            write(&sending, &frame(Kind::Part, number, &[b'x'; MOST_IN_A_PART])).unwrap();
            assert_eq!(received(&mut receiver), (Vec::new(), 0));
        }
        assert!(receiver.begun.len() <= 4 * LONGEST / MOST_IN_A_PART + 1);
    }
}
