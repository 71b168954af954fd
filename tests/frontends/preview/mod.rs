//! `wsgi-fpm dev`: the real path without a web server.

mod reloading;
mod serving;

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::backends::apps;
use crate::support::http::{Request, Response, fetch};
use crate::support::log::field;
use crate::support::program::program;
use crate::support::tied::Tied;
use crate::support::wait::{SOON, until};

/// A running preview.
struct Preview {
    process: Tied,
    address: SocketAddr,
    /// Where its application is.
    directory: TempDir,
}

impl Preview {
    /// Of `source`, written to app.py.
    fn of(source: &str, options: &[&str]) -> Self {
        Self::with_files(source, &[], options)
    }

    /// The same, beside these files.
    fn with_files(source: &str, files: &[(&str, &str)], options: &[&str]) -> Self {
        let directory = TempDir::with_prefix("wsgi-fpm-preview-").unwrap();
        for (name, text) in [&[("app.py", source)], files].concat() {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let mut command = Command::new(program());
        command
            .args(["dev", "app.py", "--bind", "127.0.0.1:0"])
            .args(options)
            .current_dir(directory.path())
            .env_remove("VIRTUAL_ENV")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let process = Tied::spawn(&command, "QUIT");
        let line = process.log.wait_for_line(&["preview", "url="]);
        let url = field(&line, "url").unwrap();
        let address = url
            .strip_prefix("http://")
            .unwrap()
            .trim_end_matches('/')
            .parse()
            .unwrap();
        Self {
            process,
            address,
            directory,
        }
    }

    fn write(&self, source: &str) {
        fs::write(self.directory.path().join("app.py"), source).unwrap();
    }

    #[track_caller]
    fn send(&self, request: &Request) -> Response {
        fetch(self.address, request)
    }

    #[track_caller]
    fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target))
    }

    fn reloads(&self) -> usize {
        self.process.log.count(|line| line.contains(" reloading "))
    }

    /// Waits until the application is being loaded again for the `number`th time.
    #[track_caller]
    fn wait_for_reloads(&self, number: usize) {
        until("the reload begins", SOON, || self.reloads() >= number);
    }

    /// Asks until the page has `text` in it.
    #[track_caller]
    fn wait_for(&self, text: &str) -> Response {
        let end = Instant::now() + SOON;
        loop {
            let response = self.get("/");
            if response.text().contains(text) {
                return response;
            }
            assert!(
                Instant::now() < end,
                "no {text:?} in {}; the log:\n{}",
                response.text(),
                self.process.log.text()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The application that the other tests have behind web servers.
fn site(options: &[&str]) -> Preview {
    Preview::of(&fs::read_to_string(apps().join("pages.py")).unwrap(), options)
}

const HELLO: &str = "
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'hello, version 1']
";
