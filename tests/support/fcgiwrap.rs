//! A real fcgiwrap of a test's own, on a private socket.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::net::Address;
use super::tied::Tied;
use super::wait::{self, SOON};
use super::web_server::path;

/// fcgiwrap's first process does not pass on the signal that ends it: all of its group get it, scripts too, as from systemd.
const GROUP: &str = r#"
setsid "$@" &
group=$!
trap 'kill -TERM "-$group"' TERM
wait "$group"
"#;

/// A running fcgiwrap; ends with the value.
#[derive(Debug)]
pub struct Fcgiwrap {
    /// Its log is what scripts write to standard error.
    pub process: Tied,
    pub address: Address,
    /// A private directory that goes with it; the socket is in it.
    pub directory: TempDir,
}

impl Fcgiwrap {
    /// Starts it with `arguments`, program and all but the socket, and waits until it answers.
    ///
    /// # Panics
    /// If it does not, with its log.
    #[track_caller]
    pub fn start(directory: TempDir, arguments: &[String]) -> Self {
        let socket: PathBuf = directory.path().join("socket");
        let mut command = Command::new("sh");
        command
            .env("PATH", path())
            .args(["-c", GROUP, "group"])
            .args(arguments)
            .args(["-s", &format!("unix:{}", socket.display())]);
        let process = Tied::spawn_in(&command, "TERM", directory.path());
        let address = Address::Unix(socket);
        wait::until("fcgiwrap answers", SOON, || address.answers());
        Self {
            process,
            address,
            directory,
        }
    }
}
