//! Which instance is meant: the one whose socket is named, the one that serves a file, or the only one there is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User};
use rustix::process::geteuid;
use settings::values::Control;

use super::client::{AskError, Client};
use super::directory;
use super::protocol::{Answer, Ask};
use crate::cli::WhichArgs;
use crate::config::pools;
use crate::config::report::Report;
use crate::status::snapshot::{Instance, Snapshot};

/// How long others may take to say that they serve the same file, once one has: that is a mistake, and others may say nothing at all.
const ANOTHER: Duration = Duration::from_millis(200);

/// No instance, or more than one: nothing was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    #[error("no wsgi-fpm runs that this user may see (looked in {}); --control PATH names the socket of one elsewhere", list(.0))]
    Nothing(Vec<PathBuf>),
    #[error("no wsgi-fpm runs that serves {}{}{}", .file.display(), silent(.control.as_deref()), these(.others))]
    NotServed {
        file: PathBuf,
        /// What the file says of its instance's socket.
        control: Option<PathBuf>,
        others: Vec<String>,
    },
    #[error(
        "{}: its mistakes hide where its instance listens (control in [server]); mend them, or name the socket with --control:\n{}",
        .file.display(), .report.lines().collect::<Vec<_>>().join("\n")
    )]
    Unreadable { file: PathBuf, report: Report },
    #[error("{} instances of wsgi-fpm run; say which with --control:\n{}", .0.len(), .0.join("\n"))]
    Several(Vec<String>),
    #[error(
        "{}: there is no such socket: the instance has ended, or has another one, or none (control in [server], --control)",
        .0.display()
    )]
    NoSocket(PathBuf),
    #[error("{}: the wsgi-fpm that made this socket does not run any more", .0.display())]
    Ended(PathBuf),
    #[error("{}: this is no control socket of wsgi-fpm", .0.display())]
    NotASocket(PathBuf),
    #[error("{}: it is {owner}'s, and only that user and root may steer it; type: sudo {}", .path.display(), typed())]
    NotAllowed { path: PathBuf, owner: String },
    #[error("{}: the instance does not take connections: is its process stopped?", .0.display())]
    Full(PathBuf),
    #[error("{}: {error}", .path.display())]
    System { path: PathBuf, error: io::Error },
}

/// An instance.
#[derive(Debug)]
pub struct Found {
    pub path: PathBuf,
    pub client: Client,
}

/// # Errors
/// There is none, or more than one.
pub fn find(args: &WhichArgs) -> Result<Found, FindError> {
    match &args.control {
        Some(path) => at(path),
        None => match &args.config {
            Some(file) => serving(file),
            None => the_only(),
        },
    }
}

pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// What the file says of its instance's socket, and its mistakes, which may be why it says nothing.
fn control_in(file: &Path) -> (Option<PathBuf>, Option<Report>) {
    let (configuration, report) = pools::examine(file);
    match configuration.status().control.as_ref() {
        Some(Control::Path(path)) => (Some(path.clone()), None),
        Some(Control::Off) => (None, None),
        None => (None, report.filter(|_| file.exists())),
    }
}

/// # Errors
/// Nobody answers there.
pub fn at(path: &Path) -> Result<Found, FindError> {
    let path = path.to_owned();
    let client = match Client::connect(&path) {
        Ok(client) => client,
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::NotFound => FindError::NoSocket(path),
                io::ErrorKind::WouldBlock => FindError::Full(path),
                io::ErrorKind::ConnectionRefused if directory::is_socket(&path) => FindError::Ended(path),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => FindError::NotASocket(path),
                io::ErrorKind::PermissionDenied => FindError::NotAllowed {
                    owner: owner(&path),
                    path,
                },
                _ => FindError::System { path, error },
            });
        }
    };
    // Who puts a socket there may let commands believe anything.
    let us = geteuid();
    if client.uid != 0 && client.uid != us.as_raw() && !us.is_root() {
        let owner = user(client.uid);
        return Err(FindError::NotAllowed { path, owner });
    }
    Ok(Found { path, client })
}

/// Those that can be asked at these sockets, and why one can't.
fn answering(sockets: Vec<PathBuf>) -> (Vec<Found>, Option<FindError>) {
    let mut found = Vec::new();
    let mut refused = None;
    for path in sockets {
        match at(&path) {
            Ok(one) => found.push(one),
            // Of one that was killed.
            Err(FindError::Ended(_) | FindError::NoSocket(_) | FindError::NotASocket(_)) => {}
            Err(error) => refused = Some(error),
        }
    }
    (found, refused)
}

fn the_only() -> Result<Found, FindError> {
    let (mut found, refused) = answering(directory::sockets());
    match (found.len(), refused) {
        (1, _) => Ok(found.remove(0)),
        (0, Some(refused)) => Err(refused),
        (0, None) => Err(FindError::Nothing(directory::directories())),
        _ => Err(FindError::Several(found.into_iter().map(describe).collect())),
    }
}

/// The one that serves this file.
fn serving(file: &Path) -> Result<Found, FindError> {
    let mut sockets = directory::sockets();
    let (control, report) = control_in(file);
    let is_new = |named: &&PathBuf| !sockets.iter().any(|known| is_same(known, named));
    sockets.extend(control.as_ref().filter(is_new).cloned());
    let (found, refused) = answering(sockets);
    let (mut those, mut others) = (Vec::new(), Vec::new());
    let answers = all_asked(found);
    let mut until = None;
    while let Some((path, asked)) = next(&answers, until) {
        match asked {
            Ok(snapshot) if serves(&snapshot.instance, file) => {
                until.get_or_insert_with(|| Instant::now() + ANOTHER);
                those.push((described(&path, &snapshot), path));
            }
            Ok(snapshot) => others.push(described(&path, &snapshot)),
            Err(error) => others.push(format!("  --control {}  {error}", path.display())),
        }
    }
    let named = file.to_owned();
    match (those.as_slice(), refused, report) {
        ([(_, path)], ..) => at(path),
        ([], Some(refused), _) if others.is_empty() => Err(refused),
        ([], _, Some(report)) => Err(FindError::Unreadable { file: named, report }),
        ([], _, None) => Err(FindError::NotServed {
            file: named,
            control,
            others,
        }),
        _ => Err(FindError::Several(
            those.into_iter().map(|(described, _)| described).collect(),
        )),
    }
}

/// Whether it is this file that it serves.
pub(super) fn serves(instance: &Instance, file: &Path) -> bool {
    let served = instance.file.as_deref().map(Path::new);
    served.is_some_and(|served| is_same(served, file))
}

/// The next answer, if there is one by then.
pub(super) fn next<T>(answers: &Receiver<T>, until: Option<Instant>) -> Option<T> {
    match until {
        Some(until) => answers
            .recv_timeout(until.saturating_duration_since(Instant::now()))
            .ok(),
        None => answers.recv().ok(),
    }
}

/// How each of them is, as they answer: one that is held up holds up no other.
pub(super) fn all_asked(found: Vec<Found>) -> Receiver<(PathBuf, Result<Snapshot, AskError>)> {
    let (sender, answers) = channel();
    for Found { path, client } in found {
        let sender = sender.clone();
        // It ends with this process, or when the instance has said nothing for long.
        std::thread::spawn(move || {
            let asked = snapshot(
                Found {
                    path: path.clone(),
                    client,
                },
                None,
            );
            let _ = sender.send((path, asked));
        });
    }
    answers
}

/// How everything is there, or this pool alone.
///
/// # Errors
/// It does not say, or has no such pool.
pub fn snapshot(Found { path, client }: Found, pool: Option<String>) -> Result<Snapshot, AskError> {
    match ask(client, pool.clone()) {
        // An upgrade has come in between: its program answers at the same place.
        Err(AskError::Gone) => ask(at(&path).map_err(|_| AskError::Gone)?.client, pool),
        asked => asked,
    }
}

fn ask(client: Client, pool: Option<String>) -> Result<Snapshot, AskError> {
    let mut answers = client.ask(Ask::Status { pool })?;
    loop {
        match answers.next()? {
            Some(Answer::Snapshot(snapshot)) => return Ok(*snapshot),
            Some(_) => {}
            None => return Err(AskError::Gone),
        }
    }
}

fn describe(found: Found) -> String {
    let (path, pid, uid) = (found.path.clone(), found.client.pid, found.client.uid);
    match snapshot(found, None) {
        Ok(snapshot) => described(&path, &snapshot) + &format!(" ({})", user(uid)),
        Err(error) => format!("  --control {}  pid {pid} ({}): {error}", path.display(), user(uid)),
    }
}

fn described(path: &Path, snapshot: &Snapshot) -> String {
    let apps = || {
        snapshot
            .pools
            .iter()
            .map(|pool| pool.app.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let what = snapshot.instance.file.clone().unwrap_or_else(apps);
    let what = contract::log::escape(&what).to_string();
    format!("  --control {}  pid {}, {what}", path.display(), snapshot.instance.pid)
}

fn owner(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    path.metadata()
        .map_or_else(|_| "another user".to_owned(), |found| user(found.uid()))
}

fn user(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| format!("user {uid}"), |user| user.name)
}

/// As it could be typed again.
fn typed() -> String {
    let words = std::env::args().skip(1);
    std::iter::once("wsgi-fpm".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn list(directories: &[PathBuf]) -> String {
    let names: Vec<_> = directories.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

fn silent(control: Option<&Path>) -> String {
    control.map_or_else(String::new, |path| {
        format!(
            "; nobody who does answers at {}, its control; if that was another one when the instance started, name the old one with \
             --control",
            path.display()
        )
    })
}

fn these(described: &[String]) -> String {
    match described {
        [] => String::new(),
        described => format!("; there are:\n{}", described.join("\n")),
    }
}
