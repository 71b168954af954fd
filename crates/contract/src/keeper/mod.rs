//! The keeper: the supervisor has a duplicate of each connection that a worker keeps for further requests, so that the
//! connection outlives the worker. What a worker's death means to it says an entry of a [`Table`] in shared memory.
//!
//! A worker tells the supervisor of itself when it starts, and of a connection when that is kept for the first time, once each,
//! through a [`channel`]; from then on it only writes to the table. The entry belongs to the connection, and goes with it
//! through the handover. Connections that bring one request never have one.

pub mod channel;
mod entry;
mod state;
mod table;

use serde::{Deserialize, Serialize};

pub use entry::{Entry, Link};
pub use state::{Asked, Owner, State};
pub use table::{ENTRIES, Table};

/// Where an entry is, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub index: u32,
    /// See [`Table::is`].
    pub generation: u64,
    /// How often the connection was given to another worker.
    pub count: u16,
}
