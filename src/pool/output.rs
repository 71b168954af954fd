//! What a leader prints, read for the log.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use contract::log::{Limit, Printed, Printer};
use settings::values::CountLimit;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};
use tracing::debug;

use super::rest::{Answer, Question, Rest};
use crate::inherited::Passed;

/// When it is said how much was left out, if nothing more is printed.
const REPORT: Duration = Duration::from_secs(1);

/// A pipe that a leader prints to, and the task that reads it until its last writer is gone.
#[derive(Debug)]
pub struct Output {
    pub reading: JoinHandle<()>,
    questions: mpsc::UnboundedSender<Question<Passed>>,
}

/// Whose output it is, and how many of its lines are logged in a second.
#[derive(Debug, Clone)]
pub struct Whose {
    pub pool: String,
    pub generation: u64,
    pub rate: CountLimit,
}

impl Output {
    /// Reads `pipe` for the log, or for `reader` if there is one.
    ///
    /// # Errors
    /// It is no pipe, or no descriptor is left.
    pub fn read(pipe: OwnedFd, whose: &Whose, reader: Option<mpsc::Sender<Vec<u8>>>) -> io::Result<Self> {
        let pipe = pipe::Receiver::from_owned_fd(pipe)?;
        let (questions, asked) = mpsc::unbounded_channel();
        Ok(Self {
            reading: tokio::spawn(log_lines(pipe, whose.clone(), reader, asked)),
            questions,
        })
    }

    /// The pipe, with everything logged that was read of it. There is no answer if it has ended.
    pub fn ask(&self, rest: &Rest) -> Answer<Passed> {
        Question::ask(rest, &self.questions)
    }
}

async fn log_lines(
    pipe: pipe::Receiver,
    Whose { pool, generation, rate }: Whose,
    reader: Option<mpsc::Sender<Vec<u8>>>,
    mut asked: mpsc::UnboundedReceiver<Question<Passed>>,
) {
    let mut pipe = BufReader::new(pipe);
    let mut printed = Printed::new(Printer::Leader {
        pool: pool.clone(),
        generation,
        limit: Limit::of_pool(rate),
    });
    loop {
        let until = printed.waits_until();
        let bytes = tokio::select! {
            bytes = pipe.fill_buf() => bytes,
            () = sleep(REPORT), if printed.is_owing() => {
                printed.report();
                continue;
            }
            () = sleep_until(until.unwrap_or_else(Instant::now).into()), if until.is_some() => {
                printed.give_up();
                continue;
            }
            // Who asks may be gone before the pipe ends.
            Some(question) = asked.recv() => {
                printed.end();
                question.answer(Passed::copy(pipe.get_ref().as_fd())).await;
                continue;
            }
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                debug!(pool, generation, %error, "the leader's output can't be read");
                break;
            }
        };
        if bytes.is_empty() {
            break;
        }
        match &reader {
            // What is more than somebody takes is lost.
            Some(reader) => _ = reader.try_send(bytes.to_owned()),
            None => printed.take(bytes),
        }
        let used = bytes.len();
        pipe.consume(used);
    }
    printed.end();
}
