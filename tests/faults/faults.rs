//! What can befall a pool while it serves, each as a function.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::chance::Chance;
use crate::support::fcgi_client::{Raw, Request};
use crate::support::process::Gateway;

/// What the faults need to know.
pub struct Scene {
    pub gateway: Gateway,
    /// What stands in it the application does when it is imported.
    pub mode: PathBuf,
    /// The Python that it is run by: a link.
    pub python: PathBuf,
}

/// By name, for messages.
pub type Fault = (&'static str, fn(&Scene, &mut Chance));

/// Everything.
pub const ALL: &[Fault] = &[
    ("a worker is killed", |scene, chance| {
        _ = scene.signal_a_worker(chance, Signal::KILL)
    }),
    ("a worker aborts", |scene, chance| {
        _ = scene.signal_a_worker(chance, Signal::ABORT)
    }),
    ("a worker is stopped for a while", stop_a_worker),
    ("the leader is killed", |scene, _| scene.signal_the_leader(Signal::KILL)),
    ("a reload", |scene, _| scene.gateway.signal(Signal::HUP)),
    ("a reload of what never imports", |scene, _| {
        scene.reload_as("never imports")
    }),
    ("a reload of what is broken", |scene, _| scene.reload_as("fails")),
    ("a reload without a Python", reload_without_python),
    ("a worker without room for descriptors", without_descriptors),
    ("a worker without room for memory", without_memory),
    ("crash", |scene, _| scene.ask("crash")),
    ("kill_itself", |scene, _| scene.ask("kill_itself")),
    ("leave", |scene, _| scene.ask("leave")),
    ("fork_a_child", |scene, _| scene.ask("fork_a_child")),
    ("fork_and_come_back", |scene, _| scene.ask("fork_and_come_back")),
    ("start_threads", |scene, _| scene.ask("start_threads")),
    ("close_descriptors", |scene, _| scene.ask("close_descriptors")),
    ("ignore_the_timeout", |scene, _| scene.ask("ignore_the_timeout")),
    ("block_signals", |scene, _| scene.ask("block_signals")),
    ("open_files", |scene, _| scene.ask("open_files")),
    ("compute", |scene, _| scene.ask("compute")),
];

/// How long a fault is given before the next one.
const WHILE: Duration = Duration::from_millis(300);

impl Scene {
    /// Asks the application for a fault; whether there is an answer does not matter.
    fn ask(&self, fault: &str) {
        let mut connection = self.gateway.connect();
        connection.send(&Request::get(&format!("/fault/{fault}")).bytes());
        connection.readable_within(WHILE);
    }

    fn signal_a_worker(&self, chance: &mut Chance, signal: Signal) -> Option<Pid> {
        let worker = chance.one_of(&processes(&self.gateway, ", worker "))?;
        // It may have ended meanwhile.
        let _ = kill_process(worker, signal);
        Some(worker)
    }

    fn signal_the_leader(&self, signal: Signal) {
        for leader in processes(&self.gateway, ", leader") {
            let _ = kill_process(leader, signal);
        }
    }

    fn reload_as(&self, mode: &str) {
        fs::write(&self.mode, mode).unwrap();
        self.gateway.signal(Signal::HUP);
        std::thread::sleep(WHILE);
        fs::remove_file(&self.mode).unwrap();
    }
}

/// Its processes whose title has `what` in it.
pub fn processes(gateway: &Gateway, what: &str) -> Vec<Pid> {
    let is_one = |pid: &Pid| {
        let title = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        String::from_utf8_lossy(&title).contains(what)
    };
    gateway.processes().into_iter().filter(is_one).collect()
}

fn stop_a_worker(scene: &Scene, chance: &mut Chance) {
    let Some(worker) = scene.signal_a_worker(chance, Signal::STOP) else {
        return;
    };
    std::thread::sleep(WHILE);
    let _ = kill_process(worker, Signal::CONT);
}

fn reload_without_python(scene: &Scene, _: &mut Chance) {
    let target = fs::read_link(&scene.python).unwrap();
    replace_link(&scene.python, Path::new("/nonexistent/python3"));
    scene.gateway.signal(Signal::HUP);
    std::thread::sleep(WHILE);
    replace_link(&scene.python, &target);
}

fn replace_link(link: &Path, target: &Path) {
    let new = link.with_extension("new");
    std::os::unix::fs::symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

/// One worker has no descriptor left for a while.
fn without_descriptors(scene: &Scene, chance: &mut Chance) {
    let Some(worker) = chance.one_of(&processes(&scene.gateway, ", worker ")) else {
        return;
    };
    let open = fs::read_dir(format!("/proc/{}/fd", worker.as_raw_nonzero())).map_or(0, Iterator::count);
    let little = |before: &Rlimit| Rlimit {
        current: Some(open as u64),
        maximum: before.maximum,
    };
    with_limit(worker, Resource::Nofile, little, || ());
}

/// One worker can have no more memory for a while.
fn without_memory(scene: &Scene, chance: &mut Chance) {
    let Some(worker) = chance.one_of(&processes(&scene.gateway, ", worker ")) else {
        return;
    };
    let statm = fs::read_to_string(format!("/proc/{}/statm", worker.as_raw_nonzero())).unwrap_or_default();
    let pages: u64 = statm
        .split(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    let little = |before: &Rlimit| Rlimit {
        current: Some(pages * 4096 + (1 << 20)),
        maximum: before.maximum,
    };
    with_limit(worker, Resource::As, little, || scene.ask("take_memory"));
}

fn with_limit(process: Pid, resource: Resource, limit: impl Fn(&Rlimit) -> Rlimit, meanwhile: impl Fn()) {
    let before = rustix::process::getrlimit(resource);
    // It may have ended meanwhile.
    if let Ok(before) = prlimit(Some(process), resource, limit(&before)) {
        meanwhile();
        std::thread::sleep(WHILE);
        let _ = prlimit(Some(process), resource, before);
    }
}

/// A connection on which nothing is asked.
pub fn idle(gateway: &Gateway) -> Raw {
    let mut idle = gateway.connect();
    idle.exchange(&Request::get("/r/idle").keep_conn()).ok();
    idle
}
