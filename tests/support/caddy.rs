//! A real Caddy of a test's own.

use std::ops::Deref;
use std::process::Command;

use super::web_server::{Files, Program, WebServer};

/// A Caddy to be started. `%PORT0%` stands for its port, `%PREFIX%` for its directory.
#[derive(Debug)]
pub struct Builder {
    text: String,
    files: Files,
}

impl Builder {
    /// Part of the Caddyfile, after the global options: sites.
    pub fn text(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self.text.push('\n');
        self
    }

    /// A file in the prefix.
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files = self.files.file(name, content);
        self
    }

    /// Starts Caddy and waits until it answers.
    ///
    /// # Panics
    /// If it does not, with its log.
    #[track_caller]
    pub fn start(self) -> Caddy {
        let text = GLOBAL.to_owned() + &self.text;
        Caddy(self.files.ports(1).text("Caddyfile", text).start(&PROGRAM))
    }
}

/// No administration on the default port, no certificates from anywhere, all of its files in the private directory.
const GLOBAL: &str = "{
	admin off
	auto_https off
	grace_period 1s
	storage file_system %PREFIX%/storage
	default_bind 127.0.0.1
	log {
		output stderr
		format json
	}
}
";

const PROGRAM: Program = Program {
    name: "caddy",
    command: |prefix| {
        let mut command = Command::new("caddy");
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(prefix.join("Caddyfile"))
            .current_dir(prefix)
            .env("HOME", prefix)
            .env("XDG_CONFIG_HOME", prefix)
            .env("XDG_DATA_HOME", prefix);
        command
    },
    stop: "TERM",
    is_ready: |_, log| {
        log.find_line(|line| line.contains("serving initial configuration"))
            .is_some()
    },
    has_failed: |line| line.starts_with("Error: ") || line.starts_with("run: "),
};

/// A running Caddy; ends with the value.
#[derive(Debug)]
pub struct Caddy(WebServer);

impl Deref for Caddy {
    type Target = WebServer;

    fn deref(&self) -> &WebServer {
        &self.0
    }
}

impl Caddy {
    pub fn configure() -> Builder {
        Builder {
            text: String::new(),
            files: Files::default(),
        }
    }
}
