//! `wsgi-fpm logs`: follows what is logged, over upgrades too, or has log files opened anew.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{json, steer};
use crate::admin::client::{AskError, Client};
use crate::admin::find::{self, Found};
use crate::admin::protocol::{Answer, Ask};
use crate::cli::LogsArgs;
use crate::stdout;

/// A program that has taken the place of the one that was followed is there by then.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// # Errors
/// There is no instance, or a file can't be opened.
pub fn run(args: &LogsArgs) -> anyhow::Result<ExitCode> {
    if args.reopen {
        return steer(&args.instance, Ask::Reopen);
    }
    let Found { path, mut client } = find::find(&args.instance.which)?;
    let pid = client.pid;
    loop {
        match follow(client, args) {
            Err(error) if matches!(error.downcast_ref(), Some(AskError::Gone)) => {}
            ended => return ended.map(|()| ExitCode::SUCCESS),
        }
        let until = Instant::now() + PATIENCE;
        client = loop {
            match find::at(&path) {
                Ok(found) if found.client.pid == pid => break found.client,
                Ok(_) | Err(_) if Instant::now() < until => sleep(PAUSE),
                Ok(_) | Err(_) => {
                    eprintln!("wsgi-fpm: the instance has ended");
                    return Ok(ExitCode::SUCCESS);
                }
            }
        };
    }
}

fn follow(client: Client, args: &LogsArgs) -> anyhow::Result<()> {
    let pool = args.pool.as_ref().map(|pool| pool.as_str().to_owned());
    let mut answers = client.ask(Ask::Logs { pool })?;
    while let Some(answer) = answers.next()? {
        match answer {
            Answer::Begun(_) => {}
            answer if args.instance.json => json(&answer)?,
            Answer::Event(event) => stdout::line(&event)?,
            Answer::Lost(1) => stdout::line("wsgi-fpm logs: 1 event is left out: it was not read in time")?,
            Answer::Lost(number) => stdout::line(&format!(
                "wsgi-fpm logs: {number} events are left out: they were not read in time"
            ))?,
            Answer::Snapshot(_) | Answer::Pool(_) | Answer::Stacks(_) | Answer::End(_) => {
                return Err(AskError::Gone.into());
            }
        }
    }
    Ok(())
}
