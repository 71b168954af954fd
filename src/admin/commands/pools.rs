//! `wsgi-fpm reload`, `stop`, `recycle` and `scale`.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::thread::available_parallelism;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use settings::values::PoolName;

use super::{show, steer};
use crate::admin::client::AskError;
use crate::admin::find;
use crate::admin::protocol::Ask;
use crate::cli::{RecycleArgs, ReloadArgs, ScaleArgs, StopArgs};
use crate::stdout;

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
    let process = process(found.client.pid);
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
    if let Some(process) = process {
        wait(&process)?;
    }
    if is_everything && !args.instance.json {
        stdout::line("it has ended")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `None` where it can't be known: it is in another namespace, perhaps.
fn process(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

fn wait(process: &OwnedFd) -> io::Result<()> {
    loop {
        match poll(&mut [PollFd::new(process, PollFlags::IN)], None) {
            Err(rustix::io::Errno::INTR) => {}
            ended => return ended.map(drop).map_err(Into::into),
        }
    }
}

fn name(pool: &PoolName) -> String {
    pool.as_str().to_owned()
}
