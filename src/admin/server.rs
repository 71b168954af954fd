//! Answers commands, in the supervisor. Each has a task of its own, so that one who asks for much, or reads nothing, holds up
//! nobody; and what has to be done is asked of the manager, as signals are.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, test_kill_process};
use settings::values::{Address, Control};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::{answers, directory};
use crate::config::SocketOptions;
use crate::manager::Request;
use crate::pool::listeners::Listener;
use crate::pool::passing::ListenerState;

/// Commands at a time. As many more are told so, and what comes then hears nothing.
const MOST_CLIENTS: usize = 64;
const TOO_MANY: &str = "64 commands are being answered; try again when one has ended";
/// When no descriptor is left.
const PAUSE: Duration = Duration::from_millis(100);

/// The control socket. Its file goes with it.
pub struct Server {
    /// `None`: there is to be none, or it can't be had; then the log says why, and everything else goes on.
    listener: Option<Listener>,
    /// Whether nobody is let in.
    rests: watch::Sender<bool>,
}

impl Server {
    /// `left`: of the program that had this one's place. `requests`: the manager.
    pub fn start(control: Option<&Control>, left: Option<ListenerState>, requests: mpsc::Sender<Request>) -> Self {
        let (rests, resting) = watch::channel(false);
        let none = |error: &anyhow::Error| {
            warn!("there is no control socket, and commands such as wsgi-fpm status can't reach it: {error:#}");
        };
        let opened = open(control, left).inspect_err(none).ok().flatten();
        let listener = opened.map(|(listener, accepting)| {
            debug!(control = listener.address(), "commands reach it");
            tokio::spawn(accept(accepting, requests, resting));
            listener
        });
        Self { listener, rests }
    }

    /// What the program needs that takes this one's place. Who connects from now on waits for that one.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn rest(&self) -> anyhow::Result<Option<ListenerState>> {
        self.rests.send_replace(true);
        let state = self.listener.as_ref().map(Listener::state).transpose();
        state.context("the control socket can't be passed on")
    }

    /// Nobody has taken its place.
    pub fn go_on(&self) {
        self.rests.send_replace(false);
    }
}

/// `None` if there is to be none.
fn open(control: Option<&Control>, left: Option<ListenerState>) -> anyhow::Result<Option<(Listener, UnixListener)>> {
    let lost = |error: &io::Error| warn!(%error, "the control socket was not passed on");
    // If it is not wanted any more, its file goes with it.
    let left = left.and_then(|state| Listener::passed(state, &Arc::default()).inspect_err(lost).ok());
    let path = match control {
        Some(Control::Off) => return Ok(None),
        Some(Control::Path(path)) => path.clone(),
        None => own_path()?,
    };
    let address = Address::Unix(path);
    let listener = match left {
        Some(left) if left.address() == address.to_string() && left.is_reachable() => left,
        _ => Listener::open(&address, 0, &SocketOptions::private())?,
    };
    let socket = std::os::unix::net::UnixListener::from(listener.as_fd().try_clone_to_owned()?);
    Ok(Some((listener, UnixListener::from_std(socket)?)))
}

/// In a directory that others can't change, where those of instances that were killed are removed.
fn own_path() -> Result<PathBuf, directory::DirectoryError> {
    let directory = directory::own()?;
    remove_stale(&directory);
    Ok(directory.join(directory::name(std::process::id())))
}

/// Nobody listens there, and nobody is about to: the process is gone.
fn remove_stale(directory: &Path) {
    for path in directory::sockets_in(directory) {
        let number = path.file_name().and_then(|name| directory::number(name.to_str()?));
        let pid = number.and_then(|number| Pid::from_raw(number as i32));
        let is_gone = pid.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH));
        // Whoever has a process there under another number, be it in a container, answers.
        if is_gone && directory::is_socket(&path) && is_refused(&path) {
            // Somebody else may have been faster.
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn is_refused(path: &Path) -> bool {
    let connected = super::client::connect(path);
    connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

async fn accept(listener: UnixListener, requests: mpsc::Sender<Request>, mut rests: watch::Receiver<bool>) {
    let clients = Arc::new(Semaphore::new(2 * MOST_CLIENTS));
    // The other end goes with the program.
    while rests.wait_for(|rests| !rests).await.is_ok() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = rests.changed() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "a command can't be answered");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&clients).try_acquire_owned() else {
            continue;
        };
        let is_too_many = clients.available_permits() < MOST_CLIENTS;
        let requests = requests.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let answered = match is_too_many {
                true => answers::refuse(stream, TOO_MANY).await,
                false => answers::answer(stream, requests).await,
            };
            if let Err(error) = answered {
                debug!(%error, "a command has not heard everything");
            }
        });
    }
}
