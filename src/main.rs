//! The program: no Python, no FastCGI bytes. Reads the command line, starts logging and hands over.

mod check;
mod children;
mod cli;
mod config;
mod dev;
mod engine;
mod host;
mod inherited;
mod manager;
mod pages;
mod ping;
mod pool;
mod preview;
mod python;
mod script;
mod service;
mod users;
mod writer;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;
use contract::log::LogSettings;
use contract::settings::Entry;
use tokio::sync::mpsc;

use cli::{Cli, Command, ServeArgs};
use config::pools::{self, Definition};
use config::{ConfigError, Pool};
use manager::Manager;
use manager::relay::Relay;
use manager::signals::Signals;
use ping::RequestError;
use pool::{OnFailure, Outcome};
use python::PythonError;
use script::BlockError;
use service::{Kept, Service};
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
        Command::Serve(args) => early.unwrap_or_else(Early::new).and_then(|early| serve(*args, early)),
        Command::Dev(args) => dev::run(*args),
        Command::Check(args) => check::run(&args),
        Command::Config(args) => writer::run(*args),
        Command::Ping(args) => ping::run(&args),
        Command::Man(args) => pages::man(&args),
        Command::Completions(args) => pages::completions(&args),
        Command::Host(args) => host::run(&args),
    };
    result.unwrap_or_else(|error| failure(&error))
}

fn failure(error: &anyhow::Error) -> ExitCode {
    // It may be the pipe of a log that nobody reads.
    contract::log::last_line(&format!("wsgi-fpm: error: {error:#}"));
    let is_usage = error.is::<ConfigError>()
        || error.is::<PythonError>()
        || error.is::<BlockError>()
        || error.is::<WriterError>()
        || error.is::<RequestError>();
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
    /// By the service manager, from the last run.
    kept: Kept,
    runtime: tokio::runtime::Runtime,
    signals: Signals,
}

impl Early {
    fn new() -> anyhow::Result<Self> {
        // Before other descriptors get their numbers.
        let kept = service::kept();
        let runtime = runtime()?;
        let inside = runtime.enter();
        let signals = Signals::new().context("signal handlers can't be set")?;
        drop(inside);
        Ok(Self { kept, runtime, signals })
    }
}

fn serve(args: ServeArgs, early: Early) -> anyhow::Result<ExitCode> {
    let ServeArgs { config, options } = args;
    let mut typed = options.0;
    let has_app = typed.iter().any(|said| said.option.key == "app");
    if has_app && config.is_none() {
        let block = script::options_of(&mut typed)?;
        let pool = Pool::for_serve(block, &typed)?;
        let log = pool.settings.log.clone();
        return supervise(early, log, |manager| {
            let definition = Definition::Made(Box::new(pool));
            manager.start_one(definition, None, OnFailure::Exit).map(drop)
        });
    }
    match (typed.first(), &config) {
        (Some(said), Some(_)) if said.option.key == "app" => {
            return Err(ConfigError::BesideAFile("APP".to_owned()).into());
        }
        (Some(said), Some(_)) => return Err(ConfigError::BesideAFile(said.place.name(said.option)).into()),
        (Some(_), None) => return Err(ConfigError::NoApp.into()),
        (None, None) if !Path::new(cli::DEFAULT_FILE).exists() => {
            return Err(ConfigError::NothingToServe(cli::DEFAULT_FILE).into());
        }
        (None, _) => {}
    }
    let path = config.unwrap_or_else(|| cli::DEFAULT_FILE.into());
    let configuration = match pools::load(&path) {
        Ok(configuration) => configuration,
        Err(report) => {
            eprintln!("{}", report.render(std::io::stderr().is_terminal()));
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let log = configuration.log();
    supervise(early, log, |manager| manager.start_all(path, configuration))
}

/// Runs what `start` starts until it ends.
fn supervise(
    early: Early,
    log_settings: LogSettings,
    start: impl FnOnce(&mut Manager) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let Early { kept, runtime, signals } = early;
    python::keep_own_path();
    let log = start_log(&log_settings)?;
    runtime.block_on(async {
        let mut manager = Manager::new(signals, &log, log_settings, Service::new(kept))?;
        start(&mut manager)?;
        // Nobody but signals asks for anything.
        let (_, requests) = mpsc::channel(1);
        Ok(match manager.run(requests).await? {
            Outcome::Stopped => ExitCode::SUCCESS,
            Outcome::NeverStarted => ExitCode::FAILURE,
        })
    })
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
