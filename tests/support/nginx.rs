//! A real nginx of a test's own: private prefix, free ports, its log collected, nobody left behind.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use tempfile::TempDir;

use super::net::Address;
use super::tied::Tied;
use super::wait::{self, SOON};

/// How often other ports are tried when somebody has taken one in between.
const TRIES: usize = 5;

/// Configuration of an nginx to be started. `%PORT0%`, `%PORT1%` and so on stand for its ports, `%PREFIX%` for its
/// directory.
#[derive(Debug)]
pub struct Builder {
    ports: usize,
    http: String,
    files: Vec<(String, Vec<u8>)>,
}

impl Builder {
    /// What stands in `http { }`.
    pub fn http(mut self, text: &str) -> Self {
        self.http.push_str(text);
        self.http.push('\n');
        self
    }

    /// A server block on port `port` with `content` in it.
    pub fn server(self, port: usize, name: &str, content: &str) -> Self {
        let text = format!("server {{\n    listen 127.0.0.1:%PORT{port}%;\n    server_name \"{name}\";\n{content}\n}}");
        Self {
            ports: self.ports.max(port + 1),
            ..self
        }
        .http(&text)
    }

    /// How many ports the text needs, where [`Builder::server`] was not used.
    pub fn ports(self, ports: usize) -> Self {
        Self { ports, ..self }
    }

    /// A file in the prefix.
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// Starts nginx and waits until it answers.
    ///
    /// # Panics
    /// If it does not, with its log.
    #[track_caller]
    pub fn start(self) -> Nginx {
        for _ in 0..TRIES {
            if let Some(nginx) = self.try_start() {
                return nginx;
            }
        }
        panic!("no free ports for nginx in {TRIES} tries");
    }

    #[track_caller]
    fn try_start(&self) -> Option<Nginx> {
        let directory = TempDir::with_prefix("wsgi-fpm-nginx-").unwrap();
        let prefix = directory.path();
        let addresses = free_ports(self.ports);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Configuration includes it by this name, as users do who have copied it beside nginx.conf.
        fs::copy(root.join("nginx/wsgi_fpm_params"), prefix.join("wsgi_fpm_params")).unwrap();
        for (name, content) in &self.files {
            let path = prefix.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let mut http = self.http.replace("%PREFIX%", &prefix.display().to_string());
        for (index, address) in addresses.iter().enumerate() {
            http = http.replace(&format!("%PORT{index}%"), &address.port().to_string());
        }
        let configuration = prefix.join("nginx.conf");
        fs::write(&configuration, frame(prefix, &http)).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(prefix).arg("-c").arg(&configuration);
        let process = Tied::spawn(&command, "TERM");
        let end = Instant::now() + SOON;
        while !addresses.iter().all(|&address| Address::Tcp(address).answers()) || !prefix.join("nginx.pid").exists() {
            if let Some(line) = process.log.find(|line| line.contains("[emerg]")) {
                if line.contains("Address already in use") {
                    return None;
                }
                panic!("nginx does not start: {line}\n{http}");
            }
            assert!(
                Instant::now() < end,
                "nginx is not ready; its log:\n{}",
                process.log.text()
            );
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        // Whoever answered may be another who has got our port.
        if process.log.find(|line| line.contains("[emerg]")).is_some() {
            return None;
        }
        Some(Nginx {
            addresses,
            process,
            directory,
        })
    }
}

/// A running nginx; ends with the value.
#[derive(Debug)]
pub struct Nginx {
    /// Where it listens, by number of the port.
    pub addresses: Vec<SocketAddr>,
    /// Its process and its log.
    pub process: Tied,
    /// Its prefix.
    pub directory: TempDir,
}

impl Nginx {
    pub fn configure() -> Builder {
        Builder {
            ports: 0,
            http: String::new(),
            files: Vec::new(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes nginx load its configuration anew and waits until it has new workers.
    #[track_caller]
    pub fn reload(&self) {
        let started = || self.process.log.count(|line| line.contains("start worker process "));
        let before = started();
        self.process.signal(Signal::HUP);
        wait::until("nginx has new workers", SOON, || started() > before);
    }

    /// Lines of its log that tell of a failure.
    pub fn errors(&self) -> Vec<String> {
        let bad = |line: &String| {
            ["[error]", "[crit]", "[alert]", "[emerg]"]
                .iter()
                .any(|level| line.contains(level))
        };
        self.process.log.lines().into_iter().filter(bad).collect()
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

/// The address as `fastcgi_pass` and `server` want it.
pub fn upstream(address: &Address) -> String {
    match address {
        Address::Unix(path) => format!("unix:{}", path.display()),
        Address::Tcp(address) => address.to_string(),
    }
}

/// Everything around the `http` block's content: nothing of the machine's own nginx is touched.
fn frame(prefix: &Path, http: &str) -> String {
    let prefix = prefix.display();
    // As root, nginx's workers would be somebody who can't enter the gateway's private directory.
    let user = if rustix::process::geteuid().is_root() {
        "user root;\n"
    } else {
        ""
    };
    let mut text = format!(
        "daemon off;\n{user}worker_processes 2;\npid {prefix}/nginx.pid;\nlock_file {prefix}/nginx.lock;\n\
         error_log stderr notice;\nevents {{ worker_connections 512; }}\nhttp {{\naccess_log off;\n"
    );
    for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "{name}_temp_path {prefix}/{name};");
    }
    text.push_str(http);
    text.push_str("}\n");
    text
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
