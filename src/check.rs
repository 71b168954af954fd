//! `wsgi-fpm check`: what is wrong with a configuration file, and what it says.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use settings::show;
use settings::values::PoolName;

use crate::cli::CheckArgs;
use crate::config::pools::{self, Configuration};
use crate::config::{is_of_pools, is_of_server};

/// Reports on standard error what is wrong, and a line for each pool on standard output.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (configuration, report) = pools::examine(&args.config);
    if let Some(report) = &report {
        eprintln!("{}", report.render(std::io::stderr().is_terminal()));
    }
    let mut code = match report {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(crate::EXIT_USAGE),
    };
    if let Some(pool) = &args.show {
        return show(&configuration, pool.as_ref()).map(|()| code);
    }
    for (name, definition) in &configuration.pools {
        match definition.pool() {
            Ok(_) if report.is_some() => {}
            Ok(_) => println!("pool {name}: ok"),
            Err(error) => {
                println!("pool {name}: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// What holds, in the form of the file.
fn show(configuration: &Configuration, pool: Option<&PoolName>) -> anyhow::Result<()> {
    let mut tables = Vec::new();
    if pool.is_none() {
        tables.push(show::table("server", &configuration.server, is_of_server));
    }
    for (name, definition) in &configuration.pools {
        if pool.is_none_or(|wanted| wanted == name) {
            let table = format!("pool.{}", show::key(name.as_str()));
            tables.push(show::table(&table, &definition.layers(), is_of_pools));
        }
    }
    if let (Some(pool), true) = (pool, tables.is_empty()) {
        let names: Vec<_> = configuration.pools.keys().map(PoolName::as_str).collect();
        bail!("--show {pool}: the file has no such pool; it has {}", names.join(", "));
    }
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(tables.join("\n").as_bytes())
        .and_then(|()| stdout.flush())
        .context("standard output can't be written")
}
