//! `prometheus_client` in its multiprocess mode: each process of the application has files in a directory, and whoever reads them
//! wants to be told of processes that have died, so that their gauges end. The leader does what its `mark_process_dead` does.

use std::env;
use std::fs;
use std::path::PathBuf;

use contract::log::escape;
use contract::wait::is_ready;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// `None`: it is not used, or the application sets the variable itself.
fn directory() -> Option<PathBuf> {
    let names = ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"];
    let set = names.into_iter().find_map(env::var_os);
    set.filter(|directory| !directory.is_empty()).map(PathBuf::from)
}

/// Before the application is loaded: the directory is there, and has no gauges of processes that ended while nobody looked.
pub fn prepare() {
    let Some(directory) = directory() else { return };
    if let Err(error) = fs::create_dir_all(&directory) {
        let directory = escape(&directory.to_string_lossy());
        tracing::warn!(directory, %error, "the directory of PROMETHEUS_MULTIPROC_DIR can't be made");
    }
    forget_dead();
}

/// Of those that ended while nobody looked.
pub fn forget_dead() {
    remove(|pid| {
        let process = Pid::from_raw(pid).ok_or(Errno::SRCH);
        let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        match process {
            // It may have ended, and nobody has waited for it.
            Ok(process) => is_ready(&process, PollFlags::IN),
            Err(error) => error == Errno::SRCH,
        }
    });
}

/// The process has died, or is about to.
pub fn forget(pid: i32) {
    remove(|other| other == pid);
}

/// Removes the files of gauges that only count while their process lives.
fn remove(is_dead: impl Fn(i32) -> bool) {
    let entries = directory().and_then(|directory| fs::read_dir(directory).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| {
            let name = name.strip_prefix("gauge_live")?.strip_suffix(".db")?;
            name.rsplit_once('_')?.1.parse().ok()
        });
        if pid.is_some_and(&is_dead)
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::debug!(%error, "a file of prometheus_client can't be removed");
        }
    }
}
