//! A responder of one connection, which the test plays.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::fcgi_client::{END_REQUEST, GET_VALUES, PARAMS, STDERR, STDIN, STDOUT, record};
use crate::support::wait::SOON;

/// What it does once it has read a request or a question for its values.
pub enum Play {
    /// Sends this and closes.
    Answer(Vec<u8>),
    /// The same, a byte at a time.
    Slowly(Vec<u8>),
    /// Sends this and then waits for the other side to close.
    Hang(Vec<u8>),
    /// The first once, then the second again and again.
    Forever(Vec<u8>, Vec<u8>),
    /// A byte now and then of this, again and again.
    Trickle(Vec<u8>),
    Silence,
    /// Closes without having read.
    CloseAtOnce,
}

pub struct Responder {
    directory: TempDir,
    played: Option<JoinHandle<()>>,
    params: Receiver<Vec<u8>>,
    closed: Receiver<()>,
}

impl Responder {
    pub fn answering(bytes: Vec<u8>) -> Self {
        Self::new(Play::Answer(bytes))
    }

    pub fn new(play: Play) -> Self {
        let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let (send_params, params) = channel();
        let (send_closed, closed) = channel();
        let played = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            if matches!(play, Play::CloseAtOnce) {
                return;
            }
            // A test that ends before it has read is no matter of this thread.
            let _ = send_params.send(read_request(&mut stream));
            let _ = perform(&mut stream, play);
            let _ = send_closed.send(());
        });
        Self {
            directory,
            played: Some(played),
            params,
            closed,
        }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub fn address(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    /// What it was sent.
    pub fn params(&self) -> Vec<(String, String)> {
        let mut rest = &self.params.recv_timeout(SOON).unwrap()[..];
        let mut params = Vec::new();
        while let [name, value, after @ ..] = rest {
            // Names and values of these tests are short.
            let (name, after) = after.split_at((*name).into());
            let (value, after) = after.split_at((*value).into());
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            params.push((text(name), text(value)));
            rest = after;
        }
        params
    }

    /// Waits until the other side has closed the connection.
    #[track_caller]
    pub fn wait_for_close(&self) {
        self.closed.recv_timeout(SOON).unwrap();
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        // Wakes it, if nobody has connected.
        drop(UnixStream::connect(self.path()));
        if let Some(played) = self.played.take() {
            let played = played.join();
            assert!(played.is_ok() || thread::panicking());
        }
    }
}

/// Reads up to the end of the body, or a question for values. Gives the params.
fn read_request(stream: &mut UnixStream) -> Vec<u8> {
    let mut params = Vec::new();
    loop {
        let mut header = [0; 8];
        if stream.read_exact(&mut header).is_err() {
            return params;
        }
        let mut content = vec![0; usize::from(u16::from_be_bytes([header[4], header[5]]))];
        stream.read_exact(&mut content).unwrap();
        match (header[1], content.is_empty()) {
            (PARAMS, _) => params.extend(content),
            (STDIN, true) | (GET_VALUES, _) => return params,
            _ => {}
        }
    }
}

fn perform(stream: &mut UnixStream, play: Play) -> io::Result<()> {
    match play {
        Play::Answer(bytes) => return stream.write_all(&bytes),
        Play::Slowly(bytes) => return bytes.iter().try_for_each(|byte| stream.write_all(&[*byte])),
        Play::Hang(bytes) => stream.write_all(&bytes)?,
        Play::Forever(first, again) => {
            stream.write_all(&first)?;
            loop {
                stream.write_all(&again)?;
            }
        }
        Play::Trickle(bytes) => {
            for byte in bytes.iter().cycle() {
                stream.write_all(&[*byte])?;
                thread::sleep(Duration::from_millis(5));
            }
        }
        Play::Silence | Play::CloseAtOnce => {}
    }
    // Until the other side closes.
    stream.read(&mut [0]).map(drop)
}

pub fn stdout(content: &[u8]) -> Vec<u8> {
    record(STDOUT, 1, content)
}

pub fn stderr(content: &[u8]) -> Vec<u8> {
    record(STDERR, 1, content)
}

/// END_REQUEST with a protocol status.
pub fn end(status: u8) -> Vec<u8> {
    record(END_REQUEST, 1, &[0, 0, 0, 0, status, 0, 0, 0])
}
