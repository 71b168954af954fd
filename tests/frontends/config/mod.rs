//! What `wsgi-fpm config` prints, given to the servers as it is, in front of the application that it was written for.

mod file;
mod own_pages;
mod sites;
mod started;
mod tls;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::apache::{self, Apache};
use crate::support::caddy::Caddy;
use crate::support::haproxy::HaProxy;
use crate::support::installed;
use crate::support::lighttpd::Lighttpd;
use crate::support::nginx::Nginx;
use crate::support::program::program;
use crate::support::python;
use crate::support::web_server::WebServer;

/// What is typed as the port, and replaced by one that is free.
const PORT: &str = "61999";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Nginx,
    Apache,
    ApacheFcgid,
    Lighttpd,
    Caddy,
    HaProxy,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Apache => "apache",
            Self::ApacheFcgid => "apache-fcgid",
            Self::Lighttpd => "lighttpd",
            Self::Caddy => "caddy",
            Self::HaProxy => "haproxy",
        }
    }

    fn is_installed(self) -> bool {
        match self {
            Self::Nginx => installed::nginx(),
            Self::Apache => installed::apache("proxy_fcgi"),
            Self::ApacheFcgid => installed::apache("fcgid"),
            Self::Lighttpd => installed::lighttpd(),
            Self::Caddy => installed::caddy(),
            Self::HaProxy => installed::haproxy(),
        }
    }

    /// An Apache for it.
    fn apache(self) -> apache::Builder {
        match self {
            Self::Apache => Apache::proxy_fcgi(),
            _ => Apache::fcgid(),
        }
    }

    /// Starts it with `text`, as the comment at the top of it says.
    fn start(self, text: &str) -> Box<dyn Deref<Target = WebServer>> {
        let text = text.replace(PORT, "%PORT0%");
        match self {
            Self::Nginx => Box::new(Nginx::configure().ports(1).http(&text).start()),
            Self::Apache | Self::ApacheFcgid => {
                // The server listens there already.
                let text = text.replace("Listen %PORT0%\n", "");
                Box::new(self.apache().text(&text).start())
            }
            Self::Lighttpd => Box::new(Lighttpd::configure().text(&text).start()),
            Self::Caddy => Box::new(Caddy::configure().text(&text).start()),
            Self::HaProxy => Box::new(HaProxy::configure().text(&text).start()),
        }
    }
}

/// The interpreter that the tests are run with, if one is named.
fn python_option() -> Vec<String> {
    let option = |python: PathBuf| ["--python".to_owned(), python.to_str().unwrap().to_owned()];
    python::default().into_iter().flat_map(option).collect()
}

/// What `config` prints for `arguments` in `directory`.
#[track_caller]
fn printed(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program());
    command
        .current_dir(directory)
        .arg("config")
        .args(arguments)
        .env_remove("VIRTUAL_ENV");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
