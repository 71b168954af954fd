//! The access log: one line for each request, whoever has answered it (SPEC E15).
//!
//! Query, cookies and credentials never get here. Values of others are one word each: no path can pass for a field.

use std::time::{Duration, Instant};

use contract::log::{ACCESS, word};

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
    queue_ms: Option<f64>,
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
            queue_ms: None,
            in_application: Duration::ZERO,
        }
    }

    pub fn asks_for(&mut self, method: &[u8], path: &[u8]) {
        (self.method, self.path) = (word(method), word(path));
    }

    /// The peer of the front server.
    pub fn comes_from(&mut self, remote: &[u8]) {
        self.remote = word(remote);
    }

    /// The request's params are all right.
    pub fn knows(&mut self, known: &Known<'_, '_>) {
        self.asks_for(known.method, &known.path);
        self.comes_from(&forwarded::remote_address(known.environ));
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
        tracing::info!(
            target: ACCESS,
            request = %self.request,
            peer = %self.peer,
            remote = %self.remote,
            method = %self.method,
            path = %self.path,
            status,
            bytes,
            ms = milliseconds(self.started.elapsed()),
            app_ms = milliseconds(self.in_application),
            queue_ms = self.queue_ms,
            outcome = ?outcome,
        );
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}
