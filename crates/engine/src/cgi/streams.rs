//! CGI's two streams as a carrier: the body from standard input, the response to standard output (RFC 3875).
//!
//! The web server's ends are left as they are: their flags may be shared with others. Nothing blocks all the same: input is
//! read when poll says so, and what poll admits to a pipe is at least `PIPE_BUF` bytes.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::own::{Own, OwnFd};
use contract::wait::{is_ready, timespec};
use pyo3::Python;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, read, write};
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use settings::Setting;
use settings::sections::Limits;
use settings::values::{SizeLimit, Timeout};

use super::signals;
use crate::base::sigpipe;
use crate::request::body::Body;
use crate::request::carrier::{Carrier, CarrierError, Ending, FilePart, Handles, Lack, Payload};
use crate::request::exchange::Failure;

/// Standard output, which only this process has: whoever prints writes to standard error.
pub struct Output(Mutex<Option<Arc<OwnFd>>>);

impl Output {
    pub fn new(fd: OwnFd) -> Self {
        Self(Mutex::new(Some(Arc::new(fd))))
    }

    /// `None`: the response has ended, and the descriptor is closed.
    pub fn get(&self) -> Option<Arc<OwnFd>> {
        self.lock().clone()
    }

    /// Sends a page of the gateway's own.
    ///
    /// # Errors
    /// The web server does not take it.
    pub fn write_all(&self, page: &[u8]) -> io::Result<()> {
        let output = self.get().ok_or(io::ErrorKind::BrokenPipe)?;
        Own::new(File::from(output.as_fd().try_clone_to_owned()?)).write_all(page)
    }

    /// The response has ended, and the web server sees it, whatever this process does still (SPEC C24).
    fn end(&self) {
        let mut output = self.lock();
        // A socket stays: closing it with something unread would take the response away from the web server.
        if output.as_ref().is_some_and(|fd| shutdown(fd, Shutdown::Write).is_err()) {
            *output = None;
        }
    }

    /// Nothing more is sent, nor read away.
    pub fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<OwnFd>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's streams.
pub struct Streams {
    input: Arc<OwnFd>,
    output: Arc<OwnFd>,
    /// The same, to be ended with the response.
    standard_output: Arc<Output>,
    kind: Kind,
    body: Body,
    /// What the web server has said of the body that was not received yet.
    unread: Arc<AtomicU64>,
    in_memory: usize,
    max: SizeLimit,
}

/// What the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pipe,
    Socket,
    /// A regular file or a device: never full.
    File,
}

/// POSIX: a write of so many bytes to a pipe that poll calls writable doesn't block.
const PIPE_BUF: usize = 4096;
const CHUNK: usize = 64 * 1024;
/// Pieces in one call: the lock is others' too.
const TURNS: usize = 64;

impl Streams {
    /// The body goes on until the end of `input`, unless [`Streams::set_length`] says otherwise.
    ///
    /// # Errors
    /// `output` is not open.
    pub fn new(
        input: OwnFd,
        standard_output: Arc<Output>,
        limits: &Limits,
        unread: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let output = standard_output.get().ok_or(io::ErrorKind::BrokenPipe)?;
        let kind = match FileType::from_raw_mode(fstat(&output)?.st_mode) {
            FileType::Fifo => Kind::Pipe,
            FileType::Socket => Kind::Socket,
            _ => Kind::File,
        };
        Ok(Self {
            input: Arc::new(input),
            output,
            standard_output,
            kind,
            body: Body::default(),
            unread,
            in_memory: limits.body_memory.in_memory(),
            max: *limits.body_max,
        })
    }

    pub fn set_length(&mut self, length: u64) {
        self.body.expected = Some(length);
    }

    /// Receives the whole body, or as much of it as shows that it is more than is allowed or can't be kept.
    ///
    /// # Errors
    /// Nothing came for `timeout`, or a signal handler of the application has raised.
    pub fn collect(&mut self, py: Python<'_>, timeout: &Setting<Timeout>) -> Result<(), Failure> {
        let mut progress = Instant::now();
        while !self.body.complete() && !self.body.too_large && self.body.lost.is_none() {
            if self.receive()? {
                progress = Instant::now();
                continue;
            }
            let deadline = timeout.deadline(progress);
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(CarrierError::BodyStall(Box::new(timeout.clone())).into());
            }
            let wait = left.map(timespec);
            match py.detach(|| poll(&mut [PollFd::new(&self.input, PollFlags::IN)], wait.as_ref())) {
                Ok(_) => {}
                Err(Errno::INTR) => py.check_signals()?,
                Err(_) => return Err(CarrierError::Gone.into()),
            }
        }
        Ok(())
    }

    /// One piece of `data`; `None` if there is no room now.
    fn write_some(&self, data: &[u8]) -> Result<Option<usize>, CarrierError> {
        let written = match self.kind {
            Kind::Socket => send(&self.output, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Kind::Pipe if !is_ready(&self.output, PollFlags::OUT) => return Ok(None),
            // close() and exit functions are to run, whatever the application wants of SIGPIPE (SPEC C23).
            Kind::Pipe => sigpipe::without(|| write(&self.output, &data[..data.len().min(PIPE_BUF)])),
            Kind::File => write(&self.output, data),
        };
        match written {
            Ok(length) => Ok(Some(length)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(_) => Err(CarrierError::Gone),
        }
    }

    /// Small parts together, since each write costs the web server a read.
    fn next_piece<'a>(payload: &Payload<'a>, buffer: &'a mut Vec<u8>) -> &'a [u8] {
        let mut ahead = payload.peek();
        let first = ahead.take(CHUNK);
        if first.len() >= PIPE_BUF || ahead.remaining() == 0 {
            return first;
        }
        buffer.extend_from_slice(first);
        while buffer.len() < PIPE_BUF && ahead.remaining() > 0 {
            buffer.extend_from_slice(ahead.take(PIPE_BUF - buffer.len()));
        }
        buffer
    }
}

/// Marks `length` bytes of the payload as sent.
fn advance(payload: &mut Payload<'_>, mut length: usize) {
    while length > 0 {
        length -= payload.take(length).len();
    }
}

impl Carrier for Streams {
    fn body(&mut self) -> &mut Body {
        &mut self.body
    }

    fn send(&mut self, payload: &mut Payload<'_>, ending: Option<Ending>) -> Result<bool, CarrierError> {
        if ending.is_some() {
            signals::outlive_response();
        }
        for _ in 0..TURNS {
            if payload.remaining() == 0 {
                return Ok(true);
            }
            let mut buffer = Vec::new();
            let piece = Self::next_piece(payload, &mut buffer);
            match self.write_some(piece)? {
                Some(length) => advance(payload, length),
                None => return Ok(false),
            }
        }
        Ok(payload.remaining() == 0)
    }

    fn send_file(&mut self, part: &mut FilePart<'_>, ending: Option<Ending>) -> Result<bool, CarrierError> {
        if ending.is_some() {
            signals::outlive_response();
        }
        let mut chunk = vec![0; if self.kind == Kind::Pipe { PIPE_BUF } else { CHUNK }];
        for _ in 0..TURNS {
            let left = part.end - part.offset;
            if left == 0 {
                return Ok(true);
            }
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            let length = match part.file.read_at(&mut chunk[..wanted], part.offset) {
                Ok(0) => return Err(CarrierError::FileShrank),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(CarrierError::File(error)),
            };
            match self.write_some(&chunk[..length])? {
                Some(written) => part.offset += written as u64,
                None => return Ok(false),
            }
        }
        Ok(part.offset == part.end)
    }

    fn end_aborted(&mut self) -> Result<bool, CarrierError> {
        Ok(true)
    }

    /// Never more than CONTENT_LENGTH: what stands behind it on the stream isn't ours (SPEC D4).
    fn receive(&mut self) -> Result<bool, CarrierError> {
        if self.body.complete() || !is_ready(&self.input, PollFlags::IN) {
            return Ok(false);
        }
        let mut chunk = [0; CHUNK];
        let left = self
            .body
            .expected
            .map_or(u64::MAX, |expected| expected - self.body.received);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
        match read(&self.input, &mut chunk[..wanted]) {
            Ok(0) => {
                // Before CONTENT_LENGTH: reading fails then.
                self.body.ended = true;
                Ok(true)
            }
            Ok(length) => {
                let unread = self.unread.load(Ordering::Relaxed);
                self.unread
                    .store(unread.saturating_sub(length as u64), Ordering::Relaxed);
                self.body.push(&chunk[..length], self.in_memory, self.max);
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(_) => Err(CarrierError::Gone),
        }
    }

    /// Who has left reads the output no more. A file has no reader.
    fn look(&mut self) -> Result<(), CarrierError> {
        self.receive()?;
        match is_ready(&self.output, PollFlags::empty()) {
            true => Err(CarrierError::Gone),
            false => Ok(()),
        }
    }

    fn handles(&self) -> Handles {
        Handles {
            input: (!self.body.complete()).then(|| Arc::clone(&self.input)),
            output: Arc::clone(&self.output),
        }
    }

    /// Nobody asks for it: what waits to send for too long is ended with the process.
    fn hang_up(&mut self) {}

    fn begin(&mut self, _is_head: bool) -> Option<(RawFd, u16)> {
        None
    }

    fn done(self: Box<Self>) {
        let Self {
            output,
            standard_output,
            ..
        } = *self;
        drop(output);
        standard_output.end();
    }

    /// The web server sees the end of the output: CGI has no sign for a response that breaks off.
    fn cut(self: Box<Self>, _: Option<Lack>) {
        signals::outlive_response();
        self.done();
    }
}

/// Takes the protocol's streams from descriptors 0 and 1, so that nothing else gets at them: input becomes /dev/null, output
/// standard error (SPEC D5).
///
/// # Errors
/// The system's.
pub fn take_standard_streams() -> io::Result<(OwnFd, OwnFd)> {
    let input = Own::new(io::stdin().as_fd().try_clone_to_owned()?);
    let output = Own::new(io::stdout().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok((input, output))
}
