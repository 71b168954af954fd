//! A request whose time is over (SPEC E4), or that somebody wants to end, step by step: its answer, its thread's stack for the log and RequestTimeout, the end
//! of its thread's sending. No step waits: however many requests are over their time, none delays another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use contract::log::{Trace, traced};

use crate::process::interrupt::{Cause, PYTHON_WAIT, interrupt, report};
use crate::process::stacks::Stacks;
use crate::process::thread::{Shared, request_name};
use crate::request::exchange::TakenOver;
use crate::wsgi::reject;

/// How long an exchange may be in use, by somebody whom a disk holds up, before its request gets no answer.
const BUSY_WAIT: Duration = Duration::from_secs(1);

pub struct Overdue {
    /// When it has begun, as on the scoreboard.
    pub since: u64,
    /// Number of its thread.
    thread: usize,
    /// Its own among the thread's.
    number: u64,
    cause: Cause,
    /// Its number in its exchange.
    serial: u64,
    /// Its name in the log.
    request: String,
    trace: Option<Trace>,
    /// Its client has got a 504.
    answered: bool,
    step: Step,
}

/// What comes next.
enum Step {
    /// Its answer, until then.
    Answer(Instant),
    /// Its thread's stack, which somebody brings who may have to wait for the GIL until then; afterwards faulthandler's.
    Stack(Receiver<String>, Instant),
    /// The end of its thread's wait for the peer.
    EndSending,
    Nothing,
}

impl Overdue {
    /// `None` if the request that has begun at `since` has ended meanwhile.
    pub fn new(shared: &Shared, thread: usize, since: u64, cause: Cause) -> Option<Self> {
        let station = &shared.stations[thread];
        let number = station.request.running()?;
        let serial = station.exchange.serial();
        let request = request_name(shared, station);
        // The next request may have begun since.
        let is_it = shared.slot(station).busy_since_ms() == Some(since) && station.request.running() == Some(number);
        is_it.then(|| Self {
            since,
            thread,
            number,
            cause,
            serial,
            request,
            trace: station.request.trace(),
            answered: false,
            step: Step::Answer(Instant::now() + BUSY_WAIT),
        })
    }

    /// The request's number among its thread's.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether its client has got a 504.
    pub fn is_answered(&self) -> bool {
        self.answered
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
                if station.request.running() != Some(self.number) {
                    return Some(Step::Nothing);
                }
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
                Err(TryRecvError::Empty) => stacks
                    .of_thread(station.ident.load(Ordering::Relaxed), now)
                    .unwrap_or_else(|error| format!("unknown: {error}")),
            },
            Step::EndSending if station.exchange.end_sending(self.serial) => {
                shared.hub.reactor.wake();
                return Some(Step::Nothing);
            }
            Step::EndSending | Step::Nothing => return None,
        };
        traced(self.trace, || report(&self.request, &self.cause, self.answered, &stack));
        Some(Step::EndSending)
    }

    /// Raises RequestTimeout in the thread, if it still has the request; its stack before that.
    fn interrupt(&self, shared: &Arc<Shared>) -> Receiver<String> {
        let (asking, raising) = (Arc::clone(shared), Arc::clone(shared));
        let (thread, number) = (self.thread, self.number);
        interrupt(
            shared.stations[thread].ident.load(Ordering::Relaxed),
            &self.cause,
            move || asking.stations[thread].request.running() == Some(number),
            move || raising.stations[thread].interrupted.store(true, Ordering::Relaxed),
        )
    }
}
