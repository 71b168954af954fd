//! Generations: start, failure, death, reload and stop, as the log and the leader see them.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::run::{Running, Stage, field};
use crate::support::wait::{SOON, until};

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn leader_gets_settings_variables_and_descriptors() {
    let stage = Stage::new();
    let running = Running::spawn(stage.serve(&[
        "--workers=2",
        "--threads=3",
        "--env=VARIABLE=a=b",
        "--mount=/app/",
        "--pythonpath=/srv/lib",
        "--body-max=2m",
        "--idle-timeout=1500ms",
        "--name=blog",
        "--validate",
        "--access-log",
    ]));
    let settings = running.line("settings ");
    for expected in [
        r#""name": "blog""#,
        r#""app": "app:application""#,
        r#""mount": ["/app", "--mount"]"#,
        r#""pythonpath": ["/srv/lib"]"#,
        r#""size": {"least": 2, "most": 2,"#,
        r#""body_max": [2097152, "--body-max"]"#,
        r#""idle_timeout": [{"secs": 1, "nanos": 500000000}, "--idle-timeout"]"#,
        r#""validate": true"#,
        r#""debug": false"#,
        r#""access": true"#,
    ] {
        assert!(settings.contains(expected), "{expected} in {settings}");
    }
    let line = running.line("slots ");
    let (_, rest) = line.split_once("slots ").unwrap();
    let (bytes, rest) = rest.split_once(' ').unwrap();
    assert!(bytes.parse::<usize>().unwrap() >= 6 * 64, "{line}");
    assert!(rest.starts_with("variable a=b"), "{line}");
    running.line("straight to the log");
    let ready = running.line(" ready ");
    assert!(
        ready.contains("python=\"stand-in\"") && ready.contains("workers=2 threads=3"),
        "{ready}"
    );
}

/// Python expects SIGPIPE as exec leaves it by default, though this program ignores it.
#[test]
fn leader_does_not_inherit_the_ignored_sigpipe() {
    let stage = Stage::new();
    let running = Running::spawn(stage.serve(&[]));
    let line = running.line("SigIgn:");
    let mask = line
        .split_whitespace()
        .find_map(|word| u64::from_str_radix(word, 16).ok().filter(|_| word.len() == 16));
    let sigpipe = 1 << (Signal::PIPE.as_raw() - 1);
    assert_eq!(mask.expect("a mask") & sigpipe, 0, "{line}");
}

#[test]
fn what_a_leader_prints_becomes_lines_of_the_log() {
    let stage = Stage::new();
    stage.behave("loud");
    let running = Running::spawn(stage.serve(&["--log-format=json", "--log-level=error"]));
    let line = running.line("to stdout");
    assert!(
        line.contains(r#""target":"app""#) && line.contains(r#""process":"leader""#),
        "{line}"
    );
    let line = running.line("to stderr");
    assert!(line.contains(r"\\u{1b}[31m"), "control characters are escaped: {line}");
    // The pipe is still open, so the unfinished line waits.
    running.line(&format!("\"{}...(+{}_bytes)\"", "x".repeat(8192), 10_000 - 8192));
    running.line("settings ");
}

#[test]
fn failed_start_says_why_and_exits_with_1() {
    let stage = Stage::new();
    stage.behave("fail");
    let mut running = Running::spawn(stage.serve(&[]));
    assert_eq!(running.exit().code(), Some(1));
    let log = running.log.text();
    assert!(
        log.contains("the application can't start: ImportError: no module"),
        "{log}"
    );
    assert!(
        log.contains("traceback=\n  Traceback\n    line one\n  ImportError"),
        "{log}"
    );
    assert!(
        log.contains("app=\"app:application\"") && log.contains("python=\"3.12.1 ("),
        "{log}"
    );
}

#[test]
fn leader_that_dies_at_its_start_is_reported() {
    let stage = Stage::new();
    stage.behave("crash");
    let mut running = Running::spawn(stage.serve(&[]));
    assert_eq!(running.exit().code(), Some(1));
    let log = running.log.text();
    assert!(log.contains("last words"), "{log}");
    assert!(
        log.contains("the leader ended with exit status: 3 before it could serve"),
        "{log}"
    );
}

#[test]
fn leader_that_has_served_is_replaced_at_once_and_one_that_has_not_after_a_growing_delay() {
    let stage = Stage::new();
    let mut running = Running::spawn(stage.serve(&[]));
    let mut mark = 0;
    let mut ready = running.line(" ready ");
    for _ in 0..3 {
        mark = running.log.mark();
        kill(field(&ready, "leader"));
        let line = running.line_after(mark, "the leader died");
        assert!(line.contains("signal: 9"), "{line}");
        ready = running.line_after(mark, " ready ");
        assert!(!running.log.since(mark).join("\n").contains("starting again"));
    }
    // It was ready once, so it is never given up.
    stage.behave("fail");
    kill(field(&ready, "leader"));
    running.line_after(mark, "the application can't start");
    for delay in [100, 200, 400] {
        running.line_after(mark, &format!("delay_ms={delay}"));
    }
    stage.behave("");
    let mark = running.log.mark();
    running.line_after(mark, " ready ");
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
}

#[test]
fn leaders_that_die_very_often_are_replaced_after_a_delay_although_they_have_served() {
    let stage = Stage::new();
    let running = Running::spawn(stage.serve(&[]));
    let mut mark = 0;
    for death in 1..=22 {
        let ready = running.line_after(mark, " ready ");
        mark = running.log.mark();
        kill(field(&ready, "leader"));
        running.line_after(mark, "the leader died");
        if death > 20 {
            running.line_after(mark, &format!("delay_ms={}", 100 << (death - 21)));
        }
    }
    running.line_after(mark, " ready ");
    assert_eq!(running.log.count(|line| line.contains("starting again")), 2);
}

#[test]
fn reload_replaces_the_generation_when_the_new_one_is_ready() {
    let stage = Stage::new();
    let mut running = Running::spawn(stage.serve(&[]));
    running.line(" ready ");
    for _ in 0..2 {
        stage.behave("late");
        let mark = running.signal(Signal::HUP);
        running.line_after(mark, "reloading");
        running.line_after(mark, "SigIgn");
        assert!(
            !running.log.since(mark).iter().any(|line| line.contains("told to")),
            "too early"
        );
        stage.behave("");
        running.line_after(mark, " ready ");
        running.line_after(mark, "told that it may serve");
        running.line_after(mark, "told to retire");
    }
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
}

#[test]
fn failed_reload_leaves_the_old_generation_serving() {
    let stage = Stage::new();
    let mut running = Running::spawn(stage.serve(&[]));
    let first = field(&running.line(" ready "), "leader");
    for behaviour in ["fail", "crash"] {
        stage.behave(behaviour);
        let mark = running.signal(Signal::HUP);
        running.line_after(mark, "the application can't start");
        running.line_after(mark, "the previous generation goes on");
    }
    kill_process(Pid::from_raw(first).unwrap(), Signal::CONT).expect("the first leader lives");
    assert!(running.log.find(|line| line.contains("told to")).is_none());
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
}

#[test]
fn application_that_can_not_be_shared_is_loaded_by_the_workers_until_it_changes() {
    let stage = Stage::new();
    stage.behave("alone");
    let running = Running::spawn(stage.serve(&[]));
    let line = running.line("each worker imports the application itself");
    assert!(line.contains("importing it starts threads"), "{line}");
    assert!(running.line("settings ").contains(r#""preload": false"#));
    assert_eq!(field(&running.line(" ready "), "generation"), 2);
    // The new version may allow it.
    stage.behave("");
    let mark = running.signal(Signal::HUP);
    assert!(running.line_after(mark, "settings ").contains(r#""preload": true"#));
    assert_eq!(field(&running.line_after(mark, " ready "), "generation"), 3);
}

#[test]
fn second_reload_replaces_one_that_is_not_ready() {
    let stage = Stage::new();
    let running = Running::spawn(stage.serve(&["--log-level=debug"]));
    running.line(" ready ");
    stage.behave("late");
    let mark = running.signal(Signal::HUP);
    // Before that there is nothing to be replaced: what is being prepared is prepared anew, and becomes number 2.
    assert_eq!(field(&running.line_after(mark, "leader started"), "generation"), 2);
    let mark = running.signal(Signal::HUP);
    running.line_after(mark, "reason=\"SIGHUP\"");
    stage.behave("");
    assert_eq!(field(&running.line_after(mark, " ready "), "generation"), 3);
    running.line_after(mark, "told that it may serve");
    let may_serve = |line: &str| line.contains("told that it may serve");
    assert_eq!(running.log.count(may_serve), 2, "the second was not to");
}

/// Or reloads that come faster than a start would leave the old version serving for ever.
#[test]
fn third_reload_waits_for_the_second_which_has_replaced_the_first() {
    let stage = Stage::new();
    let running = Running::spawn(stage.serve(&["--log-level=debug"]));
    running.line(" ready ");
    stage.behave("late");
    for generation in 2..=3 {
        let mark = running.signal(Signal::HUP);
        assert_eq!(
            field(&running.line_after(mark, "leader started"), "generation"),
            generation
        );
    }
    for _ in 0..3 {
        let mark = running.signal(Signal::HUP);
        running.line_after(mark, "this reload follows when the one that is under way is over");
    }
    let mark = running.log.mark();
    stage.behave("");
    assert_eq!(field(&running.line_after(mark, " ready "), "generation"), 3);
    running.line_after(mark, "generation=4");
    let is_ready = |line: &str| line.contains(" ready ");
    until("the last one is ready", SOON, || running.log.count(is_ready) == 3);
    assert_eq!(running.log.count(|line| line.contains("leader started")), 4);
}

#[test]
fn signal_to_open_log_files_anew_changes_nothing() {
    let stage = Stage::new();
    let mut running = Running::spawn(stage.serve(&[]));
    running.line(" ready ");
    running.signal(Signal::USR1);
    running.line("signal=\"SIGUSR1\"");
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
}

#[test]
fn signals_become_orders() {
    for (signal, order) in [(Signal::TERM, "stop"), (Signal::INT, "quit"), (Signal::QUIT, "quit")] {
        let stage = Stage::new();
        let mut running = Running::spawn(stage.serve(&[]));
        running.line(" ready ");
        running.signal(signal);
        assert_eq!(running.exit().code(), Some(0));
        running.line(&format!("told to {order}"));
    }
}

#[test]
fn stubborn_leader_is_killed_after_the_stop_timeout() {
    let stage = Stage::new();
    stage.behave("stubborn");
    let mut running = Running::spawn(stage.serve(&["--stop-timeout=200ms"]));
    running.line(" ready ");
    let start = Instant::now();
    running.signal(Signal::TERM);
    running.line("told to stop");
    assert!(
        !stage.socket().exists(),
        "connections are refused while running requests end"
    );
    assert_eq!(running.exit().code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(200));
    running.line("did not end in time and is killed");
}

#[test]
fn further_signals_end_it_at_once() {
    let stage = Stage::new();
    stage.behave("stubborn");
    let mut running = Running::spawn(stage.serve(&[]));
    running.line(" ready ");
    running.signal(Signal::TERM);
    running.line("told to stop");
    running.signal(Signal::TERM);
    running.line("told to quit");
    running.signal(Signal::INT);
    // Far below the stop timeout of 30 s.
    assert_eq!(running.exit_within(Duration::from_secs(10)).code(), Some(0));
}

#[test]
fn stop_during_the_start_ends_the_leader() {
    let stage = Stage::new();
    stage.behave("late");
    let mut running = Running::spawn(stage.serve(&[]));
    running.line("SigIgn");
    running.signal(Signal::TERM);
    // It does not listen yet and gets no more time than one that is told to exit at once.
    assert_eq!(running.exit_within(Duration::from_secs(10)).code(), Some(0));
}

#[test]
fn leader_learns_of_the_supervisor_s_death() {
    let stage = Stage::new();
    let running = Running::spawn(stage.serve(&[]));
    running.line(" ready ");
    running.signal(Signal::KILL);
    // The log ends when the leader, which holds its descriptor, is gone.
    running.log.wait_for_end();
}

/// It does not read what it is told, as one that imports an application.
#[test]
fn leader_that_is_not_ready_in_time_is_ended_and_the_line_names_the_option() {
    let stage = Stage::new();
    stage.behave("late");
    let start = Instant::now();
    let mut running = Running::spawn(stage.serve(&["--start-timeout=500ms"]));
    running.line("the application can't start: it was not ready within --start-timeout 500ms");
    assert!(start.elapsed() >= Duration::from_millis(500));
    assert!(!running.exit().success());
}
