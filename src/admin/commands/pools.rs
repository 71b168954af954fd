//! `wsgi-fpm reload`, `stop`, `recycle` and `scale`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::thread::{available_parallelism, sleep};
use std::time::Duration;

use anyhow::bail;
use contract::wait::timespec;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use settings::values::PoolName;

use super::{show, steer};
use crate::admin::client::AskError;
use crate::admin::find::{self, FindError};
use crate::admin::protocol::Ask;
use crate::cli::{RecycleArgs, ReloadArgs, ScaleArgs, StopArgs};
use crate::status::snapshot::Snapshot;
use crate::stdout;

/// How often it is looked what has become of an instance that has closed the connection.
const LOOK: Duration = Duration::from_millis(500);

/// # Errors
/// There is no instance, or it refuses; the file has mistakes.
pub fn reload(args: &ReloadArgs) -> anyhow::Result<ExitCode> {
    let (pool, changed) = (args.pool.as_ref().map(name), args.changed);
    steer(&args.instance, Ask::Reload { pool, changed })
}

/// # Errors
/// As [`reload`].
pub fn recycle(args: &RecycleArgs) -> anyhow::Result<ExitCode> {
    let pool = name(&args.pool);
    steer(&args.instance, Ask::Recycle { pool })
}

/// # Errors
/// As [`reload`].
pub fn scale(args: &ScaleArgs) -> anyhow::Result<ExitCode> {
    let cores = available_parallelism().map_or(1, |cores| cores.get() as u32);
    let range = args.workers.on(cores);
    let ask = Ask::Scale {
        pool: name(&args.pool),
        least: *range.start(),
        most: *range.end(),
    };
    steer(&args.instance, ask)
}

/// # Errors
/// As [`reload`].
pub fn stop(args: &StopArgs) -> anyhow::Result<ExitCode> {
    let (pool, now) = (args.pool.as_ref().map(name), args.now);
    let is_everything = pool.is_none();
    let found = find::find(&args.instance.which)?;
    let whom = pool.clone().unwrap_or_else(|| "everything".to_owned());
    let pid = found.client.pid;
    let process = process(pid);
    let mut answers = found.client.ask(Ask::Stop { pool, now })?;
    loop {
        match answers.next() {
            Ok(Some(answer)) => show(&answer, args.instance.json)?,
            Ok(None) => return Ok(ExitCode::SUCCESS),
            // Of the last pool, too.
            Err(AskError::Gone) => break,
            Err(error) => return Err(error.into()),
        }
    }
    wait(&found.path, pid, process.as_ref(), &whom)?;
    if is_everything && !args.instance.json {
        stdout::line("it has ended")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `None` where it can't be known: it is in another namespace, perhaps.
fn process(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Waits until the instance is gone of which the connection was closed.
///
/// # Errors
/// It goes on, as another program in the same process: that knows nothing of the command.
fn wait(path: &Path, pid: i32, process: Option<&OwnedFd>, whom: &str) -> anyhow::Result<()> {
    loop {
        match process {
            Some(process) if has_ended(process)? => return Ok(()),
            Some(_) => {}
            None => sleep(LOOK),
        }
        match find::at(path) {
            Ok(found) if found.client.pid != pid => return Ok(()),
            Ok(found) => {
                let stops = |snapshot: Snapshot| snapshot.instance.stopping;
                if find::snapshot(found, None).is_ok_and(|snapshot| !stops(snapshot)) {
                    bail!("the instance was upgraded before {whom} had ended, and serves on; type it again");
                }
            }
            Err(FindError::NoSocket(_) | FindError::Ended(_)) if process.is_none() => return Ok(()),
            Err(_) => {}
        }
    }
}

/// Whether it has, within [`LOOK`].
fn has_ended(process: &OwnedFd) -> io::Result<bool> {
    match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timespec(LOOK))) {
        Err(rustix::io::Errno::INTR) => Ok(false),
        ended => Ok(ended? > 0),
    }
}

fn name(pool: &PoolName) -> String {
    pool.as_str().to_owned()
}
