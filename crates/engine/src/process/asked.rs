//! What the supervisor asks of this worker, past the leader (`contract::worker`). The watchdog hears it, and waits for nobody: whoever
//! may have to wait for the GIL, or for the reader of an answer, is a thread of its own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::own::OwnFd;
use contract::scoreboard::now_ms;
use contract::worker::{self, Asked, Killed, Running, Thread, ToWorker};
use pyo3::prelude::*;
use rustix::io::Errno;
use rustix::net::SendFlags;
use serde::Serialize;

use crate::process::interrupt::{Cause, PYTHON_WAIT};
use crate::process::overdue::Overdue;
use crate::process::stacks::Stacks;
use crate::process::thread::{Shared, Station, thread_name};
use crate::wsgi::traceback;

/// Questions that are answered at a time.
const MOST: usize = 8;

pub struct Questions {
    shared: Arc<Shared>,
    /// `None` without a supervisor.
    asked: Option<Asked>,
    open: Vec<Open>,
    /// Answers that the thread brings which asks Python; `None`: there is no such thread. It may have to wait for the GIL for long, and
    /// one is enough.
    of_python: Arc<Mutex<Option<Vec<Answer>>>>,
}

/// A question that is not answered yet.
struct Open {
    answer: Answer,
    awaits: Awaits,
    /// Then it is, in any case.
    until: Instant,
}

enum Awaits {
    /// Stacks that Python is to bring.
    Stacks,
    /// The end of the request with this number of this thread.
    End { thread: usize, number: u64 },
}

/// How long a request may take to end by its RequestTimeout until it is said that it goes on.
const END_WAIT: Duration = Duration::from_secs(2);

/// Where an answer goes: whoever takes it first gives it.
#[derive(Clone)]
struct Answer(Arc<Mutex<Option<OwnFd>>>);

impl Questions {
    pub fn new(shared: &Arc<Shared>, asked: Option<Asked>) -> Self {
        Self {
            shared: Arc::clone(shared),
            asked,
            open: Vec::new(),
            of_python: Arc::default(),
        }
    }

    /// Whether some are about to be answered.
    pub fn is_urgent(&self) -> bool {
        !self.open.is_empty()
    }

    /// Readable when something is asked.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.asked.as_ref().map(AsFd::as_fd)
    }

    /// Hears what is asked. `overdue`: by thread, the request that is ended there.
    pub fn listen(&mut self, overdue: &mut [Option<Overdue>]) {
        while let Some(asked) = &self.asked {
            match asked.next() {
                Ok(Some((question, answer))) => self.hear(question, answer, overdue),
                Ok(None) => return,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::debug!(%error, "the supervisor has asked what this worker does not understand");
                }
                Err(error) => {
                    tracing::debug!(%error, "nobody will ask any more");
                    self.asked = None;
                }
            }
        }
    }

    fn hear(&mut self, question: ToWorker, answer: OwnFd, overdue: &mut [Option<Overdue>]) {
        // Whoever asks so often has its answers closed.
        if self.open.len() >= MOST {
            return;
        }
        let answer = Answer(Arc::new(Mutex::new(Some(answer))));
        let (awaits, patience) = match question {
            ToWorker::Stacks => {
                self.ask_python(answer.clone());
                (Awaits::Stacks, PYTHON_WAIT)
            }
            ToWorker::Kill { thread, number, by } => {
                if !self.kill(thread, number, by, overdue) {
                    return answer.give_apart(Killed::NotRunning);
                }
                (Awaits::End { thread, number }, END_WAIT)
            }
        };
        let until = Instant::now() + patience;
        self.open.push(Open { answer, awaits, until });
    }

    /// Whether the request with this number of this thread runs: then it is going to be ended.
    fn kill(&self, thread: usize, number: u64, by: String, overdue: &mut [Option<Overdue>]) -> bool {
        let (Some(station), Some(overdue)) = (self.shared.stations.get(thread), overdue.get_mut(thread)) else {
            return false;
        };
        let slot = self.shared.slot(station);
        let is_ending = overdue.as_ref().is_some_and(|overdue| overdue.number() == number);
        if !is_ending {
            let killed = slot
                .busy_since_ms()
                .and_then(|since| Overdue::new(&self.shared, thread, since, Cause::Wish(by)))
                .filter(|killed| killed.number() == number);
            if killed.is_none() {
                return false;
            }
            *overdue = killed;
        }
        // Whoever wants that again does not give it more time.
        if slot.killed_ms().is_none() {
            slot.note_killed(number, now_ms());
        }
        station.request.running() == Some(number)
    }

    fn ask_python(&self, answer: Answer) {
        let mut of_python = lock(&self.of_python);
        if let Some(answers) = &mut *of_python {
            // The others have been given from outside.
            answers.retain(Answer::is_open);
            return answers.push(answer);
        }
        let (shared, asking) = (Arc::clone(&self.shared), Arc::clone(&self.of_python));
        let ask = move || {
            let stacks = Python::attach(|py| {
                // Too late, perhaps.
                let is_any_open = lock(&asking).iter().flatten().any(Answer::is_open);
                is_any_open.then(|| by_python(py, &shared))
            });
            let answers = lock(&asking).take().unwrap_or_default();
            match stacks {
                Some(Ok(stacks)) => answers.into_iter().for_each(|answer| answer.give_apart(stacks.clone())),
                Some(Err(error)) => tracing::debug!(%error, "Python does not tell its stacks"),
                None => {}
            }
        };
        match std::thread::Builder::new().name("stacks".into()).spawn(ask) {
            Ok(_) => *of_python = Some(vec![answer]),
            Err(error) => tracing::debug!(%error, "Python can't be asked for its stacks"),
        }
    }

    /// Answers what can be answered, and where Python has not, from outside. After requests that are to be ended have been seen to.
    pub fn go_on(&mut self, stacks: &mut Stacks, overdue: &[Option<Overdue>]) {
        let now = Instant::now();
        let shared = &self.shared;
        self.open.retain(|Open { answer, awaits, until }| {
            match *awaits {
                // Python has answered.
                Awaits::Stacks if !answer.is_open() => return false,
                Awaits::Stacks if *until <= now => match stacks.by_thread(now) {
                    Ok(found) => answer.clone().give_apart(from_outside(found, shared)),
                    Err(error) => {
                        tracing::warn!(%error, "stacks can't be told");
                        answer.lock().take();
                    }
                },
                Awaits::Stacks => return true,
                Awaits::End { thread, number } => {
                    let overdue = overdue[thread].as_ref().filter(|overdue| overdue.number() == number);
                    let answered = overdue.is_some_and(Overdue::is_answered);
                    let has_ended = shared.stations[thread].request.running() != Some(number);
                    if !has_ended && now < *until {
                        return true;
                    }
                    answer.clone().give_apart(match has_ended {
                        true => Killed::Ended { answered },
                        false => Killed::GoesOn {
                            answered,
                            next: next_step(shared),
                        },
                    });
                }
            }
            false
        });
    }
}

impl Answer {
    fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    /// Waits for nobody.
    fn give_apart(self, answer: impl Serialize + Send + 'static) {
        let give = move || self.give(&answer);
        if let Err(error) = std::thread::Builder::new().name("answer".into()).spawn(give) {
            tracing::debug!(%error, "an answer can't be given");
        }
    }

    /// May wait for the reader.
    fn give(&self, answer: &impl Serialize) {
        let Some(stream) = self.lock().take() else { return };
        let Ok(text) = serde_json::to_vec(answer) else { return };
        let mut left = text.as_slice();
        while !left.is_empty() {
            match rustix::net::send(&stream, left, SendFlags::NOSIGNAL) {
                Ok(sent) => left = &left[sent..],
                Err(Errno::INTR) => {}
                Err(error) => return tracing::debug!(%error, "nobody reads the answer"),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnFd>> {
        lock(&self.0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What follows if a request goes on that was to be ended.
fn next_step(shared: &Shared) -> String {
    let kill_timeout = &shared.settings.limits.kill_timeout;
    let pid = std::process::id();
    match kill_timeout.duration() {
        None => format!(
            "nothing else ends it, for {kill_timeout} means never; `kill -9 {pid}` ends its worker, with whatever else that runs"
        ),
        Some(_) => format!(
            "its worker {pid} is replaced, and killed {} after the request was told to end, unless it ends before ({})",
            **kill_timeout,
            kill_timeout.name()
        ),
    }
}

/// As Python tells it, whose lock this thread has.
fn by_python(py: Python<'_>, shared: &Shared) -> PyResult<worker::Stacks> {
    let names = traceback::thread_names(py)?;
    let numbers = || shared.stations.iter().map(|station| station.request.running());
    let before: Vec<_> = numbers().collect();
    let found = traceback::of_all(py)?;
    // Stacks are made into text by Python, and others run meanwhile: which request one belongs to is known where that has stayed.
    let stayed: Vec<_> = before
        .into_iter()
        .zip(numbers())
        .map(|(before, now)| before == now)
        .collect();
    let threads = found.into_iter().map(|(ident, stack)| Thread {
        name: names.get(&ident).cloned().unwrap_or_default(),
        ..thread(ident, stack, shared, |index| stayed[index])
    });
    Ok(stacks(true, threads))
}

fn from_outside(found: Vec<(u64, String)>, shared: &Shared) -> worker::Stacks {
    let threads = found
        .into_iter()
        .map(|(ident, stack)| thread(ident, stack, shared, |_| true));
    // Threads of ours that wait for the GIL have no frame.
    stacks(
        false,
        threads.filter(|thread| thread.serves || thread.stack.contains("File ")),
    )
}

/// Those that serve first, in their order.
fn stacks(by_python: bool, threads: impl Iterator<Item = Thread>) -> worker::Stacks {
    let mut threads: Vec<_> = threads.collect();
    threads.sort_by_key(|thread| (!thread.serves, thread.request.is_none()));
    worker::Stacks { by_python, threads }
}

/// Its name is only known if it serves. `has_stayed`: whether a serving thread, by its number, has the request still that its stack is of.
fn thread(ident: u64, stack: String, shared: &Shared, has_stayed: impl Fn(usize) -> bool) -> Thread {
    let is_it = |(_, station): &(usize, &Station)| station.ident.load(Ordering::Relaxed) == ident;
    let serving = shared.stations.iter().enumerate().find(is_it);
    let request = serving.filter(|(index, _)| has_stayed(*index));
    Thread {
        name: serving.map(|(index, _)| thread_name(index)).unwrap_or_default(),
        ident,
        serves: serving.is_some(),
        request: request.and_then(|(_, station)| running(station, shared)),
        stack,
    }
}

fn running(station: &Station, shared: &Shared) -> Option<Running> {
    let slot = shared.slot(station);
    let since = slot.busy_since_ms()?;
    Some(Running {
        id: station.request.current()?,
        line: slot.request_line(),
        ms: now_ms().saturating_sub(since),
    })
}
