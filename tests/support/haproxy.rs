//! A real HAProxy of a test's own.

use std::ops::Deref;
use std::process::Command;

use super::web_server::{Files, Program, WebServer};

/// An HAProxy to be started. `%PORT0%`, `%PORT1%` and so on stand for its ports, `%PREFIX%` for its directory.
#[derive(Debug)]
pub struct Builder {
    ports: usize,
    text: String,
    files: Files,
}

impl Builder {
    /// Configuration that follows what Debian's own begins with.
    pub fn text(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self.text.push('\n');
        self
    }

    /// How many ports the text needs.
    pub fn ports(self, ports: usize) -> Self {
        Self { ports, ..self }
    }

    /// A file in the prefix.
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files = self.files.file(name, content);
        self
    }

    /// Starts HAProxy and waits until it answers.
    ///
    /// # Panics
    /// If it does not, with its log.
    #[track_caller]
    pub fn start(self) -> HaProxy {
        let text = FRAME.to_owned() + &self.text;
        HaProxy(self.files.ports(self.ports).text("haproxy.cfg", text).start(&PROGRAM))
    }
}

/// As Debian's haproxy.cfg, but for the log, the user and the time limits, of which the project's file has its own.
const FRAME: &str = "
global
    log stderr format raw local0
    maxconn 512

defaults
    log global
    mode http
    option httplog
    option dontlognull
    timeout connect 5s
    timeout client 50s
    timeout server 50s
";

const PROGRAM: Program = Program {
    name: "haproxy",
    command: |prefix| {
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(prefix.join("haproxy.cfg"));
        command
    },
    stop: "TERM",
    is_ready: |_, _| true,
    has_failed: |line| line.contains("[ALERT]"),
};

/// A running HAProxy; ends with the value.
#[derive(Debug)]
pub struct HaProxy(WebServer);

impl Deref for HaProxy {
    type Target = WebServer;

    fn deref(&self) -> &WebServer {
        &self.0
    }
}

impl HaProxy {
    pub fn configure() -> Builder {
        Builder {
            ports: 1,
            text: String::new(),
            files: Files::default(),
        }
    }
}
