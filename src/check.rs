//! `wsgi-fpm check`: what is wrong with a configuration file.

use std::io::IsTerminal;
use std::process::ExitCode;

use crate::cli::CheckArgs;
use crate::config::pools;

/// Reports on standard error what is wrong, and a line for each pool on standard output.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let configuration = match pools::load(&args.config) {
        Ok(configuration) => configuration,
        Err(report) => {
            eprintln!("{}", report.render(std::io::stderr().is_terminal()));
            return Ok(ExitCode::from(crate::EXIT_USAGE));
        }
    };
    let mut code = ExitCode::SUCCESS;
    for (name, definition) in &configuration.pools {
        match definition.pool() {
            Ok(_) => println!("pool {name}: ok"),
            Err(error) => {
                println!("pool {name}: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
