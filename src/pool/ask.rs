//! Asking one worker something, past its leader, for whoever has the pool's commands.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as Socket;
use std::str::FromStr;
use std::time::Duration;

use contract::process::Stat;
use contract::scoreboard::read_request_id;
use contract::worker::{Killed, LONGEST_NAME, Stacks, ToWorker};
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::Command;
use super::importing::Importing;
use crate::keeper::{Keeper, Unasked};

/// A worker answers for Python a second after that has not. It may lack a processor, too.
const STACKS_WAIT: Duration = Duration::from_secs(4);
/// A worker says after two seconds that a request goes on.
const KILL_WAIT: Duration = Duration::from_secs(5);
/// How long a process may take from closing its descriptors to its end.
const LAST_MOMENT: Duration = Duration::from_millis(500);
/// Bytes of an answer. Stacks are shorter, of a thousand threads as well.
const LONGEST: u64 = 16 << 20;

/// A request, as the log, the access log and the status name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestName {
    pub worker: i32,
    pub thread: usize,
    pub number: u64,
}

impl FromStr for RequestName {
    type Err = AskError;

    fn from_str(id: &str) -> Result<Self, AskError> {
        let (worker, thread, number) = read_request_id(id).ok_or_else(|| AskError::NoName(id.to_owned()))?;
        Ok(Self { worker, thread, number })
    }
}

/// Why there is no answer. Each is a line for whoever has asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{0:?} is no request: write it as the log does, such as 1234-0-56")]
    NoName(String),
    /// Another pool may have it.
    #[error("there is no worker {0} that serves; `wsgi-fpm status` lists them")]
    NotHere(i32),
    #[error("worker {0}: {1}")]
    Unasked(i32, Unasked),
    #[error("worker {0} is stopped by a signal: `kill -CONT {0}` has it go on")]
    Stopped(i32),
    #[error("worker {0} does not answer within {1:?}: the machine may be overloaded")]
    Silent(i32, Duration),
    #[error("worker {0} has ended meanwhile")]
    Ended(i32),
    #[error("worker {0} has given no answer: it has closed descriptors that are not its own, or was asked too often")]
    NoAnswer(i32),
    #[error("worker {0} can't be asked: {1}")]
    System(i32, std::io::Error),
    #[error("the pool has ended")]
    NoPool,
}

/// What all threads of the worker with this pid do in Python.
///
/// # Errors
/// See [`AskError`].
pub async fn stacks(pool: &mpsc::UnboundedSender<Command>, worker: i32) -> Result<Stacks, AskError> {
    answer(pool, worker, ToWorker::Stacks, STACKS_WAIT).await
}

/// Ends the request with this name (`pid-thread-number`, as the log has it); `by` is told to the application, and stands in the log.
///
/// # Errors
/// See [`AskError`].
pub async fn kill(pool: &mpsc::UnboundedSender<Command>, request: RequestName, by: &str) -> Result<Killed, AskError> {
    let RequestName { worker, thread, number } = request;
    let mut by = by.to_owned();
    while by.len() > LONGEST_NAME {
        by.pop();
    }
    let question = ToWorker::Kill { thread, number, by };
    answer(pool, worker, question, KILL_WAIT).await
}

/// Who imports the application now.
pub async fn importing(pool: &mpsc::UnboundedSender<Command>) -> Vec<Importing> {
    let (answer, importing) = oneshot::channel();
    // One that has ended imports nothing.
    let _ = pool.send(Command::Imports(answer));
    importing.await.unwrap_or_default()
}

async fn answer<A: DeserializeOwned>(
    pool: &mpsc::UnboundedSender<Command>,
    worker: i32,
    question: ToWorker,
    patience: Duration,
) -> Result<A, AskError> {
    let (asked, stream) = oneshot::channel();
    let command = Command::Ask {
        worker,
        question,
        asked,
    };
    pool.send(command).map_err(|_| AskError::NoPool)?;
    let stream = stream.await.map_err(|_| AskError::NoPool)??;
    read(stream, worker, patience).await
}

async fn read<A: DeserializeOwned>(stream: UnixStream, worker: i32, patience: Duration) -> Result<A, AskError> {
    let mut text = Vec::new();
    let read = timeout(patience, stream.take(LONGEST).read_to_end(&mut text)).await;
    match read {
        Err(_) if is_stopped(worker) => Err(AskError::Stopped(worker)),
        Err(_) => Err(AskError::Silent(worker, patience)),
        Ok(Err(error)) => Err(AskError::System(worker, error)),
        Ok(Ok(_)) => match serde_json::from_slice(&text) {
            Ok(answer) => Ok(answer),
            Err(_) if ends(worker).await => Err(AskError::Ended(worker)),
            Err(_) => Err(AskError::NoAnswer(worker)),
        },
    }
}

/// Whether it has ended or is about to: its descriptors are closed before it is seen to be dead.
async fn ends(worker: i32) -> bool {
    let until = Instant::now() + LAST_MOMENT;
    while lives(worker) {
        if Instant::now() >= until {
            return false;
        }
        sleep(LAST_MOMENT / 50).await;
    }
    true
}

/// The pool's part: it has the keeper, which knows its workers.
pub(super) fn ask(keeper: &Keeper, worker: i32, question: &ToWorker) -> Result<UnixStream, AskError> {
    let system = |error| AskError::System(worker, error);
    let (ours, theirs) = Socket::pair().map_err(system)?;
    keeper
        .ask(worker, question, theirs.as_fd())
        .map_err(|error| match error {
            Unasked::Unknown => AskError::NotHere(worker),
            error => AskError::Unasked(worker, error),
        })?;
    ours.set_nonblocking(true).map_err(system)?;
    UnixStream::from_std(ours).map_err(system)
}

/// Whether a signal has stopped it, or a debugger.
fn is_stopped(pid: i32) -> bool {
    state(pid).is_some_and(|state| matches!(state, 'T' | 't'))
}

fn lives(pid: i32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

fn state(pid: i32) -> Option<char> {
    Stat::of(pid).ok()?.state()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Child, Command};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    fn process() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    async fn answer_of(process: &Child, written: Option<&str>, patience: u64) -> Result<Killed, AskError> {
        let (ours, mut theirs) = Socket::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.write_all(written.unwrap_or_default().as_bytes()).unwrap();
        let _open = written.is_none().then_some(theirs);
        let stream = UnixStream::from_std(ours).unwrap();
        read(stream, process.id() as i32, Duration::from_millis(patience)).await
    }

    #[tokio::test]
    async fn worker_that_gives_no_answer_is_told_from_one_that_is_stopped_or_has_ended() {
        let mut process = process();
        let answer = answer_of(&process, Some("{\"ended\":{\"answered\":true}}"), 10_000).await;
        assert_eq!(answer.unwrap(), Killed::Ended { answered: true });
        let silent = answer_of(&process, None, 50).await;
        assert!(matches!(silent, Err(AskError::Silent(..))), "{silent:?}");
        for written in ["", "{\"ended\":", "\"sings\""] {
            let answer = answer_of(&process, Some(written), 10_000).await;
            assert!(matches!(answer, Err(AskError::NoAnswer(_))), "{answer:?}");
        }
        let pid = Pid::from_child(&process);
        kill_process(pid, Signal::STOP).unwrap();
        while !is_stopped(process.id() as i32) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let stopped = answer_of(&process, None, 50).await.unwrap_err().to_string();
        let pid = process.id();
        assert_eq!(
            stopped,
            format!("worker {pid} is stopped by a signal: `kill -CONT {pid}` has it go on")
        );
        process.kill().unwrap();
        // Whether somebody has waited for it, or not yet.
        while lives(pid as i32) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..2 {
            let ended = answer_of(&process, Some(""), 10_000).await;
            assert!(matches!(ended, Err(AskError::Ended(_))), "{ended:?}");
            process.wait().unwrap();
        }
    }

    #[tokio::test]
    async fn pool_that_has_ended_can_not_be_asked() {
        let (pool, _) = mpsc::unbounded_channel();
        let answer = stacks(&pool, 1).await;
        assert!(matches!(answer, Err(AskError::NoPool)), "{answer:?}");
    }

    #[test]
    fn request_is_named_as_the_log_names_it() {
        let name = RequestName {
            worker: 1234,
            thread: 0,
            number: 56,
        };
        assert_eq!("1234-0-56".parse::<RequestName>().unwrap(), name);
        let wrong = "1234".parse::<RequestName>().unwrap_err().to_string();
        assert_eq!(
            wrong,
            "\"1234\" is no request: write it as the log does, such as 1234-0-56"
        );
    }
}
