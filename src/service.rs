//! The service manager that has started this program, if it wants to be told (systemd, `NOTIFY_SOCKET`). It learns when the
//! program is ready and when it stops, and keeps listening sockets until the next start: connections wait in them meanwhile.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use tracing::{debug, warn};

use crate::inherited;

/// In front of the names under which sockets are kept, so that nobody takes them for those of a socket unit.
const PREFIX: &str = "wsgi-fpm.";
/// It reads at once, or something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Less than the time that systemd gives a service to become ready.
const READY_AT_THE_LATEST: Duration = Duration::from_secs(60);

/// Sockets that were kept since the last run, by name.
pub type Kept = BTreeMap<String, OwnedFd>;

#[derive(Debug, Default)]
pub struct Service {
    socket: Option<UnixDatagram>,
    kept: Mutex<Kept>,
    /// Whoever is not yet where the service counts as ready.
    starting: AtomicUsize,
    is_stopping: AtomicBool,
}

/// A socket that the service manager keeps. Dropping it ends that, unless the whole program stops.
#[derive(Debug)]
pub struct Deposit {
    service: Arc<Service>,
    name: String,
}

/// Held by whoever the service is not ready without.
#[derive(Debug)]
pub struct Start(Arc<Service>);

/// What was kept. To be asked before anything is opened.
pub fn kept() -> Kept {
    inherited::named(PREFIX).into_iter().collect()
}

impl Service {
    /// The one of the environment. `kept`: see [`kept`].
    pub fn new(kept: Kept) -> Self {
        let socket = match connect() {
            Ok(socket) => socket,
            Err(error) => {
                warn!("NOTIFY_SOCKET: the service manager can't be told anything: {error}");
                None
            }
        };
        Self {
            socket,
            kept: Mutex::new(kept),
            ..Self::default()
        }
    }

    /// Somebody more without whom it is not ready.
    pub fn starts(self: &Arc<Self>) -> Start {
        self.starting.fetch_add(1, Ordering::SeqCst);
        Start(Arc::clone(self))
    }

    /// Tells that it is ready when all who start have got there. A service manager does not wait for ever: those that are
    /// slow get there later.
    pub async fn be_ready_at_the_latest(self: Arc<Self>) {
        tokio::time::sleep(READY_AT_THE_LATEST).await;
        if self.starting.swap(0, Ordering::SeqCst) > 0 {
            self.tell("READY=1");
        }
    }

    /// One line about how it is, for `systemctl status`.
    pub fn describe(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// From now on everything ends, and what is kept stays so for the next start.
    pub fn stops(&self) {
        if !self.is_stopping.swap(true, Ordering::SeqCst) {
            self.tell("STOPPING=1\nSTATUS=Stopping: requests that run are finished");
        }
    }

    /// Has it keep `socket`, if there is a service manager. Whether it does, it doesn't say.
    pub fn keep(self: &Arc<Self>, name: &str, socket: impl AsFd) -> Option<Deposit> {
        self.socket.as_ref()?;
        self.tell_with(&format!("FDSTORE=1\nFDNAME={PREFIX}{name}"), &[socket.as_fd()]);
        Some(self.deposit(name.to_owned()))
    }

    /// What was kept under this name.
    pub fn take(self: &Arc<Self>, name: &str) -> Option<(OwnedFd, Deposit)> {
        let socket = self.lock().remove(name)?;
        Some((socket, self.deposit(name.to_owned())))
    }

    /// Everything else that was kept.
    pub fn take_rest(self: &Arc<Self>) -> Vec<(String, OwnedFd, Deposit)> {
        let rest = std::mem::take(&mut *self.lock());
        let with_deposit = |(name, socket): (String, OwnedFd)| (name.clone(), socket, self.deposit(name));
        rest.into_iter().map(with_deposit).collect()
    }

    /// Returns when everything that it was told has been done.
    pub fn settle(&self) {
        let Ok((done, sent)) = pipe_with(PipeFlags::CLOEXEC) else {
            return;
        };
        if self.socket.is_none() || !self.tell_with("BARRIER=1", &[sent.as_fd()]) {
            return;
        }
        // It closes its copy.
        drop(sent);
        let patience = Timespec::try_from(PATIENCE).unwrap_or_default();
        let _ = poll(&mut [PollFd::new(&done, PollFlags::IN)], Some(&patience));
    }

    fn deposit(self: &Arc<Self>, name: String) -> Deposit {
        Deposit {
            service: Arc::clone(self),
            name,
        }
    }

    fn tell(&self, message: &str) -> bool {
        self.tell_with(message, &[])
    }

    fn tell_with(&self, message: &str, sockets: &[BorrowedFd<'_>]) -> bool {
        let Some(socket) = &self.socket else {
            return false;
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(sockets));
        }
        match sendmsg(
            socket,
            &[IoSlice::new(message.as_bytes())],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => {
                debug!(message, "the service manager was told");
                true
            }
            Err(error) => {
                let error = io::Error::from(error);
                warn!(message, %error, "the service manager can't be told");
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect() -> io::Result<Option<UnixDatagram>> {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else {
        return Ok(None);
    };
    let address = match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name)?,
        _ => SocketAddr::from_pathname(&name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(Some(socket))
}

impl Start {
    /// It has got there.
    pub fn over(self) {
        let Self(service) = self;
        let before = service
            .starting
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |starting| starting.checked_sub(1));
        if before == Ok(1) && !service.is_stopping.load(Ordering::SeqCst) {
            service.tell("READY=1");
        }
    }
}

impl Deposit {
    /// Whether the socket, and the file that it has, are to be there at the next start.
    pub fn stays(&self) -> bool {
        self.service.is_stopping.load(Ordering::SeqCst)
    }
}

impl Drop for Deposit {
    fn drop(&mut self) {
        if !self.stays() {
            self.service
                .tell(&format!("FDSTOREREMOVE=1\nFDNAME={PREFIX}{}", self.name));
        }
    }
}
