//! Answers commands, in the supervisor. Each has a task of its own, so that one who asks for much, or reads nothing, holds up
//! nobody; and what has to be done is asked of the manager, as signals are.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, test_kill_process};
use settings::values::{Address, Control};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

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

/// When a socket that can't be had is tried again: who has it may have ended by then.
const AGAIN: Duration = Duration::from_secs(2);

/// The control socket. Its file goes with it.
pub struct Server {
    socket: Arc<Socket>,
    /// Whether nobody is let in.
    rests: watch::Sender<bool>,
}

/// Empty: there is to be none, or it can't be had; then the log says why, everything else goes on, and it is tried again.
#[derive(Default)]
struct Socket(Mutex<Option<Listener>>);

impl Server {
    /// `left`: of the program that had this one's place. `requests`: the manager. `is_seen`: the log is standard error.
    pub fn start(
        control: Option<Control>,
        left: Option<ListenerState>,
        requests: mpsc::Sender<Request>,
        is_seen: bool,
    ) -> Self {
        let (rests, resting) = watch::channel(false);
        let socket = Arc::<Socket>::default();
        match open(control.as_ref(), left).and_then(|opened| opened.map(|listener| socket.keep(listener)).transpose()) {
            Ok(Some(accepting)) => _ = tokio::spawn(accept(accepting, requests, resting)),
            Ok(None) => {}
            Err(error) => {
                let trouble = format!(
                    "there is no control socket, and commands such as wsgi-fpm status can't reach it; it is tried again: {error:#}"
                );
                warn!("{trouble}");
                if !is_seen {
                    contract::log::last_line(&format!("wsgi-fpm: warning: {trouble}"));
                }
                tokio::spawn(open_later(control, Arc::clone(&socket), requests, resting));
            }
        }
        Self { socket, rests }
    }

    /// What the program needs that takes this one's place. Who connects from now on waits for that one.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn rest(&self) -> anyhow::Result<Option<ListenerState>> {
        self.rests.send_replace(true);
        let state = self.socket.lock().as_ref().map(Listener::state).transpose();
        state.context("the control socket can't be passed on")
    }

    /// Nobody has taken its place.
    pub fn go_on(&self) {
        self.rests.send_replace(false);
    }
}

impl Socket {
    fn lock(&self) -> MutexGuard<'_, Option<Listener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be accepted from.
    fn keep(&self, listener: Listener) -> anyhow::Result<UnixListener> {
        let socket = std::os::unix::net::UnixListener::from(listener.as_fd().try_clone_to_owned()?);
        let accepting = UnixListener::from_std(socket)?;
        debug!(control = listener.address(), "commands reach it");
        *self.lock() = Some(listener);
        Ok(accepting)
    }
}

/// `None` if there is to be none.
fn open(control: Option<&Control>, left: Option<ListenerState>) -> anyhow::Result<Option<Listener>> {
    let lost = |error: &io::Error| warn!(%error, "the control socket was not passed on");
    // If it is not wanted any more, its file goes with it.
    let left = left.and_then(|state| Listener::passed(state, &Arc::default()).inspect_err(lost).ok());
    let path = match control {
        Some(Control::Off) => return Ok(None),
        Some(Control::Path(path)) => path.clone(),
        None => own_path()?,
    };
    let address = Address::Unix(path);
    Ok(Some(match left {
        Some(left) if left.address() == address.to_string() && left.is_reachable() => left,
        _ => Listener::open(&address, 0, &SocketOptions::private())?,
    }))
}

/// Until it can be had.
async fn open_later(
    control: Option<Control>,
    socket: Arc<Socket>,
    requests: mpsc::Sender<Request>,
    mut rests: watch::Receiver<bool>,
) {
    let accepting = loop {
        sleep(AGAIN).await;
        // The other end goes with the program.
        if rests.wait_for(|rests| !rests).await.is_err() {
            return;
        }
        match open(control.as_ref(), None).and_then(|opened| opened.map(|listener| socket.keep(listener)).transpose()) {
            Ok(Some(accepting)) => break accepting,
            Ok(None) => return,
            Err(error) => debug!("there is no control socket still: {error:#}"),
        }
    };
    info!("commands reach it now: there is a control socket");
    drop(socket);
    accept(accepting, requests, rests).await;
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
