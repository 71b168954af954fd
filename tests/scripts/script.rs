//! A script in a directory of its own, and what a web server does with it.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::fcgi_client::{Raw, Request, Response};
use crate::support::log::Log;
use crate::support::net::Address;
use crate::support::program::program;
use crate::support::python;
use crate::support::wait::{self, SOON};
use crate::support::web_server::write;

pub const APP: &str = include_str!("app.py");

/// A file that names the program in its first line.
pub struct Script {
    pub directory: Arc<TempDir>,
    pub path: PathBuf,
}

impl Script {
    /// The application of these tests, with these lines of options.
    pub fn new(options: &str) -> Self {
        Self::named("app.fcgi", options, APP)
    }

    pub fn named(name: &str, options: &str, source: &str) -> Self {
        let mut block = String::from("# /// wsgi-fpm\n");
        if !options.contains("python =")
            && let Some(python) = python::default()
        {
            block.push_str(&format!("# python = \"{}\"\n", python.display()));
        }
        for line in options.lines() {
            block.push_str(&format!("# {line}\n"));
        }
        block.push_str("# ///\n");
        Self::raw(name, &format!("#!/usr/bin/env wsgi-fpm\n{block}{source}"))
    }

    /// A file with exactly this text.
    pub fn raw(name: &str, text: &str) -> Self {
        let directory = Arc::new(TempDir::with_prefix("wsgi-fpm-script-").unwrap());
        let path = directory.path().join(name);
        write(&path, text.as_bytes(), 0o755);
        Self { directory, path }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the log calls an option that stands in the block.
    pub fn name_of(&self, key: &str) -> String {
        let text = fs::read_to_string(&self.path).unwrap();
        let begin = format!("# {key} = ");
        let line = text.lines().position(|line| line.starts_with(&begin));
        format!("app.fcgi:{}: {key}", line.unwrap() + 1)
    }

    /// What the application has noted.
    pub fn notes(&self) -> String {
        fs::read_to_string(self.file("notes")).unwrap_or_default()
    }

    /// The command, in the environment that a web server gives: next to nothing.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .env_clear()
            .env("PATH", path_with_program())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir("/");
        command
    }

    /// A CGI request to `target`, a path with an optional query.
    pub fn cgi(&self, method: &str, target: &str) -> Cgi {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Cgi {
            command: self.command(),
            input: Vec::new(),
        }
        .variable("GATEWAY_INTERFACE", "CGI/1.1")
        .variable("REQUEST_METHOD", method)
        .variable("SCRIPT_NAME", "/cgi-bin/app.fcgi")
        .variable("PATH_INFO", path)
        .variable("QUERY_STRING", query)
        .variable("SERVER_NAME", "test.example")
        .variable("SERVER_PORT", "80")
        .variable("SERVER_PROTOCOL", "HTTP/1.1")
        .variable("REMOTE_ADDR", "192.0.2.1")
        .variable("HTTP_HOST", "test.example")
    }

    pub fn get(&self, target: &str) -> Answer {
        self.cgi("GET", target).run()
    }

    /// Starts the script on a unix socket, as mod_fcgid does.
    pub fn fastcgi(&self) -> Server {
        let path = self.file("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut server = Server::start(self.command(), listener.into(), Address::Unix(path));
        server.directory = Some(Arc::clone(&self.directory));
        server
    }
}

/// The search path of a web server on whose machine the program is installed.
pub fn path_with_program() -> OsString {
    let program = program();
    let mut path = program.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

/// One CGI request.
pub struct Cgi {
    pub command: Command,
    input: Vec<u8>,
}

impl Cgi {
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// A body with its CONTENT_LENGTH.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let length = body.len().to_string();
        Self { input: body, ..self }.variable("CONTENT_LENGTH", length)
    }

    /// What stands on standard input, whatever the variables say.
    pub fn input(self, input: impl Into<Vec<u8>>) -> Self {
        Self {
            input: input.into(),
            ..self
        }
    }

    pub fn spawn(mut self) -> (Child, Vec<u8>) {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        (self.command.spawn().unwrap(), self.input)
    }

    /// Sends everything and then reads everything, as web servers do.
    ///
    /// # Panics
    /// If the process does not end in time.
    #[track_caller]
    pub fn run(self) -> Answer {
        let (mut child, input) = self.spawn();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            // A script need not read its body.
            let _ = stdin.write_all(&input);
        });
        let answer = finish(child);
        writer.join().unwrap();
        answer
    }
}

/// Collects the output of a process that has its input.
#[track_caller]
pub fn finish(mut child: Child) -> Answer {
    let stderr = Log::collect(child.stderr.take().unwrap());
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        std::io::Read::read_to_end(&mut stdout, &mut output).unwrap();
        output
    });
    let status = wait_exit(&mut child);
    stderr.wait_for_end();
    Answer {
        output: reader.join().unwrap(),
        log: stderr.text(),
        status,
    }
}

#[track_caller]
pub fn wait_exit(child: &mut Child) -> ExitStatus {
    let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait::until_some("the process ends", SOON, || child.try_wait().unwrap())
    }));
    status.unwrap_or_else(|panic| {
        let _ = child.kill();
        let _ = child.wait();
        std::panic::resume_unwind(panic)
    })
}

/// What a CGI process has left.
#[derive(Debug)]
pub struct Answer {
    pub output: Vec<u8>,
    pub log: String,
    pub status: ExitStatus,
}

impl Answer {
    fn split(&self) -> (&[u8], &[u8]) {
        let end = self.output.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.map_or(self.output.len(), |at| at + 4);
        self.output.split_at(end)
    }

    pub fn head(&self) -> String {
        String::from_utf8_lossy(self.split().0).into_owned()
    }

    pub fn body(&self) -> &[u8] {
        self.split().1
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body()).into_owned()
    }

    /// Asserts a complete answer and exit code 0; gives the body's text.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert!(self.output.starts_with(b"Status: 200 OK\r\n"), "{self:?}");
        assert_eq!(self.status.code(), Some(0), "{self:?}");
        self.text()
    }

    /// Asserts a page of the gateway's own for a failure of this side: 500, and an exit code that says so.
    #[track_caller]
    pub fn failed(&self) {
        assert!(
            self.output.starts_with(b"Status: 500 Internal Server Error\r\n"),
            "{self:?}"
        );
        assert_eq!(self.text(), "500 Internal Server Error\n", "{self:?}");
        assert_eq!(self.status.code(), Some(1), "{self:?}");
    }
}

/// A script that serves on its standard input; ends with the value.
pub struct Server {
    /// The script's, if nobody else needs it.
    directory: Option<Arc<TempDir>>,
    child: Mutex<Child>,
    pub address: Address,
    pub log: Log,
    pub output: Log,
}

impl Server {
    pub fn start(mut command: Command, listener: OwnedFd, address: Address) -> Self {
        let mut child = command
            .stdin(Stdio::from(listener))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            directory: None,
            log: Log::collect(child.stderr.take().unwrap()),
            output: Log::collect(child.stdout.take().unwrap()),
            child: Mutex::new(child),
            address,
        }
    }

    pub fn connect(&self) -> Raw {
        Raw::connect(&self.address).unwrap()
    }

    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        self.connect().exchange(request)
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child.lock().unwrap()), signal).unwrap();
    }

    #[track_caller]
    pub fn wait_exit(&self) -> ExitStatus {
        wait_exit(&mut self.child.lock().unwrap())
    }

    #[track_caller]
    pub fn wait_exit_within(&self, deadline: Duration) -> ExitStatus {
        wait::until_some("the process ends", deadline, || {
            self.child.lock().unwrap().try_wait().unwrap()
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        // What has ended already can't be killed.
        let _ = child.kill();
        let _ = child.wait();
        drop(self.directory.take());
    }
}
