//! A real nginx of a test's own.

use std::fmt::Write as _;
use std::ops::Deref;
use std::process::Command;

use rustix::process::Signal;

use super::net::Address;
use super::wait::{self, SOON};
use super::web_server::{Files, Program, WebServer, shipped};

/// nginx's own params, where the distribution puts them.
pub const STOCK_PARAMS: &str = "/etc/nginx/fastcgi_params";

/// Configuration of an nginx to be started. `%PORT0%`, `%PORT1%` and so on stand for its ports, `%PREFIX%` for its
/// directory.
#[derive(Debug)]
pub struct Builder {
    ports: usize,
    http: String,
    files: Files,
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
        self.files = self.files.file(name, content);
        self
    }

    /// Starts nginx and waits until it answers.
    ///
    /// # Panics
    /// If it does not, with its log.
    #[track_caller]
    pub fn start(self) -> Nginx {
        // Configuration includes the params by this name, as users do who have copied them beside nginx.conf.
        let params = shipped("nginx/wsgi_fpm_params", &[]);
        let files = self.files.ports(self.ports).file("wsgi_fpm_params", params);
        Nginx(files.text("nginx.conf", frame(&self.http)).start(&PROGRAM))
    }
}

const PROGRAM: Program = Program {
    name: "nginx",
    command: |prefix| {
        let mut command = Command::new("nginx");
        command.arg("-p").arg(prefix).arg("-c").arg(prefix.join("nginx.conf"));
        command
    },
    stop: "TERM",
    is_ready: |prefix, _| prefix.join("nginx.pid").exists(),
    has_failed: |line| line.contains("[emerg]"),
};

/// A running nginx; ends with the value.
#[derive(Debug)]
pub struct Nginx(WebServer);

impl Deref for Nginx {
    type Target = WebServer;

    fn deref(&self) -> &WebServer {
        &self.0
    }
}

impl Nginx {
    pub fn configure() -> Builder {
        Builder {
            ports: 0,
            http: String::new(),
            files: Files::default(),
        }
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

/// The address as `fastcgi_pass` and `server` want it.
pub fn upstream(address: &Address) -> String {
    match address {
        Address::Unix(path) => format!("unix:{}", path.display()),
        Address::Tcp(address) => address.to_string(),
    }
}

/// Everything around the `http` block's content: nothing of the machine's own nginx is touched.
fn frame(http: &str) -> String {
    // As root, nginx's workers would be somebody who can't enter the gateway's private directory.
    let user = if rustix::process::geteuid().is_root() {
        "user root;\n"
    } else {
        ""
    };
    let mut text = format!(
        "daemon off;\n{user}worker_processes 2;\npid %PREFIX%/nginx.pid;\nlock_file %PREFIX%/nginx.lock;\n\
         error_log stderr notice;\nevents {{ worker_connections 512; }}\nhttp {{\naccess_log off;\n"
    );
    for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "{name}_temp_path %PREFIX%/{name};");
    }
    text.push_str(http);
    text.push_str("}\n");
    text
}
