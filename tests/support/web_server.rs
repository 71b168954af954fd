//! A real web server of a test's own: private directory, free ports, its log collected, nobody left behind.
//!
//! What is the same for all of them; nginx and Apache have modules of their own beside this one.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::iter;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::log::Log;
use super::net::Address;
use super::program::program;
use super::tied::Tied;
use super::wait::SOON;

/// How often other ports are tried when somebody has taken one in between.
const TRIES: usize = 5;

/// A program that serves, and how to tell what has become of its start.
pub struct Program {
    pub name: &'static str,
    /// The command that runs it in the foreground with the files of a directory.
    pub command: fn(&Path) -> Command,
    /// The signal that ends it, such as TERM.
    pub stop: &'static str,
    /// Beside that its ports answer.
    pub is_ready: fn(&Path, &Log) -> bool,
    /// Whether a line of its log says that it can't start.
    pub has_failed: fn(&str) -> bool,
}

/// A server to be started.
#[derive(Debug, Clone, Default)]
pub struct Files {
    ports: usize,
    texts: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>, u32)>,
}

impl Files {
    /// How many ports it needs.
    pub fn ports(self, ports: usize) -> Self {
        Self { ports, ..self }
    }

    /// A file of configuration: `%PORT0%`, `%PORT1%` and so on stand for the ports, `%PREFIX%` for the directory.
    pub fn text(mut self, name: &str, text: impl Into<String>) -> Self {
        self.texts.push((name.to_owned(), text.into()));
        self
    }

    /// A file as it is.
    pub fn file(self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.file_with_mode(name, content, 0o644)
    }

    /// A file as it is, with its permissions.
    pub fn file_with_mode(mut self, name: &str, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.files.push((name.to_owned(), content.into(), mode));
        self
    }

    /// Starts `program` and waits until it answers.
    ///
    /// # Panics
    /// If it does not, with its log.
    #[track_caller]
    pub fn start(&self, program: &Program) -> WebServer {
        for _ in 0..TRIES {
            if let Some(server) = self.try_start(program) {
                return server;
            }
        }
        panic!("no free ports for {} in {TRIES} tries", program.name);
    }

    #[track_caller]
    fn try_start(&self, program: &Program) -> Option<WebServer> {
        let directory = TempDir::with_prefix(format!("wsgi-fpm-{}-", program.name)).unwrap();
        let addresses = free_ports(self.ports);
        self.write(directory.path(), &addresses);
        let process = Tied::spawn_in(&(program.command)(directory.path()), program.stop, directory.path());
        let end = Instant::now() + SOON;
        let answer = || addresses.iter().all(|&address| Address::Tcp(address).answers());
        while !(answer() && (program.is_ready)(directory.path(), &process.log)) {
            if let Some(line) = process.log.find_line(program.has_failed) {
                if line.contains("ddress already in use") {
                    return None;
                }
                panic!("{} does not start: {line}\n{}", program.name, process.log.text());
            }
            assert!(
                Instant::now() < end,
                "{} is not ready; its log:\n{}",
                program.name,
                process.log.text()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        // Whoever answered may be another who has got our port.
        if process.log.find_line(program.has_failed).is_some() {
            return None;
        }
        Some(WebServer {
            addresses,
            process,
            directory,
        })
    }

    fn write(&self, directory: &Path, addresses: &[SocketAddr]) {
        for (name, text) in &self.texts {
            let mut text = text.replace("%PREFIX%", &directory.display().to_string());
            for (index, address) in addresses.iter().enumerate() {
                text = text.replace(&format!("%PORT{index}%"), &address.port().to_string());
            }
            write(&directory.join(name), text.as_bytes(), 0o644);
        }
        for (name, content, mode) in &self.files {
            write(&directory.join(name), content, *mode);
        }
    }
}

/// Writes a file with these permissions, in a directory that need not be there.
pub fn write(path: &Path, content: &[u8], mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if mode & 0o111 != 0 {
        return write_program(path, content, mode);
    }
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// By another process: a child that a test forks meanwhile would have the file open for writing until its exec, and so long
/// nobody could run it (ETXTBSY).
fn write_program(path: &Path, content: &[u8], mode: u32) {
    let mut install = Command::new("install")
        .args(["-m", &format!("{mode:o}"), "/dev/stdin"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    install.stdin.take().unwrap().write_all(content).unwrap();
    assert!(install.wait().unwrap().success(), "{} was not written", path.display());
}

/// A running web server; ends with the value.
#[derive(Debug)]
pub struct WebServer {
    /// Where it listens, by number of the port.
    pub addresses: Vec<SocketAddr>,
    /// Its process and its log.
    pub process: Tied,
    /// Its private directory.
    pub directory: TempDir,
}

impl WebServer {
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// A file of the project that users include or copy, with `replacements` for the paths that it asks them to change.
///
/// # Panics
/// If there is nothing to replace: the test would no longer test what it says.
#[track_caller]
pub fn shipped(file: &str, replacements: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let mut text = fs::read_to_string(&path).unwrap();
    for (from, to) in replacements {
        assert!(text.contains(from), "{file} has no {from:?}");
        text = text.replace(from, to);
    }
    text
}

/// The words of the command line that starts the service of `file`, a unit of systemd.
#[track_caller]
pub fn started_by(file: &str, replacements: &[(&str, &str)]) -> Vec<String> {
    let unit = shipped(file, replacements);
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
    let line = line.unwrap_or_else(|| panic!("{file} starts nothing"));
    line.split_whitespace().map(str::to_owned).collect()
}

/// A PATH on which scripts find the program as an installed one.
pub fn path() -> OsString {
    let program = program();
    let directory = program.parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = iter::once(directory.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(directories).unwrap()
}

/// Free ports of 127.0.0.1, different ones.
fn free_ports(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
        .collect();
    listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap())
        .collect()
}
