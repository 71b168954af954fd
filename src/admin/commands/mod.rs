//! What is typed: each command asks an instance, and prints what that says.

mod logs;
mod pools;
mod requests;
mod status;
mod upgrade;

use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;

use super::client::AskError;
use super::find;
use super::protocol::{Answer, Ask, Came, Pool};
use crate::cli::InstanceArgs;
use crate::stdout;

pub use logs::run as logs;
pub use pools::{recycle, reload, scale, stop};
pub use requests::{import_line, kill, stacks, thread_lines};
pub use status::run as status;
pub use upgrade::run as upgrade;

/// Asks, and prints what is answered. It has failed if a pool has.
///
/// # Errors
/// There is no instance, or it refuses.
fn steer(instance: &InstanceArgs, ask: Ask) -> anyhow::Result<ExitCode> {
    let found = find::find(&instance.which)?;
    said(found.client.ask(ask)?, instance.json)
}

/// Prints everything to the end.
fn said(mut answers: super::client::Answers, json: bool) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    while let Some(answer) = answers.next()? {
        if let Answer::Pool(Pool {
            state: Came::Failed | Came::FailedAndGoesOn | Came::NotReplaced | Came::Unreachable,
            ..
        }) = &answer
        {
            code = ExitCode::FAILURE;
        }
        show(&answer, json)?;
    }
    Ok(code)
}

fn show(answer: &Answer, json: bool) -> anyhow::Result<()> {
    match answer {
        Answer::Begun(what) if what.is_empty() => Ok(()),
        answer if json => self::json(answer),
        Answer::Begun(what) => stdout::line(what),
        Answer::Pool(pool) => show_pool(pool),
        // What was not asked for.
        Answer::Snapshot(_) | Answer::Stacks(_) | Answer::Event(_) | Answer::Lost(_) | Answer::End(_) => {
            Err(AskError::Gone.into())
        }
    }
}

fn show_pool(pool: &Pool) -> anyhow::Result<()> {
    let Pool {
        name,
        state,
        reason,
        detail,
    } = pool;
    let reason = contract::log::escape(reason.as_deref().unwrap_or_default());
    let failure = match state {
        Came::Serving => return stdout::line(&format!("{name}: serves")),
        Came::Resting => return stdout::line(&format!("{name}: at rest; the next request loads the application")),
        Came::Stopped => return stdout::line(&format!("{name}: has ended")),
        Came::Replaced => return stdout::line(&format!("{name}: all workers have been replaced")),
        Came::NotReplaced => format!("{name}: a worker is not replaced, and goes on; it is tried again: {reason}"),
        Came::Unreachable => format!("{name}: {reason}"),
        Came::Failed => format!("{name}: failed: {reason}"),
        Came::FailedAndGoesOn => format!("{name}: the new version failed, and the one before goes on: {reason}"),
    };
    // The reason first; whoever wants to know more reads on.
    eprintln!("wsgi-fpm: error: {failure}");
    for line in detail.iter().flat_map(|detail| detail.lines()) {
        eprintln!("{}", contract::log::escape(line));
    }
    Ok(())
}

fn json(value: &impl Serialize) -> anyhow::Result<()> {
    stdout::line(&serde_json::to_string(value).context("it can't be written as JSON")?)
}
