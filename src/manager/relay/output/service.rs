//! A daemon that takes messages on a socket: it may be away for a moment, and nobody waits for longer than that.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use contract::log::tag::{self, Severity, Tagged};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with};

/// How long a message waits for a daemon that is away or takes nothing: one that starts anew takes no longer. Then lines are lost
/// until it takes one.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// One event, for one message.
pub struct Message<'a> {
    pub severity: Severity,
    pub pool: &'a str,
    pub request: &'a str,
    /// Without the last newline.
    pub text: &'a [u8],
}

/// What a daemon understands.
pub trait Language {
    fn encode(&self, message: &Message<'_>) -> Vec<u8>;

    /// Sends what is longer than the socket takes.
    ///
    /// # Errors
    /// The system's.
    fn send_long(&self, socket: &OwnedFd, message: &Message<'_>) -> Result<(), Errno>;
}

pub struct Service<L> {
    address: PathBuf,
    language: L,
    socket: Option<OwnedFd>,
    /// The last message did not get there.
    is_away: bool,
}

impl<L: Language> Service<L> {
    pub fn new(address: &Path, language: L) -> Self {
        Self {
            address: address.to_owned(),
            language,
            socket: None,
            is_away: false,
        }
    }

    pub fn write(&mut self, events: &[u8]) -> Result<(), (usize, Errno)> {
        let mut written = 0;
        for event in tag::split(events) {
            self.write_tagged(&event).map_err(|error| (written, error))?;
            written += event.whole.len();
        }
        Ok(())
    }

    fn write_tagged(&mut self, event: &Tagged<'_>) -> Result<(), Errno> {
        // What has no tag is of a process that another version has started.
        let (severity, pool, request) = match event.tag {
            Some(tag) => (tag.severity, tag.pool, tag.request),
            None => (Severity::Info, "", ""),
        };
        for text in tag::events(event.lines) {
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            self.send(&Message {
                severity,
                pool,
                request,
                text,
            })?;
        }
        Ok(())
    }

    fn send(&mut self, message: &Message<'_>) -> Result<(), Errno> {
        let encoded = self.language.encode(message);
        let until = Instant::now() + if self.is_away { Duration::ZERO } else { PATIENCE };
        loop {
            let sent = self.try_send(&encoded, message);
            let has_time = Instant::now() < until;
            match sent {
                Ok(()) => {
                    self.is_away = false;
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) if has_time => self.wait(),
                Err(Errno::CONNREFUSED | Errno::NOENT | Errno::NOTCONN | Errno::CONNRESET | Errno::PIPE)
                    if has_time =>
                {
                    self.socket = None;
                    thread::sleep(LOOK);
                }
                Err(error) => {
                    (self.socket, self.is_away) = (None, true);
                    return Err(error);
                }
            }
        }
    }

    fn try_send(&mut self, encoded: &[u8], message: &Message<'_>) -> Result<(), Errno> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connect()?,
        };
        let socket = self.socket.insert(socket);
        match send(&*socket, encoded, SendFlags::NOSIGNAL) {
            Err(Errno::MSGSIZE) => self.language.send_long(socket, message),
            sent => sent.map(drop),
        }
    }

    fn connect(&self) -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(&self.address)?)?;
        Ok(socket)
    }

    fn wait(&self) {
        let Some(socket) = &self.socket else { return };
        let look = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK.as_nanos() as i64,
        };
        // An error is told again by the next try.
        let _ = poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&look));
    }
}

/// A receiver for tests.
#[cfg(test)]
pub mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    pub fn receive(socket: &UnixDatagram) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let length = socket.recv(&mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    struct Plain;

    impl Language for Plain {
        fn encode(&self, message: &Message<'_>) -> Vec<u8> {
            message.text.to_owned()
        }

        fn send_long(&self, _: &OwnedFd, _: &Message<'_>) -> Result<(), Errno> {
            Err(Errno::MSGSIZE)
        }
    }

    #[test]
    fn daemon_that_comes_back_gets_what_comes_then() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut service = Service::new(&path, Plain);
        let start = Instant::now();
        assert_eq!(service.write(b"lost\n"), Err((0, Errno::NOENT)));
        assert!(start.elapsed() >= PATIENCE, "it might have come");
        let start = Instant::now();
        assert_eq!(service.write(b"lost\n"), Err((0, Errno::NOENT)));
        assert!(start.elapsed() < PATIENCE, "nobody waits twice");
        let daemon = UnixDatagram::bind(&path).unwrap();
        service.write(b"one\ntwo\n  of two\n").unwrap();
        assert_eq!(
            (receive(&daemon), receive(&daemon)),
            (b"one".to_vec(), b"two\n  of two".to_vec())
        );
        // Another one in its place, a moment later.
        drop(daemon);
        std::fs::remove_file(&path).unwrap();
        let again = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            UnixDatagram::bind(&path).unwrap()
        });
        service.write(b"three\n").unwrap();
        assert_eq!(receive(&again.join().unwrap()), b"three");
    }

    #[test]
    fn daemon_that_takes_nothing_is_waited_for_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        let mut service = Service::new(&path, Plain);
        let start = Instant::now();
        let sent = (0..2000).find_map(|_| service.write(b"line\n").err());
        assert_eq!(sent, Some((0, Errno::AGAIN)));
        assert_eq!(service.write(b"line\n"), Err((0, Errno::AGAIN)));
        assert!(start.elapsed() < 10 * PATIENCE, "{:?}", start.elapsed());
        receive(&daemon);
        service.write(b"line\n").unwrap();
    }
}
