//! `wsgi-fpm ping`: asks a FastCGI responder for a page, or for its values, and says how it answered. For health checks,
//! and for whoever wants to know which side of a web server is broken.
//!
//! One request on one connection, without Python and without an event loop: it must be there in no time.

mod exchange;
mod peer;
mod request;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use settings::values::Timeout;

use crate::cli::PingArgs;
use crate::stdout;
use exchange::Answer;
use peer::Peer;
pub use request::RequestError;

/// The responder has answered with a status that is not fine.
const EXIT_STATUS: u8 = 3;
const EXIT_NO_CONNECTION: u8 = 4;
const EXIT_TIMED_OUT: u8 = 5;
const EXIT_BROKEN: u8 = 6;

/// Why there is no answer that is fine. Each text stands behind the responder's address.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Connect(String),
    #[error("{what} within --timeout {limit}{advice}")]
    TimedOut {
        what: String,
        limit: Timeout,
        advice: &'static str,
    },
    #[error("{0}")]
    Broken(String),
    #[error("{0}")]
    Status(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Connect(_) => EXIT_NO_CONNECTION,
            Self::TimedOut { .. } => EXIT_TIMED_OUT,
            Self::Broken(_) => EXIT_BROKEN,
            Self::Status(_) => EXIT_STATUS,
        }
    }
}

/// # Errors
/// The request can't be written as one, or standard output can't be written. What the responder does is a matter of the
/// exit code.
pub fn run(args: &PingArgs) -> anyhow::Result<ExitCode> {
    let mut shown = Shown::default();
    let failure = match &args.path {
        Some(path) => page(args, path, &mut shown)?,
        None => values(args, &mut shown),
    };
    if args.quiet {
        return Ok(failure.map_or(ExitCode::SUCCESS, |failure| failure.code().into()));
    }
    // Standard output is for the page alone where that is wanted.
    match args.body || args.head {
        true => eprint(&shown.said),
        false => shown.output.extend_from_slice(shown.said.as_bytes()),
    }
    let written = stdout::write(&shown.output);
    let Some(failure) = failure else {
        return written.map(|()| ExitCode::SUCCESS);
    };
    eprint(&format!("wsgi-fpm: error: {}: {failure}\n", args.address));
    Ok(failure.code().into())
}

/// What is to be printed.
#[derive(Default)]
struct Shown {
    /// Head and body, as wanted.
    output: Vec<u8>,
    /// Lines about it.
    said: String,
}

fn page(args: &PingArgs, path: &str, shown: &mut Shown) -> anyhow::Result<Option<Failure>> {
    let records = request::records(args, path)?;
    let begun = Instant::now();
    let answer = Peer::connect(&args.address, args.timeout, begun).and_then(|peer| {
        exchange::page(peer, &records, args, |text| {
            if !args.quiet {
                eprint(&format!("{text}\n"));
            }
        })
    });
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return Ok(Some(failure)),
    };
    if args.head {
        shown.output.extend_from_slice(answer.head.as_bytes());
    }
    shown.output.extend_from_slice(&answer.body);
    let line = line(&answer, begun.elapsed());
    let status = answer.status;
    if !args.expect.has(status) {
        let advice = advice(&answer, args);
        return Ok(Some(Failure::Status(format!(
            "{line}, which is not {}{advice}",
            args.expect.as_str()
        ))));
    }
    shown.said = line + "\n";
    Ok(None)
}

fn values(args: &PingArgs, shown: &mut Shown) -> Option<Failure> {
    let begun = Instant::now();
    let values = Peer::connect(&args.address, args.timeout, begun).and_then(exchange::values);
    match values {
        Ok(values) => {
            let none = if values.is_empty() { "; it tells no values" } else { "" };
            shown.said = format!("answered in {}{none}\n", ms(begun.elapsed()));
            for (name, value) in values {
                let _infallible = writeln!(shown.said, "{}={}", printable(&name), printable(&value));
            }
            None
        }
        Err(failure) => Some(failure),
    }
}

/// `200 OK in 1.3 ms, 13 bytes`.
fn line(answer: &Answer, took: Duration) -> String {
    let mut line = answer.status.to_string();
    if !answer.reason.is_empty() {
        let _infallible = write!(line, " {}", printable(&answer.reason));
    }
    if let Some(location) = &answer.location {
        let _infallible = write!(line, " to {}", printable(location));
    }
    let more = if answer.has_more { "more than " } else { "" };
    let _infallible = write!(line, " in {}, {more}{} bytes", ms(took), answer.length);
    line
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// What to try next.
fn advice(answer: &Answer, args: &PingArgs) -> &'static str {
    let has_host = args.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    match answer.status {
        300..=399 => "; where it wants HTTPS: --param HTTPS=on",
        400 if !has_host => "; it was asked for host localhost: --header Host=NAME for one that it knows",
        404 if args.script_filename.is_none() => "; php-fpm finds nothing without --script-filename",
        500..=599 => "; the responder's log says why",
        _ => "",
    }
}

/// What a responder says, with nothing in it that a terminal would obey.
fn printable(said: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    said.chars().map(escape).collect()
}

/// Where nobody reads standard error, the exit code has to do.
fn eprint(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
