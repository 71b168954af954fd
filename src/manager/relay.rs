//! The log's one writer. Every process of the pool sends its events here, this one included; a thread receives them, whatever
//! happens, and another writes them to standard error, which may wait for whoever reads that. Between them is a queue
//! with an end: what does not fit in is lost, and the log says afterwards how much that was.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use contract::log::channel::{self, Received, Receiver, Sender};
use contract::log::{self, LogSettings, notice};
use contract::own::Own;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, write};
use settings::values::Format;

/// Bytes that wait while nobody reads the log: some ten thousand lines. As many may be on their way into it.
const LONGEST_QUEUE: usize = 4 * 1024 * 1024;

/// The receiving thread looks again after this time, so that a busy pool's senders need not wake it for each line.
const NAP: Duration = Duration::from_millis(5);

/// How long the program's end waits until the rest of the log is read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A pause after a write that failed: the disk may have room again then, and the reason stands in the log.
const PAUSE: Duration = Duration::from_millis(100);

/// Until it is dropped, events go to standard error.
#[derive(Debug)]
pub struct Relay {
    sending: OwnedFd,
    /// Its other end goes with the thread that writes.
    written: mpsc::Receiver<()>,
}

impl Relay {
    /// Starts the log of this program.
    ///
    /// # Errors
    /// The system's: no descriptor or no thread is to be had.
    pub fn start(settings: &LogSettings) -> io::Result<Self> {
        let relay = Self::to(io::stderr().as_fd().try_clone_to_owned()?, settings.format)?;
        contract::log::start(settings, Sender::new(Own::new(relay.sending.try_clone()?)));
        Ok(relay)
    }

    fn to(output: OwnedFd, format: Format) -> io::Result<Self> {
        let (sending, receiver) = channel::pair()?;
        let queue = Arc::new(Queue::new(format));
        let (writing, written) = mpsc::channel();
        let end = Arc::clone(&queue);
        thread::Builder::new()
            .name("log receiver".into())
            .spawn(move || receive(receiver, &end))?;
        thread::Builder::new().name("log writer".into()).spawn(move || {
            Writer::new(output, format).run(&queue);
            drop(writing);
        })?;
        Ok(Self { sending, written })
    }

    /// Where every process of the pool sends its events.
    pub fn sending(&self) -> BorrowedFd<'_> {
        self.sending.as_fd()
    }
}

impl Drop for Relay {
    /// Writes what there is. Events that come later are lost.
    fn drop(&mut self) {
        if let Ok(sending) = self.sending.try_clone() {
            Sender::new(Own::new(sending)).end();
        }
        // In vain if nobody reads; then nobody misses the rest.
        let _ = self.written.recv_timeout(LAST_WORDS);
    }
}

#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting {
    format: Format,
    events: Vec<u8>,
    /// Number of events behind these that did not fit in, or did not get here.
    lost: u64,
    ended: bool,
}

impl Waiting {
    fn add(&mut self, events: &[u8]) {
        if self.events.len() + events.len() > LONGEST_QUEUE {
            self.lost += lines(events);
            return;
        }
        self.tell_lost();
        self.events.extend_from_slice(events);
    }

    /// What was lost is told in its place: behind what came before it, in front of what comes after it.
    fn tell_lost(&mut self) {
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            self.events.extend_from_slice(log::lost(self.format, lost).as_bytes());
        }
    }
}

impl Queue {
    fn new(format: Format) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                format,
                events: Vec::new(),
                lost: 0,
                ended: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the channel has now; whether there may be more.
    fn fill(&self, receiver: &mut Receiver) -> Filled {
        let mut filled = Filled::Nothing;
        loop {
            let received = receiver.receive();
            let mut waiting = self.lock();
            match received {
                Received::Events(events) => waiting.add(events),
                Received::Lost(events) => waiting.lost += events,
                Received::Nothing => break,
                Received::End => {
                    waiting.ended = true;
                    filled = Filled::End;
                    break;
                }
            }
            filled = Filled::Something;
        }
        self.changed.notify_one();
        filled
    }

    /// Waits for events; they take the place of `events`. Whether there are any: none come after the end.
    fn take(&self, events: &mut Vec<u8>) -> bool {
        let mut waiting = self.lock();
        while waiting.events.is_empty() && waiting.lost == 0 {
            if waiting.ended {
                return false;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.tell_lost();
        std::mem::swap(&mut waiting.events, events);
        true
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    Nothing,
    Something,
    End,
}

fn receive(mut receiver: Receiver, queue: &Queue) {
    loop {
        match queue.fill(&mut receiver) {
            Filled::Something => thread::sleep(NAP),
            Filled::Nothing => receiver.wait(),
            Filled::End => return,
        }
    }
}

fn lines(events: &[u8]) -> u64 {
    events.iter().filter(|&&byte| byte == b'\n').count() as u64
}

struct Writer {
    output: OwnedFd,
    format: Format,
    /// A line was written whose end could not be.
    torn: bool,
    /// Events that could not be written, and why.
    failed: Option<(u64, Errno)>,
}

/// Memory that a burst of events has taken is given back above this.
const KEPT: usize = 64 * 1024;

impl Writer {
    fn new(output: OwnedFd, format: Format) -> Self {
        Self {
            output,
            format,
            torn: false,
            failed: None,
        }
    }

    fn run(&mut self, queue: &Queue) {
        let mut events = Vec::new();
        while queue.take(&mut events) {
            self.write(&events);
            events.clear();
            events.shrink_to(KEPT);
        }
    }

    fn write(&mut self, events: &[u8]) {
        let mut first = if self.torn { vec![b'\n'] } else { Vec::new() };
        if let Some((lines, error)) = self.failed {
            let reason = io::Error::from(error);
            let what = format!("{lines} lines of the log were lost since they could not be written: {reason}");
            first.extend_from_slice(notice(self.format, &what).as_bytes());
        }
        let length = first.len();
        let written = if first.is_empty() {
            self.write_all(events)
        } else {
            first.extend_from_slice(events);
            self.write_all(&first)
        };
        let Err((written, error)) = written else {
            (self.torn, self.failed) = (false, None);
            return;
        };
        let rest = &events[written.saturating_sub(length)..];
        let told = if written < length { self.failed } else { None };
        self.failed = Some((lines(rest) + told.map_or(0, |(lines, _)| lines), error));
        if written > 0 {
            let all = if first.is_empty() { events } else { &first };
            self.torn = all[written - 1] != b'\n';
        }
        thread::sleep(PAUSE);
    }

    /// # Errors
    /// How much was written, and why no more.
    fn write_all(&self, bytes: &[u8]) -> Result<(), (usize, Errno)> {
        let mut written = 0;
        while written < bytes.len() {
            match write(&self.output, &bytes[written..]) {
                Ok(length) => written += length,
                Err(Errno::INTR) => {}
                // Who gave us standard error does not want to wait for it: we do.
                Err(Errno::AGAIN) => {
                    // An error (EINTR) is told again by the next write.
                    let _ = poll(&mut [PollFd::new(&self.output, PollFlags::OUT)], None);
                }
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader, Read};
    use std::time::Instant;

    use contract::log::Sink;

    use super::*;

    fn line(number: usize) -> String {
        format!("{number:099}\n")
    }

    #[test]
    fn all_that_was_sent_is_written_before_the_end() {
        let (reader, writer) = std::io::pipe().unwrap();
        let relay = Relay::to(writer.into(), Format::Text).unwrap();
        let reading = thread::spawn(|| io::read_to_string(reader).unwrap());
        let sender = Sender::new(Own::new(relay.sending().try_clone_to_owned().unwrap()));
        (0..20_000).for_each(|number| sender.write(line(number).as_bytes()));
        drop(relay);
        let text = reading.join().unwrap();
        assert!((0..20_000).map(line).collect::<String>() == text);
    }

    /// How many lines the log says were lost; `None` of another line.
    fn told(line: &str) -> Option<usize> {
        let (_, rest) = line.split_once(" WARN contract::log: ")?;
        let (number, rest) = rest.split_once(' ').unwrap();
        assert_eq!(rest, "lines of the log were lost since nobody read it");
        Some(number.parse().unwrap())
    }

    #[test]
    fn log_that_nobody_reads_loses_lines_and_says_how_many() {
        let (reader, writer) = std::io::pipe().unwrap();
        let relay = Relay::to(writer.into(), Format::Text).unwrap();
        let sender = Sender::new(Own::new(relay.sending().try_clone_to_owned().unwrap()));
        let start = Instant::now();
        const SENT: usize = 150_000;
        (0..SENT).for_each(|number| sender.write(line(number).as_bytes()));
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        let (lines, read) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(reader).lines();
            reader.try_for_each(|line| lines.send(line.unwrap()))
        });
        // On a busy machine the first of these may be lost, too. Behind one that got through there is room.
        let (mut text, mut more) = (Vec::new(), 0);
        while text.last().is_none_or(|line| line != "more") {
            assert!(start.elapsed() < Duration::from_secs(60), "{:?}", text.last());
            sender.write(b"more\n");
            more += 1;
            while let Ok(line) = read.recv_timeout(2 * NAP) {
                text.push(line);
                if text.last().is_some_and(|line| line == "more") {
                    break;
                }
            }
        }
        sender.write(b"behind it\n");
        drop((sender, relay));
        text.extend(read);
        assert_eq!(text.pop().unwrap(), "behind it");
        let lost: Vec<_> = text.iter().filter_map(|line| told(line)).collect();
        assert!(!lost.is_empty());
        assert_eq!(text.len() - lost.len() + lost.iter().sum::<usize>(), SENT + more);
    }

    #[test]
    fn four_mebibytes_wait_for_a_reader_and_what_is_lost_is_told_in_its_place() {
        let (sending, mut receiver) = channel::pair().unwrap();
        let sender = Sender::new(Own::new(sending));
        let queue = Queue::new(Format::Text);
        let mut after = |more: &[&str]| {
            let long = "x".repeat(1023) + "\n";
            let all = [long.as_str(); LONGEST_QUEUE / 1024 - 1];
            for event in all.iter().chain(more) {
                sender.write(event.as_bytes());
                assert_eq!(queue.fill(&mut receiver), Filled::Something);
            }
            let mut events = Vec::new();
            assert!(queue.take(&mut events));
            let text = String::from_utf8(events).unwrap();
            text.strip_prefix(&all.concat()).unwrap().to_owned()
        };
        let [fits, too_long] = [1024, 1025].map(|length| "y".repeat(length - 1) + "\n");
        assert_eq!(after(&[&fits]), fits);
        let text = after(&[&too_long, &too_long, "short\n", &fits]);
        let [first, "short", last] = text.lines().collect::<Vec<_>>()[..] else {
            panic!("{text}")
        };
        assert_eq!((told(first), told(last)), (Some(2), Some(1)));
        assert_eq!(after(&[]), "", "nothing is told twice");
    }

    #[test]
    fn log_that_is_not_read_at_the_end_keeps_nobody() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let relay = Relay::to(writer.into(), Format::Text).unwrap();
        let sender = Sender::new(Own::new(relay.sending().try_clone_to_owned().unwrap()));
        (0..10_000).for_each(|number| sender.write(line(number).as_bytes()));
        let start = Instant::now();
        drop(relay);
        assert!(start.elapsed() < 10 * LAST_WORDS, "{:?}", start.elapsed());
    }

    #[test]
    fn full_disk_is_told_when_there_is_room_again() {
        let mut writer = Writer::new(
            File::options().write(true).open("/dev/full").unwrap().into(),
            Format::Json,
        );
        writer.write(b"one\ntwo\n");
        writer.write(b"three\n");
        let (reader, room) = std::io::pipe().unwrap();
        writer.output = room.into();
        writer.write(b"four\n");
        drop(writer);
        let text = io::read_to_string(reader).unwrap();
        let (told, rest) = text.split_once('\n').unwrap();
        assert!(
            told.contains("3 lines of the log were lost since they could not be written: No space left on device"),
            "{told}"
        );
        assert_eq!(rest, "four\n");
    }

    #[test]
    fn line_that_was_torn_ends_before_the_next() {
        let (mut reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        // Full in the middle of a line, then closed for good: what can be seen of a disk that is full for a while.
        let mut writer = Writer::new(writer.into(), Format::Text);
        writer.write(b"whole\nbegin");
        (writer.torn, writer.failed) = (true, Some((1, Errno::NOSPC)));
        writer.write(b"next\n");
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            (lines.len(), &lines[..2], lines[3]),
            (4, ["whole", "begin"].as_slice(), "next")
        );
    }
}
