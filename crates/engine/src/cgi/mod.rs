//! CGI: one request, in the environment and the standard streams of this process (SPEC D, RFC 3875).
//!
//! Everything here counts for the start of each request, so only built-in modules are imported, and the one thread that is
//! started does nothing but sleep.

mod collector;
mod signals;
mod streams;
mod time_limit;
mod variables;

use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use contract::log::{Direct, Trace, escape, escape_bytes};
use contract::own::{Own, OwnFd};
use contract::settings::Settings;
use pyo3::prelude::*;

use crate::base::crash::Answers;
use crate::base::request_id::RequestId;
use crate::process::access::Access;
use crate::process::worker;
use crate::request::carrier::{Carrier, CarrierError};
use crate::request::exchange::{Exchange, Failure};
use crate::wsgi::admission::{self, Admitted, Arrived, Known};
use crate::wsgi::call::{Caller, constants};
use crate::wsgi::client_gone::ClientGone;
use crate::wsgi::environ::EnvironBuilder;
use crate::wsgi::errors::Errors;
use crate::wsgi::reject::Rejection;
use crate::wsgi::respond::{Answered, Outcome};
use collector::Collector;
use streams::{Output, Streams, take_standard_streams};
use time_limit::TimeLimit;
use variables::Variables;

const FAILURE: i32 = 1;

/// Answers the one request of this process; its exit code (SPEC D8).
pub fn run(py: Python<'_>, settings: &Settings) -> i32 {
    let (input, output) = match take_standard_streams() {
        Ok(streams) => streams,
        Err(error) => {
            eprintln!("wsgi-fpm: standard streams can't be used: {error}");
            return FAILURE;
        }
    };
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(log) => contract::log::start(&settings.log, Direct::new(Own::new(log), settings.log.format)),
        Err(error) => eprintln!("wsgi-fpm: there is no log: {error}"),
    }
    let unread = Arc::new(AtomicU64::new(contract::cgi::content_length()));
    let rest = input.try_clone();
    let started = Instant::now();
    let request = Request::new(settings);
    let mut access = settings.log.access.then(|| request.access());
    let output = Arc::new(Output::new(output));
    let limit = TimeLimit::begin(&settings.limits, &output, &request);
    let answered = answer(
        py,
        settings,
        &request,
        access.as_mut(),
        &limit,
        (input, &output),
        &unread,
    );
    limit.end(py);
    let answered = answered.unwrap_or_else(|refusal| refuse(&output, &request, &refusal));
    if let Some(mut access) = access {
        access.log(&answered, started.elapsed());
    }
    // mod_cgid gives both streams as one socket, and may still be sending a body that nobody has read.
    let (most, longest) = (*settings.limits.drain_bytes, *settings.limits.drain_timeout);
    signals::outlive_response();
    // The response is whole before the rest of the body is waited for.
    if let Some(output) = output.get() {
        contract::drain::finish(&*output, most, longest);
    }
    output.close();
    if let Ok(rest) = rest {
        contract::drain::read_pipe(rest, most.of(unread.load(Ordering::Relaxed)), longest);
    }
    i32::from(matches!(answered.outcome, Outcome::Failed | Outcome::TimedOut))
}

/// The request as it stands in the environment.
struct Request {
    id: Arc<RequestId>,
    serial: u64,
    variables: Variables,
}

impl Request {
    fn new(settings: &Settings) -> Self {
        let request = Self {
            id: Arc::new(RequestId::new(0)),
            serial: 0,
            variables: variables::request(&settings.cgi_variables),
        };
        let serial = request.id.begin();
        // From the first line on: the import may have something to say, or take too long.
        let traceparent = request.variable(b"HTTP_TRACEPARENT");
        if let Some(trace) = traceparent.and_then(Trace::of_traceparent) {
            request.id.belongs_to(trace);
        }
        Self { serial, ..request }
    }

    fn variable(&self, name: &[u8]) -> Option<&[u8]> {
        let mut variables = self.variables.iter();
        variables
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_slice())
    }

    fn method(&self) -> &[u8] {
        self.variable(b"REQUEST_METHOD").unwrap_or_default()
    }

    /// As the web server splits it.
    fn path(&self) -> Vec<u8> {
        let parts = [&b"SCRIPT_NAME"[..], b"PATH_INFO"].map(|name| self.variable(name).unwrap_or_default());
        parts.concat()
    }

    fn access(&self) -> Access {
        let mut access = Access::default();
        access.begin(|name| self.id.write(self.serial, name), "cgi");
        access.guesses(self.method(), &self.path(), |name| {
            self.variable(name).unwrap_or_default()
        });
        access
    }

    fn is_head(&self) -> bool {
        self.method() == b"HEAD"
    }

    /// This side fails to answer it.
    fn failed(&self, error: &dyn Display) -> Refusal {
        let error = escape(&error.to_string());
        tracing::error!(
            request = self.name(&self.path()),
            error,
            "the request can't be answered"
        );
        Refusal::Failed
    }

    /// Names it in the log.
    fn name(&self, path: &[u8]) -> String {
        let id = self.id.current().unwrap_or_default();
        format!("{id} {} {}", escape_bytes(self.method()), escape_bytes(path))
    }
}

/// Why the request does not reach the application. It was logged.
enum Refusal {
    /// This side fails.
    Failed,
    Rejected(Rejection),
}

/// `unread` goes down with what is read of the body.
fn answer(
    py: Python<'_>,
    settings: &Settings,
    request: &Request,
    mut access: Option<&mut Access>,
    limit: &TimeLimit,
    (input, output): (OwnFd, &Arc<Output>),
    unread: &Arc<AtomicU64>,
) -> Result<Answered, Refusal> {
    let sent_path = request.path();
    let failed = |error| request.failed(&error);
    worker::prepare_paths(py, settings).map_err(failed)?;
    let python = |error: PyErr| request.failed(&error);
    let collector = Collector::hold_back(py).map_err(python)?;
    let app = worker::load(py, settings).map_err(|(reason, detail)| {
        tracing::error!(
            request = request.name(&sent_path),
            traceback = %contract::log::block(&detail),
            "{reason}"
        );
        Refusal::Failed
    })?;
    if request.variable(b"REQUEST_METHOD").is_none() {
        tracing::error!("REQUEST_METHOD is not set: this is no CGI request (RFC 3875 section 4.1.12)");
        return Err(Refusal::Failed);
    }
    collector.resume().map_err(python)?;
    let errors = Py::new(py, Errors::new(Arc::clone(&request.id))).map_err(python)?;
    errors.get().lend(request.serial);
    let exchange = Exchange::new(&settings.limits, 0, Answers::unused());
    let client_gone = Py::new(py, ClientGone::new(Arc::clone(&exchange))).map_err(python)?;
    let constants = constants(py, settings, &errors, &client_gone).map_err(python)?;
    let mut environs = EnvironBuilder::new(constants, settings);
    let pairs = request
        .variables
        .iter()
        .map(|(name, value)| Ok::<_, Infallible>((name.as_slice(), value.as_slice())));
    let streams = Streams::new(input, Arc::clone(output), &settings.limits, Arc::clone(unread));
    let mut streams = streams.map_err(failed)?;
    let mut stalled = false;
    if variables::is_chunked(&request.variables) {
        // First, so that the application can be told its length (SPEC C46).
        match streams.collect(py, &settings.limits.body_timeout) {
            Ok(()) => {}
            Err(Failure::Carrier(CarrierError::BodyStall(_))) => stalled = true,
            Err(Failure::Carrier(error)) => return Err(request.failed(&error)),
            Err(Failure::App(error)) => return Err(request.failed(&error)),
        }
    }
    let mut arrived = Arrived::with(streams.body());
    if stalled {
        arrived.body_fault = Some(Rejection::BodyTimeout);
    }
    let mut path = sent_path;
    let tell = |known: Known<'_, '_>| {
        if let Some(access) = &mut access {
            access.knows(&known);
        }
        path = known.path.into_owned();
    };
    let admitted = admission::admit(py, &mut environs, pairs, arrived, &settings.limits, tell);
    let name = || request.name(&path);
    let admitted = admitted.map_err(|rejection| {
        rejection.log(&name(), settings);
        Refusal::Rejected(rejection)
    })?;
    let Admitted { environ, is_head, .. } = &admitted;
    streams.set_length(admitted.content_length.unwrap_or(0));
    let ticket = exchange.begin(Box::new(streams), *is_head);
    client_gone.get().lend();
    limit.runs(&exchange);
    let called = Instant::now();
    let answered = Caller::new(py, app, settings, None)
        .call(environ, ticket, *is_head, &name)
        .map_err(python)?;
    if let Some(access) = access {
        access.ran_for(called.elapsed());
    }
    errors.get().flush_partial();
    Ok(answered)
}

/// Sends a page of the gateway's own.
fn refuse(output: &Output, request: &Request, refusal: &Refusal) -> Answered {
    let send = |page: &[u8]| {
        let sent = output.write_all(page);
        if let Err(error) = &sent {
            tracing::info!(%error, "the web server does not take the answer");
        }
        sent.is_ok()
    };
    match refusal {
        Refusal::Failed => admission::fail(request.is_head(), send),
        Refusal::Rejected(rejection) => admission::refuse(rejection, request.is_head(), send),
    }
}
