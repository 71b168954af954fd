//! The socket of the service manager (`NOTIFY_SOCKET`), to which datagrams go, and with them copies of descriptors.

use std::env;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use tracing::{debug, warn};

/// For a service manager that does not read: it reads at once, or something is wrong with it, and the program has to go on.
const PATIENCE: Duration = Duration::from_secs(1);

/// Without a service manager nobody is told anything.
#[derive(Debug, Default)]
pub struct Channel(Option<UnixDatagram>);

impl Channel {
    /// The one of the environment.
    pub fn new() -> Self {
        Self(connect().unwrap_or_else(|error| {
            warn!("NOTIFY_SOCKET: the service manager can't be told anything: {error}");
            None
        }))
    }

    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it was told. Waits for a moment where its queue is full.
    pub fn tell(&self, message: &str) -> bool {
        self.tell_with(message, None)
    }

    /// The same with a copy of `descriptor`.
    pub fn tell_with(&self, message: &str, descriptor: Option<BorrowedFd<'_>>) -> bool {
        let Some(socket) = &self.0 else {
            return false;
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if let Some(descriptor) = &descriptor {
            ancillary.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor)));
        }
        let bytes = [IoSlice::new(message.as_bytes())];
        match sendmsg(socket, &bytes, &mut ancillary, SendFlags::NOSIGNAL) {
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

    /// Returns when it has done everything that it was told, which it says by closing a descriptor.
    pub fn settle(&self) {
        let Ok((done, sent)) = pipe_with(PipeFlags::CLOEXEC) else {
            return;
        };
        if !self.is_open() || !self.tell_with("BARRIER=1", Some(sent.as_fd())) {
            return;
        }
        drop(sent);
        let patience = Timespec::try_from(PATIENCE).unwrap_or_default();
        let _ = poll(&mut [PollFd::new(&done, PollFlags::IN)], Some(&patience));
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
