//! What the supervisor asks a worker itself, past its leader, which may be busy or stuck.
//!
//! A worker that tells of itself (`keeper::channel`) sends the end of a channel of its own along. Each question comes with the end of a
//! stream; what is written there, up to its end, is the answer, as JSON. A worker that has none closes it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use serde::{Deserialize, Serialize};

use crate::own::OwnFd;
use crate::packet;

/// Longest name of whoever wants something, in bytes: a question is one packet.
pub const LONGEST_NAME: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// What do all of your threads do in Python? The answer is [`Stacks`].
    Stacks,
    /// End the request with this number of this thread: RequestTimeout in it. `by`: who wants that. The answer is [`Killed`].
    Kill { thread: usize, number: u64, by: String },
}

/// What became of a request that was to be ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Killed {
    /// It had ended before, or never was.
    NotRunning,
    /// `answered`: its client has got a 504; else its response had begun, and broke off.
    Ended { answered: bool },
    /// It goes on, although it was told. `next`: what follows, for whoever has asked.
    GoesOn { answered: bool, next: String },
}

/// What the threads of a worker do in Python.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stacks {
    /// Python has answered. If not, something has held its lock for a second, and this was read from outside.
    pub by_python: bool,
    pub threads: Vec<Thread>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// As Python knows it; empty if that is unknown.
    pub name: String,
    /// `threading.get_ident()`.
    pub ident: u64,
    /// It serves requests.
    pub serves: bool,
    pub request: Option<Running>,
    /// Lines, the innermost call last.
    pub stack: String,
}

/// A request that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// `pid-thread-number`.
    pub id: String,
    /// Method and path, escaped.
    pub line: String,
    /// For how long it has run.
    pub ms: u64,
}

/// The ends of a new channel: the supervisor's, and the worker's.
///
/// # Errors
/// The system's.
pub fn pair() -> io::Result<(OwnFd, Asked)> {
    let [ours, theirs] = packet::pair()?;
    Ok((ours, Asked(theirs)))
}

/// Asks through the supervisor's end; whether that was possible now. `answer`: where it is to be written.
///
/// # Errors
/// The socket's: the worker is gone.
pub fn ask(end: impl AsFd, question: &ToWorker, answer: BorrowedFd<'_>) -> io::Result<bool> {
    packet::send(end, &serde_json::to_vec(question)?, &[answer])
}

/// A worker's end.
#[derive(Debug)]
pub struct Asked(OwnFd);

impl Asked {
    /// The next question, and where its answer goes; `None` if there is none now.
    ///
    /// # Errors
    /// The socket's; `InvalidData` for what is no question, that of a newer supervisor perhaps; `UnexpectedEof` if nobody will ask
    /// any more.
    pub fn next(&self) -> io::Result<Option<(ToWorker, OwnFd)>> {
        let Some(mut packet) = packet::receive(&self.0)? else {
            return Ok(None);
        };
        if packet.bytes().is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // One that was cut to a packet's length is none; to its parser it only ends too early.
        let question = serde_json::from_slice(packet.bytes()).map_err(|_| io::ErrorKind::InvalidData)?;
        let answer = packet.fds.pop().ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some((question, answer)))
    }
}

/// Readable when there is a question, and for ever once the supervisor is gone.
impl AsFd for Asked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn question_comes_with_where_its_answer_goes() {
        let (end, asked) = pair().unwrap();
        assert!(asked.next().unwrap().is_none());
        let (mut reader, writer) = io::pipe().unwrap();
        assert!(ask(&end, &ToWorker::Stacks, writer.as_fd()).unwrap());
        drop(writer);
        let (question, answer) = asked.next().unwrap().unwrap();
        assert_eq!(question, ToWorker::Stacks);
        rustix::io::write(&answer, b"so").unwrap();
        drop(answer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "so");
    }

    #[test]
    fn what_is_no_question_is_an_error_and_the_next_one_is_heard() {
        let (end, asked) = pair().unwrap();
        let (_reader, writer) = io::pipe().unwrap();
        packet::send(&end, b"\"sing\"", &[writer.as_fd()]).unwrap();
        let by = "\u{1}".repeat(packet::LONGEST);
        let kill = ToWorker::Kill {
            thread: 0,
            number: 1,
            by,
        };
        ask(&end, &kill, writer.as_fd()).unwrap();
        packet::send(&end, b"\"stacks\"", &[]).unwrap();
        ask(&end, &ToWorker::Stacks, writer.as_fd()).unwrap();
        for _ in 0..3 {
            assert_eq!(asked.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        assert!(asked.next().unwrap().is_some());
        drop(end);
        assert_eq!(asked.next().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn worker_that_does_not_listen_is_not_waited_for_and_one_that_is_gone_is_an_error() {
        let (end, asked) = pair().unwrap();
        let (_reader, writer) = io::pipe().unwrap();
        let mut sent = 0;
        while ask(&end, &ToWorker::Stacks, writer.as_fd()).unwrap() {
            sent += 1;
            assert!(sent < 100_000, "a socket has an end");
        }
        drop(asked);
        ask(&end, &ToWorker::Stacks, writer.as_fd()).unwrap_err();
    }
}
