//! Asking the instance, in threads of their own: whoever hangs there holds up no key.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::run::Message;
use crate::admin::client::AskError;
use crate::admin::find::{self, Found};
use crate::admin::protocol::{Answer, Ask, Worker};
use crate::cli::WhichArgs;
use crate::status::snapshot::Snapshot;

/// Asks how everything is, wherever the instance is by then.
#[derive(Debug)]
pub struct Asker {
    which: WhichArgs,
    pool: Option<String>,
    /// Where it was found: looking for it asks each instance that runs.
    path: Option<PathBuf>,
}

/// A question to a worker.
#[derive(Debug)]
pub struct Question {
    pub number: u64,
    pub control: PathBuf,
    pub pool: String,
    pub worker: i32,
}

impl Asker {
    pub fn new(which: WhichArgs, pool: Option<String>) -> Self {
        let path = None;
        Self { which, pool, path }
    }

    /// # Errors
    /// There is no instance, or no such pool, or it does not answer.
    pub fn snapshot(&mut self) -> anyhow::Result<(PathBuf, Snapshot)> {
        let found = self.find()?;
        let path = found.path.clone();
        let snapshot = find::snapshot(found, self.pool.clone())?;
        self.path = Some(path.clone());
        Ok((path, snapshot))
    }

    /// Where it was, else where one is that was started since.
    fn find(&mut self) -> anyhow::Result<Found> {
        match self.path.take().map(|path| find::at(&path)) {
            Some(Ok(found)) => Ok(found),
            _ => Ok(find::find(&self.which)?),
        }
    }

    /// Asks once in each interval from now on, until nobody wants to know any more. What it gives is told when there is a pause, and
    /// when that is over.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn go_on(mut self, interval: Duration, answers: SyncSender<Message>) -> io::Result<Sender<bool>> {
        let (pause, pauses) = channel();
        let ask = move || {
            let mut next = Instant::now() + interval;
            while waited(&pauses, next) {
                let begun = Instant::now();
                let answer = self.snapshot().map_err(|error| format!("{error:#}"));
                if answers.send(Message::Snapshot(answer.map(Box::new))).is_err() {
                    return;
                }
                // One that takes long to answer is not asked all the time.
                next = (begun + interval).max(Instant::now() + interval / 2);
            }
        };
        thread::Builder::new().name("snapshots".to_owned()).spawn(ask)?;
        Ok(pause)
    }
}

/// Waits until then, and for as long as there is a pause; false if nobody is there any more.
fn waited(pauses: &Receiver<bool>, until: Instant) -> bool {
    loop {
        match pauses.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
            Ok(false) => {}
            Ok(true) => {
                // Until it is over.
                while let Ok(paused) = pauses.recv() {
                    if !paused {
                        return true;
                    }
                }
                return false;
            }
        }
    }
}

/// Asks workers, one question at a time; of several that wait the last one counts, since nobody looks at the others any more.
///
/// # Errors
/// There is no thread for it.
pub fn workers(answers: SyncSender<Message>) -> io::Result<Sender<Question>> {
    let (ask, questions) = channel::<Question>();
    let answer = move || {
        while let Ok(first) = questions.recv() {
            let question = questions.try_iter().last().unwrap_or(first);
            let number = question.number;
            let answer = stacks(question).map_err(|error| format!("{error:#}"));
            if answers.send(Message::Stacks(number, answer)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("stacks".to_owned()).spawn(answer)?;
    Ok(ask)
}

fn stacks(question: Question) -> anyhow::Result<Worker> {
    let Question {
        control, pool, worker, ..
    } = question;
    let worker = Some(worker);
    let mut answers = find::at(&control)?.client.ask(Ask::Stacks { pool, worker })?;
    match answers.next()? {
        Some(Answer::Stacks(worker)) => Ok(worker),
        _ => Err(AskError::Gone.into()),
    }
}
