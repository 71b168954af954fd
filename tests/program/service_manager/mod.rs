//! A service manager that is told how the program is and keeps its sockets, as systemd does. systemd's own is in
//! `packaging/tests`.

mod named;
mod reload_command;
mod telling;

use std::fs;
use std::io::{self, ErrorKind, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;

use crate::run::{Running, Stage};
use crate::support::net::free_tcp;
use crate::support::wait::{SOON, until};

#[derive(Default)]
struct Told {
    messages: Vec<String>,
    kept: Vec<(String, OwnedFd)>,
}

/// It ends with the test's process: nobody closes its socket before.
struct ServiceManager {
    path: PathBuf,
    told: Arc<Mutex<Told>>,
}

impl ServiceManager {
    fn new(stage: &Stage) -> Self {
        let path = stage.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let told = Arc::<Mutex<Told>>::default();
        let listening = Arc::clone(&told);
        thread::spawn(move || {
            while let Ok((message, fds)) = receive(&socket) {
                listening.lock().unwrap().hear(message, fds);
            }
        });
        Self { path, told }
    }

    /// The program, started with what is kept. A shell gives the descriptors their numbers.
    fn start(&self, command: Command) -> Running {
        let kept = std::mem::take(&mut self.told.lock().unwrap().kept);
        let names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
        let script = "test $LISTEN_FDS -lt 1 || exec 3<&0 </dev/null; test $LISTEN_FDS -lt 2 || exec 4<&1 >/dev/null; \
                      LISTEN_PID=$$ WATCHDOG_PID=${WATCHDOG_PID:-$$} exec \"$@\"";
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script, "sh"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.env("NOTIFY_SOCKET", &self.path);
        shell.env("LISTEN_FDS", kept.len().to_string());
        shell.env("LISTEN_FDNAMES", names.join(":"));
        shell.stdin(Stdio::null()).stdout(Stdio::null());
        assert!(kept.len() <= 2, "the shell numbers two");
        let mut copies = kept.iter().map(|(_, fd)| fd.try_clone().unwrap());
        if let Some(first) = copies.next() {
            shell.stdin(first);
        }
        if let Some(second) = copies.next() {
            shell.stdout(second);
        }
        // It goes on to keep what it has passed on.
        self.told.lock().unwrap().kept.extend(kept);
        Running::spawn(shell)
    }

    fn is_told(&self, message: &str) -> bool {
        let told = self.told.lock().unwrap();
        told.messages
            .iter()
            .any(|told| told.lines().any(|line| line == message))
    }

    /// All values of this variable, in their order.
    fn values(&self, name: &str) -> Vec<String> {
        let told = self.told.lock().unwrap();
        let lines = told.messages.iter().flat_map(|told| told.lines());
        let values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        values.map(str::to_owned).collect()
    }

    #[track_caller]
    fn wait_for(&self, message: &str) {
        until(
            &format!("{message} is told, not {:?}", self.told.lock().unwrap().messages),
            SOON,
            || self.is_told(message),
        );
    }

    fn kept(&self) -> usize {
        self.told.lock().unwrap().kept.len()
    }

    #[track_caller]
    fn wait_for_kept(&self, number: usize) {
        until(&format!("{number} sockets are kept"), SOON, || self.kept() == number);
    }

    fn forget_messages(&self) {
        self.told.lock().unwrap().messages.clear();
    }
}

impl Told {
    fn hear(&mut self, message: String, fds: Vec<OwnedFd>) {
        let name = message.lines().find_map(|line| line.strip_prefix("FDNAME="));
        if let Some(name) = name.filter(|_| message.contains("FDSTORE=1")) {
            self.kept.extend(fds.into_iter().map(|fd| (name.to_owned(), fd)));
        } else if let Some(name) = name.filter(|_| message.contains("FDSTOREREMOVE=1")) {
            self.kept.retain(|(kept, _)| kept != name);
        }
        self.messages.push(message);
    }
}

fn receive(socket: &UnixDatagram) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(socket, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let messages = ancillary.drain();
    let fds = messages.flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    });
    let fds = fds.collect();
    Ok((String::from_utf8_lossy(&bytes[..received.bytes]).into_owned(), fds))
}

fn stop(running: &mut Running) {
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
}

/// Nobody has closed it.
fn waits(mut connection: impl Read) -> bool {
    connection
        .read(&mut [0])
        .is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn connections_wait_while_the_program_is_started_again() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let tcp = free_tcp("127.0.0.1").unwrap();
    let listen = format!("--listen={tcp}");
    let mut running = manager.start(stage.serve(&[&listen]));
    running.line(" ready ");
    manager.wait_for("READY=1");
    assert_eq!(manager.kept(), 2);
    let inode = stage.socket().metadata().unwrap().ino();
    stop(&mut running);
    manager.wait_for("STOPPING=1");
    assert_eq!(manager.kept(), 2);

    let unix = UnixStream::connect(stage.socket()).unwrap();
    let tcp = TcpStream::connect(tcp).unwrap();
    unix.set_nonblocking(true).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let mut running = manager.start(stage.serve(&[&listen]));
    running.line("listening [1, 1] blocking [False, False]");
    running.line(" ready ");
    assert_eq!(stage.socket().metadata().unwrap().ino(), inode);
    assert!(waits(&unix) && waits(&tcp));
    assert_eq!(manager.kept(), 2);
    stop(&mut running);
}

#[test]
fn killed_program_loses_no_socket() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let mut running = manager.start(stage.serve(&[]));
    running.line(" ready ");
    manager.wait_for_kept(1);
    running.signal(Signal::KILL);
    running.exit();
    let waiting = UnixStream::connect(stage.socket()).unwrap();
    waiting.set_nonblocking(true).unwrap();
    let running = manager.start(stage.serve(&["--listen-mode=0600"]));
    running.line(" ready ");
    assert!(waits(&waiting));
    assert_eq!(
        stage.socket().metadata().unwrap().mode() & 0o777,
        0o600,
        "what holds now"
    );
}

#[test]
fn socket_that_nobody_wants_at_the_next_start_is_removed() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let other = stage.path("other");
    let mut running = manager.start(stage.serve(&["--listen", other.to_str().unwrap()]));
    running.line(" ready ");
    manager.wait_for_kept(2);
    stop(&mut running);
    assert!(other.exists());
    let running = manager.start(stage.serve(&[]));
    running.line("no pool wants this socket of the last run any more");
    running.line(" ready ");
    manager.wait_for_kept(1);
    assert!(!other.exists() && stage.socket().exists());
}

#[test]
fn port_is_free_for_another_address_at_the_next_start() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let tcp = free_tcp("127.0.0.1").unwrap();
    let port = tcp.to_string().rsplit(':').next().unwrap().to_owned();
    let mut running = manager.start(stage.command(&["serve", "app:application", &format!("--listen={tcp}")]));
    running.line(" ready ");
    manager.wait_for_kept(1);
    stop(&mut running);
    let running = manager.start(stage.command(&["serve", "app:application", &format!("--listen=0.0.0.0:{port}")]));
    running.line(" ready ");
    assert!(manager.is_told("BARRIER=1"));
    manager.wait_for_kept(1);
}

#[test]
fn kept_socket_whose_file_is_another_s_by_now_is_not_taken_for_it() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let mut running = manager.start(stage.serve(&[]));
    running.line(" ready ");
    stop(&mut running);
    manager.wait_for_kept(1);
    fs::remove_file(stage.socket()).unwrap();
    let other = UnixListener::bind(stage.socket()).unwrap();
    let mut running = manager.start(stage.serve(&[]));
    running.line("another program answers there");
    assert_eq!(running.exit().code(), Some(1));
    manager.wait_for_kept(0);
    UnixStream::connect(stage.socket()).unwrap();
    drop(other);
}

#[test]
fn application_that_can_not_start_leaves_nothing_to_wait_in() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let mut running = manager.start(stage.serve(&[]));
    running.line(" ready ");
    stop(&mut running);
    manager.wait_for_kept(1);
    stage.behave("fail");
    let mut running = manager.start(stage.serve(&[]));
    assert_eq!(running.exit().code(), Some(1));
    manager.wait_for_kept(0);
    assert!(!stage.socket().exists());
}

#[test]
fn what_can_not_be_started_is_not_said_to_be_ready() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    fs::write(stage.socket(), "precious").unwrap();
    let mut running = manager.start(stage.serve(&[]));
    assert_eq!(running.exit().code(), Some(1));
    assert!(!manager.is_told("READY=1"));
}

#[test]
fn pool_that_is_broken_keeps_the_service_from_nothing() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let file = stage.path("wsgi-fpm.toml");
    let pool = |name: &str, lines: &str| {
        let python = stage.python();
        format!(
            "[pool.{name}]\napp = \"app:application\"\npython = \"{}\"\nlisten = \"./{name}.sock\"\n{lines}\n",
            python.display()
        )
    };
    let user = "user = \"root\"\n";
    let text = pool("good", user) + &pool("bad", "user = \"nobody-has-this-name\"\n");
    fs::write(&file, &text).unwrap();
    let serve = || {
        let mut command = crate::run::program();
        command.args(["serve", "--config"]).arg(&file);
        command.env("WSGI_FPM_ENGINE", stage.path("behaviour"));
        command
    };
    let mut running = manager.start(serve());
    manager.wait_for("READY=1");
    manager.wait_for(
        "STATUS=2 pools: 1 serves, 1 failed: bad (wsgi-fpm.toml:11: pool.bad.user nobody-has-this-name: no such user)",
    );
    running.line(" ready ");
    manager.wait_for_kept(1);

    // A pool that is taken out of the file takes its socket with it, and what the others have stays.
    fs::write(&file, pool("good", user) + &pool("third", user)).unwrap();
    running.signal(Signal::HUP);
    manager.wait_for_kept(2);
    fs::write(&file, pool("good", user)).unwrap();
    running.signal(Signal::HUP);
    manager.wait_for_kept(1);
    assert!(!stage.path("third.sock").exists() && stage.path("good.sock").exists());
    stop(&mut running);

    manager.forget_messages();
    let running = manager.start(serve());
    manager.wait_for("READY=1");
    running.line(" ready ");
    assert_eq!(manager.kept(), 1);
    assert!(!manager.is_told("FDSTORE=1"), "it is kept already");
}

#[test]
fn pool_that_leaves_before_it_has_its_sockets_keeps_the_service_from_nothing() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let hangs = stage.path("hangs");
    let asked = stage.path("asked");
    fs::write(
        &hangs,
        format!("#!/bin/sh\ntouch {}\nexec sleep 1000\n", asked.display()),
    )
    .unwrap();
    fs::set_permissions(&hangs, fs::Permissions::from_mode(0o755)).unwrap();
    let file = stage.path("wsgi-fpm.toml");
    let pool = |name: &str, python: &Path| {
        format!(
            "[pool.{name}]\napp = \"app:application\"\npython = \"{}\"\nlisten = \"./{name}.sock\"\nuser = \"root\"\n",
            python.display()
        )
    };
    let good = pool("good", &stage.python());
    fs::write(&file, good.clone() + &pool("bad", &hangs)).unwrap();
    let mut command = crate::run::program();
    command.args(["serve", "--config"]).arg(&file);
    command.env("WSGI_FPM_ENGINE", stage.path("behaviour"));
    let mut running = manager.start(command);
    running.line(" ready ");
    until("the other Python is asked what it is", SOON, || asked.exists());
    assert!(!manager.is_told("READY=1"));
    fs::write(&file, good).unwrap();
    running.signal(Signal::HUP);
    manager.wait_for("READY=1");
    stop(&mut running);
}

#[test]
fn socket_of_a_socket_unit_keeps_its_number_beside_what_is_kept() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let unit = UnixListener::bind(stage.path("unit")).unwrap();
    manager
        .told
        .lock()
        .unwrap()
        .kept
        .push(("example.socket".to_owned(), unit.into()));
    for _ in 0..2 {
        let mut running = manager.start(stage.serve(&["--listen=fd:3"]));
        running.line("listening [1, 1]");
        running.line(" ready ");
        manager.wait_for_kept(2);
        stop(&mut running);
    }
    assert!(!manager.is_told("FDSTOREREMOVE=1"));
}

#[test]
fn upgrade_leaves_everything_with_the_service_manager() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let unit = UnixListener::bind(stage.path("unit")).unwrap();
    let kept = ("example.socket".to_owned(), unit.into());
    manager.told.lock().unwrap().kept.push(kept);
    let mut running = manager.start(stage.serve(&["--listen=fd:3"]));
    running.line(" ready ");
    manager.wait_for_kept(2);
    for _ in 0..2 {
        manager.forget_messages();
        let mark = running.signal(Signal::USR2);
        running.line_after(mark, "listening [1, 1]");
        running.line_after(mark, " ready ");
        manager.wait_for("READY=1");
        UnixStream::connect(stage.path("unit")).unwrap();
        assert!(!manager.is_told("FDSTORE=1") && !manager.is_told("FDSTOREREMOVE=1"));
    }
    stop(&mut running);
    assert!(stage.socket().exists(), "it is for the next start");
    assert_eq!(manager.kept(), 2);
}

#[test]
fn service_manager_that_is_gone_is_no_hindrance() {
    let stage = Stage::new();
    let mut command = stage.serve(&[]);
    command.env("NOTIFY_SOCKET", stage.path("nobody"));
    let mut running = Running::spawn(command);
    running.line("NOTIFY_SOCKET: the service manager can't be told anything");
    running.line(" ready ");
    stop(&mut running);
    assert!(!stage.socket().exists());
}
