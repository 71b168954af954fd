//! The sockets that a pool is reached by. The supervisor makes them once and every generation inherits them, so that
//! connections wait in the kernel while workers come and go.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use contract::denied::{Denied, Wish, denied};
use contract::settings::ListenerKind;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname, listen,
    socket_with, sockopt,
};
use settings::values::Address;
use tracing::warn;

use crate::config::{MAX_LISTENERS, SocketOptions};
use crate::inherited;
use crate::pool::reach::warn_of_closed_directories;
use crate::pool::socket_file::{BindError, Inode, Place, SocketFile};
use crate::service::Deposit;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// With the option that names the address, as its user has written it.
#[derive(Debug, thiserror::Error)]
#[error("{option} {error}")]
pub struct NamedError {
    pub option: String,
    pub error: ListenError,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    #[error("{address}: another program answers there; stop it or name another address")]
    InUse { address: String },
    #[error("{address}: pool {pool} of this file listens there; change one of them first, then reload again")]
    Sibling { address: String, pool: String },
    #[error("{address}: the path exists and is not a socket; remove it or name another path")]
    NotASocket { address: String },
    #[error("{address}: a socket of user {uid} is there; remove it or name another path")]
    NotOurs { address: String, uid: u32 },
    #[error("{address}: another program has put something in the socket's place; who may write to that directory?")]
    Replaced { address: String },
    #[error("{address}: can't set owner and group: {error}")]
    Owner { address: String, error: io::Error },
    #[error("{address}: descriptor {fd} is not open; whoever starts this program must leave it open")]
    NotOpen { address: String, fd: i32 },
    #[error("{address}: what was left open there is not a listening unix or TCP stream socket")]
    NotListening { address: String },
    #[error("{address}: {}", no_name(.there))]
    NoName { address: String, there: Vec<String> },
    #[error("{address}: there are {number} sockets with that name, and a pool has at most {MAX_LISTENERS} listeners")]
    TooMany { address: String, number: usize },
    #[error("{address}: {denied}")]
    Denied { address: String, denied: Denied },
    #[error("{address}: the directory {} does not exist; make it: {how}", .directory.display())]
    NoDirectory {
        address: String,
        directory: PathBuf,
        how: String,
    },
    #[error("{address}: {error}")]
    System { address: String, error: io::Error },
}

/// A bound and listening socket: non-blocking, closed on exec. Dropping it removes the file that it made, unless the service
/// manager keeps it for the next start.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: OwnedFd,
    pub(super) kind: ListenerKind,
    /// For messages; the port is the real one where 0 was asked for.
    pub(super) address: String,
    pub(super) file: Option<SocketFile>,
    pub(super) deposit: Option<Deposit>,
}

impl Listener {
    /// `nth`: from 0, which one of those that have this address, where there may be more.
    ///
    /// # Errors
    /// The address is taken or can't be had.
    pub fn open(address: &Address, nth: usize, options: &SocketOptions) -> Result<Self, ListenError> {
        let listener = Self::open_for_this_program(address, nth, options)?;
        match address {
            Address::Unix(path) => warn_of_closed_directories(path, options),
            Address::Tcp(tcp) if !tcp.ip().is_loopback() => {
                let address = listener.address();
                warn!(
                    address,
                    "whoever can connect there can send any request; FCGI_WEB_SERVER_ADDRS names who may"
                );
            }
            Address::Tcp(_) | Address::Fd(_) | Address::Named(_) => {}
        }
        warn_of_the_backlog(options.backlog);
        Ok(listener)
    }

    /// One that no application is reached by. `nth`: as above.
    ///
    /// # Errors
    /// The address is taken or can't be had.
    pub fn open_for_this_program(address: &Address, nth: usize, options: &SocketOptions) -> Result<Self, ListenError> {
        match address {
            Address::Unix(path) => {
                check_directory(path, address)?;
                unix(path, address.to_string(), options)
            }
            Address::Tcp(tcp) => self::tcp(*tcp, options),
            Address::Fd(fd) => self::inherited(*fd, address.to_string()),
            Address::Named(name) => self::named(name, nth, address.to_string()),
        }
    }

    /// Gives the socket other options. One that others have made keeps what they have given it.
    ///
    /// # Errors
    /// Mode, owner or backlog can't be set.
    pub fn set(&self, options: &SocketOptions) -> Result<(), ListenError> {
        let system = |error: io::Error| ListenError::System {
            address: self.address.clone(),
            error,
        };
        if let Some(file) = &self.file {
            file.set(options).map_err(|error| match error {
                BindError::Owner(error) => ListenError::Owner {
                    address: self.address.clone(),
                    error: error.into(),
                },
                BindError::Replaced => ListenError::Replaced {
                    address: self.address.clone(),
                },
                BindError::System(error) => system(error.into()),
            })?;
        }
        listen(&self.socket, options.backlog).map_err(|error| system(error.into()))?;
        warn_of_the_backlog(options.backlog);
        Ok(())
    }

    pub fn kind(&self) -> ListenerKind {
        self.kind
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether its address leads to it. That of a unix socket may have been removed, or be another program's by now.
    pub fn is_reachable(&self) -> bool {
        self.file.as_ref().is_none_or(SocketFile::is_there)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.deposit.as_ref().is_some_and(Deposit::stays)
            && let Some(file) = &mut self.file
        {
            file.leave();
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What stands against opening an address, as far as that can be told without opening it.
///
/// # Errors
/// What [`Listener::open`] would fail with: a directory that is missing or closed, or something else in the socket's place.
pub fn look(address: &Address) -> Result<(), ListenError> {
    let Address::Unix(path) = address else {
        return Ok(());
    };
    check_directory(path, address)?;
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => Err(ListenError::NotASocket {
            address: address.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Whether somebody answers there, so that it can't be opened now.
pub fn is_taken(address: &Address) -> bool {
    match address {
        Address::Unix(path) => has_owner(path) == Ok(true),
        Address::Tcp(tcp) => matches!(bound(*tcp), Err(Errno::ADDRINUSE)),
        Address::Fd(_) | Address::Named(_) => false,
    }
}

/// Says of a socket's directory what the kernel would not: which one is missing, or closed to this user.
fn check_directory(path: &Path, address: &Address) -> Result<(), ListenError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let address = address.to_string();
    if let Some(denied) = denied(directory, Wish::Write) {
        return Err(ListenError::Denied { address, denied });
    }
    match directory.try_exists() {
        Ok(false) => Err(ListenError::NoDirectory {
            address,
            directory: directory.to_owned(),
            how: how_to_make(directory),
        }),
        _ => Ok(()),
    }
}

/// What to type, as root; and what a unit says in its place.
fn how_to_make(directory: &Path) -> String {
    let uid = rustix::process::geteuid().as_raw();
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    let user = user.map_or(uid.to_string(), |user| user.name);
    let command = format!("install -d -o {user} {}", directory.display());
    match directory.strip_prefix("/run") {
        Ok(below) if below != Path::new("") => {
            format!("{command}, or in a systemd unit RuntimeDirectory={}", below.display())
        }
        _ => command,
    }
}

fn unix(path: &Path, address: String, options: &SocketOptions) -> Result<Listener, ListenError> {
    let system = |error: io::Error| ListenError::System {
        address: address.clone(),
        error,
    };
    remove_stale(path, &address)?;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None).map_err(|error| system(error.into()))?;
    let file = SocketFile::bind(&socket, path, options).map_err(|error| match error {
        BindError::Owner(error) => ListenError::Owner {
            address: address.clone(),
            error: error.into(),
        },
        BindError::Replaced => ListenError::Replaced {
            address: address.clone(),
        },
        BindError::System(error) => system(error.into()),
    })?;
    listen(&socket, options.backlog).map_err(|error| system(error.into()))?;
    Ok(Listener {
        socket,
        kind: ListenerKind::Unix,
        address,
        file: Some(file),
        deposit: None,
    })
}

/// Removes what a killed instance left behind: a socket (SPEC F7: and ours) on which nobody listens. Anything else at
/// `path` is an error.
fn remove_stale(path: &Path, address: &str) -> Result<(), ListenError> {
    let address = || address.to_owned();
    let system = |error: Errno| ListenError::System {
        address: address(),
        error: error.into(),
    };
    let place = Place::new(path).map_err(system)?;
    let found = match place.find() {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(system(error)),
    };
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(ListenError::NotASocket { address: address() });
    }
    match has_owner(path) {
        Ok(false) => {}
        Ok(true) => return Err(ListenError::InUse { address: address() }),
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(system(error)),
    }
    // The option listen_owner may have given it to somebody else, so root does not ask.
    let user = rustix::process::geteuid();
    if !user.is_root() && found.st_uid != user.as_raw() {
        return Err(ListenError::NotOurs {
            address: address(),
            uid: found.st_uid,
        });
    }
    place.remove(Inode::of(&found)).map_err(system)
}

/// Whether a process has the socket at this path.
fn has_owner(path: &Path) -> Result<bool, Errno> {
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    match connect(&probe, &SocketAddrUnix::new(path)?) {
        // AGAIN: its backlog is full, so there is somebody. PROTOTYPE: a socket of another type, in use.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Ok(true),
        Err(Errno::CONNREFUSED) => Ok(false),
        Err(error) => Err(error),
    }
}

fn tcp(tcp: SocketAddr, options: &SocketOptions) -> Result<Listener, ListenError> {
    let system = |error: Errno| match error {
        Errno::ADDRINUSE => ListenError::InUse {
            address: tcp.to_string(),
        },
        error => ListenError::System {
            address: tcp.to_string(),
            error: error.into(),
        },
    };
    let socket = bound(tcp).map_err(system)?;
    listen(&socket, options.backlog).map_err(system)?;
    let address = getsockname(&socket)
        .ok()
        .and_then(|name| SocketAddr::try_from(name).ok())
        .unwrap_or(tcp);
    Ok(Listener {
        socket,
        kind: ListenerKind::Tcp,
        address: address.to_string(),
        file: None,
        deposit: None,
    })
}

/// A socket that has this address.
fn bound(tcp: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = match tcp {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::STREAM, FLAGS, None)?;
    // Connections of the last run that linger in TIME_WAIT must not keep this one from starting.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &tcp)?;
    Ok(socket)
}

fn inherited(fd: i32, address: String) -> Result<Listener, ListenError> {
    let socket = match inherited::take(fd) {
        Ok(socket) => socket,
        Err(error) if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => {
            return Err(ListenError::NotOpen { address, fd });
        }
        Err(error) => return Err(ListenError::System { address, error }),
    };
    adopt(socket, address)
}

/// How many sockets there are with this name, at least one.
///
/// # Errors
/// There is none, or no descriptor is left.
pub fn number_of(name: &str) -> Result<usize, ListenError> {
    let address = Address::Named(name.to_owned()).to_string();
    match inherited::named(name).map(|sockets| sockets.len()) {
        Ok(0) => Err(ListenError::NoName {
            address,
            there: inherited::names(),
        }),
        Ok(number) => Ok(number),
        Err(error) => Err(ListenError::System { address, error }),
    }
}

fn named(name: &str, nth: usize, address: String) -> Result<Listener, ListenError> {
    match inherited::named(name).map(|sockets| sockets.into_iter().nth(nth)) {
        Ok(Some(socket)) => adopt(socket, address),
        Ok(None) => Err(ListenError::NoName {
            address,
            there: inherited::names(),
        }),
        Err(error) => Err(ListenError::System { address, error }),
    }
}

fn no_name(there: &[String]) -> String {
    if there.is_empty() {
        return "the service manager has passed no socket; start the socket unit first (systemctl enable --now NAME.socket), and name it in \
                the service (Sockets=)"
            .to_owned();
    }
    let there: Vec<_> = there.iter().map(|name| format!("fd:{name}")).collect();
    format!(
        "no socket has that name (FileDescriptorName= in the socket unit); there are: {}",
        there.join(", ")
    )
}

/// A socket that others have made.
fn adopt(socket: OwnedFd, address: String) -> Result<Listener, ListenError> {
    let Some(kind) = kind(&socket) else {
        return Err(ListenError::NotListening { address });
    };
    rustix::io::ioctl_fionbio(&socket, true).map_err(|error| ListenError::System {
        address: address.clone(),
        error: error.into(),
    })?;
    let name = getsockname(&socket).ok().and_then(|name| display(&name));
    Ok(Listener {
        socket,
        kind,
        address: name.map_or(address.clone(), |name| format!("{address} ({name})")),
        file: None,
        deposit: None,
    })
}

/// `None` if it is none that can be served.
pub(super) fn kind(socket: &OwnedFd) -> Option<ListenerKind> {
    let kind = match getsockname(socket).ok()?.address_family() {
        AddressFamily::UNIX => ListenerKind::Unix,
        AddressFamily::INET | AddressFamily::INET6 => ListenerKind::Tcp,
        _ => return None,
    };
    let listens = sockopt::socket_acceptconn(socket).unwrap_or(false);
    let streams = sockopt::socket_type(socket).is_ok_and(|kind| kind == SocketType::STREAM);
    (listens && streams).then_some(kind)
}

fn display(name: &SocketAddrAny) -> Option<String> {
    if let Ok(tcp) = SocketAddr::try_from(name.clone()) {
        return Some(tcp.to_string());
    }
    let unix = SocketAddrUnix::try_from(name.clone()).ok()?;
    let path = unix.path()?;
    Some(format!("unix:{}", path.to_string_lossy()))
}

fn warn_of_the_backlog(wanted: i32) {
    // Linux alone has the file; elsewhere there is nothing to compare with.
    let Ok(text) = std::fs::read_to_string("/proc/sys/net/core/somaxconn") else {
        return;
    };
    let somaxconn = text.trim().parse().unwrap_or(i32::MAX);
    if wanted > somaxconn {
        warn!(
            backlog = wanted,
            somaxconn, "the kernel caps the backlog at net.core.somaxconn"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const OPTIONS: SocketOptions = SocketOptions {
        mode: 0o640,
        owner: None,
        group: None,
        backlog: 16,
    };

    fn open(address: &str) -> Result<Listener, ListenError> {
        Listener::open(&address.parse().unwrap(), 0, &OPTIONS)
    }

    #[test]
    fn unix_socket_has_its_mode_and_goes_with_its_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let listener = open(path.to_str().unwrap()).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(listener.kind(), ListenerKind::Unix);
        assert!(matches!(open(path.to_str().unwrap()), Err(ListenError::InUse { .. })));
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn stale_socket_is_replaced_and_a_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file");
        drop(open(path.to_str().unwrap()).unwrap());
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(
            open(path.to_str().unwrap()),
            Err(ListenError::NotASocket { .. })
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn file_of_another_instance_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let first = open(path.to_str().unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = open(path.to_str().unwrap()).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }

    #[test]
    fn tcp_port_zero_becomes_a_port() {
        let listener = open("127.0.0.1:0").unwrap();
        assert!(!listener.address().ends_with(":0"), "{}", listener.address());
        assert_eq!(listener.kind(), ListenerKind::Tcp);
        assert!(matches!(open(listener.address()), Err(ListenError::InUse { .. })));
    }
}
