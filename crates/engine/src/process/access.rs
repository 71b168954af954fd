//! The access log: one line for each request, whoever has answered it (SPEC E15).
//!
//! Cookies and credentials never get here, and the query only if the administrator names it. Values of others are one word each: no
//! path can pass for a field.

use std::time::Duration;

use contract::log::access::Line;
use contract::log::{Trace, access_extras, is_suppressed, set_word};
use pyo3::types::PyString;
use settings::values::Field;

use crate::wsgi::admission::Known;
use crate::wsgi::forwarded;
use crate::wsgi::reject;
use crate::wsgi::respond::{Answered, Outcome};

/// What a line will tell of a request, while that runs. A thread has one for all of its requests, one after the other.
#[derive(Default)]
pub struct Access {
    request: String,
    peer: String,
    remote: String,
    method: String,
    path: String,
    is_suppressed: bool,
    extras: Vec<(Field, Vec<u8>)>,
    queued: Option<Duration>,
    trace: Option<Trace>,
    in_application: Duration,
    /// Memory for the line.
    event: String,
}

impl Access {
    /// A request is taken up, of which nothing is known yet. `name` writes its number; `peer`: who has sent it to this process.
    pub fn begin(&mut self, name: impl FnOnce(&mut String), peer: &str) {
        self.request.clear();
        name(&mut self.request);
        self.peer.clear();
        self.peer.push_str(peer);
        for word in [&mut self.remote, &mut self.method, &mut self.path] {
            word.clear();
        }
        self.is_suppressed = false;
        self.extras.clear();
        self.queued = None;
        self.trace = None;
        self.in_application = Duration::ZERO;
    }

    fn asks_for(&mut self, method: &[u8], path: &[u8]) {
        set_word(&mut self.method, method);
        set_word(&mut self.path, path);
        self.is_suppressed = is_suppressed(method, path);
    }

    /// What else the lines are to tell, as the web server has sent it; `value`: that of a name.
    fn finds(&mut self, value: impl Fn(&str) -> Vec<u8>) {
        self.extras.clear();
        let found = access_extras().iter().map(|(field, name)| (*field, value(name)));
        self.extras.extend(found);
    }

    /// The peer of the front server.
    fn comes_from(&mut self, remote: &[u8]) {
        set_word(&mut self.remote, remote);
    }

    /// Nothing of the request is certain to be right: as much as can be read. `value`: that of a param.
    pub fn guesses<'v>(&mut self, method: &[u8], path: &[u8], value: impl Fn(&[u8]) -> &'v [u8]) {
        self.asks_for(method, path);
        self.comes_from(value(b"REMOTE_ADDR"));
        self.finds(|name| value(name.as_bytes()).to_owned());
    }

    /// The request's params are all right.
    pub fn knows(&mut self, known: &Known<'_, '_>) {
        self.asks_for(known.method, &known.path);
        self.comes_from(&forwarded::remote_address(known.environ));
        let py = known.environ.py();
        self.finds(|name| forwarded::bytes_of(known.environ, &PyString::intern(py, name)));
        self.trace = known.trace;
        self.queued = known.queued;
    }

    /// From the application's call until its response was over.
    pub fn ran_for(&mut self, in_application: Duration) {
        self.in_application = in_application;
    }

    /// `took`: from when a thread had the request until it was over.
    pub fn log(&mut self, answered: &Answered, took: Duration) {
        let status = answered.status_seen();
        let bytes = match answered.outcome {
            // Not what the application meant to send.
            Outcome::TimedOut => reject::page(reject::TIMED_OUT).body_length(self.method == "HEAD"),
            _ => answered.bytes,
        };
        if self.is_suppressed && status < 400 && answered.outcome == Outcome::Complete {
            return;
        }
        let line = Line {
            request: &self.request,
            peer: &self.peer,
            remote: or_nothing(&self.remote),
            method: or_nothing(&self.method),
            path: or_nothing(&self.path),
            status,
            bytes,
            took,
            in_application: self.in_application,
            queued: self.queued,
            outcome: word_of(answered.outcome),
            trace: self.trace,
            more: &self.extras,
        };
        contract::log::access(&line, &mut self.event);
    }
}

/// A word, or what stands for one that nothing is known of.
fn or_nothing(word: &str) -> &str {
    if word.is_empty() { "-" } else { word }
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
