//! The program: no Python, no FastCGI bytes. Reads the command line, starts logging and hands over.

mod admin;
mod check;
mod children;
mod cli;
mod config;
mod dev;
mod engine;
mod host;
mod hosts;
mod inherited;
mod keeper;
mod manager;
mod mask;
mod pages;
mod ping;
mod pool;
mod preview;
mod python;
mod readiness;
mod script;
mod serve;
mod service;
mod status;
mod stdout;
mod top;
mod upgrade;
mod users;
mod writer;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;
use contract::log::LogSettings;
use contract::settings::Entry;
use settings::values::Destination;

use admin::commands;
use admin::find::FindError;
use cli::{Cli, Command};
use config::ConfigError;
use manager::relay::Relay;
use ping::RequestError;
use python::PythonError;
use script::BlockError;
use serve::Early;
use top::ScreenError;
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
        Command::Serve(args) => early
            .unwrap_or_else(Early::new)
            .and_then(|early| serve::run(*args, early)),
        Command::Dev(args) => dev::run(*args),
        Command::Check(args) => check::run(&args),
        Command::Config(args) => writer::run(*args),
        Command::Ping(args) => ping::run(&args),
        Command::Status(args) => commands::status(&args),
        Command::Top(args) => top::run(args),
        Command::Reload(args) => commands::reload(&args),
        Command::Stop(args) => commands::stop(&args),
        Command::Upgrade(args) => commands::upgrade(&args),
        Command::Recycle(args) => commands::recycle(&args),
        Command::Scale(args) => commands::scale(&args),
        Command::Stacks(args) => commands::stacks(&args),
        Command::Logs(args) => commands::logs(&args),
        Command::Kill(args) => commands::kill(&args),
        Command::Man(args) => pages::man(&args),
        Command::Completions(args) => pages::completions(&args),
        Command::Host(args) => host::run(&args),
        Command::Resume(args) => serve::resume(&args),
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
        || error.is::<RequestError>()
        || error.is::<FindError>()
        || error.is::<ScreenError>();
    ExitCode::from(if is_usage { EXIT_USAGE } else { 1 })
}

/// Help and version as clap prints them, anything else as one line.
fn usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.exit()
        }
        _ => {
            contract::log::last_line(&format!("wsgi-fpm: error: {}", cli::one_line(error, arguments)));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn start_log(settings: &LogSettings) -> anyhow::Result<Relay> {
    Relay::start(settings).with_context(|| match &settings.to {
        Destination::Stderr => "standard error can't be used for the log".to_owned(),
        other => format!("there can be no log in {other}"),
    })
}

/// One thread: the supervisor only waits.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_start(mask::hold_back)
        .build()
        .context("the event loop can't be made")
}
