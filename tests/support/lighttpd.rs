//! A real lighttpd of a test's own.

use std::ops::Deref;
use std::process::Command;

use super::web_server::{Files, Program, WebServer, path};

/// Configuration of a lighttpd to be started. `%PORT0%`, `%PORT1%` and so on stand for its ports, `%PREFIX%` for its directory.
#[derive(Debug)]
pub struct Builder {
    ports: usize,
    text: String,
    files: Files,
}

impl Builder {
    /// Configuration that stands where Debian's own includes that of `conf-enabled/`.
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

    /// A program in the prefix.
    pub fn script(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files = self.files.file_with_mode(name, content, 0o755);
        self
    }

    /// Starts lighttpd and waits until it answers.
    ///
    /// # Panics
    /// If it does not, with its log.
    #[track_caller]
    pub fn start(self) -> Lighttpd {
        let text = FRAME.to_owned() + &self.text + AFTER;
        let ports = self.ports;
        let files = self.files.file("uploads/.keep", "").file("public/.keep", "");
        Lighttpd(files.ports(ports).text("lighttpd.conf", text).start(&PROGRAM))
    }
}

/// What Debian's lighttpd.conf says, but for paths and the port: nothing of the machine's own lighttpd is touched.
const FRAME: &str = r#"
server.modules = ( "mod_indexfile", "mod_access", "mod_alias", "mod_redirect" )
server.document-root = "%PREFIX%/public"
server.upload-dirs = ( "%PREFIX%/uploads" )
server.bind = "127.0.0.1"
server.port = %PORT0%
server.feature-flags += ( "server.h2proto" => "enable", "server.h2c" => "enable" )
server.http-parseopts = (
  "header-strict" => "enable", "host-strict" => "enable", "host-normalize" => "enable",
  "url-normalize-unreserved" => "enable", "url-normalize-required" => "enable", "url-ctrls-reject" => "enable",
  "url-path-2f-decode" => "enable", "url-path-dotseg-remove" => "enable",
)
index-file.names = ( "index.html" )
url.access-deny = ( "~", ".inc" )
static-file.exclude-extensions = ( ".php", ".pl", ".fcgi" )
mimetype.assign = ( ".css" => "text/css", "" => "application/octet-stream" )
"#;

/// The end of it: who comes first in the list of modules gets a file first.
const AFTER: &str = "server.modules += ( \"mod_dirlisting\", \"mod_staticfile\" )\n";

const PROGRAM: Program = Program {
    name: "lighttpd",
    command: |prefix| {
        let mut command = Command::new("lighttpd");
        command
            .env("PATH", path())
            .args(["-D", "-f"])
            .arg(prefix.join("lighttpd.conf"));
        command
    },
    stop: "TERM",
    is_ready: |_, log| log.find_line(|line| line.contains("server started")).is_some(),
    has_failed: |line| {
        [
            "ddress already in use",
            "parser failed",
            "Configuration of plugins failed",
            "loading plugins",
            "exiting",
        ]
        .iter()
        .any(|part| line.contains(part))
    },
};

/// A running lighttpd; ends with the value.
#[derive(Debug)]
pub struct Lighttpd(WebServer);

impl Deref for Lighttpd {
    type Target = WebServer;

    fn deref(&self) -> &WebServer {
        &self.0
    }
}

impl Lighttpd {
    pub fn configure() -> Builder {
        Builder {
            ports: 1,
            text: String::new(),
            files: Files::default(),
        }
    }
}
