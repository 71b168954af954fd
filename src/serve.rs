//! `wsgi-fpm serve`: the supervisor, from what was typed to the end of the last pool; and how it takes another program's place.

use std::any::Any;
use std::ffi::OsString;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use contract::log::LogSettings;
use settings::sections::Status;
use settings::values::Destination;
use tokio::sync::mpsc;
use tracing::error;

use crate::admin::other::refuse_second;
use crate::cli::{Cli, Command, DEFAULT_FILE, ResumeArgs, ServeArgs, one_line};
use crate::config::pools::{self, Configuration, Definition, FilePool};
use crate::config::report::Report;
use crate::config::{ConfigError, Pool};
use crate::engine::Engine;
use crate::manager::doors::Doors;
use crate::manager::passing::{OwnSockets, State};
use crate::manager::relay::Relay;
use crate::manager::signals::Signals;
use crate::manager::{End, Manager};
use crate::pool::{OnFailure, Outcome, listeners};
use crate::service::{self, Kept, Service};
use crate::upgrade::{self, Program};
use crate::{EXIT_USAGE, admin, inherited, mask, python, script, status};

/// Of commands and of who asks over HTTP. When there are more, their tasks wait.
const REQUESTS: usize = 16;

/// What a supervisor has before anything else: a signal that comes from here on is obeyed, however far the start has got.
pub struct Early {
    /// By the service manager, from the last run.
    kept: Kept,
    runtime: tokio::runtime::Runtime,
    signals: Signals,
}

/// What is to be served.
enum Wanted {
    One(Box<Pool>),
    All(PathBuf, Configuration),
    /// It can't be known any more, but there are pools that serve. With the file that it should stand in.
    AsBefore(Option<PathBuf>, LogSettings),
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
struct Mistakes(Report);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.lines().collect::<Vec<_>>().join("; "))
    }
}

impl Early {
    /// # Errors
    /// The system's.
    pub fn new() -> anyhow::Result<Self> {
        // Before other descriptors get their numbers.
        Self::with(service::kept())
    }

    fn with(kept: Kept) -> anyhow::Result<Self> {
        let runtime = crate::runtime()?;
        let inside = runtime.enter();
        let signals = Signals::new().context("signal handlers can't be set")?;
        drop(inside);
        Ok(Self { kept, runtime, signals })
    }
}

impl Wanted {
    fn of(args: ServeArgs) -> anyhow::Result<Self> {
        let ServeArgs { config, options } = args;
        let mut typed = options.0;
        let has_app = typed.iter().any(|said| said.option.key == "app");
        if has_app && config.is_none() {
            let block = script::options_of(&mut typed)?;
            return Ok(Self::One(Box::new(Pool::for_serve(block, &typed)?)));
        }
        match (typed.first(), &config) {
            (Some(said), Some(_)) if said.option.key == "app" => {
                return Err(ConfigError::BesideAFile("APP".to_owned()).into());
            }
            (Some(said), Some(_)) => return Err(ConfigError::BesideAFile(said.place.name(said.option)).into()),
            (Some(_), None) => return Err(ConfigError::NoApp.into()),
            (None, None) if !Path::new(DEFAULT_FILE).exists() => {
                return Err(ConfigError::NothingToServe(DEFAULT_FILE).into());
            }
            (None, _) => {}
        }
        let path = config.unwrap_or_else(|| DEFAULT_FILE.into());
        let configuration = pools::load(&path).map_err(Mistakes)?;
        Ok(Self::All(path, configuration))
    }

    fn log(&self) -> LogSettings {
        match self {
            Self::One(pool) => pool.settings.log.clone(),
            Self::All(_, configuration) => configuration.log(),
            Self::AsBefore(_, log) => log.clone(),
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::One(pool) => pool.status.clone(),
            Self::All(_, configuration) => configuration.status(),
            Self::AsBefore(..) => Status::default(),
        }
    }

    fn start(self, manager: &mut Manager) -> anyhow::Result<()> {
        match self {
            Self::One(pool) => manager
                .start_one(Definition::Made(pool), None, OnFailure::Exit)
                .map(drop),
            Self::All(path, configuration) => manager.start_all(path, configuration),
            Self::AsBefore(file, _) => {
                manager.go_on(file);
                Ok(())
            }
        }
    }
}

/// # Errors
/// What was typed can't be, or nothing can be started.
pub fn run(args: ServeArgs, early: Early) -> anyhow::Result<ExitCode> {
    let wanted = match Wanted::of(args) {
        Ok(wanted) => wanted,
        Err(error) => {
            let Mistakes(report) = error.downcast()?;
            // Nobody may read it.
            let mut stderr = std::io::stderr().lock();
            let _ = writeln!(stderr, "{}", report.render(stderr.is_terminal()));
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    if let Wanted::All(file, configuration) = &wanted {
        refuse_second(file, configuration.status().control.as_ref())?;
        if early.kept.is_empty() {
            warn_of_taken_sockets(configuration);
        }
    }
    let program = Program::this().context("this program's own path is unknown")?;
    python::keep_own_path();
    let log = crate::start_log(&wanted.log())?;
    supervise(early, wanted, log, program, OwnSockets::default(), |_| {})
}

/// An instance without a control socket may serve the same file. That every pool waits for its sockets stands in the log, which
/// whoever types the command does not see if that is a file.
fn warn_of_taken_sockets(configuration: &Configuration) {
    let log = configuration.log().to;
    let is_taken = |pool: &FilePool| {
        let listen = Definition::File(Box::new(pool.clone())).listen();
        listen.iter().any(listeners::is_taken)
    };
    if log != Destination::Stderr && !configuration.pools.is_empty() && configuration.pools.values().all(is_taken) {
        contract::log::last_line(&format!(
            "wsgi-fpm: warning: another program answers at the sockets of all pools, perhaps another instance that serves this file; \
             each pool begins when its own are free, and the log says more: {log}"
        ));
    }
}

/// Serves until everything has ended. `left`: by the program that had this one's place. `before`: what comes before anything is
/// started.
fn supervise(
    early: Early,
    wanted: Wanted,
    mut log: Relay,
    program: Program,
    left: OwnSockets,
    before: impl FnOnce(&mut Manager),
) -> anyhow::Result<ExitCode> {
    let Early { kept, runtime, signals } = early;
    runtime.block_on(async {
        let wanted_log = wanted.log();
        let mut manager = Manager::new(signals, &log, wanted_log.clone(), Service::new(kept))?;
        let doors = Doors::default();
        manager.may_become(program, doors.clone());
        before(&mut manager);
        let settings = wanted.status();
        wanted.start(&mut manager)?;
        let (ask, mut requests) = mpsc::channel(REQUESTS);
        let status = status::server::Server::start(&settings, left.status, doors, ask.clone(), log.logs());
        let is_seen = wanted_log.to == Destination::Stderr;
        let control = admin::server::Server::start((*settings.control).clone(), left.control, ask, is_seen);
        inherited::close_untaken();
        loop {
            match manager.run(&mut requests).await? {
                End::Over(Outcome::Stopped) => return Ok(ExitCode::SUCCESS),
                End::Over(Outcome::NeverStarted) => return Ok(ExitCode::FAILURE),
                End::Upgrade(passing) => {
                    let own = status.state().and_then(|status| {
                        let control = control.rest()?;
                        Ok(OwnSockets { status, control })
                    });
                    manager.give_place(passing, &mut log, own).await;
                    control.go_on();
                }
            }
        }
    })
}

/// The hidden subcommand `resume`: takes the place of the program that has run it, by exec; or says whether it could.
///
/// # Errors
/// It can't. Then the other program has its place back, if that has passed itself on.
pub fn resume(args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    let Some(state) = args.state else {
        return could_resume(args);
    };
    let program = Program::at(args.program.clone(), args.command.clone());
    // Whatever it is, the other one can still go on.
    let begun = catch_unwind(AssertUnwindSafe(|| begin(args, state)));
    let begun = begun.unwrap_or_else(|panic| Err(anyhow!("a defect: {}", words(&*panic))));
    match (begun, args.back) {
        (Ok((early, wanted, state)), _) => take_over(args, early, wanted, state, program),
        (Err(error), Some(back)) => match program.go_back(state, back, &format!("{error:#}")) {
            Err(again) => Err(error.context(format!("the old program can't go on either: {again:#}"))),
        },
        (Err(error), None) => Err(error),
    }
}

fn could_resume(args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    if args.form != upgrade::FORM {
        bail!(
            "it can't go on with what a program of this version passes on (form {}, this one reads {}); restart the service",
            args.form,
            upgrade::FORM
        );
    }
    Wanted::of(typed(&args.command)?)?;
    Engine::choose()?;
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(upgrade::READY.as_bytes())
        .and_then(|()| stdout.flush())?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that can fail: nothing is taken yet.
fn begin(args: &ResumeArgs, state: i32) -> anyhow::Result<(Early, Wanted, State)> {
    inherited::note().context("it is unknown what was passed on")?;
    // What the service manager has kept is what the other program has passed on.
    let early = Early::with(Kept::new())?;
    let serve = typed(&args.command)?;
    let is_file = !serve.options.0.iter().any(|said| said.option.key == "app");
    let file = is_file.then(|| serve.config.clone().unwrap_or_else(|| DEFAULT_FILE.into()));
    let state: State = upgrade::passed(state)?;
    let wanted = match Wanted::of(serve) {
        // It has served before, and goes on with that.
        Err(_) if args.refused.is_some() => Wanted::AsBefore(file, state.log.settings.clone()),
        wanted => wanted?,
    };
    Ok((early, wanted, state))
}

/// What was typed to the program whose place is taken.
fn typed(command: &[OsString]) -> anyhow::Result<ServeArgs> {
    let all: Vec<_> = std::iter::once("wsgi-fpm".into())
        .chain(command.iter().cloned())
        .collect();
    let cli = Cli::try_parse_from(&all).map_err(|error| anyhow!("{}", one_line(&error, &all)))?;
    match cli.command {
        Command::Serve(args) => Ok(*args),
        _ => bail!("only what serves can be taken over"),
    }
}

fn take_over(
    args: &ResumeArgs,
    early: Early,
    wanted: Wanted,
    state: State,
    program: Program,
) -> anyhow::Result<ExitCode> {
    python::keep_own_path();
    mask::let_through();
    let State { log, pools, given, own } = state;
    inherited::take_given(given).context("the sockets of socket units can't be taken over")?;
    let log = Relay::resume(&wanted.log(), log).context("the log can't be taken over")?;
    for number in [args.state, args.back].into_iter().flatten() {
        drop(inherited::adopt(number));
    }
    supervise(early, wanted, log, program, own, |manager| {
        if let Some(reason) = &args.refused {
            error!("the new program can't take over, and this one goes on: {reason}");
        }
        manager.inherit(pools, args.refused.clone());
    })
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words")
}
