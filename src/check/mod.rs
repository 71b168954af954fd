//! `wsgi-fpm check`: what is wrong with a configuration file, what it says, and whether the applications of its pools can be
//! imported, and their logs written. Serves nothing, and disturbs no service that runs.

mod import;
mod logs;
mod show;
mod sockets;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use settings::values::{PoolName, Timeout};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cli::CheckArgs;
use crate::config::pools::{self, FilePool};
use crate::manager::signals::Signals;
use crate::pool::starts::Starts;
use crate::stdout;
use import::Import;

/// What shells say of a program that SIGINT has ended.
const EXIT_INTERRUPTED: u8 = 130;

/// Reports on standard error what is wrong with the file, and a line for each pool on standard output.
///
/// # Errors
/// The pool to be shown does not exist, or standard output is closed.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (configuration, report) = pools::examine(&args.config);
    if let Some(report) = &report {
        eprintln!("{}", report.render(std::io::stderr().is_terminal()));
    }
    let wrong = ExitCode::from(crate::EXIT_USAGE);
    if let Some(pool) = &args.show {
        show::show(&configuration, pool.as_ref())?;
        return Ok(report.map_or(ExitCode::SUCCESS, |_| wrong));
    }
    if report.is_none() {
        let obstacles = logs::obstacles(&configuration.server);
        for obstacle in &obstacles {
            stdout::line(&format!("server: {obstacle}"))?;
        }
        let imported = crate::runtime()?.block_on(import_all(configuration.pools, args.timeout))?;
        return Ok(match obstacles.is_empty() {
            false if imported == ExitCode::SUCCESS => ExitCode::FAILURE,
            _ => imported,
        });
    }
    // What the file says of its pools is not what its writer means; the rest of what is wrong can be said all the same.
    for (name, definition) in &configuration.pools {
        if let Err(error) = definition.pool() {
            stdout::line(&format!("pool {name}: {error}"))?;
        }
    }
    Ok(wrong)
}

/// Imports every application, several at a time, and prints what has become of it in the order of the pools' names.
async fn import_all(pools: BTreeMap<PoolName, FilePool>, limit: Timeout) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("signal handlers can't be set")?;
    let (stop, stopped) = watch::channel(false);
    let mut imports = start_all(pools, limit, &stopped).into_iter();
    let mut code = ExitCode::SUCCESS;
    while let Some((name, mut import)) = imports.next() {
        let import = tokio::select! {
            import = &mut import => import.context("the import of a pool has failed")?,
            _ = signals.next() => {
                // Each ends what it has started, which takes seconds at most.
                stop.send_replace(true);
                for import in std::iter::once(import).chain(imports.map(|(_, import)| import)) {
                    // What it has found out is of no interest any more.
                    let _ = import.await;
                }
                return Ok(ExitCode::from(EXIT_INTERRUPTED));
            }
        };
        if !import.is_right() {
            code = ExitCode::FAILURE;
        }
        stdout::line(&import.report(&name))?;
    }
    Ok(code)
}

fn start_all(
    pools: BTreeMap<PoolName, FilePool>,
    limit: Timeout,
    stopped: &watch::Receiver<bool>,
) -> Vec<(PoolName, JoinHandle<Import>)> {
    let starts = Starts::new();
    let start = |(name, definition): (PoolName, FilePool)| {
        let (starts, stopped) = (starts.clone(), stopped.clone());
        let import = async move {
            let _turn = starts.turn().await;
            import::import(&definition, limit, stopped).await
        };
        (name, tokio::spawn(import))
    };
    pools.into_iter().map(start).collect()
}
