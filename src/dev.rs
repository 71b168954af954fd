//! `wsgi-fpm dev`: a supervisor with a private socket, the HTTP preview in front of it, and a reload when a file of the
//! project changes. The application is served by the very path that it takes behind a web server.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::cli::DevArgs;
use crate::config::pools::Definition;
use crate::config::{Bind, Pool};
use crate::hosts::Hosts;
use crate::manager::relay::Relay;
use crate::manager::signals::{Signals, Wish};
use crate::manager::{End, Manager, Request};
use crate::pool::{OnFailure, Outcome, Status};
use crate::preview::kinds::is_python;
use crate::preview::watch::Change;
use crate::preview::{self, Preview};
use crate::python::{Interpreter, PythonError, Wanted};
use crate::service::Service;

pub fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    let (address, reloads) = (args.bind.0, !args.no_reload);
    let hosts = Hosts {
        bound: address.ip(),
        names: args.allow_host.iter().map(ToString::to_string).collect(),
    };
    // The directory is for this user alone, whatever the umask says.
    let directory = tempfile::Builder::new().prefix("wsgi-fpm-").tempdir();
    let directory = directory.context("a directory for the private socket can't be made")?;
    let socket = directory.path().join("pool.sock");
    let bound = Bind {
        address,
        allow_remote: args.allow_remote,
    };
    let pool = Pool::for_dev(args.options.0, bound, socket.clone())?;
    let log = crate::start_log(&pool.settings.log)?;
    crate::runtime()?.block_on(serve(pool, bind(address)?, hosts, socket, reloads, &log))
}

async fn serve(
    pool: Pool,
    listener: TcpListener,
    hosts: Hosts,
    socket: PathBuf,
    reloads: bool,
    log: &Relay,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("signal handlers can't be set")?;
    let Some(interpreter) = find_python(&pool, &mut signals).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let roots = roots(&pool, &interpreter);
    let url = format!(
        "http://{}/",
        listener.local_addr().context("the preview has no address")?
    );
    let app = pool.settings.app.clone();
    let mut manager = Manager::new(signals, log, pool.settings.log.clone(), Service::default())?;
    // A reload waits here while the supervisor is busy with the last event, which takes no time worth naming.
    let (requests, mut received) = mpsc::channel(1);
    let definition = Definition::Made(Box::new(pool));
    let status = manager.start_one(definition, Some(&interpreter), OnFailure::Wait)?;
    if reloads {
        watch(roots, requests.clone(), status.clone());
    }
    info!(app, url, "preview");
    if !hosts.bound.is_loopback() {
        warn!(
            url,
            "everybody who reaches this address sees tracebacks and code (--allow-remote)"
        );
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let preview = async {
        let preview = Preview {
            listener,
            socket,
            app,
            hosts,
        };
        // Either end of the supervisor's run drops `stop`.
        let ended = preview::serve(preview, status, async { drop(stopped.await) }).await;
        // If the preview ended by itself, there is nothing left to serve for; else the supervisor is gone already.
        drop(requests.send(Request::Stop).await);
        ended
    };
    let supervise = async {
        let outcome = manager.run(&mut received).await;
        drop(stop);
        outcome
    };
    let (ended, outcome) = tokio::join!(preview, supervise);
    ended?;
    match outcome? {
        End::Over(Outcome::NeverStarted) => Ok(ExitCode::FAILURE),
        End::Over(Outcome::Stopped) | End::Upgrade(_) => Ok(ExitCode::SUCCESS),
    }
}

/// The pool's Python, of which the directories to watch depend; `None` if a signal ends the program first.
async fn find_python(pool: &Pool, signals: &mut Signals) -> Result<Option<Interpreter>, PythonError> {
    let wanted = Wanted::from_environment(pool.python.clone(), &pool.settings.chdir, &pool.identity);
    let mut finding = pin!(wanted.find());
    loop {
        let (signal, wish) = tokio::select! {
            found = &mut finding => return found.map(Some),
            asked = signals.next() => asked,
        };
        if wish != Wish::Upgrade {
            info!(pool = pool.settings.name, signal, "stopping");
            return Ok(None);
        }
        info!(
            pool = pool.settings.name,
            signal, "no reload: the start is still under way, nothing is loaded yet"
        );
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!("--bind {address}: another program listens there; name another port"),
        _ => anyhow!("--bind {address}: {error}"),
    })
}

/// Directories that the application's code comes from: none of them inside another.
fn roots(pool: &Pool, interpreter: &Interpreter) -> Vec<PathBuf> {
    let settings = &pool.settings;
    let mut all = BTreeSet::from([settings.chdir.to_path_buf()]);
    all.extend(settings.pythonpath.iter().cloned());
    all.extend(interpreter.projects().cloned());
    let from_environment = pool
        .environment
        .said("PYTHONPATH")
        .map(Into::into)
        .or_else(|| std::env::var_os("PYTHONPATH"))
        .unwrap_or_default();
    // What is relative there is so to where the program was started, which nobody means.
    all.extend(std::env::split_paths(&from_environment).filter(|path| path.is_absolute()));
    all.extend(pool.app_file().and_then(|file| file.parent().map(PathBuf::from)));
    let inner = |root: &PathBuf| root.ancestors().skip(1).any(|ancestor| all.contains(ancestor));
    all.iter()
        .filter(|root| root.is_dir() && !inner(root))
        .cloned()
        .collect()
}

/// Asks for a reload whenever a file of the project changes.
fn watch(roots: Vec<PathBuf>, requests: mpsc::Sender<Request>, status: watch::Receiver<Status>) {
    let (watcher, mut changes) = match preview::watch::files(roots) {
        Ok(watching) => watching,
        Err(error) => {
            warn!(error = format!("{error:#}"), "no reload when files change");
            return;
        }
    };
    tokio::spawn(async move {
        // Files are watched as long as it lives.
        let _watcher = watcher;
        let mut own = OwnDoing::default();
        let mut starting = false;
        while let Some(change) = changes.recv().await {
            let request = match change {
                Change::Begun(file) => {
                    starting = *status.borrow() == Status::Starting;
                    if own.is_own(&file, starting) {
                        continue;
                    }
                    Request::Expect
                }
                Change::Settled(batch) => match own.without(batch, starting) {
                    changed if changed.is_empty() => continue,
                    changed => Request::Reload { changed },
                },
            };
            if requests.send(request).await.is_err() {
                break;
            }
        }
    });
}

/// Files that the application writes whenever it starts: the reload that each write asks for would make the next one.
#[derive(Default)]
struct OwnDoing {
    /// In how many starts in a row a file has changed.
    starts: HashMap<PathBuf, u32>,
}

impl OwnDoing {
    /// From this start on, a file that changes is taken for written by the application. A developer, too, may save a file
    /// while the application starts, but hardly so often.
    const STARTS: u32 = 3;

    /// Whether a change of `file` now is the application's own doing. Code is only ever written by a developer.
    fn is_own(&self, file: &Path, starting: bool) -> bool {
        let before = self.starts.get(file).copied().unwrap_or(0);
        starting && before + 1 >= Self::STARTS && !is_python(file)
    }

    /// The rest of a batch.
    fn without(&mut self, batch: Vec<PathBuf>, starting: bool) -> Vec<PathBuf> {
        let (own, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(|file| self.is_own(file, starting));
        for file in &others {
            if starting {
                *self.starts.entry(file.clone()).or_default() += 1;
            } else {
                self.starts.remove(file);
            }
        }
        for file in own {
            info!(file = %file.display(), "no reload: this file changes whenever the application starts");
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_changes_in_every_start_makes_no_reload_loop() {
        let mut own = OwnDoing::default();
        let batch = || vec![PathBuf::from("app.py"), PathBuf::from("state.json")];
        for _ in 1..OwnDoing::STARTS {
            assert!(!own.is_own(Path::new("state.json"), true));
            assert_eq!(own.without(batch(), true), batch());
        }
        assert!(own.is_own(Path::new("state.json"), true) && !own.is_own(Path::new("app.py"), true));
        assert_eq!(own.without(batch(), true), [PathBuf::from("app.py")]);
        // Changed at another time it counts as any other.
        assert_eq!(own.without(batch(), false), batch());
        assert_eq!(own.without(batch(), true), batch());
    }
}
