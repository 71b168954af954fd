//! A real Apache of a test's own.

use std::fmt::Write as _;
use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::net::Address;
use super::wait::{self, SOON};
use super::web_server::{Files, Program, WebServer, path, shipped};

/// Where Debian and Ubuntu have the modules.
pub const MODULES: &str = "/usr/lib/apache2/modules";

/// How long an idle connection of a client is kept, and one on which a response has broken off.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(1);

/// What `a2enmod` has enabled after Debian's installation, as far as it matters here.
const ALWAYS: [&str; 10] = [
    "mpm_event",
    "authz_core",
    "authz_host",
    "authn_core",
    "authn_file",
    "authz_user",
    "auth_basic",
    "alias",
    "dir",
    "mime",
];

/// Configuration of an Apache to be started. `%PORT0%`, `%PORT1%` and so on stand for its ports, `%PREFIX%` for its directory.
#[derive(Debug)]
pub struct Builder {
    modules: Vec<String>,
    ports: usize,
    text: String,
    files: Files,
}

impl Builder {
    /// One more module, named as for `a2enmod`.
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// A virtual host as `file` of the project has it, for the name `name`, with further directives `own` and these
    /// replacements.
    #[track_caller]
    pub fn site(self, file: &str, name: &str, own: &str, replacements: &[(&str, &str)]) -> Self {
        let name = format!("ServerName {name}\n{own}");
        let always = [("*:80", "127.0.0.1:%PORT0%"), ("ServerName example.com", &name)];
        self.text(&shipped(file, &[&always, replacements].concat()))
    }

    /// As [`Builder::site`], for a file that takes the whole site for the application: beside it Apache has nothing.
    #[track_caller]
    pub fn site_in_nothing(self, file: &str, name: &str, own: &str, replacements: &[(&str, &str)]) -> Self {
        let outside = "DocumentRoot %PREFIX%/outside\n<Directory %PREFIX%/outside>\nRequire all granted\n</Directory>";
        self.file("outside/file.txt", "")
            .site(file, name, &format!("{outside}\n{own}"), replacements)
    }

    /// A virtual host of a test's own.
    pub fn host(self, host: &Host) -> Self {
        let Host {
            name,
            root,
            server,
            directory,
        } = host;
        self.text(&format!(
            "<VirtualHost 127.0.0.1:%PORT0%>\nServerName {name}\nDocumentRoot {root}\n{server}\n\
             <Directory {root}>\nRequire all granted\n{directory}\n</Directory>\n</VirtualHost>"
        ))
    }

    /// Configuration outside of any section.
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

    /// A file in the prefix, in whose text placeholders are replaced, too.
    pub fn configuration(mut self, name: &str, text: &str) -> Self {
        self.files = self.files.text(name, text);
        self
    }

    /// A program in the prefix.
    pub fn script(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files = self.files.file_with_mode(name, content, 0o755);
        self
    }

    /// Starts Apache and waits until it answers.
    ///
    /// # Panics
    /// If it does not, with its log.
    #[track_caller]
    pub fn start(self) -> Apache {
        let text = frame(&self.modules) + &self.text;
        Apache(self.files.ports(self.ports).text("apache2.conf", text).start(&PROGRAM))
    }
}

/// A virtual host that serves the files of a directory.
#[derive(Debug)]
pub struct Host<'a> {
    pub name: &'a str,
    /// The directory.
    pub root: &'a str,
    /// Directives for the whole of it.
    pub server: &'a str,
    /// Directives for the directory.
    pub directory: &'a str,
}

/// The address as ProxyPass and SetHandler want it.
pub fn proxy_url(address: &Address, host: &str) -> String {
    match address {
        Address::Unix(path) => format!("unix:{}|fcgi://{host}/", path.display()),
        Address::Tcp(address) => format!("fcgi://{address}/"),
    }
}

const PROGRAM: Program = Program {
    name: "apache2",
    command,
    stop: "TERM",
    is_ready: |_, log| {
        log.find_line(|line| line.contains("resuming normal operations"))
            .is_some()
    },
    has_failed: |line| {
        ["AH00015", "AH00526", "AH00543", "AH00072", "Syntax error"]
            .iter()
            .any(|part| line.contains(part))
    },
};

/// Apache refuses to serve as root, and as Debian's own user it could enter neither the test's private directories nor a
/// checkout in a home directory. So root runs it as nobody, with the one capability that lets it do that.
fn command(prefix: &Path) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .args(["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"])
            .arg("apache2");
        command
    } else {
        Command::new("apache2")
    };
    command
        .env("PATH", path())
        .arg("-d")
        .arg(prefix)
        .args(["-f", "apache2.conf", "-D", "FOREGROUND"]);
    command
}

/// A running Apache; ends with the value.
#[derive(Debug)]
pub struct Apache(WebServer);

impl Deref for Apache {
    type Target = WebServer;

    fn deref(&self) -> &WebServer {
        &self.0
    }
}

impl Apache {
    pub fn configure() -> Builder {
        Builder {
            modules: ALWAYS.map(str::to_owned).to_vec(),
            ports: 1,
            text: String::new(),
            files: Files::default(),
        }
    }

    fn with(modules: &[&str]) -> Builder {
        modules
            .iter()
            .fold(Self::configure(), |builder, module| builder.module(module))
    }

    /// One that connects to a gateway.
    pub fn proxy_fcgi() -> Builder {
        Self::with(&["proxy", "proxy_fcgi", "env"])
    }

    /// One that starts processes and keeps them: as many as tests ask for at the same time.
    pub fn fcgid() -> Builder {
        Self::with(&["fcgid", "env"]).text("FcgidSpawnScoreUpLimit 1000")
    }

    /// One that starts a process for each request.
    pub fn cgid() -> Builder {
        Self::with(&["cgid", "env"])
    }

    /// Restarts it gracefully, as `apachectl graceful` does, and waits until it serves again.
    #[track_caller]
    pub fn restart_gracefully(&self) {
        let started = || {
            self.process
                .log
                .count(|line| line.contains("resuming normal operations"))
        };
        let before = started();
        self.process.signal(Signal::USR1);
        wait::until("Apache has restarted", SOON, || started() > before);
    }
}

/// Everything outside of virtual hosts: nothing of the machine's own Apache is touched.
fn frame(modules: &[String]) -> String {
    let mut text = String::from(
        "ServerRoot \"%PREFIX%\"\nDefaultRuntimeDir \"%PREFIX%\"\nPidFile \"%PREFIX%/apache2.pid\"\n\
         ErrorLog /dev/stderr\nListen 127.0.0.1:%PORT0%\nServerName localhost\n",
    );
    for name in modules {
        let _ = writeln!(text, "LoadModule {name}_module {MODULES}/mod_{name}.so");
    }
    if modules.iter().any(|name| name == "fcgid") {
        // Otherwise every Apache, the machine's own too, has the same table of processes in /var/lib.
        text.push_str("FcgidIPCDir %PREFIX%/fcgid\nFcgidProcessTableFile %PREFIX%/fcgid-table\n");
    }
    let _ = writeln!(text, "KeepAliveTimeout {}ms", KEEP_ALIVE_TIMEOUT.as_millis());
    text.push_str(
        "StartServers 1\nThreadsPerChild 48\nMinSpareThreads 1\nMaxSpareThreads 96\nServerLimit 2\n\
         MaxRequestWorkers 96\nMaxKeepAliveRequests 0\nTypesConfig /dev/null\n\
         <Directory />\n    Require all denied\n    AllowOverride None\n</Directory>\n",
    );
    text
}
