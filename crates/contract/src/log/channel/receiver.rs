//! The supervisor's end, which receives.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::pipe::PIPE_BUF;
use serde::{Deserialize, Serialize};

use super::{HEADER, Kind, LONGEST, MARK, MOST_IN_A_PART};

/// Received at once.
const CHUNK: usize = 256 * 1024;

/// Most events of which the last part has not come: more than threads that send at a time, in any installation.
const MOST_BEGUN: usize = 1024;

/// The supervisor's end.
#[derive(Debug)]
pub struct Receiver {
    receiving: OwnedFd,
    buffer: Vec<u8>,
    /// What of it is still to be looked at.
    unseen: Range<usize>,
    /// It ends where there was no more room, which may be within an event.
    is_cut: bool,
    /// Events of which the last part has not come. A sender may have died in the middle, so the oldest go when they are
    /// too much.
    begun: VecDeque<(u64, Vec<u8>)>,
    /// So many of these went, and nobody was told.
    given_up: u64,
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
    /// Somebody says, with this word, that there is nothing more. Everybody could: it counts if the word is right.
    End(u64),
    /// Nothing can be received any more.
    Closed,
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
            is_cut: !unseen.is_empty(),
            buffer,
            unseen,
            begun: unread.begun,
            given_up: 0,
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
            if self.given_up > 0 {
                return Received::Lost(std::mem::take(&mut self.given_up));
            }
            let before = self.unseen.start;
            if let Some(events) = self.take_events() {
                return Received::Events(&self.buffer[events]);
            }
            if let Some((kind, event, payload)) = self.take_frame() {
                match kind {
                    Kind::FirstPart => {
                        let before = self.begun.len();
                        self.begun.retain(|(number, _)| *number != event);
                        self.given_up += (before - self.begun.len()) as u64;
                        self.put(event, payload);
                    }
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
                        // Nobody has lost more, and no sum of these is too large.
                        return Received::Lost(count.min(u32::MAX.into()));
                    }
                    Kind::End => return Received::End(event),
                }
            }
            if self.unseen.start != before {
                continue;
            }
            match self.fill() {
                Ok(1..) | Err(Errno::INTR) => {}
                // What seemed to be cut was whole.
                Ok(0) | Err(Errno::AGAIN) if std::mem::take(&mut self.is_cut) => {}
                Err(Errno::AGAIN) => return Received::Nothing,
                Ok(0) | Err(_) => return Received::Closed,
            }
        }
    }

    /// Whole events that are as they are.
    fn take_events(&mut self) -> Option<Range<usize>> {
        let unseen = &self.buffer[self.unseen.clone()];
        let end = unseen.iter().position(|&byte| byte == MARK).unwrap_or(unseen.len());
        let mut length = unseen[..end]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |last| last + 1);
        if self.is_cut && end == unseen.len() {
            length = length.min(before_last_event(unseen));
        }
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
        if payload.is_empty() {
            return;
        }
        match self.begun.iter_mut().find(|(number, _)| *number == event) {
            Some((_, begun)) => begun.extend_from_slice(payload),
            None => self.begun.push_back((event, payload.to_vec())),
        }
        while self.begun.len() > MOST_BEGUN
            || self.begun.iter().map(|(_, begun)| begun.len()).sum::<usize>() > 4 * LONGEST
        {
            self.begun.pop_front();
            self.given_up += 1;
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
        self.is_cut = self.unseen.end == CHUNK;
        Ok(length)
    }

    /// Waits until there is something.
    pub fn wait(&self) {
        // An error (EINTR) is like nothing having come.
        let _ = poll(&mut [PollFd::new(&self.receiving, PollFlags::IN)], None);
    }
}

/// Length of what comes before the last event, of which more lines may follow. Events that are as they are have [`PIPE_BUF`] bytes at
/// most: what is longer is none, and nobody waits for its end.
fn before_last_event(events: &[u8]) -> usize {
    let begins = events.windows(2).rposition(|two| two[0] == b'\n' && two[1] != b' ');
    match begins {
        Some(at) => at + 1,
        None if events.len() <= PIPE_BUF => 0,
        None => events.len(),
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
            let (mut events, mut lost) = (Vec::new(), 0);
            let mut send = |kind, part: &[u8]| {
                write(&sending, &frame(kind, 7, part)).unwrap();
                let (more, count) = received(&mut receiver);
                events.extend(more);
                lost += count;
            };
            vec![b'x'; length]
                .chunks(MOST_IN_A_PART)
                .for_each(|part| send(Kind::Part, part));
            send(Kind::LastPart, b"");
            assert_eq!((events.len(), lost), if kept { (length, 0) } else { (0, 1) });
        }
    }

    #[test]
    fn event_of_several_lines_is_whole_wherever_the_buffer_ends() {
        let event = b"\x01first line\n  second line\n  third line\n";
        // Also where it ends with the buffer, and where it begins behind it.
        for (before, is_resumed) in
            ((CHUNK - event.len() - 1)..=CHUNK).flat_map(|before| [(before, false), (before, true)])
        {
            let (sending, mut receiver) = pair().unwrap();
            let mut sent = b"x\n".repeat(before / 2);
            if before % 2 == 1 {
                sent.insert(0, b'x');
            }
            sent.extend_from_slice(event);
            sent.extend_from_slice(b"behind\n");
            write(&sending, &sent).unwrap();
            let mut all = Vec::new();
            while let Received::Events(events) = receiver.receive() {
                assert_ne!(events.first(), Some(&b' '), "an event's second line at {before}");
                all.extend_from_slice(events);
                if is_resumed {
                    // Another program goes on.
                    let unread = receiver.unread();
                    receiver = Receiver::resume(receiver.receiving, unread);
                }
            }
            assert!(all == sent, "at {before}");
        }
    }

    #[test]
    fn last_event_does_not_wait_for_another_one() {
        let (sending, mut receiver) = pair().unwrap();
        write(&sending, &b"x\n".repeat(CHUNK / 2)).unwrap();
        let (all, _) = received(&mut receiver);
        assert_eq!(all.len(), CHUNK);
    }

    #[test]
    fn event_of_a_sender_that_got_the_pid_of_a_dead_one_is_its_own() {
        let (sending, mut receiver) = pair().unwrap();
        for (kind, part) in [
            (Kind::FirstPart, b"dead".as_slice()),
            (Kind::FirstPart, b"one "),
            (Kind::Part, b"event"),
            (Kind::LastPart, b"\n"),
        ] {
            write(&sending, &frame(kind, 7, part)).unwrap();
        }
        assert_eq!(received(&mut receiver), (b"one event\n".to_vec(), 1));
    }

    #[test]
    fn parts_with_little_in_them_take_no_memory_for_ever() {
        let (sending, mut receiver) = pair().unwrap();
        let mut lost = 0;
        for number in 0..2 * MOST_BEGUN as u64 {
            for part in [b"".as_slice(), b"x"] {
                write(&sending, &frame(Kind::Part, number, part)).unwrap();
            }
            lost += received(&mut receiver).1;
        }
        assert_eq!((receiver.begun.len(), lost), (MOST_BEGUN, MOST_BEGUN as u64));
        // The last of them are those that stay.
        write(&sending, &frame(Kind::LastPart, 2 * MOST_BEGUN as u64 - 1, b"\n")).unwrap();
        assert_eq!(received(&mut receiver).0, b"x\n");
    }

    #[test]
    fn no_sender_can_count_more_than_can_be_added() {
        let (sending, mut receiver) = pair().unwrap();
        write(&sending, &frame(Kind::Lost, 0, &u64::MAX.to_le_bytes())).unwrap();
        assert_eq!(receiver.receive(), Received::Lost(u32::MAX.into()));
    }

    #[test]
    fn events_without_their_end_take_no_memory_for_ever() {
        let (sending, mut receiver) = pair().unwrap();
        let mut lost = 0;
        for number in 0..2000 {
            write(&sending, &frame(Kind::Part, number, &[b'x'; MOST_IN_A_PART])).unwrap();
            lost += received(&mut receiver).1;
        }
        assert_eq!(lost + receiver.begun.len() as u64, 2000);
        assert!(receiver.begun.len() <= 4 * LONGEST / MOST_IN_A_PART + 1);
    }
}
