//! A configuration file and the program that serves it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::fcgi_client::{Raw, Request, Response};
use crate::support::log::Log;
use crate::support::net::Address;
use crate::support::program::program;
use crate::support::wait::{SOON, until, until_some};

/// Everybody may enter the directory, since pools have users of their own.
pub struct House {
    directory: tempfile::TempDir,
    child: Child,
    pub log: Log,
}

/// Where the applications of these tests are.
pub fn app(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/pools/apps")
        .join(name)
}

/// A directory with a copy of the applications, which everybody may read.
pub fn directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::Builder::new().prefix("wsgi-fpm-pools-").tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(app("")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    directory
}

/// The table of a pool with the application `who.py`, one worker, and these further lines. Paths begin at the file.
pub fn pool(name: &str, lines: &str) -> String {
    format!("[pool.{name}]\napp = \"who:application\"\nchdir = \".\"\nlisten = \"./{name}.sock\"\n{lines}\n")
}

/// What these tests want of all pools; the tests run as root, and so do pools that say nothing else.
pub const DEFAULTS: &str = "[defaults]\nworkers = 1\nthreads = 2\nconnection_requests = 0\nuser = \"root\"\n";

impl House {
    /// Serves these pools.
    pub fn serve(pools: &[String]) -> Self {
        Self::serve_in(directory(), pools)
    }

    pub fn serve_in(directory: tempfile::TempDir, pools: &[String]) -> Self {
        write(directory.path(), pools);
        let command = Command::new(program());
        Self::spawn(directory, command)
    }

    /// The same where nothing says who runs a pool that does not name somebody.
    pub fn serve_without_a_user(pools: &[String]) -> Self {
        let directory = directory();
        let defaults = DEFAULTS.replace("user = \"root\"\n", "");
        fs::write(
            directory.path().join("wsgi-fpm.toml"),
            format!("{defaults}\n{}", pools.join("\n")),
        )
        .unwrap();
        Self::spawn(directory, Command::new(program()))
    }

    /// Starts `command` with the arguments that serve the file in `directory`.
    pub fn spawn(directory: tempfile::TempDir, mut command: Command) -> Self {
        let (child, log) = start(directory.path(), &mut command);
        Self { directory, child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where commands reach it.
    pub fn control(&self) -> PathBuf {
        self.path(&format!("{}.control", self.pid()))
    }

    /// A command for it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).arg("--control").arg(self.control());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output of a command that was done.
    #[track_caller]
    pub fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?} {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of one that has failed.
    #[track_caller]
    pub fn failed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// What `status` says of a pool.
    #[track_caller]
    pub fn status(&self, pool: &str) -> serde_json::Value {
        let mut json: serde_json::Value = serde_json::from_str(&self.done(&["status", "--json", pool])).unwrap();
        json["pools"][0].take()
    }

    /// The pids of a pool's workers that take requests.
    #[track_caller]
    pub fn workers(&self, pool: &str) -> Vec<u64> {
        let status = self.status(pool);
        let workers = status["workers"].as_array().unwrap().iter();
        let serving = workers.filter(|worker| worker["phase"] == "serving");
        serving.map(|worker| worker["pid"].as_u64().unwrap()).collect()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn socket(&self, pool: &str) -> Address {
        Address::Unix(self.path(&format!("{pool}.sock")))
    }

    /// Writes the file anew.
    pub fn write(&self, pools: &[String]) {
        write(self.directory.path(), pools);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Writes the file anew and has it read.
    pub fn reload(&self, pools: &[String]) -> usize {
        let mark = self.log.mark();
        self.write(pools);
        self.signal(Signal::HUP);
        mark
    }

    #[track_caller]
    pub fn wait_for(&self, mark: usize, parts: &[&str]) -> String {
        let deadline = Instant::now() + SOON * 2;
        loop {
            let mut lines = self.log.since(mark).into_iter();
            if let Some(line) = lines.find(|line| parts.iter().all(|part| line.contains(part))) {
                return line;
            }
            let waits = Instant::now() < deadline && !self.log.ended();
            assert!(waits, "the log has no line with {parts:?}:\n{}", self.log.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    pub fn wait_ready(&self, pool: &str) {
        self.wait_for(0, &[" ready ", &format!("pool=\"{pool}\"")]);
    }

    pub fn get(&self, pool: &str, target: &str) -> Response {
        Raw::connect(&self.socket(pool))
            .unwrap()
            .exchange(&Request::get(target))
            .ok()
    }

    /// One of the fields that `who.py` says of itself.
    #[track_caller]
    pub fn who(&self, pool: &str, field: &str) -> String {
        let text = self.get(pool, "/").text();
        let found = text
            .split(' ')
            .find_map(|part| part.strip_prefix(&format!("{field}=")).map(str::to_owned));
        found.unwrap_or_else(|| panic!("no {field} in {text}"))
    }

    /// Waits until it says so: the old generation may answer a request or two after the new one is ready.
    #[track_caller]
    pub fn wait_who(&self, pool: &str, field: &str, expected: impl Fn(&str) -> bool) {
        until(&format!("{pool} says another {field}"), SOON, || {
            expected(&self.who(pool, field))
        });
    }

    /// Starts it anew after it has ended, with what the file says now.
    pub fn start_again(&mut self) {
        let mut command = Command::new(program());
        (self.child, self.log) = start(self.directory.path(), &mut command);
    }

    /// Stops gently.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.exit()
    }

    #[track_caller]
    pub fn exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until_some("the program ends", SOON * 2, || child.try_wait().unwrap())
    }

    #[track_caller]
    pub fn wait_gone(&self, pool: &str) {
        until("the socket is gone", SOON, || {
            !self.path(&format!("{pool}.sock")).exists()
        });
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(directory: &Path, command: &mut Command) -> (Child, Log) {
    let mut child = command
        .args(["serve", "--config"])
        .arg(directory.join("wsgi-fpm.toml"))
        // Its control socket is there.
        .env("RUNTIME_DIRECTORY", directory)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = Log::collect(child.stderr.take().unwrap());
    (child, log)
}

fn write(directory: &Path, pools: &[String]) {
    let file = directory.join("wsgi-fpm.toml");
    // As editors do: nobody reads half of it.
    fs::write(directory.join("new"), format!("{DEFAULTS}\n{}", pools.join("\n"))).unwrap();
    fs::rename(directory.join("new"), file).unwrap();
}
