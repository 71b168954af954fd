//! Where there is no supervisor (scripts, CGI), a process writes the log itself, to what its web server gave it as standard
//! error. Somebody may read that or not: a process of ours waits for a moment, then goes on without.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use settings::values::Format;

use super::{Form, Sink, lost, wait_for};
use crate::own::{self, Own, OwnFd};

/// How long a line waits for somebody to read the one before, unless that one has waited in vain.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long one waits of which a part was read already.
const PATIENCE_FOR_THE_REST: Duration = Duration::from_secs(1);

/// What a pipe with any room takes at once (PIPE_BUF of Linux).
const AT_ONCE: usize = 4096;

/// Standard error of a process without a supervisor.
#[derive(Debug)]
pub struct Direct {
    output: OwnFd,
    form: Form,
    way: OnceLock<Way>,
    /// Held while one writes, so that threads do not tear each other's lines: whether the last line lacks its end.
    torn: Mutex<bool>,
    /// Events that nobody read, and that were not told of.
    lost: AtomicU64,
    /// The last one was not read: nobody waits until one is.
    stuck: AtomicBool,
}

#[derive(Debug)]
enum Way {
    /// A file takes everything at once.
    File,
    /// A pipe, opened a second time so that not waiting for it is our own affair.
    Pipe(OwnFd),
    Socket,
    /// Anything else, or somebody else's pipe.
    Other,
}

impl Direct {
    pub fn new(output: OwnFd, format: Format) -> Self {
        Self {
            output,
            form: Form {
                format,
                is_tagged: false,
            },
            way: OnceLock::new(),
            torn: Mutex::new(false),
            lost: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
        }
    }

    fn way(&self) -> &Way {
        self.way.get_or_init(
            || match fstat(self.output.as_fd()).map(|found| FileType::from_raw_mode(found.st_mode)) {
                Ok(FileType::RegularFile) => Way::File,
                Ok(FileType::Socket) => Way::Socket,
                Ok(FileType::Fifo) => {
                    use std::os::fd::AsRawFd;
                    let path = format!("/proc/self/fd/{}", self.output.as_raw_fd());
                    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                    own::make(|| open(path, flags, Mode::empty()).map(Own::new)).map_or(Way::Other, Way::Pipe)
                }
                _ => Way::Other,
            },
        )
    }

    /// In a child of the application, another thread may have had the lock for ever.
    fn lock(&self, until: Instant) -> Option<MutexGuard<'_, bool>> {
        loop {
            match self.torn.try_lock() {
                Ok(torn) => return Some(torn),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Writes all of it in time; else how much.
    fn write_until(&self, bytes: &[u8], until: Instant) -> Result<(), usize> {
        let (mut written, mut until) = (0, until);
        while written < bytes.len() {
            match self.write_some(&bytes[written..], until) {
                Ok(length) => {
                    if written == 0 {
                        until = until.max(Instant::now() + PATIENCE_FOR_THE_REST);
                    }
                    written += length;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if wait_for(self.output.as_fd(), PollFlags::OUT, until) => {}
                // Time is over, the disk is full, or nobody will ever read: another try mends nothing.
                Err(_) => return Err(written),
            }
        }
        Ok(())
    }

    fn write_some(&self, bytes: &[u8], until: Instant) -> Result<usize, Errno> {
        match self.way() {
            Way::File => rustix::io::write(self.output.as_fd(), bytes),
            Way::Pipe(pipe) => rustix::io::write(pipe.as_fd(), bytes),
            Way::Socket => send(self.output.as_fd(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Other => {
                if !wait_for(self.output.as_fd(), PollFlags::OUT, until) {
                    return Err(Errno::TIMEDOUT);
                }
                rustix::io::write(self.output.as_fd(), &bytes[..bytes.len().min(AT_ONCE)])
            }
        }
    }

    fn try_write(&self, event: &[u8], told: u64) -> bool {
        let patience = if self.stuck.load(Relaxed) {
            Duration::ZERO
        } else {
            PATIENCE
        };
        let until = Instant::now() + patience;
        let Some(mut torn) = self.lock(until) else { return false };
        let mut bytes = Vec::new();
        if *torn {
            bytes.push(b'\n');
        }
        if told > 0 {
            bytes.extend_from_slice(lost(self.form, told).as_bytes());
        }
        let written = if bytes.is_empty() {
            self.write_until(event, until)
        } else {
            bytes.extend_from_slice(event);
            self.write_until(&bytes, until)
        };
        *torn = written.map_or_else(|written| written > 0 || *torn, |()| false);
        written.is_ok()
    }
}

impl Sink for Direct {
    fn write(&self, event: &[u8]) {
        let told = self.lost.swap(0, Relaxed);
        let written = self.try_write(event, told);
        self.stuck.store(!written, Relaxed);
        if !written {
            self.lost.fetch_add(told + 1, Relaxed);
        }
    }

    fn takes_tags(&self) -> bool {
        false
    }
}

/// Writes one last line, such as a program's error, to standard error; waits for whoever reads that for a moment only.
pub fn last_line(line: &str) {
    // Without standard error there is nobody to tell.
    let Ok(output) = io::stderr().as_fd().try_clone_to_owned() else {
        return;
    };
    Direct::new(Own::new(output), Format::Text).write(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::sync::{Arc, Barrier};

    use rustix::pipe::fcntl_setpipe_size;

    use super::*;
    use crate::log::tests::until;
    use crate::tests::{in_a_process, is_in_a_process};

    const ROOM: usize = 64 * 1024;

    /// Lines of a hundred bytes until nothing more fits, and then some.
    fn flood(log: &Direct, lines: usize) {
        for number in 0..lines {
            log.write(format!("{number:099}\n").as_bytes());
        }
    }

    /// What is there, and what was lost by the line that says so.
    #[track_caller]
    fn assert_lines_are_whole(read: &[u8], all: usize) {
        let text = std::str::from_utf8(read).unwrap();
        let (lines, told): (Vec<_>, Vec<_>) = text.lines().partition(|line| !line.contains(' '));
        let [told] = told.as_slice() else { panic!("{told:?}") };
        let (_, told) = told.split_once("contract::log: ").unwrap();
        let lost = all - lines.len();
        assert_eq!(told, format!("{lost} lines of the log were lost since nobody read it"));
    }

    fn read_for_now(mut from: impl Read, most: usize) -> Vec<u8> {
        let mut read = vec![0; most];
        let length = from.read(&mut read).unwrap();
        read.truncate(length);
        read
    }

    #[test]
    fn pipe_that_nobody_reads_holds_nobody_up() {
        let (reader, writer) = std::io::pipe().unwrap();
        let log = Direct::new(Own::new(writer.into()), Format::Text);
        let start = Instant::now();
        flood(&log, 3000);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        let mut reader = reader;
        let mut read = read_for_now(&reader, ROOM);
        log.write(format!("{:099}\n", 3000).as_bytes());
        drop(log);
        reader.read_to_end(&mut read).unwrap();
        assert_lines_are_whole(&read, 3001);
    }

    #[test]
    fn socket_that_nobody_reads_holds_nobody_up() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        let log = Direct::new(Own::new(writer.into()), Format::Text);
        let start = Instant::now();
        flood(&log, 10_000);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        let mut read = read_for_now(&reader, 10 * ROOM);
        while !read.ends_with(b"\n") {
            read.extend(read_for_now(&reader, 1));
        }
        log.write(format!("{:099}\n", 10_000).as_bytes());
        drop(log);
        reader.read_to_end(&mut read).unwrap();
        assert_lines_are_whole(&read, 10_001);
    }

    #[test]
    fn long_lines_of_threads_are_whole() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let log = Direct::new(Own::new(writer.into()), Format::Text);
        let lines = std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut text = String::new();
                reader.read_to_string(&mut text).unwrap();
                text
            });
            std::thread::scope(|scope| {
                for letter in ["a", "b", "c"] {
                    let line = letter.repeat(20_000) + "\n";
                    let log = &log;
                    scope.spawn(move || (0..20).for_each(|_| log.write(line.as_bytes())));
                }
            });
            drop(log);
            reading.join().unwrap()
        });
        assert_eq!(lines.lines().count(), 60);
        assert!(lines.lines().all(|line| line == line[..1].repeat(20_000)));
    }

    #[test]
    fn lines_of_several_processes_in_one_file_are_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || std::fs::OpenOptions::new().append(true).open(file.path()).unwrap();
        let together = Barrier::new(3);
        std::thread::scope(|scope| {
            for letter in ["a", "b", "c"] {
                let log = Direct::new(Own::new(open().into()), Format::Text);
                let line = letter.repeat(20_000) + "\n";
                let together = &together;
                scope.spawn(move || {
                    together.wait();
                    (0..300).for_each(|_| log.write(line.as_bytes()));
                });
            }
        });
        let lines = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(lines.lines().count(), 900);
        assert!(lines.lines().all(|line| line == line[..1].repeat(20_000)));
    }

    #[test]
    fn socket_of_messages_gets_each_event_as_one() {
        let (reader, writer) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let log = Direct::new(Own::new(writer.into()), Format::Text);
        let event = [b'x'; 10_000];
        log.write(&event);
        let mut read = vec![0; 20_000];
        assert_eq!(reader.recv(&mut read).unwrap(), event.len());
    }

    #[test]
    fn last_room_of_a_pipe_goes_to_one_process_and_holds_no_other_up() {
        for _ in 0..20 {
            let (_reader, writer) = std::io::pipe().unwrap();
            fcntl_setpipe_size(&writer, AT_ONCE).unwrap();
            let together = Arc::new(Barrier::new(2));
            let writing = [(); 2].map(|()| {
                let log = Direct::new(Own::new(writer.try_clone().unwrap().into()), Format::Text);
                let together = Arc::clone(&together);
                std::thread::spawn(move || {
                    log.way();
                    together.wait();
                    log.write(&[b'x'; AT_ONCE]);
                    log.lost.load(Relaxed)
                })
            });
            until(|| writing.iter().all(|one| one.is_finished()));
            let lost: u64 = writing.into_iter().map(|one| one.join().unwrap()).sum();
            assert_eq!(lost, 1);
        }
    }

    #[test]
    fn line_that_fits_in_behind_others_does_not_wait_for_an_empty_page() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        fcntl_setpipe_size(&writer, AT_ONCE).unwrap();
        let log = Direct::new(Own::new(writer.into()), Format::Text);
        // Whoever asks (poll) is told that the pipe is full as soon as its only page is in use.
        log.write(b"one\n");
        log.write(b"two\n");
        drop(log);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn line_that_was_read_in_part_waits_longer_for_its_rest() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let log = Direct::new(Own::new(writer.into()), Format::Text);
        let reading = std::thread::spawn(move || {
            std::thread::sleep(2 * PATIENCE);
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            read
        });
        log.write(&[b'x'; 4 * ROOM]);
        drop(log);
        assert_eq!(reading.join().unwrap().len(), 4 * ROOM);
    }

    #[test]
    fn line_behind_one_that_was_torn_begins_a_line() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let log = Direct::new(Own::new(writer.into()), Format::Text);
        log.write(&[b'x'; 2 * ROOM]);
        assert_eq!(log.lost.load(Relaxed), 1);
        let torn = read_for_now(&reader, 2 * ROOM);
        assert_eq!(torn, [b'x'; ROOM]);
        log.write(b"next\n");
        log.write(b"last\n");
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let lines: Vec<_> = rest.lines().collect();
        assert!(
            matches!(&lines[..], ["", told, "next", "last"] if told.contains(": 1 lines of the log were lost")),
            "{rest:?}"
        );
    }

    #[test]
    fn line_waits_a_moment_for_another_thread_and_no_longer() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        let log = || Direct::new(Own::new(writer.try_clone().unwrap()), Format::Text);
        // On a busy machine the other thread may keep it for longer than it means to.
        until(|| {
            let log = log();
            let (begin, begun) = std::sync::mpsc::channel();
            std::thread::scope(|scope| {
                let held = log.torn.lock().unwrap();
                let log = &log;
                scope.spawn(move || {
                    begin.send(()).unwrap();
                    log.write(b"patient\n");
                });
                begun.recv().unwrap();
                std::thread::sleep(PATIENCE / 5);
                drop(held);
            });
            log.lost.load(Relaxed) == 0
        });
        let log = log();
        let _held = log.torn.lock().unwrap();
        let begun = Instant::now();
        log.write(b"impatient\n");
        assert!(begun.elapsed() >= PATIENCE);
        assert_eq!(log.lost.load(Relaxed), 1);
        // Whoever comes next does not wait at all.
        assert!(log.lock(Instant::now()).is_none());
    }

    #[test]
    fn last_line_goes_to_standard_error() {
        if is_in_a_process() {
            return last_line("wsgi-fpm: it is over");
        }
        let output = in_a_process("log::direct::tests::last_line_goes_to_standard_error", &[]);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "wsgi-fpm: it is over\n");
    }

    #[test]
    fn device_that_has_room_gets_every_line() {
        let device = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        let log = Direct::new(Own::new(device.into()), Format::Text);
        flood(&log, 100);
        assert_eq!(log.lost.load(Relaxed), 0);
    }

    #[test]
    fn full_disk_loses_lines_and_no_more() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let log = Direct::new(Own::new(full.into()), Format::Text);
        flood(&log, 100);
        assert_eq!(log.lost.load(Relaxed), 100);
    }
}
