//! The control socket: how commands of this program see and steer an instance that runs. `server` answers them in the supervisor,
//! `find` looks for an instance, `other` for one that serves the same file, `commands` are what is typed.

mod answers;
pub mod client;
pub mod commands;
pub mod directory;
pub mod find;
pub mod other;
pub mod protocol;
pub mod server;
