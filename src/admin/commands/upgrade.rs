//! `wsgi-fpm upgrade`: the program on disk takes over, in the same process and with the same control socket, which closes the
//! connection; the new one is asked what has become of it.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{json, said, show};
use crate::admin::client::AskError;
use crate::admin::find::{self, Found};
use crate::admin::protocol::{Answer, Ask};
use crate::cli::UpgradeArgs;
use crate::stdout;

/// The new program has read everything by then.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// # Errors
/// There is no instance, or the old one goes on, for this reason.
pub fn run(args: &UpgradeArgs) -> anyhow::Result<ExitCode> {
    let instance = &args.instance;
    let Found { path, client } = find::find(&instance.which)?;
    let pid = client.pid;
    let mut answers = client.ask(Ask::Upgrade)?;
    loop {
        match answers.next() {
            Ok(Some(answer)) => show(&answer, instance.json)?,
            Ok(None) | Err(AskError::Gone) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let until = Instant::now() + PATIENCE;
    let client = loop {
        match find::at(&path) {
            Ok(found) if found.client.pid == pid => break found.client,
            Ok(_) | Err(_) if Instant::now() < until => sleep(PAUSE),
            Ok(_) | Err(_) => return Err(AskError::Gone.into()),
        }
    };
    let answers = client.ask(Ask::Wait)?;
    let code = said(answers, instance.json)?;
    let version = find::snapshot(find::at(&path)?, None)?.instance.version;
    if instance.json {
        json(&Answer::Begun(version))?;
    } else {
        stdout::line(&format!("wsgi-fpm {version} has taken over, pid {pid}"))?;
    }
    Ok(code)
}
