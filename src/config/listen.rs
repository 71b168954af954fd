//! Where a pool listens, how its sockets are made, and who may connect to them.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid};
use settings::sections::Listen;
use settings::values::Address;
use settings::{Layers, Setting};

use super::{ConfigError, Runs};
use crate::users;

/// SPEC A31, FastCGI 1.0 section 3.2.
pub const ALLOWED_PEERS: &str = "FCGI_WEB_SERVER_ADDRS";
/// What else a leader gets travels with the listeners.
pub const MAX_LISTENERS: usize = contract::control::MAX_FDS - contract::control::OWN_FDS;

/// How sockets are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    pub mode: u32,
    pub owner: Option<u32>,
    pub group: Option<u32>,
    pub backlog: i32,
}

impl SocketOptions {
    /// For this user alone.
    pub fn private() -> Self {
        Self {
            mode: 0o600,
            owner: None,
            group: None,
            backlog: 1024,
        }
    }
}

/// # Errors
/// There are too many addresses, one of them twice, or an owner that does not exist.
pub fn listen(options: Listen, runs: Runs) -> Result<(Setting<Vec<Address>>, SocketOptions), ConfigError> {
    let addresses = &options.listen[..];
    let name = || options.listen.name().to_owned();
    if addresses.len() > MAX_LISTENERS {
        return Err(ConfigError::TooManyListeners(name()));
    }
    for (i, address) in addresses.iter().enumerate() {
        // Port 0 is a new port each time.
        let new_port = matches!(address, Address::Tcp(address) if address.port() == 0);
        if addresses[..i].contains(address) && !new_port {
            return Err(ConfigError::ListenTwice(name(), address.clone()));
        }
    }
    let is_here = runs == Runs::Here;
    let (owner, group) = (&options.listen_owner, &options.listen_group);
    let socket = SocketOptions {
        mode: options.listen_mode.bits(),
        owner: owner
            .as_ref()
            .filter(|_| is_here)
            .map(|named| users::user_number(owner.name(), named))
            .transpose()?,
        group: group
            .as_ref()
            .filter(|_| is_here)
            .map(|named| users::group_number(group.name(), named))
            .transpose()?,
        backlog: i32::try_from(options.backlog.get()).unwrap_or(i32::MAX),
    };
    Ok((options.listen, socket))
}

/// The option that lets the web server connect, unless one says who may.
pub fn opens_sockets(layers: &Layers) -> Option<String> {
    let (mode, owner, group) = (Listen::listen_mode(), Listen::listen_owner(), Listen::listen_group());
    let is_said = [mode, owner, group]
        .iter()
        .any(|option| layers.said(option.key).is_some());
    (!is_said).then(|| {
        let (group, mode) = (layers.name(group), layers.name(mode));
        format!("{group} names the web server's group, such as www-data; {mode} 0666 lets everybody in")
    })
}

/// Whether a socket that this program makes there gets root's group; it is root's anyway.
pub fn is_for_root(path: &Path) -> bool {
    let directory = path.parent().unwrap_or(Path::new("/"));
    // One with this bit gives its own group.
    let gives_group = directory.metadata().is_ok_and(|found| found.mode() & 0o2000 != 0);
    Uid::effective().is_root() && Gid::effective().as_raw() == 0 && !gives_group
}

/// `None`: everybody.
///
/// # Errors
/// What the environment says is no list of addresses.
pub fn allowed_peers_from_environment() -> Result<Option<Vec<IpAddr>>, ConfigError> {
    std::env::var_os(ALLOWED_PEERS)
        .map(|list| allowed_peers(&list))
        .transpose()
}

fn allowed_peers(list: &OsStr) -> Result<Vec<IpAddr>, ConfigError> {
    let list = list.to_string_lossy();
    list.split(',')
        .map(|address| {
            let address = address.trim();
            address.parse().map_err(|_| ConfigError::AllowedPeers(address.into()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_peers_are_addresses_with_commas() {
        let peers = |list: &str| allowed_peers(OsStr::new(list)).ok();
        assert_eq!(
            peers("10.0.0.1, ::1"),
            Some(vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()])
        );
        for wrong in ["", "1.2.3", "10.0.0.1,", "localhost"] {
            assert_eq!(peers(wrong), None, "{wrong:?}");
        }
    }
}
