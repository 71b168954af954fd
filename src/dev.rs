//! `wsgi-fpm dev`: a supervisor with a private socket, the HTTP preview in front of it, and a reload when a Python file
//! changes. The application is served by the very path that it takes behind a web server.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use crate::cli::DevArgs;
use crate::config::Pool;
use crate::preview::{self, Preview};
use crate::supervisor::{OnFailure, Outcome, Request, Supervisor};

pub fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    let (address, reloads) = (args.bind.0, !args.no_reload);
    // The directory is for this user alone, whatever the umask says.
    let directory = tempfile::Builder::new().prefix("wsgi-fpm-").tempdir();
    let directory = directory.context("a directory for the private socket can't be made")?;
    let socket = directory.path().join("pool.sock");
    let pool = Pool::for_dev(args, socket.clone())?;
    crate::start_log(&pool.settings.log)?;
    crate::runtime()?.block_on(serve(pool, bind(address)?, socket, reloads))
}

async fn serve(pool: Pool, listener: TcpListener, socket: PathBuf, reloads: bool) -> anyhow::Result<ExitCode> {
    let interpreter = crate::find_python(&pool).await?;
    let roots = if reloads { roots(&pool) } else { BTreeSet::new() };
    let url = format!(
        "http://{}/",
        listener.local_addr().context("the preview has no address")?
    );
    let app = pool.settings.app.clone();
    let supervisor = Supervisor::new(pool, &interpreter, OnFailure::Wait)?;
    // A reload waits here while the supervisor is busy with the last event, which takes no time worth naming.
    let (requests, received) = mpsc::channel(1);
    for root in roots {
        watch(root, requests.clone());
    }
    info!(app, url, "preview");
    let status = supervisor.status();
    let (stop, stopped) = oneshot::channel::<()>();
    let preview = async {
        let preview = Preview { listener, socket, app };
        // Either end of the supervisor's run drops `stop`.
        let ended = preview::serve(preview, status, async { drop(stopped.await) }).await;
        // If the preview ended by itself, there is nothing left to serve for; else the supervisor is gone already.
        drop(requests.send(Request::Stop).await);
        ended
    };
    let supervise = async {
        let outcome = supervisor.run(received).await;
        drop(stop);
        outcome
    };
    let (ended, outcome) = tokio::join!(preview, supervise);
    ended?;
    match outcome? {
        Outcome::Stopped => Ok(ExitCode::SUCCESS),
        Outcome::NeverStarted => Ok(ExitCode::FAILURE),
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!("--bind {address}: another program listens there; name another port"),
        _ => anyhow!("--bind {address}: {error}"),
    })
}

/// Directories that the application's code comes from: none of them inside another.
fn roots(pool: &Pool) -> BTreeSet<PathBuf> {
    let settings = &pool.settings;
    let mut all = BTreeSet::from([settings.chdir.clone()]);
    all.extend(settings.pythonpath.iter().cloned());
    all.extend(pool.app_file().and_then(|file| file.parent().map(PathBuf::from)));
    let inner = |root: &PathBuf| root.ancestors().skip(1).any(|ancestor| all.contains(ancestor));
    all.iter()
        .filter(|root| root.is_dir() && !inner(root))
        .cloned()
        .collect()
}

/// Asks for a reload whenever a Python file below `root` changes.
fn watch(root: PathBuf, requests: mpsc::Sender<Request>) {
    let (watcher, mut changes) = match preview::watch::python_files(&root) {
        Ok(watching) => watching,
        Err(error) => {
            warn!(root = %root.display(), error = format!("{error:#}"), "no reload when files change");
            return;
        }
    };
    tokio::spawn(async move {
        // Files are watched as long as it lives.
        let _watcher = watcher;
        while let Some(changed) = changes.recv().await {
            if requests.send(Request::Reload { changed }).await.is_err() {
                break;
            }
        }
    });
}
