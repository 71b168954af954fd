//! A gateway that a test has started: private socket, own session, log collected, nobody left behind.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use super::fcgi_client::{Raw, Request, Response};
use super::log::Log;
use super::net::{Address, free_tcp};
use super::program::program;
use super::python;
use super::wait::{self, SOON};

/// Settings of a gateway to be started.
#[derive(Debug, Clone)]
pub struct Builder {
    program: PathBuf,
    app: String,
    chdir: PathBuf,
    workers: String,
    threads: u32,
    python: Option<PathBuf>,
    tcp: Option<String>,
    /// Started as web servers start scripts: one process, its listening socket as standard input.
    on_stdin: bool,
    log: Option<Arc<OwnedFd>>,
    /// A command that runs the program, with its first arguments.
    under: Vec<String>,
    options: Vec<OsString>,
    environment: Vec<(OsString, Option<OsString>)>,
}

impl Builder {
    /// Another program than the one that cargo has built.
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// A number, or a range.
    pub fn workers(mut self, workers: impl ToString) -> Self {
        self.workers = workers.to_string();
        self
    }

    pub fn threads(mut self, threads: u32) -> Self {
        self.threads = threads;
        self
    }

    pub fn python(mut self, python: impl Into<PathBuf>) -> Self {
        self.python = Some(python.into());
        self
    }

    /// Whichever Python the program finds, even where another one is to be tested with.
    pub fn without_python(mut self) -> Self {
        self.python = None;
        self.without_variable("VIRTUAL_ENV")
    }

    pub fn chdir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.chdir = directory.into();
        self
    }

    /// Listens on a free port of `host` and not on a unix socket.
    pub fn tcp(mut self, host: &str) -> Self {
        self.tcp = Some(host.to_owned());
        self
    }

    /// Without a supervisor, as a web server starts it: the listening socket is standard input.
    pub fn on_stdin(mut self) -> Self {
        self.on_stdin = true;
        self
    }

    /// Its standard error, which then nobody collects.
    pub fn log_to(mut self, log: impl Into<OwnedFd>) -> Self {
        self.log = Some(Arc::new(log.into()));
        self
    }

    /// Run by another command.
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// One option of the command line with its value.
    pub fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.options.extend([name.into(), value.into()]);
        self
    }

    pub fn flag(mut self, name: &str) -> Self {
        self.options.push(name.into());
        self
    }

    /// A variable in the environment of the gateway itself.
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), Some(value.into())));
        self
    }

    pub fn without_variable(mut self, name: &str) -> Self {
        self.environment.push((name.into(), None));
        self
    }

    /// Starts the gateway and waits until it is ready.
    ///
    /// # Panics
    /// If it exits or is not ready soon, with its log.
    #[track_caller]
    pub fn start(self) -> Gateway {
        // The kernel takes connections for it before it is ready, and it says nothing about that.
        let tells_when_ready = !self.on_stdin;
        let gateway = self.spawn();
        let end = Instant::now() + SOON;
        while tells_when_ready && gateway.log.find(is_ready).is_none() {
            if let Some(status) = gateway.exit_status() {
                gateway.log.wait_for_end();
                panic!("the gateway exited with {status}; its log:\n{}", gateway.log.text());
            }
            assert!(
                Instant::now() < end,
                "the gateway is not ready; its log:\n{}",
                gateway.log.text()
            );
            thread::sleep(Duration::from_millis(2));
        }
        gateway
    }

    /// Starts a gateway that should not become ready. Gives its exit status and log.
    #[track_caller]
    pub fn fail(self) -> (ExitStatus, Log) {
        let gateway = self.spawn();
        let status = gateway.wait_exit(SOON);
        gateway.log.wait_for_end();
        (status, gateway.log.clone())
    }

    /// Starts the gateway without waiting for anything.
    pub fn spawn(self) -> Gateway {
        let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
        let address = match &self.tcp {
            Some(host) => Address::Tcp(free_tcp(host).unwrap()),
            None => Address::Unix(directory.path().join("socket")),
        };
        // A session of its own, which its workers share though each has a group of its own. It keeps the pid.
        let mut command = Command::new("setsid");
        command.args(&self.under).arg(&self.program);
        if self.on_stdin {
            command.args(["fastcgi", &self.app]).stdin(listener(&address));
        } else {
            command
                .args(["serve", &self.app, "--listen", &address.option()])
                .args(["--workers", &self.workers])
                .stdin(Stdio::null());
        }
        command
            .args(["--threads", &self.threads.to_string()])
            .arg("--chdir")
            .arg(&self.chdir)
            .args(&self.options)
            .env_remove("VIRTUAL_ENV")
            .env_remove("FCGI_WEB_SERVER_ADDRS")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // Its control socket is there.
            .env("RUNTIME_DIRECTORY", directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(log) = &self.log {
            command.stderr(log.try_clone().unwrap());
        }
        if let Some(python) = &self.python {
            command.arg("--python").arg(python);
        }
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut child = command.spawn().unwrap();
        let group = Pid::from_child(&child);
        reaper().add(group, directory.path());
        Gateway {
            log: child.stderr.take().map(Log::collect).unwrap_or_default(),
            output: Log::collect(child.stdout.take().unwrap()),
            child: Mutex::new(child),
            group,
            address,
            directory,
        }
    }
}

fn listener(address: &Address) -> OwnedFd {
    match address {
        Address::Unix(path) => UnixListener::bind(path).unwrap().into(),
        Address::Tcp(address) => TcpListener::bind(address).unwrap().into(),
    }
}

fn is_ready(line: &str) -> bool {
    line.contains("ready")
}

/// A running gateway. Ends with the value; a test that leaves a process of it behind fails.
#[derive(Debug)]
pub struct Gateway {
    child: Mutex<Child>,
    /// The supervisor's pid, its process group and its session.
    group: Pid,
    pub address: Address,
    /// Its standard error.
    pub log: Log,
    /// Its standard output.
    pub output: Log,
    /// A private directory that goes with the gateway; the socket is in it.
    pub directory: TempDir,
}

impl Gateway {
    /// A gateway for `app`, found from `tests/wsgi/apps`: one worker, four threads.
    pub fn app(app: &str) -> Builder {
        Builder {
            program: program(),
            app: app.to_owned(),
            chdir: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wsgi/apps"),
            workers: "1".to_owned(),
            threads: 4,
            python: python::default(),
            tcp: None,
            on_stdin: false,
            log: None,
            under: Vec::new(),
            options: Vec::new(),
            environment: Vec::new(),
        }
    }

    pub fn connect(&self) -> Raw {
        Raw::connect(&self.address).unwrap()
    }

    /// Sends `request` on a new connection.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        self.connect().exchange(request)
    }

    /// Sends a GET request on a new connection.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target))
    }

    pub fn pid(&self) -> Pid {
        self.group
    }

    /// Where commands reach it.
    pub fn control(&self) -> PathBuf {
        self.directory.path().join(format!("{}.control", self.group))
    }

    /// Sends `signal` to the supervisor alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.group, signal).unwrap();
    }

    /// Sends `signal` to the supervisor's group, as a terminal does.
    pub fn signal_group(&self, signal: Signal) {
        kill_process_group(self.group, signal).unwrap();
    }

    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// Waits for the supervisor's end.
    #[track_caller]
    pub fn wait_exit(&self, deadline: Duration) -> ExitStatus {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.exit_status() {
                return status;
            }
            assert!(
                Instant::now() < end,
                "the gateway still runs after {deadline:?}; its log:\n{}",
                self.log.text()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Warnings and errors of its log, but for that of tests that run as root.
    pub fn complaints(&self) -> Vec<String> {
        let is_one =
            |line: &String| (line.contains("ERROR") || line.contains("WARN")) && !line.contains("runs as root");
        self.log.since(0).into_iter().filter(is_one).collect()
    }

    /// Pids of its living processes.
    pub fn processes(&self) -> Vec<Pid> {
        processes_of_session(self.group)
    }

    /// Waits until no process of the gateway is left.
    #[track_caller]
    pub fn wait_for_nobody(&self, deadline: Duration) {
        wait::until("no process of the gateway is left", deadline, || {
            self.processes().is_empty()
        });
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.exit_status().is_none() {
            // Fails only if it has exited in between.
            let _ = kill_process(self.group, Signal::QUIT);
        }
        let end = Instant::now() + SOON;
        while Instant::now() < end && (self.exit_status().is_none() || !self.processes().is_empty()) {
            thread::sleep(Duration::from_millis(2));
        }
        let survivors = self.processes();
        if !survivors.is_empty() {
            for pid in &survivors {
                // Fails only if it has exited in between.
                let _ = kill_process(*pid, Signal::KILL);
            }
        }
        // Reaps the supervisor, which is dead by now.
        let _ = self.child.lock().unwrap().wait();
        reaper().remove(self.group);
        if !thread::panicking() {
            assert!(
                survivors.is_empty(),
                "processes {survivors:?} outlived the gateway; its log:\n{}",
                self.log.text()
            );
        }
    }
}

/// Living processes of a session. A zombie is nobody: its new parent reaps it when it likes.
fn processes_of_session(session: Pid) -> Vec<Pid> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read(entry.path().join("stat")) else {
            continue;
        };
        // "pid (name) state ppid pgrp session ...", and the name may hold anything.
        let stat = String::from_utf8_lossy(&stat);
        let Some((_, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        let mut fields = rest.split(' ');
        let (state, sid) = (fields.next(), fields.nth(2));
        if sid == Some(session.as_raw_nonzero().to_string().as_str()) && !matches!(state, Some("Z" | "X")) {
            pids.extend(Pid::from_raw(pid));
        }
    }
    pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
    pids
}

/// A gateway that many tests share. Statics are never dropped, so the reaper ends it after the last test.
pub struct Shared(OnceLock<Gateway>, fn() -> Builder);

impl Shared {
    pub const fn new(builder: fn() -> Builder) -> Self {
        Self(OnceLock::new(), builder)
    }
}

impl std::ops::Deref for Shared {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        self.0.get_or_init(|| (self.1)().start())
    }
}

/// A shell that outlives the test binary by a moment, kills the process groups that are still there and removes their
/// directories: shared gateways, and those of a test binary that was itself killed. It learns of its end by the pipe.
struct Reaper(Mutex<ChildStdin>);

const REAPER: &str = r#"
live=" "
while read -r sign group directory; do
    case $sign in
        +) live="$live$group "; eval "directory_$group=\$directory" ;;
        -) live="${live% $group *} ${live#* $group }" ;;
    esac
done
for group in $live; do
    kill -KILL "-$group"
    eval "rm -rf \"\$directory_$group\""
done
"#;

fn reaper() -> Arc<Reaper> {
    static REAPER_PROCESS: OnceLock<Arc<Reaper>> = OnceLock::new();
    let reaper = REAPER_PROCESS.get_or_init(|| {
        // Nobody waits for it: it goes on until this process has ended.
        #[allow(clippy::zombie_processes)]
        let mut child = Command::new("sh")
            .args(["-c", REAPER])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Arc::new(Reaper(Mutex::new(child.stdin.take().unwrap())))
    });
    Arc::clone(reaper)
}

impl Reaper {
    fn add(&self, group: Pid, directory: &Path) {
        let (group, directory) = (group.as_raw_nonzero(), directory.display());
        writeln!(self.0.lock().unwrap(), "+ {group} {directory}").unwrap();
    }

    fn remove(&self, group: Pid) {
        writeln!(self.0.lock().unwrap(), "- {}", group.as_raw_nonzero()).unwrap();
    }
}
