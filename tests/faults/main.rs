//! Faults in a random order under load, and what must hold after all of them: nobody is left behind, somebody answers, and
//! the log names each request that was lost.
//!
//! `WSGI_FPM_FAULTS_SEED=N` repeats a run or tries another one; `WSGI_FPM_FAULTS_RUNS=N` makes so many more.

#[path = "../support/mod.rs"]
mod support;

mod chance;
mod faults;
mod load;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use chance::Chance;
use faults::{Fault, Scene, processes};
use load::{Load, Lost};
use support::disk::Tiny;
use support::log::field;
use support::process::{Builder, Gateway};
use support::python;
use support::wait::{SOON, until};

/// Faults of one run.
const FAULTS: usize = 8;
const CLIENTS: usize = 6;
/// What the slowest faults need: a request that ignores its time-out, a worker that somebody has stopped, an import without end.
const LONG: Duration = Duration::from_secs(60);

fn seed_or(usual: u64) -> u64 {
    std::env::var("WSGI_FPM_FAULTS_SEED").map_or(usual, |seed| seed.parse().expect("WSGI_FPM_FAULTS_SEED is a number"))
}

/// The scene's directory goes with the value.
fn scene(more: impl FnOnce(Builder) -> Builder) -> (tempfile::TempDir, Scene) {
    let directory = tempfile::tempdir().unwrap();
    let (mode, python) = (directory.path().join("mode"), directory.path().join("python3"));
    symlink(python::default().unwrap_or_else(on_path), &python).unwrap();
    let builder = Gateway::app("app:application")
        .chdir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults"))
        .variable("FAULTS_MODE_FILE", &mode)
        .python(&python)
        .workers(3)
        .threads(2)
        .option("--name", "faults")
        .option("--request-timeout", "2s")
        .option("--kill-timeout", "1s")
        .option("--start-timeout", "5s")
        .option("--stop-timeout", "10s");
    let gateway = more(builder).start();
    (directory, Scene { gateway, mode, python })
}

fn on_path() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join("python3"));
    let mut found = found.filter(|python| python.is_file());
    found.next().expect("there is a python3")
}

/// What the supervisor has open, by what it is.
fn descriptors(supervisor: Pid) -> Vec<String> {
    let directory = format!("/proc/{}/fd", supervisor.as_raw_nonzero());
    let entries = fs::read_dir(directory).unwrap().flatten();
    let target = |entry: fs::DirEntry| fs::read_link(entry.path()).ok();
    // Numbers of sockets and pipes are others after each reload.
    let kind = |target: PathBuf| {
        target
            .display()
            .to_string()
            .split(':')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let mut kinds: Vec<_> = entries.filter_map(target).map(kind).collect();
    kinds.sort();
    kinds
}

fn children(parent: Pid) -> Vec<String> {
    let children = format!("/proc/{0}/task/{0}/children", parent.as_raw_nonzero());
    let children = fs::read_to_string(children).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

/// Processes of ours that have ended and that nobody has reaped; those of the application are its own.
fn zombies(gateway: &Gateway) -> Vec<String> {
    let mut parents = processes(gateway, ", leader");
    parents.push(gateway.pid());
    let children = parents.into_iter().flat_map(children);
    let is_zombie =
        |pid: &String| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    children.filter(is_zombie).collect()
}

/// Inflicts the faults, one after the other, and looks what is left.
#[track_caller]
fn survive(scene: &Scene, faults: &[Fault], chance: &mut Chance) {
    let gateway = &scene.gateway;
    gateway.get("/r/first").ok();
    let mut before = Vec::new();
    until("the supervisor has come to rest", SOON, || {
        let now = descriptors(gateway.pid());
        std::mem::replace(&mut before, now.clone()) == now
    });
    let idle = faults::idle(gateway);
    let load = Load::begin(&gateway.address, CLIENTS, chance);
    for (name, fault) in faults {
        let answered = load.answered();
        eprintln!("{name}");
        fault(scene, chance);
        // Whatever it was, requests are answered again.
        until(&format!("requests are answered after: {name}"), LONG, || {
            load.answered() > answered + CLIENTS
        });
    }
    let lost = load.end();
    drop(idle);
    gateway.get("/r/canary").ok();
    expect_named(gateway, &lost);
    until("no zombie is left", LONG, || zombies(gateway).is_empty());
    until(
        "one leader and its workers are left",
        LONG,
        || matches!(*processes(gateway, ", leader"), [leader] if children(leader).len() == 3),
    );
    until("the supervisor has what it had", LONG, || {
        descriptors(gateway.pid()) == before
    });
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit(LONG).code(), Some(0), "{}", gateway.log.text());
    gateway.wait_for_nobody(SOON);
}

/// The log names every request that was not answered. Of those that were still being received it knows only how many, and of those
/// that were refused for want of room only the first of each second.
#[track_caller]
fn expect_named(gateway: &Gateway, lost: &[Lost]) {
    let text = gateway.log.text();
    let is_named = |lost: &&Lost| {
        let mut found = text.match_indices(&lost.path);
        // Not the beginning of another one.
        found.any(|(at, path)| !text[at + path.len()..].starts_with(|next: char| next.is_ascii_digit()))
    };
    let is_said = |lost: &&Lost| lost.how.starts_with("507") && text.contains("a request's body can't be kept");
    let unnamed: Vec<_> = lost
        .iter()
        .filter(|lost| !lost.is_unknown && !is_named(lost) && !is_said(lost))
        .map(Lost::to_string)
        .collect();
    let counted = text
        .lines()
        .filter(|line| line.contains("requests that were still being received died with their worker"));
    let counted = counted.filter_map(|line| field(line, "requests")?.parse::<usize>().ok());
    assert!(
        unnamed.len() <= counted.sum(),
        "the log does not name {unnamed:?}; it is:\n{text}"
    );
}

/// A run of faults that this seed draws.
fn run(usual: u64) {
    let seed = seed_or(usual);
    let runs: u64 = std::env::var("WSGI_FPM_FAULTS_RUNS").map_or(1, |runs| runs.parse().expect("a number"));
    for seed in seed..seed + runs {
        eprintln!("WSGI_FPM_FAULTS_SEED={seed}");
        let mut chance = Chance::new(seed);
        let mut drawn = faults::ALL.to_vec();
        chance.shuffle(&mut drawn);
        let (_directory, scene) = scene(|builder| builder);
        survive(&scene, &drawn[..FAULTS], &mut chance);
    }
}

#[test]
fn random_faults_leave_nothing_behind_1() {
    run(1);
}

#[test]
fn random_faults_leave_nothing_behind_2() {
    run(2);
}

#[test]
fn random_faults_leave_nothing_behind_3() {
    run(3);
}

#[test]
fn random_faults_with_each_worker_loading_the_application_leave_nothing_behind() {
    let seed = seed_or(4);
    let mut chance = Chance::new(seed);
    let mut drawn = faults::ALL.to_vec();
    chance.shuffle(&mut drawn);
    let (_directory, scene) = scene(|builder| builder.option("--preload", "off"));
    survive(&scene, &drawn[..FAULTS], &mut chance);
}

#[test]
fn full_disk_leaves_nothing_behind() {
    let Some(tiny) = Tiny::mount() else { return };
    fs::write(tiny.path().join("full"), vec![0; 60_000]).unwrap();
    let (_directory, scene) = scene(|builder| builder.variable("TMPDIR", tiny.path()).option("--body-memory", "16k"));
    let faults: &[Fault] = &[
        ("a worker is killed", faults::ALL[0].1),
        ("a reload", |scene, _| scene.gateway.signal(Signal::HUP)),
    ];
    survive(&scene, faults, &mut Chance::new(5));
}
