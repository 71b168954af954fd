//! What a request is doing, asked from outside, and its end when its time is over: RequestTimeout in its thread (SPEC E4).

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use contract::limited;
use contract::log::escape;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple, PyType};
use settings::Setting;
use settings::values::Timeout;

use crate::RequestTimeout;
use crate::base::ffi;
use crate::wsgi::traceback;

/// How long a thread may hold the GIL before it counts as one that does not give it back. Threads that run Python do so
/// every 5 ms.
pub const PYTHON_WAIT: Duration = Duration::from_secs(1);

/// Why a request is ended.
#[derive(Debug, Clone)]
pub enum Cause {
    /// Its time is over, which was so long.
    Time(Setting<Timeout>),
    /// Somebody wants it (`wsgi-fpm kill`).
    Wish(String),
}

impl Cause {
    /// What the application is told.
    fn message(&self) -> String {
        match self {
            Self::Time(limit) => format!("the request has run longer than {} allows", limit.name()),
            Self::Wish(who) => format!("the request was ended by {who}"),
        }
    }
}

/// Raises RequestTimeout in the thread `ident` (its `threading.get_ident()`) for this `cause`, if it `has_request` still, after `about_to_raise`;
/// before that, its stack is sent.
pub fn interrupt(
    ident: u64,
    cause: &Cause,
    has_request: impl Fn() -> bool + Send + 'static,
    about_to_raise: impl FnOnce() + Send + 'static,
) -> Receiver<String> {
    let message = cause.message();
    ask("interrupt", ident, has_request, move |py, has_request| {
        let exception = py.get_type::<RequestTimeout>();
        if let Err(error) = set_message(&exception, message) {
            tracing::debug!(%error, "RequestTimeout has no message");
        }
        // No Python runs from here on, and nothing is made that could have it run: the thread can't get from one request to the next.
        if !has_request() {
            return;
        }
        about_to_raise();
        if let Err(error) = ffi::raise_in_thread(py, ident, Some(exception.as_any())) {
            tracing::error!(%error, "RequestTimeout can't be raised");
        }
    })
}

/// What the thread `ident` is doing in Python, as long as it `has_request`: nothing comes if that has ended before.
pub fn stack_of(ident: u64, has_request: impl Fn() -> bool + Send + 'static) -> Receiver<String> {
    ask("stack", ident, has_request, |_, _| ())
}

/// Sends the stack of the thread `ident`, if it `has_request` still, and does what is to be done `then`. In a thread of its own: the GIL may be
/// held for long, and the caller must not wait for it longer than [`PYTHON_WAIT`].
fn ask(
    name: &str,
    ident: u64,
    has_request: impl Fn() -> bool + Send + 'static,
    then: impl FnOnce(Python<'_>, &dyn Fn() -> bool) + Send + 'static,
) -> Receiver<String> {
    // One stack: sending it never waits.
    let (stack, received) = sync_channel(1);
    let ask = move || {
        Python::attach(|py| {
            if has_request() {
                let text = traceback::of_thread(py, ident);
                // Python has made it into text, and others have run meanwhile: it may be the next request's.
                if has_request() {
                    // The caller may have stopped waiting.
                    let _ = stack.send(text.unwrap_or_else(|error| error.to_string()));
                }
            }
            then(py, &has_request);
        });
    };
    if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(ask) {
        tracing::error!(%error, "Python can't be asked what a request does, nor be told to end it");
    }
    received
}

/// A class is all that can be raised in another thread, and it is called without arguments: so its message stands in the class.
fn set_message(exception: &Bound<'_, PyType>, message: String) -> PyResult<()> {
    let text = move |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| message.clone();
    let text = PyCFunction::new_closure(exception.py(), Some(c"__str__"), None, text)?;
    exception.setattr("__str__", text)
}

/// Says in the log that `request` is slow; `stack`: what it was doing.
pub fn log_slow(request: &str, slow_request: &Setting<Timeout>, stack: &str) {
    limited!(
        "slow requests",
        tracing::warn!(
            target: contract::log::SLOW,
            request,
            stack = %contract::log::block(stack),
            "a slow request: it still runs after {slow_request}"
        )
    );
}

/// Says in the log that `request` is ended; `stack`: what it was doing. `answered`: its client has got a 504.
pub fn report(request: &str, cause: &Cause, answered: bool, stack: &str) {
    let stack = contract::log::block(stack);
    match cause {
        Cause::Time(limit) => tracing::error!(
            request,
            answered_504 = answered,
            %stack,
            "a request runs longer than {} allows",
            limit.name()
        ),
        Cause::Wish(who) => tracing::warn!(
            request,
            answered_504 = answered,
            %stack,
            "a request is ended by {}",
            escape(who)
        ),
    }
}

/// Says in the log that a `worker` is replaced for a `request`, and killed in `left`.
pub fn log_given_up(worker: i32, request: &str, left: Duration) {
    tracing::error!(
        worker,
        request,
        "a worker is replaced: the request has not ended by its RequestTimeout; what else runs there has {:.1} s for that",
        left.as_secs_f64()
    );
}

/// Says in the log that a process, a `worker` where it has a leader, is killed for a `request`, which has gone on `after` that.
pub fn log_stuck(worker: Option<i32>, request: &str, after: &str, kill_timeout: &Setting<Timeout>) {
    tracing::error!(
        worker,
        request,
        "killed: the request is stuck after {after} and {}",
        kill_timeout.name()
    );
}

/// Says in the log that a stop cuts off a `request`.
pub fn log_cut_off(worker: Option<i32>, request: &str, stop_timeout: &Setting<Timeout>) {
    tracing::error!(worker, request, "cut off: still running after {}", stop_timeout.name());
}

/// Takes back a RequestTimeout that may not have been raised yet: it must not hit what the thread does next.
pub fn take_back(py: Python<'_>, ident: u64) {
    if let Err(error) = ffi::raise_in_thread(py, ident, None) {
        tracing::error!(%error, "RequestTimeout can't be taken back");
    }
}
