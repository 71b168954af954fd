//! A request whose time is over (SPEC E4), step by step: its answer, its thread's stack for the log and RequestTimeout, the end
//! of its thread's sending. No step waits: however many requests are over their time, none delays another.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rustix::process::{getpid, kill_process};

use crate::base::crash::STACK_SIGNAL;
use crate::process::interrupt::{PYTHON_WAIT, interrupt, report};
use crate::process::thread::{Shared, request_name};
use crate::request::exchange::TakenOver;
use crate::wsgi::reject;

/// How long an exchange may be in use, by somebody whom a disk holds up, before its request gets no answer.
const BUSY_WAIT: Duration = Duration::from_secs(1);
/// How long faulthandler's stacks may take to appear.
const STACK_WAIT: Duration = Duration::from_millis(200);

pub struct Overdue {
    /// When it has begun, as on the scoreboard.
    pub since: u64,
    /// Number of its thread.
    thread: usize,
    /// Its number in its exchange.
    serial: u64,
    /// Its name in the log.
    request: String,
    /// Its client has got a 504.
    answered: bool,
    step: Step,
}

/// What comes next.
enum Step {
    /// Its answer, until then.
    Answer(Instant),
    /// Its thread's stack, which somebody brings who may have to wait for the GIL until then.
    Stack(Receiver<String>, Instant),
    /// The same from faulthandler, until then.
    StackWithoutPython(Instant),
    /// The end of its thread's wait for the peer.
    EndSending,
    Nothing,
}

impl Overdue {
    /// `None` if the request that has begun at `since` has ended meanwhile.
    pub fn new(shared: &Shared, thread: usize, since: u64) -> Option<Self> {
        let station = &shared.stations[thread];
        let serial = station.exchange.serial();
        let request = request_name(shared, station);
        // The next request may have begun since.
        (shared.slot(station).busy_since_ms() == Some(since)).then(|| Self {
            since,
            thread,
            serial,
            request,
            answered: false,
            step: Step::Answer(Instant::now() + BUSY_WAIT),
        })
    }

    /// Whether the next step is due within a moment.
    pub fn is_urgent(&self) -> bool {
        !matches!(self.step, Step::EndSending | Step::Nothing)
    }

    /// Takes the steps that can be taken now.
    pub fn go_on(&mut self, shared: &Arc<Shared>, stacks: &mut Stacks) {
        while let Some(step) = self.next(shared, stacks) {
            self.step = step;
        }
    }

    /// Takes the next step, if it can be taken now; what comes behind it.
    fn next(&mut self, shared: &Arc<Shared>, stacks: &mut Stacks) -> Option<Step> {
        let now = Instant::now();
        let station = &shared.stations[self.thread];
        let stack = match &self.step {
            Step::Answer(until) => {
                let page = reject::page(reject::TIMED_OUT);
                match station.exchange.take_over(self.serial, |is_head| page.answer(is_head)) {
                    TakenOver::Busy if now < *until => return None,
                    taken_over => self.answered = taken_over == TakenOver::Yes,
                }
                return Some(Step::Stack(self.interrupt(shared), now + PYTHON_WAIT));
            }
            Step::Stack(stack, until) => match stack.try_recv() {
                Ok(stack) => stack,
                Err(TryRecvError::Disconnected) => String::new(),
                Err(TryRecvError::Empty) if now < *until => return None,
                Err(TryRecvError::Empty) => {
                    return Some(match stacks.ask(now) {
                        Ok(until) => Step::StackWithoutPython(until),
                        Err(error) => {
                            self.report(shared, &format!("unknown: {error}"));
                            Step::EndSending
                        }
                    });
                }
            },
            Step::StackWithoutPython(until) => {
                let (mine, all) = stacks.read(station.ident.load(Ordering::Relaxed));
                match mine {
                    Some(mine) => mine,
                    None if now < *until => return None,
                    None => all,
                }
            }
            Step::EndSending if station.exchange.end_sending(self.serial) => {
                shared.hub.reactor.wake();
                return Some(Step::Nothing);
            }
            Step::EndSending | Step::Nothing => return None,
        };
        self.report(shared, &stack);
        Some(Step::EndSending)
    }

    fn report(&self, shared: &Shared, stack: &str) {
        let limit = &shared.settings.limits.request_timeout;
        report(&self.request, limit, self.answered, stack);
    }

    /// Raises RequestTimeout in the thread, if it still has the request; its stack before that.
    fn interrupt(&self, shared: &Arc<Shared>) -> Receiver<String> {
        let (asking, raising) = (Arc::clone(shared), Arc::clone(shared));
        let (thread, since) = (self.thread, self.since);
        interrupt(
            shared.stations[thread].ident.load(Ordering::Relaxed),
            &shared.settings.limits.request_timeout,
            move || asking.slot(&asking.stations[thread]).busy_since_ms() == Some(since),
            move || raising.stations[thread].interrupted.store(true, Ordering::Relaxed),
        )
    }
}

/// What threads are doing in Python, by faulthandler, which needs no GIL. Only while somebody holds it for long:
/// faulthandler reads the frames of all threads as they lie in memory, and one that runs meanwhile may free what it
/// reads. Measured: that crashed the process in one of a hundred time-outs, with three busy threads beside.
pub struct Stacks {
    /// Where faulthandler writes.
    file: File,
    /// Until when what it was asked for last may appear.
    until: Option<Instant>,
}

impl Stacks {
    pub fn new(file: File) -> Self {
        Self { file, until: None }
    }

    /// Asks for the stacks of all threads, unless they are on their way; until when they may appear.
    fn ask(&mut self, now: Instant) -> io::Result<Instant> {
        if let Some(until) = self.until.filter(|&until| now < until) {
            return Ok(until);
        }
        self.file.set_len(0)?;
        kill_process(getpid(), STACK_SIGNAL)?;
        let until = now + STACK_WAIT;
        self.until = Some(until);
        Ok(until)
    }

    /// The stack of the thread with this `threading.get_ident()`, once all are there, and what is there.
    fn read(&self, ident: u64) -> (Option<String>, String) {
        let mut text = vec![0; MOST_TEXT];
        let length = self.file.read_at(&mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        let ident = format!("{ident:x} ");
        let mine = text
            .split("\n\n")
            .find(|block| block.lines().next().is_some_and(|line| line.contains(&ident)));
        // The main thread's block comes last: once it is there, all is.
        let mine = mine.filter(|_| text.ends_with('\n')).map(str::to_owned);
        (mine, text)
    }
}

/// Bytes of stacks that are looked at.
const MOST_TEXT: usize = 64 * 1024;
