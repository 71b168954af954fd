//! CGI: one request, in the environment and the standard streams of this process (SPEC D, RFC 3875).
//!
//! Everything here counts for the start of each request, so nothing is imported and no thread is started.

mod signals;
mod streams;
mod variables;

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use pool::log::escape;
use pool::settings::Settings;
use pyo3::prelude::*;

use crate::carrier::CarrierError;
use crate::crash::Answers;
use crate::exchange::Exchange;
use crate::request_id::RequestId;
use crate::worker;
use crate::wsgi::call::{Caller, constants};
use crate::wsgi::environ::EnvironBuilder;
use crate::wsgi::errors::Errors;
use crate::wsgi::reject::{self, Rejection};
use crate::wsgi::respond::Outcome;
use streams::{Streams, take_standard_streams};

const FAILURE: i32 = 1;
const INTERNAL_ERROR: &str = "500 Internal Server Error";

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
        Ok(log) => pool::log::start(&settings.log, log),
        Err(error) => eprintln!("wsgi-fpm: there is no log: {error}"),
    }
    let unread = Arc::new(AtomicU64::new(pool::cgi::content_length()));
    let rest = input.try_clone();
    let code = match answer(py, settings, input, &output, &unread) {
        Ok(code) => code,
        Err(Refusal { status, code }) => {
            if let Err(error) = refuse(&output, status) {
                tracing::info!(%error, "the web server does not take the answer");
            }
            code
        }
    };
    // mod_cgid gives both streams as one socket, and may still be sending a body that nobody has read.
    let (most, longest) = (settings.limits.drain_bytes, settings.limits.drain_timeout);
    pool::drain::finish(&output, most, longest);
    signals::outlive_response();
    // The response is whole before the rest of the body is waited for.
    drop(output);
    if let Ok(rest) = rest {
        pool::drain::empty(rest, most.min(unread.load(Ordering::Relaxed)), longest);
    }
    code
}

/// The answer to a request that does not reach the application.
struct Refusal {
    status: &'static str,
    code: i32,
}

/// A failure of this side, which was logged.
const FAILED: Refusal = Refusal {
    status: INTERNAL_ERROR,
    code: FAILURE,
};

/// `unread` goes down with what is read of the body.
fn answer(
    py: Python<'_>,
    settings: &Settings,
    input: OwnedFd,
    output: &OwnedFd,
    unread: &Arc<AtomicU64>,
) -> Result<i32, Refusal> {
    let started = Instant::now();
    let failed = |error: io::Error| {
        tracing::error!(%error, "the request can't be answered");
        FAILED
    };
    worker::prepare_paths(py, settings).map_err(failed)?;
    let app = worker::load(py, settings).map_err(|(reason, detail)| {
        tracing::error!(traceback = %pool::log::block(&detail), "{reason}");
        FAILED
    })?;
    let variables = variables::request(&settings.cgi_variables);
    if !variables.iter().any(|(name, _)| name == b"REQUEST_METHOD") {
        tracing::error!("REQUEST_METHOD is not set: this is no CGI request (RFC 3875 section 4.1.12)");
        return Err(FAILED);
    }
    let id = Arc::new(RequestId::new(0));
    let serial = id.begin();
    let python = |error: PyErr| {
        tracing::error!(error = escape(&error.to_string()), "the request can't be answered");
        FAILED
    };
    let errors = Py::new(py, Errors::new(Arc::clone(&id))).map_err(python)?;
    errors.get().lend(serial);
    let constants = constants(py, settings, &errors).map_err(python)?;
    let mut environs = EnvironBuilder::new(constants, settings);
    let pairs = variables
        .iter()
        .map(|(name, value)| Ok::<_, Infallible>((name.as_slice(), value.as_slice())));
    let output = output.try_clone().map_err(failed)?;
    let mut streams = Streams::new(input, output, &settings.limits, Arc::clone(unread)).map_err(failed)?;
    // A body without a length is collected first, so that the application can be told its length (SPEC C46).
    let collected = match variables::is_chunked(&variables) {
        true => Some(streams.collect(settings.limits.body_timeout)),
        false => None,
    };
    let length = collected
        .as_ref()
        .and_then(|collected| collected.as_ref().ok())
        .copied();
    let built = environs.build(py, pairs, length);
    let (script_name, path_info) = environs.path();
    let path = [script_name, path_info].concat();
    let name = |method: &[u8]| {
        let id = id.current().unwrap_or_default();
        format!("{id} {} {}", method.escape_ascii(), path.escape_ascii())
    };
    let refused = |rejection: Rejection, method: &[u8]| {
        rejection.log(&name(method));
        let code = i32::from(matches!(rejection, Rejection::Internal(_)));
        Refusal {
            status: rejection.status(),
            code,
        }
    };
    let (environ, facts) = built.map_err(|rejection| refused(rejection, b"-"))?;
    match collected {
        Some(Err(CarrierError::BodyStall(_))) => return Err(refused(Rejection::BodyTimeout, facts.method)),
        Some(Err(error)) => return Err(failed(io::Error::other(error))),
        _ => {}
    }
    let length = facts.content_length.unwrap_or(0);
    if length > settings.limits.body_max {
        return Err(refused(Rejection::BodyTooLarge, facts.method));
    }
    streams.set_length(length);
    let exchange = Exchange::new(&settings.limits, 0, Answers::nobodys());
    let is_head = facts.method == b"HEAD";
    let ticket = exchange.begin(Box::new(streams), is_head);
    let request = || name(facts.method);
    let called = Caller::new(py, app, settings)
        .call(&environ, ticket, is_head, &request)
        .map_err(python)?;
    errors.get().flush_partial();
    if settings.log.access {
        tracing::info!(
            target: pool::log::ACCESS,
            request = %request(),
            status = called.status,
            bytes = called.bytes,
            ms = started.elapsed().as_micros() as f64 / 1000.0,
            outcome = ?called.outcome,
        );
    }
    Ok(i32::from(called.outcome == Outcome::Failed))
}

/// Sends a page of the gateway's own.
fn refuse(output: &OwnedFd, status: &str) -> io::Result<()> {
    use std::io::Write;
    let is_head = std::env::var_os("REQUEST_METHOD").is_some_and(|method| method == "HEAD");
    std::fs::File::from(output.try_clone()?).write_all(reject::page(status).answer(is_head))
}
