//! Listeners that there are already when the program starts: the service manager keeps them from one run to the next, and the
//! program passes them on to the one that takes its place.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::settings::ListenerKind;
use rustix::net::{SocketAddrUnix, getsockname};
use settings::values::Address;
use tracing::info;

use super::listeners::{Listener, kind};
use super::passing::ListenerState;
use super::socket_file::SocketFile;
use crate::inherited::Passed;
use crate::service::{Deposit, Service};

/// A unix socket has the inode of its file in its name: by its path alone it could not be told from another one that has
/// taken its place.
fn name_of_file(file: &SocketFile) -> String {
    format!("unix.{}", file.inode())
}

/// A name has no colons.
fn name_of_port(address: SocketAddr) -> String {
    format!("tcp.{}", address.to_string().replace(':', "_"))
}

impl Listener {
    /// Has the service manager keep it, if it is this program's own.
    pub fn kept_by(mut self, service: &Arc<Service>) -> Self {
        let name = match (&self.file, self.kind) {
            (Some(file), _) => Some(name_of_file(file)),
            (None, ListenerKind::Tcp) => port(&self.socket).map(name_of_port),
            (None, ListenerKind::Unix) => None,
        };
        self.deposit = name.and_then(|name| service.keep(&name, &self.socket));
        self
    }

    /// The one for `address` that was kept, if there is one.
    pub fn resume(address: &Address, service: &Arc<Service>) -> Option<Self> {
        let (file, name) = match address {
            Address::Unix(path) => {
                let file = SocketFile::find(path)?;
                let name = name_of_file(&file);
                (Some(file), name)
            }
            Address::Tcp(address) => (None, name_of_port(*address)),
            Address::Fd(_) | Address::Named(_) => return None,
        };
        let Some((socket, deposit)) = service.take(&name) else {
            // It is another program's.
            leave(file);
            return None;
        };
        Self::found(socket, address.to_string(), file, Some(deposit))
    }

    /// One that the program has passed on whose place this one has taken.
    ///
    /// # Errors
    /// It can't be taken, or does not listen.
    pub fn passed(state: ListenerState, service: &Arc<Service>) -> io::Result<Self> {
        let file = state.file.map(SocketFile::passed).transpose()?;
        let deposit = state.deposit.map(|name| service.deposit(name));
        let listener = Self::found(state.socket.take()?, state.address, file, deposit);
        listener.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// What another program needs to go on with it.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn state(&self) -> io::Result<ListenerState> {
        Ok(ListenerState {
            socket: Passed::copy(&self.socket)?,
            address: self.address.clone(),
            file: self.file.as_ref().map(SocketFile::state).transpose()?,
            deposit: self.deposit.as_ref().map(|deposit| deposit.name().to_owned()),
        })
    }

    fn found(socket: OwnedFd, address: String, file: Option<SocketFile>, deposit: Option<Deposit>) -> Option<Self> {
        let kind = kind(&socket)?;
        Some(Self {
            socket,
            kind,
            address,
            file,
            deposit,
        })
    }
}

/// Ends what was kept and nobody has taken: it is closed, and its file removed.
pub fn forget_others(service: &Arc<Service>) {
    let others = service.take_rest();
    if others.is_empty() {
        return;
    }
    for (name, socket, deposit) in others {
        let address = port(&socket).map(|address| address.to_string());
        let path = path(&socket);
        let address = address.or_else(|| path.as_ref().map(|path| format!("unix:{}", path.display())));
        info!(listen = address, "no pool wants this socket of the last run any more");
        let file = path.as_deref().and_then(SocketFile::find);
        match file {
            Some(file) if name_of_file(&file) != name => leave(Some(file)),
            _ => drop(file),
        }
        drop((socket, deposit));
    }
    // A pool may want its port in another way.
    service.settle();
}

fn leave(file: Option<SocketFile>) {
    if let Some(mut file) = file {
        file.leave();
    }
}

fn port(socket: &OwnedFd) -> Option<SocketAddr> {
    SocketAddr::try_from(getsockname(socket).ok()?).ok()
}

fn path(socket: &OwnedFd) -> Option<PathBuf> {
    let name = SocketAddrUnix::try_from(getsockname(socket).ok()?).ok()?;
    let path = name.path()?;
    Some(Path::new(OsStr::from_bytes(path.to_bytes())).to_owned())
}
