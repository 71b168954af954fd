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

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read, write};
use rustix::pipe::{PIPE_BUF, PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::getpid;

use super::{Sink, wait_for};
use crate::own::OwnFd;

/// What may be on its way: some five thousand lines. Linux allows everybody so much (`fs.pipe-max-size`).
const ROOM: usize = 1024 * 1024;

/// How long a sender waits for room. A supervisor that gets a processor needs less than that.
const PATIENCE: Duration = Duration::from_millis(50);

/// Longest event. None is as long as that: a block of lines is cut at 128 KiB.
const LONGEST: usize = 1024 * 1024;

/// Received at once.
const CHUNK: usize = 256 * 1024;

/// What is no event as it is begins with a byte that no event has: [`MARK`], then its [`Kind`], the length of what follows
/// (2 bytes) and the number of the event that it belongs to (8 bytes).
const HEADER: usize = 12;
const MARK: u8 = 0;
const MOST_IN_A_PART: usize = PIPE_BUF - HEADER;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// The beginning of an event, or its middle.
    Part = 1,
    LastPart,
    /// So many events of a sender did not get through (8 bytes).
    Lost,
    /// Nothing more.
    End,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Part, Self::LastPart, Self::Lost, Self::End];
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

/// One process's sending end.
#[derive(Debug)]
pub struct Sender {
    sending: OwnFd,
    /// Events that went in parts.
    serial: AtomicU32,
    /// Events that did not get through and were not told of.
    lost: AtomicU64,
    /// The last one did not get through: nobody waits until one does.
    stuck: AtomicBool,
}

impl Sender {
    pub fn new(sending: OwnFd) -> Self {
        Self {
            sending,
            serial: AtomicU32::new(0),
            lost: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
        }
    }

    /// Says that there will be nothing more, of nobody.
    pub fn end(&self) {
        // In vain only if nobody receives.
        self.send(&frame(Kind::End, 0, &[]), &mut None);
    }

    /// Whether it got through, before `until` if that is set, else in time.
    fn send(&self, message: &[u8], until: &mut Option<Instant>) -> bool {
        loop {
            match write(self.sending.as_fd(), message) {
                Ok(_) => {
                    self.stuck.store(false, Relaxed);
                    return true;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if !self.stuck.load(Relaxed) => {
                    let until = *until.get_or_insert_with(|| Instant::now() + PATIENCE);
                    if !wait_for(self.sending.as_fd(), PollFlags::OUT, until) {
                        self.stuck.store(true, Relaxed);
                    }
                }
                // Nobody receives.
                Err(_) => return false,
            }
        }
    }

    fn send_event(&self, event: &[u8]) -> bool {
        let mut until = None;
        if event.len() <= PIPE_BUF && !event.contains(&MARK) {
            return self.send(event, &mut until);
        }
        if event.len() > LONGEST {
            return false;
        }
        let pid = getpid().as_raw_nonzero().get() as u32;
        let number = u64::from(pid) << 32 | u64::from(self.serial.fetch_add(1, Relaxed));
        let mut parts = event.chunks(MOST_IN_A_PART).peekable();
        while let Some(part) = parts.next() {
            let kind = if parts.peek().is_some() {
                Kind::Part
            } else {
                Kind::LastPart
            };
            if !self.send(&frame(kind, number, part), &mut until) {
                return false;
            }
        }
        true
    }
}

impl Sink for Sender {
    fn write(&self, event: &[u8]) {
        if self.lost.load(Relaxed) > 0 {
            let lost = self.lost.swap(0, Relaxed);
            if !self.send(&frame(Kind::Lost, 0, &lost.to_le_bytes()), &mut None) {
                self.lost.fetch_add(lost, Relaxed);
            }
        }
        if !self.send_event(event) {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

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
    fn new(receiving: OwnedFd) -> Self {
        Self {
            receiving,
            buffer: vec![0; CHUNK],
            unseen: 0..0,
            begun: VecDeque::new(),
            whole: Vec::new(),
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
    use rustix::pipe::fcntl_getpipe_size;

    use super::*;
    use crate::own::Own;

    /// All that is there, and how many were lost.
    fn received(receiver: &mut Receiver) -> (Vec<u8>, u64) {
        let (mut all, mut count) = (Vec::new(), 0);
        loop {
            match receiver.receive() {
                Received::Events(events) => all.extend_from_slice(events),
                Received::Lost(lost) => count += lost,
                Received::Nothing | Received::End => return (all, count),
            }
        }
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
        sender.end();
        assert_eq!(receiver.receive(), Received::End);
    }

    #[test]
    fn events_of_many_senders_are_whole() {
        let (sending, mut receiver) = pair().unwrap();
        let (text, lost) = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..4)
                .map(|number| {
                    let sender = Sender::new(Own::new(sending.try_clone().unwrap()));
                    // Processes have numbers of their own; threads of one share one.
                    sender.serial.store(number << 16, Relaxed);
                    scope.spawn(move || {
                        for length in (1..200).map(|step| step * 100) {
                            sender.write(format!("{}\n", number.to_string().repeat(length)).as_bytes());
                        }
                        sender.lost.load(Relaxed)
                    })
                })
                .collect();
            let (mut text, mut lost) = (Vec::new(), 0);
            let mut take = || {
                let (events, more) = received(&mut receiver);
                text.extend(events);
                lost += more;
            };
            while !senders.iter().all(|sender| sender.is_finished()) {
                take();
            }
            take();
            // On a busy machine the receiver may be too late for some.
            lost += senders.into_iter().map(|sender| sender.join().unwrap()).sum::<u64>();
            (String::from_utf8(text).unwrap(), lost)
        });
        assert_eq!(text.lines().count() as u64 + lost, 4 * 199);
        assert!(
            text.lines()
                .all(|line| line == line[..1].repeat(line.len()) && line.len() % 100 == 0)
        );
    }

    #[test]
    fn nobody_waits_twice_for_one_who_does_not_receive_and_what_was_lost_is_told() {
        let (sending, mut receiver) = pair().unwrap();
        let sender = Sender::new(Own::new(sending));
        let start = Instant::now();
        for number in 0..50_000 {
            sender.write(format!("{number:099}\n").as_bytes());
        }
        sender.write(&[b'x'; 100_000]);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        let (first, lost) = received(&mut receiver);
        assert!(
            first.len() >= 64 * 1024 - 4096 && first.ends_with(b"\n"),
            "{}",
            first.len()
        );
        sender.write(b"behind it\n");
        let told = 50_001 - first.len() as u64 / 100 - lost;
        assert_eq!(received(&mut receiver), (b"behind it\n".to_vec(), told));
        sender.write(b"and on\n");
        assert_eq!(received(&mut receiver), (b"and on\n".to_vec(), 0));
    }

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

    /// What a pipe has now, as it was sent.
    fn raw(receiver: &Receiver) -> Vec<u8> {
        let mut raw = vec![0; ROOM];
        let length = read(&receiver.receiving, &mut raw).unwrap();
        raw.truncate(length);
        raw
    }

    #[test]
    fn parts_are_as_long_as_a_pipe_takes_whole_and_named_after_their_process() {
        let (sending, receiver) = pair().unwrap();
        let sender = Sender::new(Own::new(sending));
        sender.write(&[b'x'; 8000]);
        let raw = raw(&receiver);
        assert_eq!(raw.len(), 4096 + HEADER + 8000 - (4096 - HEADER));
        let pid = std::process::id().to_le_bytes();
        for (part, kind) in [(&raw[..4096], Kind::Part), (&raw[4096..], Kind::LastPart)] {
            assert_eq!(part[..2], [MARK, kind as u8]);
            assert_eq!(usize::from(u16::from_le_bytes([part[2], part[3]])), part.len() - HEADER);
            assert_eq!((&part[4..8], &part[8..12]), (&[0; 4][..], &pid[..]));
        }
    }

    #[test]
    fn five_thousand_lines_are_on_their_way_before_one_is_lost() {
        let (sending, mut receiver) = pair().unwrap();
        // Linux refuses so much to a user who has many pipes.
        if fcntl_getpipe_size(&sending).unwrap() < 1 << 20 {
            eprintln!("skipped: this user may not have such a pipe");
            return;
        }
        let sender = Sender::new(Own::new(sending));
        for number in 0..5000 {
            sender.write(format!("{number:0199}\n").as_bytes());
        }
        assert_eq!(sender.lost.load(Relaxed), 0);
        assert_eq!(received(&mut receiver).0.len(), 1_000_000);
    }

    #[test]
    fn longest_event_arrives_and_a_longer_one_is_lost() {
        let (sending, mut receiver) = pair().unwrap();
        let sender = Sender::new(Own::new(sending));
        sender.write(&vec![b'x'; (1 << 20) + 1]);
        assert_eq!(sender.lost.load(Relaxed), 1);
        assert_eq!(received(&mut receiver), (Vec::new(), 0), "not even a part was sent");
        let longest = std::thread::scope(|scope| {
            scope.spawn(|| {
                // On a busy machine the receiver may be too late.
                crate::log::tests::until(|| {
                    sender.write(&vec![b'y'; 1 << 20]);
                    sender.lost.load(Relaxed) == 0
                });
                sender.end();
            });
            let mut longest = 0;
            loop {
                match receiver.receive() {
                    Received::Events(event) => longest = longest.max(event.len()),
                    Received::Lost(_) => {}
                    Received::Nothing => receiver.wait(),
                    Received::End => break longest,
                }
            }
        });
        assert_eq!(longest, 1 << 20);
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

    #[test]
    fn sender_whose_descriptor_was_replaced_loses_events_and_nothing_else() {
        let closed = std::fs::File::open("/dev/null").unwrap();
        let sender = Sender::new(Own::new(closed.into()));
        sender.write(b"event\n");
        sender.write(b"event\n");
        assert_eq!(sender.lost.load(Relaxed), 2);
    }
}
