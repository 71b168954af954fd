//! The program: no Python, no FastCGI bytes. Reads the command line, starts logging and hands over.

mod check;
mod cli;
mod config;
mod dev;
mod host;
mod manager;
mod pool;
mod preview;
mod python;
mod script;
mod writer;

use std::ffi::OsString;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;
use contract::log::LogSettings;
use contract::settings::Entry;
use settings::Said;
use tokio::sync::mpsc;
use tracing::{debug, info};

use cli::{Cli, Command};
use config::{ConfigError, Pool};
use manager::relay::Relay;
use manager::signals::{Signals, Wish};
use pool::{OnFailure, Outcome, Supervisor};
use python::{Interpreter, PythonError, Wanted};
use script::BlockError;
use writer::WriterError;

/// What was typed, or the Python that was named, can't be used.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    if let Some(script) = script::named() {
        return script::run(&script);
    }
    // A service manager may ask for anything as soon as the process is there.
    let early = std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == "serve")
        .then(Early::new);
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    let result = match cli.command {
        Command::Cgi(typed) => script::run_explicit(typed.0, Entry::Cgi),
        Command::Fastcgi(typed) => script::run_explicit(typed.0, Entry::FastCgi),
        Command::Serve(typed) => early.unwrap_or_else(Early::new).and_then(|early| serve(typed.0, early)),
        Command::Dev(args) => dev::run(*args),
        Command::Check(args) => check::run(&args),
        Command::Config(args) => writer::run(*args),
        Command::Host(args) => host::run(&args),
    };
    result.unwrap_or_else(|error| failure(&error))
}

fn failure(error: &anyhow::Error) -> ExitCode {
    // It may be the pipe of a log that nobody reads.
    contract::log::last_line(&format!("wsgi-fpm: error: {error:#}"));
    let is_usage =
        error.is::<ConfigError>() || error.is::<PythonError>() || error.is::<BlockError>() || error.is::<WriterError>();
    ExitCode::from(if is_usage { EXIT_USAGE } else { 1 })
}

/// Help and version as clap prints them, anything else as one line.
fn usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.exit()
        }
        _ => {
            eprintln!("wsgi-fpm: error: {}", cli::one_line(error, arguments));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// What a supervisor has before anything else: a signal that comes from here on is obeyed, however far the start has got.
struct Early {
    runtime: tokio::runtime::Runtime,
    signals: Signals,
}

impl Early {
    fn new() -> anyhow::Result<Self> {
        let runtime = runtime()?;
        let inside = runtime.enter();
        let signals = Signals::new().context("signal handlers can't be set")?;
        drop(inside);
        Ok(Self { runtime, signals })
    }
}

fn serve(mut typed: Vec<Said>, early: Early) -> anyhow::Result<ExitCode> {
    let Early { runtime, mut signals } = early;
    let block = script::options_of(&mut typed)?;
    let pool = Pool::for_serve(block, &typed)?;
    let log = start_log(&pool.settings.log)?;
    runtime.block_on(async {
        let Some(interpreter) = find_python(&pool, &mut signals, OnFailure::Exit).await? else {
            return Ok(ExitCode::SUCCESS);
        };
        let supervisor = Supervisor::new(pool, &interpreter, OnFailure::Exit, signals, &log)?;
        // Nobody but signals asks for anything.
        let (_, requests) = mpsc::channel(1);
        Ok(match supervisor.run(requests).await? {
            Outcome::Stopped => ExitCode::SUCCESS,
            Outcome::NeverStarted => ExitCode::FAILURE,
        })
    })
}

/// The pool's Python; `None` if a signal ends the program first.
async fn find_python(
    pool: &Pool,
    signals: &mut Signals,
    on_failure: OnFailure,
) -> Result<Option<Interpreter>, PythonError> {
    let wanted = Wanted::from_environment(pool.python.clone(), &pool.settings.chdir);
    let mut finding = pin!(wanted.find());
    let python = loop {
        let (signal, wish) = tokio::select! {
            found = &mut finding => break found?,
            asked = signals.next() => asked,
        };
        let is_reload = wish == Wish::Reload || wish == Wish::HangUp && on_failure == OnFailure::Exit;
        if !is_reload {
            info!(pool = pool.settings.pool, signal, "stopping");
            return Ok(None);
        }
        info!(
            pool = pool.settings.pool,
            signal, "no reload: the start is still under way, nothing is loaded yet"
        );
    };
    debug!(
        %python,
        prefix = %python.prefix.display(),
        base_prefix = %python.base_prefix.display(),
        platform = python.platform,
        shared = python.shared,
        "Python found"
    );
    Ok(Some(python))
}

fn start_log(settings: &LogSettings) -> anyhow::Result<Relay> {
    Relay::start(settings).context("standard error can't be used for the log")
}

/// One thread: the supervisor only waits.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the event loop can't be made")
}
