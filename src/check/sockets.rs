//! What stands against opening a pool's sockets. None is opened: the service may be running.

use crate::config::Pool;
use crate::pool::listeners;

/// A line for each address that can't be opened as things are.
pub fn obstacles(pool: &Pool) -> Vec<String> {
    pool.listen
        .iter()
        .filter_map(|address| listeners::look(address).err())
        .map(|error| format!("{} {error}", pool.listen.name()))
        .collect()
}
