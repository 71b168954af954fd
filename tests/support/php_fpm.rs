//! A real php-fpm on a private socket: one pool `www`, with its pages /ping and /status.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::tied::Tied;
use super::wait::{SOON, until};
use super::web_server::path;

/// Ends with the value, or with the test binary.
#[derive(Debug)]
pub struct PhpFpm {
    process: Tied,
    directory: TempDir,
}

/// The program, whose name has a version on Debian.
pub fn program() -> Option<PathBuf> {
    let directories = path();
    let files = std::env::split_paths(&directories).flat_map(|directory| fs::read_dir(directory).into_iter().flatten());
    let mut programs: Vec<_> = files
        .flatten()
        .map(|file| file.path())
        .filter(|file| {
            file.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("php-fpm"))
        })
        .collect();
    programs.sort();
    programs.pop()
}

impl PhpFpm {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// If there is none, or it does not.
    #[track_caller]
    pub fn start() -> Self {
        let directory = TempDir::with_prefix("wsgi-fpm-php-").unwrap();
        let file = |name: &str| directory.path().join(name);
        let configuration = format!(
            "[global]\nerror_log = {}\ndaemonize = no\n\
             [www]\nlisten = {}\nuser = {user}\ngroup = {user}\npm = static\npm.max_children = 2\n\
             ping.path = /ping\npm.status_path = /status\n",
            file("log").display(),
            file("socket").display(),
            user = if rustix::process::geteuid().is_root() {
                "root"
            } else {
                ""
            },
        );
        // Whoever is not root stays who he is, and php-fpm wants no user of him.
        let configuration = configuration.replace("user = \ngroup = \n", "");
        fs::write(file("php-fpm.conf"), configuration).unwrap();
        let mut command = Command::new(program().expect("a php-fpm"));
        command.args(["--allow-to-run-as-root", "--nodaemonize", "--fpm-config"]);
        command.arg(file("php-fpm.conf"));
        let process = Tied::spawn_in(&command, "TERM", directory.path());
        let started = Self { process, directory };
        until("php-fpm answers", SOON, || {
            std::os::unix::net::UnixStream::connect(started.directory.path().join("socket")).is_ok()
        });
        started
    }

    pub fn address(&self) -> String {
        self.directory.path().join("socket").to_str().unwrap().to_owned()
    }

    /// A script with this text; its path.
    pub fn script(&self, text: &str) -> String {
        let path = self.directory.path().join("script.php");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}
