//! A script that a real spawn-fcgi has started for a test, on a private socket or a free port.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::net::{Address, free_tcp};
use super::tied::Tied;
use super::wait::{self, SOON};
use super::web_server::path;

/// How often other ports are tried when somebody has taken one in between.
const TRIES: usize = 5;

/// Plays systemd, but starts again what has ended not before the test has made the file `$1`.
const SUPERVISOR: &str = r#"
again=$1; shift
trap 'kill "$pid"; wait "$pid"; exit' TERM
while :; do
    "$@" &
    pid=$!
    wait "$pid"
    until [ -e "$again" ]; do sleep 0.02; done
    rm "$again"
done
"#;

/// A running script; ends with the value.
#[derive(Debug)]
pub struct Spawned {
    pub process: Tied,
    pub address: Address,
    /// A private directory that goes with it.
    pub directory: TempDir,
    again: PathBuf,
}

impl Spawned {
    /// Starts `arguments`, a command line of spawn-fcgi with `%SOCKET%` for where it listens, and waits until that
    /// answers. `tcp`: at a free port.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn start(arguments: impl Fn(&TempDir) -> Vec<String>, tcp: bool) -> Self {
        for _ in 0..TRIES {
            let directory = TempDir::with_prefix("wsgi-fpm-spawn-fcgi-").unwrap();
            let (address, socket) = if tcp {
                let address = free_tcp("127.0.0.1").unwrap();
                let options = format!("-a {} -p {}", address.ip(), address.port());
                (Address::Tcp(address), options)
            } else {
                let path = directory.path().join("socket");
                let options = format!("-s {}", path.display());
                (Address::Unix(path), options)
            };
            let arguments: Vec<String> = arguments(&directory)
                .iter()
                .flat_map(|argument| match argument.as_str() {
                    "%SOCKET%" => socket.split(' ').map(str::to_owned).collect(),
                    _ => vec![argument.clone()],
                })
                .collect();
            let again = directory.path().join("again");
            let mut command = Command::new("sh");
            command
                .env("PATH", path())
                .args(["-c", SUPERVISOR, "supervisor"])
                .arg(&again)
                .args(&arguments);
            let process = Tied::spawn_in(&command, "TERM", directory.path());
            let is_taken = || process.log.find_line(|line| line.contains("bind failed")).is_some();
            wait::until("spawn-fcgi has made its socket", SOON, || {
                is_taken() || address.answers()
            });
            if !is_taken() {
                return Self {
                    process,
                    address,
                    directory,
                    again,
                };
            }
        }
        panic!("no free port for spawn-fcgi in {TRIES} tries");
    }

    /// Starts it again after it has ended, and waits until it answers.
    #[track_caller]
    pub fn start_again(&self) {
        fs::write(&self.again, "").unwrap();
        wait::until("spawn-fcgi has made its socket anew", SOON, || {
            !self.again.exists() && self.address.answers()
        });
    }
}
