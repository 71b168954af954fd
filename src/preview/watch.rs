//! Tells when Python files below a directory change.
//!
//! Directories that hold no code of the application are not even watched: a virtual environment alone may have more
//! directories than the system lets one user watch.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use notify::event::EventKind;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tracing::warn;

/// A change is told after this much silence: editors write a file in several steps, a checkout writes many files.
const QUIET: Duration = Duration::from_millis(100);
/// But no later than this after the first one.
const LONGEST: Duration = Duration::from_secs(2);

/// Directories of tools, by name. Virtual environments are told by their `pyvenv.cfg`, whatever they are called.
const SKIPPED: [&str; 8] = [
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    ".tox",
    "node_modules",
];

/// Watches as long as it lives.
pub struct Watcher {
    thread: std_mpsc::Sender<Message>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // The thread may have ended, since its receiver has; then there is nothing to stop.
        let _ = self.thread.send(Message::Stop);
    }
}

enum Message {
    Event(notify::Result<notify::Event>),
    Stop,
}

/// Watches the `*.py` files below `root`, those of new directories too. Each message is a batch of changed, new or
/// removed files, sorted.
///
/// # Errors
/// If the system can't watch `root` or one of its directories.
pub fn python_files(root: &Path) -> anyhow::Result<(Watcher, mpsc::Receiver<Vec<PathBuf>>)> {
    let (messages, inbox) = std_mpsc::channel();
    let events = messages.clone();
    let mut watcher = notify::recommended_watcher(move |event| {
        // Fails after the thread has ended, when nobody wants events.
        let _ = events.send(Message::Event(event));
    })
    .context("cannot watch files for changes")?;
    watch_below(&mut watcher, root, &mut BTreeSet::new())
        .with_context(|| format!("cannot watch {} for changes", root.display()))?;
    // One batch may wait; while it does, the thread waits too and changes gather in its inbox for the next one.
    let (batches, changed) = mpsc::channel(1);
    thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || gather(watcher, &inbox, &batches))
        .context("cannot start the thread that watches files")?;
    Ok((Watcher { thread: messages }, changed))
}

/// Turns events into batches until there is nobody to take them.
fn gather(mut watcher: RecommendedWatcher, inbox: &std_mpsc::Receiver<Message>, batches: &mpsc::Sender<Vec<PathBuf>>) {
    let mut changed = BTreeSet::new();
    let mut latest = None;
    loop {
        let received = match latest {
            None => inbox.recv().map_err(|_| std_mpsc::RecvTimeoutError::Disconnected),
            Some(latest) => inbox.recv_timeout(QUIET.min(Instant::saturating_duration_since(&latest, Instant::now()))),
        };
        match received {
            Ok(Message::Event(Ok(event))) => take(&mut watcher, event, &mut changed),
            Ok(Message::Event(Err(error))) => warn!(%error, "a change of a file may have been missed"),
            Err(std_mpsc::RecvTimeoutError::Timeout) => {
                latest = None;
                if batches
                    .blocking_send(std::mem::take(&mut changed).into_iter().collect())
                    .is_err()
                {
                    return;
                }
                continue;
            }
            Ok(Message::Stop) | Err(std_mpsc::RecvTimeoutError::Disconnected) => return,
        }
        if latest.is_none() && !changed.is_empty() {
            latest = Some(Instant::now() + LONGEST);
        }
    }
}

fn take(watcher: &mut RecommendedWatcher, event: notify::Event, changed: &mut BTreeSet<PathBuf>) {
    if matches!(event.kind, EventKind::Access(_)) {
        return;
    }
    let may_be_new = matches!(
        event.kind,
        EventKind::Create(_) | EventKind::Modify(notify::event::ModifyKind::Name(_))
    );
    for path in event.paths {
        if is_python(&path) {
            changed.insert(path);
        } else if may_be_new && path.is_dir() && !is_skipped(&path) {
            // Files that were written before the watch began are found here.
            if let Err(error) = watch_below(watcher, &path, changed) {
                warn!(%error, directory = %path.display(), "cannot watch a new directory for changes");
            }
        }
    }
}

/// Watches `directory` and those below; adds the Python files there to `found`.
fn watch_below(
    watcher: &mut RecommendedWatcher,
    directory: &Path,
    found: &mut BTreeSet<PathBuf>,
) -> notify::Result<()> {
    // Watch first, list second: what is written in between is then seen at least once.
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    for entry in std::fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        // Links to directories are not followed: they may lead in a circle.
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_directory && !is_skipped(&path) {
            match watch_below(watcher, &path, found) {
                Ok(()) => {}
                // Gone, or not ours to read: no code that the application could import.
                Err(error) if is_unreadable(&error) => {}
                Err(error) => return Err(error),
            }
        } else if is_python(&path) {
            found.insert(path);
        }
    }
    Ok(())
}

fn is_unreadable(error: &notify::Error) -> bool {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => matches!(error.kind(), NotFound | PermissionDenied),
        _ => false,
    }
}

fn is_python(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "py")
}

fn is_skipped(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default();
    SKIPPED.iter().any(|skipped| name == *skipped) || directory.join("pyvenv.cfg").exists()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn next(batches: &mut mpsc::Receiver<Vec<PathBuf>>) -> Vec<PathBuf> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let batch = async { tokio::time::timeout(Duration::from_secs(10), batches.recv()).await };
        runtime
            .block_on(batch)
            .expect("no change was told")
            .expect("the watcher has ended")
    }

    #[test]
    fn changes_of_python_files_are_told_in_one_batch_and_others_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for directory in ["site", "venv", "venv/lib", "node_modules", "__pycache__"] {
            fs::create_dir(path(directory)).unwrap();
        }
        fs::write(path("venv/pyvenv.cfg"), "").unwrap();
        fs::write(path("b.py"), "1").unwrap();
        let (_watcher, mut batches) = python_files(root.path()).unwrap();
        for file in [
            "venv/lib/x.py",
            "node_modules/x.py",
            "__pycache__/x.py",
            "notes.txt",
            "site/a.py",
            "b.py",
        ] {
            fs::write(path(file), "2").unwrap();
        }
        assert_eq!(next(&mut batches), [path("b.py"), path("site/a.py")]);
        fs::remove_file(path("b.py")).unwrap();
        assert_eq!(next(&mut batches), [path("b.py")]);
    }

    #[test]
    fn files_of_new_directories_are_watched() {
        let root = tempfile::tempdir().unwrap();
        let (_watcher, mut batches) = python_files(root.path()).unwrap();
        let module = root.path().join("new/deep/module.py");
        fs::create_dir_all(module.parent().unwrap()).unwrap();
        fs::write(&module, "1").unwrap();
        assert_eq!(next(&mut batches), std::slice::from_ref(&module));
        fs::write(&module, "2").unwrap();
        assert_eq!(next(&mut batches), [module]);
    }

    #[test]
    fn receiver_ends_with_the_watcher() {
        let root = tempfile::tempdir().unwrap();
        let (watcher, mut batches) = python_files(root.path()).unwrap();
        drop(watcher);
        assert_eq!(batches.blocking_recv(), None);
    }

    #[test]
    fn missing_directory_is_an_error_that_names_it() {
        let Err(error) = python_files(Path::new("/nonexistent/site")) else {
            panic!("watching a missing directory succeeded");
        };
        assert_eq!(error.to_string(), "cannot watch /nonexistent/site for changes");
    }
}
