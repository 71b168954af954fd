//! `slow_request` and `request_timeout` where one process is one request (SPEC E4). Of the web servers that run CGI scripts some watch over what
//! a script sends, and some over nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use contract::log::traced;
use pyo3::prelude::*;
use settings::Setting;
use settings::sections::Limits;
use settings::values::Timeout;

use super::Request;
use super::streams::Output;
use crate::base::ffi;
use crate::process::interrupt::{Cause, PYTHON_WAIT, interrupt, log_slow, log_stuck, report, stack_of, take_back};
use crate::request::exchange::{Exchange, TakenOver};
use crate::wsgi::reject;

/// Watches over the request of this process, in a thread that has nothing else to do.
pub struct TimeLimit {
    watch: Arc<Watch>,
    /// `threading.get_ident()` of the thread that has the request.
    ident: u64,
}

struct Watch {
    slow_request: Setting<Timeout>,
    request_timeout: Setting<Timeout>,
    kill_timeout: Setting<Timeout>,
    phase: Mutex<Phase>,
    /// RequestTimeout was raised in the thread, or is about to be.
    interrupted: AtomicBool,
}

/// How far the request is.
enum Phase {
    /// The application is imported, and the request looked at: nobody but the gateway answers.
    Starting {
        output: Arc<Output>,
        is_head: bool,
    },
    /// The application has it.
    Running {
        exchange: Arc<Exchange>,
        serial: u64,
    },
    Over,
}

impl TimeLimit {
    /// The request's time begins.
    pub fn begin(limits: &Limits, output: &Arc<Output>, request: &Request) -> Self {
        let ident = ffi::thread_ident();
        let waits = [&limits.slow_request, &limits.request_timeout].map(|limit| limit.duration());
        let is_watched = waits.iter().any(Option::is_some);
        let phase = match is_watched {
            false => Phase::Over,
            true => Phase::Starting {
                output: Arc::clone(output),
                is_head: request.is_head(),
            },
        };
        let watch = Arc::new(Watch {
            slow_request: limits.slow_request.clone(),
            request_timeout: limits.request_timeout.clone(),
            kill_timeout: limits.kill_timeout.clone(),
            phase: Mutex::new(phase),
            interrupted: AtomicBool::new(false),
        });
        if is_watched {
            let (watching, trace) = (Arc::clone(&watch), request.id.trace());
            let request = request.name(&request.path());
            let thread = thread::Builder::new().name("time-limit".into()).stack_size(STACK);
            if let Err(error) = thread.spawn(move || traced(trace, || watching.run(ident, &request))) {
                // Shared hosts count threads.
                tracing::warn!(%error, "the request has no time limit");
                *watch.phase() = Phase::Over;
            }
        }
        Self { watch, ident }
    }

    /// From here on the exchange says who answers.
    pub fn runs(&self, exchange: &Arc<Exchange>) {
        let mut phase = self.watch.phase();
        if matches!(*phase, Phase::Starting { .. }) {
            *phase = Phase::Running {
                exchange: Arc::clone(exchange),
                serial: exchange.serial(),
            };
        }
    }

    /// The application has done what it could, or will not get the request.
    pub fn end(&self, py: Python<'_>) {
        *self.watch.phase() = Phase::Over;
        if self.watch.interrupted.load(Ordering::Relaxed) {
            take_back(py, self.ident);
        }
    }
}

impl Watch {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that is certain, without waiting for somebody who is about to answer.
    fn is_over(&self) -> bool {
        matches!(self.phase.try_lock().as_deref(), Ok(Phase::Over))
    }

    fn run(self: Arc<Self>, ident: u64, request: &str) {
        let begun = Instant::now();
        let longest = self.request_timeout.duration();
        if let Some(slow) = self
            .slow_request
            .duration()
            .filter(|slow| longest.is_none_or(|longest| *slow < longest))
        {
            thread::sleep(slow);
            if matches!(*self.phase(), Phase::Over) {
                return;
            }
            let asking = Arc::clone(&self);
            let stack = stack_of(ident, move || !asking.is_over());
            log_slow(request, &self.slow_request, &received(&stack));
        }
        let Some(longest) = longest else { return };
        thread::sleep(longest.saturating_sub(begun.elapsed()));
        let page = reject::page(reject::TIMED_OUT);
        let phase = self.phase();
        let (exchange, serial) = match &*phase {
            Phase::Over => return,
            Phase::Running { exchange, serial } => (Arc::clone(exchange), *serial),
            Phase::Starting { output, is_head } => {
                // With the lock: nobody else answers any more.
                let sent = output.write_all(page.answer(*is_head));
                self.log(request, sent.is_ok(), ident);
                ffi::exit_now(1);
            }
        };
        drop(phase);
        let give_up = Instant::now() + BUSY_WAIT;
        let answered = loop {
            match exchange.take_over(serial, |is_head| page.answer(is_head)) {
                // Somebody sends or receives, and may be held up by a disk.
                TakenOver::Busy if Instant::now() < give_up => thread::sleep(BUSY_TICK),
                taken_over => break taken_over == TakenOver::Yes,
            }
        };
        self.log(request, answered, ident);
        let Some(kill_timeout) = self.kill_timeout.duration() else {
            return;
        };
        thread::sleep(kill_timeout);
        let phase = self.phase();
        if !matches!(*phase, Phase::Over) {
            log_stuck(None, request, self.request_timeout.name(), &self.kill_timeout);
            ffi::exit_now(1);
        }
    }

    /// Says that the time is over and what the thread does, and raises RequestTimeout there.
    fn log(self: &Arc<Self>, request: &str, answered: bool, ident: u64) {
        let (asking, raising) = (Arc::clone(self), Arc::clone(self));
        let cause = Cause::Time(self.request_timeout.clone());
        let stack = interrupt(
            ident,
            &cause,
            move || !asking.is_over(),
            move || raising.interrupted.store(true, Ordering::Relaxed),
        );
        report(request, &cause, answered, &received(&stack));
    }
}

/// The stack that was asked for.
fn received(stack: &Receiver<String>) -> String {
    match stack.recv_timeout(PYTHON_WAIT) {
        Ok(stack) => stack,
        Err(RecvTimeoutError::Timeout) => "unknown: something holds the GIL".to_owned(),
        Err(RecvTimeoutError::Disconnected) => String::new(),
    }
}

/// How long the exchange may be in use before the request gets no answer, and how often it is tried.
const BUSY_WAIT: Duration = Duration::from_secs(1);
const BUSY_TICK: Duration = Duration::from_millis(5);
/// Bytes. For formatting a line of the log.
const STACK: usize = 256 * 1024;
