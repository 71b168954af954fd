//! A process's end, which sends.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::{Errno, write};
use rustix::pipe::PIPE_BUF;
use rustix::process::getpid;

use super::super::{Sink, wait_for};
use super::{Kind, LONGEST, MARK, MOST_IN_A_PART, frame};
use crate::own::OwnFd;

/// How long a sender waits for room. A supervisor that gets a processor needs less than that.
const PATIENCE: Duration = Duration::from_millis(50);

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

    /// Says that there will be nothing more, of nobody; whether there was room for that. `word`: by which the receiver knows who says it.
    pub fn end(&self, word: u64) -> bool {
        self.send(&frame(Kind::End, word, &[]), &mut None)
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
        let (first, rest) = event.split_at(event.len().min(MOST_IN_A_PART));
        if !self.send(&frame(Kind::FirstPart, number, first), &mut until) {
            return false;
        }
        let mut parts = rest.chunks(MOST_IN_A_PART).peekable();
        loop {
            let part = parts.next().unwrap_or_default();
            let is_last = parts.peek().is_none();
            let kind = if is_last { Kind::LastPart } else { Kind::Part };
            if !self.send(&frame(kind, number, part), &mut until) {
                return false;
            }
            if is_last {
                return true;
            }
        }
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

#[cfg(test)]
mod tests {
    use rustix::pipe::fcntl_getpipe_size;

    use super::super::tests::{raw, received};
    use super::super::{HEADER, Received, pair};
    use super::*;
    use crate::own::Own;

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
    fn parts_are_as_long_as_a_pipe_takes_whole_and_named_after_their_process() {
        let (sending, receiver) = pair().unwrap();
        let sender = Sender::new(Own::new(sending));
        sender.write(&[b'x'; 8000]);
        let raw = raw(&receiver);
        assert_eq!(raw.len(), 4096 + HEADER + 8000 - (4096 - HEADER));
        let pid = std::process::id().to_le_bytes();
        for (part, kind) in [(&raw[..4096], Kind::FirstPart), (&raw[4096..], Kind::LastPart)] {
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
                sender.end(0);
            });
            let mut longest = 0;
            loop {
                match receiver.receive() {
                    Received::Events(event) => longest = longest.max(event.len()),
                    Received::Lost(_) => {}
                    Received::Nothing => receiver.wait(),
                    Received::End(_) | Received::Closed => break longest,
                }
            }
        });
        assert_eq!(longest, 1 << 20);
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
