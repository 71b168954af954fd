//! Tells when files of the project change: those that `kinds` says are worth a reload.
//!
//! Directories that hold nothing of the application are not even watched: a virtual environment alone may have more
//! directories than the system lets one user watch.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tracing::warn;

use super::kinds::{is_skipped, matters};

/// A change is settled after this much silence: editors write a file in several steps, a checkout writes many files.
const QUIET: Duration = Duration::from_millis(100);
/// But no later than this after the first one.
const LONGEST: Duration = Duration::from_secs(2);
/// Directories that are watched at most: those of a large project, not those of a whole home directory.
const MOST_DIRECTORIES: usize = 8192;

/// What has happened to files.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// The first file of a batch: more may follow.
    Begun(PathBuf),
    /// The whole batch of changed, new or removed files, sorted. Follows each [`Change::Begun`].
    Settled(Vec<PathBuf>),
}

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

/// Watches the files below `roots`, those of new directories too.
///
/// # Errors
/// If the system can't watch a root. Of what lies below, as much is watched as can be, and the log says what is not.
pub fn files(roots: Vec<PathBuf>) -> anyhow::Result<(Watcher, mpsc::Receiver<Change>)> {
    at_most(MOST_DIRECTORIES, roots)
}

fn at_most(most: usize, roots: Vec<PathBuf>) -> anyhow::Result<(Watcher, mpsc::Receiver<Change>)> {
    let (messages, inbox) = std_mpsc::channel();
    let events = messages.clone();
    let watcher = notify::recommended_watcher(move |event| {
        // Fails after the thread has ended, when nobody wants events.
        let _ = events.send(Message::Event(event));
    })
    .context("cannot watch files for changes")?;
    let mut tree = Tree {
        watcher,
        roots: roots.clone(),
        watched: HashSet::new(),
        most,
        refused: false,
    };
    for root in roots {
        tree.watch_below(&root, &mut BTreeSet::new())
            .with_context(|| format!("cannot watch {} for changes", root.display()))?;
    }
    // One message may wait; while it does, the thread waits too and changes gather in its inbox.
    let (changes, told) = mpsc::channel(1);
    thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || gather(tree, &inbox, &changes))
        .context("cannot start the thread that watches files")?;
    Ok((Watcher { thread: messages }, told))
}

/// Turns events into batches until there is nobody to take them.
fn gather(mut tree: Tree, inbox: &std_mpsc::Receiver<Message>, changes: &mpsc::Sender<Change>) {
    let mut changed = BTreeSet::new();
    let mut latest = None;
    loop {
        let received = match latest {
            None => inbox.recv().map_err(|_| std_mpsc::RecvTimeoutError::Disconnected),
            Some(latest) => inbox.recv_timeout(QUIET.min(Instant::saturating_duration_since(&latest, Instant::now()))),
        };
        let news = match received {
            Ok(Message::Event(Ok(event))) => {
                tree.take(event, &mut changed);
                match changed.first() {
                    Some(first) if latest.is_none() => {
                        latest = Some(Instant::now() + LONGEST);
                        Change::Begun(first.clone())
                    }
                    _ => continue,
                }
            }
            Ok(Message::Event(Err(error))) => {
                warn!(%error, "a change of a file may have been missed");
                continue;
            }
            Err(std_mpsc::RecvTimeoutError::Timeout) => {
                latest = None;
                Change::Settled(std::mem::take(&mut changed).into_iter().collect())
            }
            Ok(Message::Stop) | Err(std_mpsc::RecvTimeoutError::Disconnected) => return,
        };
        if changes.blocking_send(news).is_err() {
            return;
        }
    }
}

/// The directories that are watched.
struct Tree {
    watcher: RecommendedWatcher,
    roots: Vec<PathBuf>,
    watched: HashSet<PathBuf>,
    most: usize,
    /// A directory was too many, which the log has said.
    refused: bool,
}

impl Tree {
    fn take(&mut self, event: notify::Event, changed: &mut BTreeSet<PathBuf>) {
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        let is_new = matches!(
            event.kind,
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        let is_gone = matches!(
            event.kind,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        for path in event.paths {
            if is_gone && self.watched.contains(&path) && !path.exists() {
                self.watched.retain(|directory| !directory.starts_with(&path));
            } else if is_new && path.is_dir() {
                // Files that were written before the watch began are found here.
                if !is_skipped(&path)
                    && let Err(error) = self.watch_below(&path, changed)
                    && !is_unreadable(&error)
                {
                    warn!(%error, directory = %path.display(), "cannot watch a new directory for changes");
                }
            } else if self.matters(&path) {
                changed.insert(path);
            }
        }
    }

    fn matters(&self, path: &Path) -> bool {
        let root = self.roots.iter().find(|root| path.starts_with(root));
        root.is_some_and(|root| matters(root, path))
    }

    /// Watches `top` and the directories below, the upper ones first; adds the files there to `found`.
    fn watch_below(&mut self, top: &Path, found: &mut BTreeSet<PathBuf>) -> notify::Result<()> {
        let mut waiting = VecDeque::from([top.to_owned()]);
        while let Some(directory) = waiting.pop_front() {
            if self.watched.len() >= self.most && !self.watched.contains(&directory) {
                self.refuse(&directory, "there are too many");
                return Ok(());
            }
            // Watch first, list second: what is written in between is then seen at least once.
            let listed = self
                .watcher
                .watch(&directory, RecursiveMode::NonRecursive)
                .and_then(|()| Ok(std::fs::read_dir(&directory)?));
            let entries = match listed {
                Ok(entries) => entries,
                Err(error) if is_full(&error) => {
                    self.refuse(
                        &directory,
                        "the system allows no more (sysctl fs.inotify.max_user_watches)",
                    );
                    return Ok(());
                }
                // Gone, or not ours to read: nothing that the application could use.
                Err(error) if is_unreadable(&error) && directory != top => continue,
                Err(error) => return Err(error),
            };
            self.watched.insert(directory);
            for entry in entries.flatten() {
                let path = entry.path();
                // Links to directories are not followed: they may lead in a circle.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if !is_skipped(&path) {
                        waiting.push_back(path);
                    }
                } else if self.matters(&path) {
                    found.insert(path);
                }
            }
        }
        Ok(())
    }

    /// Says once that not all directories are watched.
    fn refuse(&mut self, directory: &Path, why: &str) {
        if !std::mem::replace(&mut self.refused, true) {
            warn!(
                watched = self.watched.len(),
                directory = %directory.display(),
                why,
                "not all directories are watched: changes in this one and others make no reload"
            );
        }
    }
}

fn is_full(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(error) => error.kind() == io::ErrorKind::StorageFull,
        _ => false,
    }
}

fn is_unreadable(error: &notify::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied};
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => matches!(error.kind(), NotFound | PermissionDenied),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn told(changes: &mut mpsc::Receiver<Change>) -> Change {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let change = async { tokio::time::timeout(Duration::from_secs(10), changes.recv()).await };
        runtime
            .block_on(change)
            .expect("no change was told")
            .expect("the watcher has ended")
    }

    /// The next batch, which begins with one of its files.
    fn next(changes: &mut mpsc::Receiver<Change>) -> Vec<PathBuf> {
        match (told(changes), told(changes)) {
            (Change::Begun(first), Change::Settled(batch)) => {
                assert!(batch.contains(&first), "{first:?} in {batch:?}");
                batch
            }
            other => panic!("{other:?}"),
        }
    }

    fn watched(root: &Path) -> (Watcher, mpsc::Receiver<Change>) {
        files(vec![root.to_owned()]).unwrap()
    }

    #[test]
    fn changes_of_sources_are_told_in_one_batch_and_others_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for directory in ["site", "venv", "venv/lib", "node_modules", "__pycache__", "media"] {
            fs::create_dir(path(directory)).unwrap();
        }
        fs::write(path("venv/pyvenv.cfg"), "").unwrap();
        fs::write(path("b.py"), "1").unwrap();
        let (_watcher, mut changes) = watched(root.path());
        for file in [
            "venv/lib/x.py",
            "node_modules/x.js",
            "__pycache__/x.py",
            "media/upload.html",
            "db.sqlite3",
            "site/index.html",
            "site/a.py",
            "b.py",
        ] {
            fs::write(path(file), "2").unwrap();
        }
        assert_eq!(
            next(&mut changes),
            [path("b.py"), path("site/a.py"), path("site/index.html")]
        );
        fs::remove_file(path("b.py")).unwrap();
        assert_eq!(next(&mut changes), [path("b.py")]);
    }

    #[test]
    fn change_is_told_at_once_and_settled_later() {
        let root = tempfile::tempdir().unwrap();
        let (_watcher, mut changes) = watched(root.path());
        let file = root.path().join("a.html");
        let stop = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            // No silence in which the batch could settle.
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    fs::write(&file, "1").unwrap();
                    thread::sleep(Duration::from_millis(1));
                }
            });
            assert_eq!(told(&mut changes), Change::Begun(file.clone()));
            assert_eq!(told(&mut changes), Change::Settled(vec![file.clone()]));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn files_of_new_directories_are_watched() {
        let root = tempfile::tempdir().unwrap();
        let (_watcher, mut changes) = watched(root.path());
        let module = root.path().join("new/deep/module.py");
        fs::create_dir_all(module.parent().unwrap()).unwrap();
        fs::write(&module, "1").unwrap();
        assert_eq!(next(&mut changes), std::slice::from_ref(&module));
        fs::write(&module, "2").unwrap();
        assert_eq!(next(&mut changes), [module]);
    }

    #[test]
    fn upper_directories_are_watched_when_there_are_too_many() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b/c")).unwrap();
        let watch = |most| at_most(most, vec![root.path().to_owned()]).unwrap();
        let file = |directory: &str| {
            let file = root.path().join(directory).join("x.py");
            fs::write(&file, "1").unwrap();
            file
        };
        let (watcher, mut changes) = watch(3);
        file("a/b/c");
        let upper = file("a/b");
        assert_eq!(next(&mut changes), [upper]);
        drop(watcher);
        let (_watcher, mut changes) = watch(4);
        let lowest = file("a/b/c");
        assert_eq!(next(&mut changes), [lowest]);
    }

    #[test]
    fn directories_that_come_and_go_use_nothing_up() {
        let root = tempfile::tempdir().unwrap();
        let (_watcher, mut changes) = at_most(2, vec![root.path().to_owned()]).unwrap();
        for _ in 0..5 {
            let directory = root.path().join("passing");
            fs::create_dir(&directory).unwrap();
            let module = directory.join("x.py");
            fs::write(&module, "1").unwrap();
            assert_eq!(next(&mut changes), std::slice::from_ref(&module));
            fs::remove_dir_all(&directory).unwrap();
            assert_eq!(next(&mut changes), [module]);
        }
    }

    #[test]
    fn receiver_ends_with_the_watcher() {
        let root = tempfile::tempdir().unwrap();
        let (watcher, mut changes) = watched(root.path());
        drop(watcher);
        assert_eq!(changes.blocking_recv(), None);
    }

    #[test]
    fn missing_directory_is_an_error_that_names_it() {
        let Err(error) = files(vec!["/nonexistent/site".into()]) else {
            panic!("watching a missing directory succeeded");
        };
        assert_eq!(error.to_string(), "cannot watch /nonexistent/site for changes");
    }
}
