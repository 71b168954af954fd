//! Users of the system, made and removed by a test.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::wait::{SOON, until_some};

/// A user of the system, and his group of the same name.
#[derive(Debug)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// # Panics
    /// Accounts can't be made: these tests run as root.
    #[track_caller]
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("wf{}x{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        run(
            "useradd",
            &[
                "--system",
                "--user-group",
                "--home-dir",
                "/home/of-it",
                "--shell",
                "/bin/of-it",
                &name,
            ],
        );
        let number = |option: &str| run("id", &[option, &name]).trim().parse().unwrap();
        let (uid, gid) = (number("-u"), number("-g"));
        Self { name, uid, gid }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(&self.name).output();
    }
}

/// Accounts are kept in files that one program at a time may change; the others wait.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> String {
    let run = || {
        let output = Command::new(program).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    };
    until_some(&format!("{program} {arguments:?} succeeds"), SOON, run)
}
