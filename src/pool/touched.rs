//! Files whose change loads a pool anew (`reload_on`).

use std::collections::BTreeSet;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, Event, EventKind};
use notify::{Error, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::config::stamp::FileStamp;
use crate::mask;

/// Files are looked at this long after something has happened near them: many things may, and whoever deploys takes several steps.
const QUIET: Duration = Duration::from_millis(200);

/// Says when something has happened near the files, as long as it lives.
struct Watched {
    _watcher: RecommendedWatcher,
    events: mpsc::Receiver<()>,
}

/// The files, each as it was when the last generation was started.
#[derive(Default)]
pub struct Touched {
    watched: Option<Watched>,
    files: Vec<(PathBuf, Option<FileStamp>)>,
    /// When they are looked at next; `None`: when something happens.
    due: Option<Instant>,
}

impl Touched {
    /// Watches these files of `pool` from now on, in place of others. What can't be watched the log says.
    pub fn watch(&mut self, files: &[PathBuf], pool: &str) {
        *self = Self::default();
        if files.is_empty() {
            return;
        }
        self.files = files.iter().map(|file| (file.clone(), FileStamp::of(file))).collect();
        match watch(files, pool) {
            Ok(watched) => self.watched = Some(watched),
            Err(error) => warn!(
                pool,
                %error,
                "reload_on can't be watched: no change of a file loads the application anew (see fs.inotify.max_user_instances)"
            ),
        }
    }

    /// Waits until one of them is not what it was. Can be left and called again; never ends where there are none.
    pub async fn next(&mut self) -> PathBuf {
        loop {
            match self.due {
                Some(due) => {
                    sleep_until(due).await;
                    self.due = None;
                    if let Some(changed) = self.changed() {
                        return changed;
                    }
                }
                None => {
                    self.something().await;
                    self.due = Some(Instant::now() + QUIET);
                }
            }
        }
    }

    /// Waits until something has happened near the files.
    async fn something(&mut self) {
        let Some(watched) = &mut self.watched else {
            return pending().await;
        };
        if watched.events.recv().await.is_none() {
            // Its thread has ended, and has said why.
            self.watched = None;
            pending().await
        }
    }

    fn changed(&mut self) -> Option<PathBuf> {
        let (file, stamp) = self
            .files
            .iter_mut()
            .find(|(file, stamp)| FileStamp::of(file) != *stamp)?;
        *stamp = FileStamp::of(file);
        Some(file.clone())
    }
}

/// Each file is watched by its directory: what replaces it is another file.
fn watch(files: &[PathBuf], pool: &str) -> notify::Result<Watched> {
    // One may wait: what it was does not matter, whether a file has changed its stamp tells.
    let (tell, events) = mpsc::channel(1);
    let told = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| is_change(event.kind)) {
            // Full: it is told already. Closed: nobody wants to know any more.
            let _ = tell.try_send(());
        }
    };
    // It starts a thread.
    let mut watcher = mask::inherited_by(|| notify::recommended_watcher(told))?;
    let directories = files.iter().flat_map(|file| {
        let itself = Some(&**file).filter(|file| file.is_dir());
        let above = file.parent().filter(|above| !above.as_os_str().is_empty());
        [itself, above].into_iter().flatten()
    });
    for directory in directories.collect::<BTreeSet<&Path>>() {
        match watcher.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => {}
            Err(Error {
                kind: ErrorKind::PathNotFound,
                ..
            }) => warn!(
                pool,
                directory = %directory.display(),
                "this directory does not exist: no change in it loads the application anew before the next reload (reload_on)"
            ),
            Err(error) => warn!(
                pool,
                directory = %directory.display(),
                %error,
                "this directory can't be watched: no change in it loads the application anew (reload_on)"
            ),
        }
    }
    Ok(Watched {
        _watcher: watcher,
        events,
    })
}

/// Reading a file changes nothing.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    async fn change_after(touched: &mut Touched, change: impl FnOnce()) -> PathBuf {
        change();
        timeout(LONG, touched.next()).await.expect("a change goes unnoticed")
    }

    #[tokio::test]
    async fn file_that_is_made_touched_replaced_or_removed_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let [file, other] = ["touched", "other"].map(|name| directory.path().join(name));
        let mut touched = Touched::default();
        touched.watch(std::slice::from_ref(&file), "blog");
        assert_eq!(change_after(&mut touched, || fs::write(&file, "").unwrap()).await, file);
        let touch = || {
            let opened = fs::File::options().write(true).open(&file).unwrap();
            opened.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        };
        assert_eq!(change_after(&mut touched, touch).await, file);
        fs::write(&other, "new").unwrap();
        assert_eq!(
            change_after(&mut touched, || fs::rename(&other, &file).unwrap()).await,
            file
        );
        assert_eq!(
            change_after(&mut touched, || fs::remove_file(&file).unwrap()).await,
            file
        );
    }

    #[tokio::test]
    async fn other_files_of_its_directory_are_no_change() {
        let directory = tempfile::tempdir().unwrap();
        let mut touched = Touched::default();
        touched.watch(&[directory.path().join("touched")], "blog");
        fs::write(directory.path().join("other"), "").unwrap();
        assert!(timeout(QUIET * 3, touched.next()).await.is_err());
    }

    #[tokio::test]
    async fn link_that_points_elsewhere_and_directory_with_a_new_file_have_changed() {
        let directory = tempfile::tempdir().unwrap();
        let [one, two, current, next] = ["1", "2", "current", "next"].map(|name| directory.path().join(name));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        symlink(&one, &current).unwrap();
        let mut touched = Touched::default();
        touched.watch(std::slice::from_ref(&current), "blog");
        let deploy = || {
            symlink(&two, &next).unwrap();
            fs::rename(&next, &current).unwrap();
        };
        assert_eq!(change_after(&mut touched, deploy).await, current);
        touched.watch(std::slice::from_ref(&current), "blog");
        assert_eq!(
            change_after(&mut touched, || fs::write(two.join("new.py"), "").unwrap()).await,
            current
        );
    }
}
