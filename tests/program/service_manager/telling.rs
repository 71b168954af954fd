//! What a service manager is told: reloads, more time, signs of life, and how pools stand.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use super::{ServiceManager, stop};
use crate::run::{Running, Stage, program};
use crate::support::wait::{SOON, until};

fn microseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

/// Has it begin a reload that is not over before the word "late" is gone.
fn check_reload(stage: &Stage, manager: &ServiceManager, running: &Running, begin: impl FnOnce()) {
    manager.wait_for("STATUS=1 pool: 1 serves");
    stage.behave("late");
    manager.forget_messages();
    let (before, mark) = (microseconds(), running.log.mark());
    begin();
    manager.wait_for("RELOADING=1");
    manager.wait_for("STATUS=Reloading. 1 pool: 1 serves");
    let times = manager.values("MONOTONIC_USEC");
    let time: u64 = times[0].parse().unwrap();
    assert!(
        times.len() == 1 && (before..microseconds()).contains(&time),
        "{times:?}"
    );
    running.line_after(mark, "reloading");
    assert!(!manager.is_told("READY=1"), "it is not over");
    stage.behave("");
    manager.wait_for("READY=1");
    running.line_after(mark, " ready ");
}

#[test]
fn reload_is_told_with_its_time_and_is_over_when_the_new_version_serves() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let mut running = manager.start(stage.serve(&[]));
    check_reload(&stage, &manager, &running, || _ = running.signal(Signal::HUP));
    stop(&mut running);
}

#[test]
fn reload_that_a_file_has_caused_is_told_as_well() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let touched = stage.path("touched");
    let mut running = manager.start(stage.serve(&["--reload-on", touched.to_str().unwrap()]));
    check_reload(&stage, &manager, &running, || fs::write(&touched, "").unwrap());
    stop(&mut running);
}

#[test]
fn signal_within_a_reload_has_a_time_of_its_own_and_both_are_over_together() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let running = manager.start(stage.serve(&[]));
    check_reload(&stage, &manager, &running, || {
        _ = {
            running.signal(Signal::HUP);
            manager.wait_for("RELOADING=1");
            running.line("reloading");
            manager.forget_messages();
            running.signal(Signal::HUP)
        }
    });
    assert_eq!(manager.values("READY").len(), 1);
}

#[test]
fn reload_that_fails_is_over_and_the_status_says_why() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let mut running = manager.start(stage.serve(&[]));
    running.line(" ready ");
    manager.forget_messages();
    stage.behave("fail");
    running.signal(Signal::HUP);
    manager.wait_for("READY=1");
    let last = manager.values("STATUS").pop().unwrap();
    assert_eq!(
        last,
        "1 pool: 1 serves its previous version, the new one failed: app (ImportError: no module)"
    );
    stop(&mut running);
}

/// A file with pools of these names, each with lines of its own.
fn write(stage: &Stage, pools: &[(&str, &str)]) {
    let pools = pools.iter().map(|(name, lines)| {
        let python = stage.python();
        let user = "user = \"root\"";
        let python = python.display();
        format!("[pool.{name}]\napp = \"app:application\"\npython = \"{python}\"\nlisten = \"./{name}.sock\"\n{user}\n{lines}\n")
    });
    fs::write(stage.path("wsgi-fpm.toml"), pools.collect::<String>()).unwrap();
}

fn serve_file(stage: &Stage, manager: &ServiceManager) -> Running {
    let mut command = program();
    command.args(["serve", "--config"]).arg(stage.path("wsgi-fpm.toml"));
    command.env("WSGI_FPM_ENGINE", stage.path("behaviour"));
    manager.start(command)
}

#[test]
fn reload_of_a_file_is_over_when_all_that_it_changes_serves_or_has_failed() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    write(&stage, &[("a", ""), ("b", "")]);
    let mut running = serve_file(&stage, &manager);
    manager.wait_for("STATUS=2 pools: 2 serve");
    manager.forget_messages();

    stage.behave("late");
    write(
        &stage,
        &[
            ("a", ""),
            ("b", "threads = 2"),
            ("c", ""),
            ("d", "python = \"/nowhere\""),
        ],
    );
    let text = fs::read_to_string(stage.path("wsgi-fpm.toml")).unwrap();
    let own = format!("python = \"{}\"\n", stage.python().display());
    let (rest, d) = text.split_at(text.find("[pool.d]").unwrap());
    fs::write(stage.path("wsgi-fpm.toml"), format!("{rest}{}", d.replace(&own, ""))).unwrap();
    running.signal(Signal::HUP);
    manager.wait_for("RELOADING=1");
    running.line("reloading pool=\"b\"");
    assert!(!manager.is_told("READY=1"), "none of them has got anywhere");
    stage.behave("");
    manager.wait_for("READY=1");
    let last = manager.values("STATUS").pop().unwrap();
    assert!(
        last.starts_with("4 pools: 3 serve, 1 failed: d (wsgi-fpm.toml:23: pool.d.python /nowhere: "),
        "{last}"
    );

    manager.forget_messages();
    write(&stage, &[("a", "thread = 2")]);
    running.signal(Signal::HUP);
    manager.wait_for("READY=1");
    let last = manager.values("STATUS").pop().unwrap();
    assert!(
        last.contains("wsgi-fpm.toml has mistakes and changes nothing: wsgi-fpm check names them. 4 pools: 3 serve"),
        "{last}"
    );
    manager.forget_messages();
    write(&stage, &[("a", ""), ("b", "threads = 2")]);
    running.signal(Signal::HUP);
    manager.wait_for("READY=1");
    manager.wait_for("STATUS=2 pools: 2 serve");
    stop(&mut running);
}

#[test]
fn line_about_pools_is_told_once_in_a_second_at_most_and_the_last_one_comes() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let names = ["a", "b", "c", "d", "e", "f"];
    write(&stage, &names.map(|name| (name, "")));
    let began = Instant::now();
    let mut running = serve_file(&stage, &manager);
    manager.wait_for("STATUS=6 pools: 6 serve");
    let told = manager.values("STATUS").len();
    // One more comes with READY=1.
    let most = began.elapsed().as_secs() as usize + 3;
    assert!(told <= most, "{:?}", manager.values("STATUS"));
    stop(&mut running);
}

#[test]
fn watchdog_is_told_that_the_program_is_alive_twice_in_its_time() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let mut command = stage.serve(&[]);
    command.env("WATCHDOG_USEC", "400000");
    let began = Instant::now();
    let mut running = manager.start(command);
    let beats = || manager.values("WATCHDOG").len();
    until("it is told", SOON, || beats() >= 10);
    let elapsed = began.elapsed();
    assert!(elapsed >= Duration::from_millis(1700), "too often: {elapsed:?}");
    // A program that takes its place goes on with it.
    let mark = running.signal(Signal::USR2);
    running.line_after(mark, " ready ");
    let before = beats();
    until("it is told", SOON, || beats() >= before + 3);
    running.signal(Signal::STOP);
    let before = beats();
    std::thread::sleep(Duration::from_millis(1000));
    assert!(beats() <= before + 1, "what does not run is not alive");
    running.signal(Signal::CONT);
    stop(&mut running);
}

#[test]
fn watchdog_of_another_process_is_told_nothing() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let mut command = stage.serve(&[]);
    command.env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    let mut running = manager.start(command);
    running.line(" ready ");
    stop(&mut running);
    assert!(!manager.is_told("WATCHDOG=1"));
}

#[test]
fn more_time_is_asked_for_while_requests_that_run_are_finished() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    stage.behave("stubborn");
    let mut running = manager.start(stage.serve(&["--stop-timeout=100ms"]));
    running.line(" ready ");
    manager.wait_for("READY=1");
    manager.forget_messages();
    running.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    manager.wait_for("EXTEND_TIMEOUT_USEC=30000000");
    assert!(manager.is_told("STATUS=Stopping: requests that run are finished"));
    // Who wants it at once does not wait for them.
    manager.forget_messages();
    running.signal(Signal::INT);
    running.exit();
    assert!(!manager.is_told("EXTEND_TIMEOUT_USEC=30000000"));
}

#[test]
fn more_time_is_asked_for_while_a_new_version_is_loaded() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let mut running = manager.start(stage.serve(&[]));
    running.line(" ready ");
    manager.wait_for("READY=1");
    manager.forget_messages();
    stage.behave("late");
    running.signal(Signal::HUP);
    manager.wait_for("EXTEND_TIMEOUT_USEC=30000000");
    stage.behave("");
    manager.wait_for("READY=1");
    stop(&mut running);
}
