//! The access log: one line for each request, whoever has answered it (SPEC E15).
//!
//! Cookies and credentials never get here, and the query only if the administrator names it. Values of others are one word each: no
//! path can pass for a field.

use std::time::{Duration, Instant};

use contract::log::access::{Line, milliseconds};
use contract::log::{Trace, access_extras, is_suppressed, word};
use settings::values::Field;

use crate::wsgi::admission::Known;
use crate::wsgi::forwarded;
use crate::wsgi::params::waited;
use crate::wsgi::reject;
use crate::wsgi::respond::{Answered, Outcome};

/// A request that gets a line, while it runs.
pub struct Access {
    started: Instant,
    request: String,
    peer: String,
    remote: String,
    method: String,
    path: String,
    is_suppressed: bool,
    extras: Vec<(Field, Vec<u8>)>,
    queue_ms: Option<f64>,
    trace: Option<Trace>,
    in_application: Duration,
}

impl Access {
    /// The request `request` is taken up. `peer`: who has sent it to this process.
    pub fn begin(request: Option<String>, peer: String) -> Self {
        let nothing = || word(b"");
        Self {
            started: Instant::now(),
            request: request.unwrap_or_else(nothing),
            peer,
            remote: nothing(),
            method: nothing(),
            path: nothing(),
            is_suppressed: false,
            extras: Vec::new(),
            queue_ms: None,
            trace: None,
            in_application: Duration::ZERO,
        }
    }

    pub fn asks_for(&mut self, method: &[u8], path: &[u8]) {
        (self.method, self.path) = (word(method), word(path));
        self.is_suppressed = is_suppressed(method, path);
    }

    /// What else the lines are to tell, as the web server has sent it; `value`: that of a name.
    pub fn finds(&mut self, value: impl Fn(&str) -> Vec<u8>) {
        let found = access_extras().iter().map(|(field, name)| (*field, value(name)));
        self.extras = found.collect();
    }

    /// The peer of the front server.
    pub fn comes_from(&mut self, remote: &[u8]) {
        self.remote = word(remote);
    }

    /// The request's params are all right.
    pub fn knows(&mut self, known: &Known<'_, '_>) {
        self.asks_for(known.method, &known.path);
        self.comes_from(&forwarded::remote_address(known.environ));
        self.finds(|name| forwarded::bytes_of(known.environ, name));
        self.trace = known.trace;
        let waited = waited(known.request_start, known.arrival);
        self.queue_ms = waited.map(|seconds| milliseconds(Duration::from_secs_f64(seconds)));
    }

    /// The application was called, at that time, and its response is over.
    pub fn called_at(&mut self, called: Instant) {
        self.in_application = called.elapsed();
    }

    pub fn log(self, answered: &Answered) {
        let Answered { status, bytes, outcome } = *answered;
        let (status, bytes) = match outcome {
            // Not what the application meant to send.
            Outcome::TimedOut => (504, reject::page(reject::TIMED_OUT).body_length(self.method == "HEAD")),
            _ => (status, bytes),
        };
        if self.is_suppressed && status < 400 && outcome == Outcome::Complete {
            return;
        }
        contract::log::access(&Line {
            request: &self.request,
            peer: &self.peer,
            remote: &self.remote,
            method: &self.method,
            path: &self.path,
            status,
            bytes,
            ms: milliseconds(self.started.elapsed()),
            app_ms: milliseconds(self.in_application),
            queue_ms: self.queue_ms,
            outcome: word_of(outcome),
            trace: self.trace,
            more: &self.extras,
        });
    }
}

fn word_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "Complete",
        Outcome::Failed => "Failed",
        Outcome::Refused => "Refused",
        Outcome::Disconnected => "Disconnected",
        Outcome::TimedOut => "TimedOut",
    }
}
