//! Whether a socket can be reached. Its path may lead nowhere any more. And the web server to which it was given may have every
//! right to the socket and none to a directory on the way, and then says no more than "permission denied".

use std::path::Path;

use contract::denied::{Denied, Wish, denied};
use nix::unistd::{Gid, Group, Uid, User};
use settings::values::Address;
use tracing::warn;

use super::listeners::{Listener, look};
use crate::config::SocketOptions;
use crate::users::Identity;

/// Why the address of a listener does not lead to it, and what helps; `None` if it does.
pub fn obstacle(listener: &Listener) -> Option<String> {
    let file = listener.file.as_ref().filter(|file| !file.is_there())?;
    let address = listener.address();
    Some(match look(&Address::Unix(file.path().to_owned())) {
        Err(error) => format!("nobody can connect to {error}"),
        Ok(()) if file.path().symlink_metadata().is_ok() => format!(
            "nobody can connect to {address}: another program has put its socket there; stop that one, or remove the file, then reload"
        ),
        Ok(()) => format!("nobody can connect to {address}: the socket's file is gone; a reload makes it anew"),
    })
}

/// Says so if the user to whom the socket was given, or everybody in the group, can't get to it. Others that it may be for are
/// not known.
pub fn warn_of_closed_directories(path: &Path, options: &SocketOptions) {
    if !Uid::effective().is_root() {
        return;
    }
    let users = match (options.owner, options.group) {
        (Some(owner), _) => Vec::from_iter(User::from_uid(owner.into()).ok().flatten()),
        (None, Some(group)) => members(group.into()),
        (None, None) => Vec::new(),
    };
    let found: Vec<Option<Denied>> = users
        .iter()
        .filter_map(Identity::of)
        .map(|user| user.looks(|| denied(path, Wish::Reach)))
        .collect();
    // One who gets there may be the web server.
    if let Some(denied) = found
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .and_then(|all| all.into_iter().next())
    {
        warn!(listen = %path.display(), "the web server can't connect: {denied}");
    }
}

/// Users who are known to be in a group: those whom it lists, and who has its name.
fn members(group: Gid) -> Vec<User> {
    let Ok(Some(group)) = Group::from_gid(group) else {
        return Vec::new();
    };
    let names = std::iter::once(group.name).chain(group.mem);
    names.filter_map(|name| User::from_name(&name).ok().flatten()).collect()
}
