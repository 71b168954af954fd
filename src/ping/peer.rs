//! A connection to a responder, all of which has to be over by a deadline; and what it means that there is none.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use contract::denied::{Wish, denied};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout as Direction, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use settings::values::{Address, Timeout};

use super::Failure;

#[derive(Debug)]
pub struct Peer {
    socket: OwnedFd,
    deadline: Deadline,
}

#[derive(Debug, Clone, Copy)]
struct Deadline {
    limit: Timeout,
    end: Option<Instant>,
}

impl Deadline {
    /// What is left, at least a moment: the kernel takes nothing for no limit. `None`: there is none.
    ///
    /// # Errors
    /// Nothing is left.
    fn left(self) -> Result<Option<Duration>, Errno> {
        let Some(end) = self.end else {
            return Ok(None);
        };
        let left = end.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(Errno::AGAIN),
            false => Ok(Some(left.max(Duration::from_millis(1)))),
        }
    }

    fn missed(self, what: impl Into<String>, advice: &'static str) -> Failure {
        Failure::TimedOut {
            what: what.into(),
            limit: self.limit,
            advice,
        }
    }
}

impl Peer {
    /// `begun`: when the time began to count.
    ///
    /// # Errors
    /// There is no connection, with the reason.
    pub fn connect(address: &Address, limit: Timeout, begun: Instant) -> Result<Self, Failure> {
        let deadline = Deadline {
            limit,
            end: limit.deadline(begun),
        };
        let socket = match address {
            Address::Unix(path) => to_unix(path, deadline)?,
            Address::Tcp(address) => to_tcp(*address, deadline)?,
            Address::Fd(_) | Address::Named(_) => {
                return Err(Failure::Connect("nobody can connect to a descriptor".to_owned()));
            }
        };
        Ok(Self { socket, deadline })
    }

    /// Sends all of it, unless the responder wants no more: what it has answered can still be read.
    ///
    /// # Errors
    /// It does not read in time.
    pub fn send(&self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let sent = self.within(Direction::Send, || send(&self.socket, bytes, SendFlags::NOSIGNAL));
            match sent {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::AGAIN) => return Err(self.missed("it took no whole request", STUCK)),
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits for more. 0: there is no more; a connection that was reset has no more either.
    ///
    /// # Errors
    /// The time is up.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self.within(Direction::Recv, || recv(&self.socket, &mut *buffer, RecvFlags::empty())) {
            Ok((received, _)) => Ok(received),
            Err(Errno::AGAIN) => Err(Errno::AGAIN),
            Err(_) => Ok(0),
        }
    }

    /// That the time was up before `what`.
    pub fn missed(&self, what: impl Into<String>, advice: &'static str) -> Failure {
        self.deadline.missed(what, advice)
    }

    fn within<T>(&self, direction: Direction, mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
        loop {
            set_socket_timeout(&self.socket, direction, self.deadline.left()?)?;
            match call() {
                Err(Errno::INTR) => {}
                outcome => return outcome,
            }
        }
    }
}

/// What to do about a responder that is there and does nothing.
pub const STUCK: &str = ": all its threads are busy, or it hangs; its log and its processes (`top`) say more";

fn to_unix(path: &Path, deadline: Deadline) -> Result<OwnedFd, Failure> {
    let attempt = || {
        let address = SocketAddrUnix::new(path)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        loop {
            // Where the backlog is full it waits as long as sending may.
            set_socket_timeout(&socket, Direction::Send, deadline.left()?)?;
            match connect(&socket, &address) {
                Err(Errno::INTR) => {}
                outcome => return outcome.map(|()| socket),
            }
        }
    };
    attempt().map_err(|error| match error {
        Errno::AGAIN => deadline.missed(
            "no connection",
            ": as many wait as its backlog holds, since all its threads are busy, or it is stopped or still starting",
        ),
        error => Failure::Connect(unreachable_because(path, error)),
    })
}

fn unreachable_because(path: &Path, error: Errno) -> String {
    let kind = path.metadata().map(|metadata| metadata.file_type());
    match (error, kind) {
        (Errno::ACCESS, _) => match denied(path, Wish::Connect) {
            Some(denied) => denied.to_string(),
            None => "permission denied, though the modes allow it: SELinux or AppArmor, mostly".to_owned(),
        },
        (_, Ok(kind)) if kind.is_dir() => "that is a directory; name the socket in it".to_owned(),
        (_, Ok(kind)) if !kind.is_socket() => "that is a file, and no socket".to_owned(),
        (Errno::NOENT | Errno::NOTDIR, _) => {
            "no such file: the responder does not run, or listens elsewhere; compare its --listen".to_owned()
        }
        (Errno::CONNREFUSED, _) => {
            "nobody listens there any more: the responder has ended and left its socket behind; start it".to_owned()
        }
        (Errno::PROTOTYPE, _) => "that socket is of another kind, and no FastCGI responder's".to_owned(),
        (error, _) => format!("can't connect: {}", io::Error::from(error)),
    }
}

fn to_tcp(address: SocketAddr, deadline: Deadline) -> Result<OwnedFd, Failure> {
    let connected = match deadline.left() {
        Ok(Some(left)) => TcpStream::connect_timeout(&address, left),
        Ok(None) => TcpStream::connect(address),
        Err(error) => Err(error.into()),
    };
    connected.map(OwnedFd::from).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock if deadline.end.is_some() => deadline.missed(
            "no connection",
            ": a firewall drops it, the machine is down, or its backlog is full",
        ),
        io::ErrorKind::ConnectionRefused => Failure::Connect(
            "nobody listens there: the responder does not run, or listens elsewhere; compare its --listen".to_owned(),
        ),
        _ => Failure::Connect(format!("can't connect: {error}")),
    })
}
