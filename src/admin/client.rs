//! A command's end of a control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as connect_socket, socket_with};

use super::protocol::{Answer, Ask, End, Line};

/// It answers from what it knows, so it takes longer only if it is stopped, or the machine is.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The instance says why.
    #[error("{0}")]
    Refused(String),
    #[error("the instance has not answered within {} s: is its process stopped?", PATIENCE.as_secs())]
    NoAnswer,
    #[error("the instance has ended, or was upgraded, before it answered")]
    Gone,
    #[error("the instance can't be asked: {0}")]
    System(io::Error),
    #[error("the instance answers what wsgi-fpm {ours} does not understand; are they of different versions? {error}", ours = env!("CARGO_PKG_VERSION"))]
    Unknown { error: serde_json::Error },
}

/// Connects without waiting: who has as many waiting as the kernel allows does not answer.
///
/// # Errors
/// The system's; `WouldBlock` if too many wait already.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect_socket(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A connection to an instance.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    /// The supervisor's, as the kernel says; 0 where that is of another namespace.
    pub pid: i32,
    pub uid: u32,
}

impl Client {
    /// # Errors
    /// See [`connect`].
    pub fn connect(path: &Path) -> io::Result<Self> {
        let stream = connect(path)?;
        let peer = socket_peercred(stream.as_fd())?;
        Ok(Self {
            pid: peer.pid.as_raw_nonzero().get(),
            uid: peer.uid.as_raw(),
            stream: BufReader::new(stream),
        })
    }

    /// Asks for something that is answered at once.
    ///
    /// # Errors
    /// It can't be asked.
    pub fn ask(mut self, ask: Ask) -> Result<Answers, AskError> {
        let mut line = serde_json::to_vec(&Line::new(ask)).map_err(|error| AskError::Unknown { error })?;
        line.push(b'\n');
        let stream = self.stream.get_mut();
        let written = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.write_all(&line));
        match written {
            // It may have said why it does not listen.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(AskError::System(error)),
            _ => Ok(Answers(self.stream)),
        }
    }
}

/// What an instance says until it has said everything.
#[derive(Debug)]
pub struct Answers(BufReader<UnixStream>);

impl Answers {
    /// The next one, `None` at the end of all.
    ///
    /// # Errors
    /// What was asked has failed, or the instance is gone.
    pub fn next(&mut self) -> Result<Option<Answer>, AskError> {
        let mut line = Vec::new();
        match self.0.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => {}
            Ok(_) => return Err(AskError::Gone),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(AskError::NoAnswer),
            Err(error) if error.raw_os_error() == Some(Errno::CONNRESET.raw_os_error()) => return Err(AskError::Gone),
            Err(error) => return Err(AskError::System(error)),
        }
        // What was begun may take its time.
        if line.starts_with(b"{\"begun\"") {
            self.0.get_ref().set_read_timeout(None).map_err(AskError::System)?;
        }
        match serde_json::from_slice(&line).map_err(|error| AskError::Unknown { error })? {
            Answer::End(End::Ok(_)) => Ok(None),
            Answer::End(End::Error(reason)) => Err(AskError::Refused(reason)),
            answer => Ok(Some(answer)),
        }
    }
}
