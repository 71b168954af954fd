//! The leader and its workers: what an import does to it, how it replaces, and what it signals.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::fcgi_client::Request;
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until, until_ended};

fn reaps(way: &str) -> Builder {
    Gateway::app("loading/reaps_children.py").variable("REAPS", way)
}

fn worker(gateway: &Gateway) -> Pid {
    Pid::from_raw(gateway.get("/pid").ok().text().parse().unwrap()).unwrap()
}

/// Whether each of its threads waits for something.
fn sleeps(pid: Pid) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    let mut stats = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat")).unwrap());
    stats.all(|stat| stat.contains(") S "))
}

/// Clock ticks of processor time that a process has used.
fn used(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let times = fields.split(' ').skip(11).take(2);
    times.map(|time| time.parse::<u64>().unwrap()).sum()
}

fn parent(pid: Pid) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    stat.rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// A worker dies and is replaced; the leader neither spins nor floods the log, and a stop is not held up.
fn dies_and_is_replaced(gateway: &Gateway, how: &str) {
    let old = worker(gateway);
    let leader = parent(old);
    let mark = gateway.log.mark();
    kill_process(old, Signal::KILL).unwrap();
    until("another worker serves", SOON, || {
        let answer = gateway.connect().exchange(&Request::get("/pid"));
        answer.code() == 200 && answer.text() != old.as_raw_nonzero().to_string()
    });
    gateway.log.wait_for_line(&[how]);
    let before = used(leader);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(used(leader) - before < 30, "the leader spins");
    let events = gateway.log.since(mark);
    // One for it, and one if its last request had not quite ended.
    assert!(events.len() <= 2, "{events:?}");
    let start = Instant::now();
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(SOON).success());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn application_that_ignores_sigchld_leaves_the_leader_its_children() {
    let gateway = reaps("ignores").start();
    assert!(
        gateway.get("/").ok().text().contains("SIG_IGN"),
        "workers have what it wanted"
    );
    dies_and_is_replaced(&gateway, "was killed by signal 9 (SIGKILL");
}

#[test]
fn application_that_reaps_every_child_leaves_the_leader_its_own() {
    let gateway = reaps("reaps").start();
    assert!(
        gateway.get("/").ok().text().contains("function reap"),
        "workers have what it wanted"
    );
    dies_and_is_replaced(&gateway, "was killed by signal 9 (SIGKILL");
}

#[test]
fn worker_that_somebody_else_has_reaped_counts_as_dead() {
    let gateway = reaps("ignores after each fork").start();
    dies_and_is_replaced(&gateway, "something in the leader has reaped it, its status is unknown");
}

#[test]
fn ignored_sigchld_of_whoever_starts_the_gateway_does_no_harm() {
    let gateway = Gateway::app("processes")
        .under(&["sh", "-c", "trap '' CHLD; exec \"$@\"", "sh"])
        .start();
    dies_and_is_replaced(&gateway, "was killed by signal 9 (SIGKILL");
}

#[test]
fn forked_process_that_can_not_become_a_worker_ends_with_a_message() {
    let (status, log) = reaps("breaks the child").fail();
    assert_eq!(status.code(), Some(1));
    log.wait_for_line(&["wsgi-fpm: a worker can't start: "]);
    log.wait_for_line(&["the application can't start: a worker exited with code 1 while it started"]);
    assert_eq!(
        log.count(|line| line.contains("panicked") || line.contains("control")),
        0,
        "{}",
        log.text()
    );
}

#[test]
fn crash_is_logged_with_its_signal_its_request_and_what_every_thread_was_doing() {
    let gateway = Gateway::app("processes").threads(2).start();
    let old = worker(&gateway).as_raw_nonzero();
    let file = gateway.directory.path().join("gate");
    let mut waiting = gateway.connect();
    waiting.send(&Request::get(&format!("/waits?{}", file.display())).bytes());
    until("it runs", SOON, || file.with_extension("called").exists());
    gateway.get("/crashes").error_page(502);
    for parts in [
        &["Fatal Python error: Segmentation fault"][..],
        &["processes.py", "in crashes"],
        &["processes.py", "in waits"],
        &["a worker was killed by signal 11 (SIGSEGV)", &format!("worker={old}")],
        &["a request died with its worker", "GET /crashes"],
        &["a request died with its worker", "GET /waits"],
    ] {
        gateway.log.wait_for_line(parts);
    }
}

#[test]
fn workers_that_have_served_are_replaced_at_once_however_often_they_crash() {
    let gateway = reaps("crashes").workers(2).start();
    for round in 0..12 {
        // Its connection is cut.
        gateway.connect().exchange(&Request::get("/crash"));
        let start = Instant::now();
        for _ in 0..2 {
            gateway.get("/").ok();
        }
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "round {round}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn crashes_in_a_row_fork_not_more_than_ten_workers_a_second() {
    let gateway = reaps("crashes").start();
    let start = Instant::now();
    let mut crashed = 0;
    while start.elapsed() < Duration::from_secs(2) {
        gateway.connect().exchange(&Request::get("/crash"));
        crashed += 1;
    }
    assert!(crashed <= 22, "{crashed} in two seconds");
}

/// One letter, as `proc(5)` has it.
fn state(pid: Pid) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.unwrap_or_default().trim().chars().take(1).collect()
}

#[test]
fn stopped_leader_is_continued_and_looks_after_its_workers_again() {
    let gateway = reaps("stops").start();
    let old = worker(&gateway);
    let leader = Pid::from_raw(parent(old)).unwrap();
    kill_process(leader, Signal::STOP).unwrap();
    until("the leader is stopped", SOON, || state(leader) == "T");
    kill_process(old, Signal::KILL).unwrap();
    let mut waiting = gateway.connect();
    waiting.send(&Request::get("/pid").bytes());
    assert_ne!(waiting.read_response(1).ok().text(), old.as_raw_nonzero().to_string());
    let event = gateway.log.wait_for_line(&["a signal has stopped the leader"]);
    assert!(
        event.contains(&format!("leader={}", leader.as_raw_nonzero())),
        "{event}"
    );
    assert_eq!(parent(worker(&gateway)), leader.as_raw_nonzero().get());
}

#[test]
fn stopped_worker_is_killed_and_replaced_whether_idle_or_busy() {
    for busy in [false, true] {
        let gateway = reaps("stops").start();
        let old = worker(&gateway);
        let mut kept = gateway.connect();
        kept.exchange(&Request::get("/").keep_conn()).ok();
        if busy {
            kept.send(&Request::get("/slow").bytes());
        } else {
            // Until then it may be about to say that the connection is idle.
            until("nothing of the worker runs", SOON, || sleeps(old));
        }
        kill_process(old, Signal::STOP).unwrap();
        // It may run on another processor for a moment, and take the request.
        until("the worker is stopped", SOON, || state(old) == "T");
        let mut waiting = gateway.connect();
        waiting.send(&Request::get("/pid").bytes());
        let event = gateway
            .log
            .wait_for_line(&["a worker is killed: a signal has stopped it"]);
        assert!(event.contains(&format!("worker={}", old.as_raw_nonzero())), "{event}");
        // Where nobody had read the request, the next one runs it.
        if !busy {
            kept.exchange(&Request::get("/").keep_conn()).ok();
        } else if kept.readable_within(Duration::from_secs(1)) {
            // Nobody can answer for a worker that was stopped in the middle of receiving.
            let answer = kept.read_response(1);
            if answer.closed.is_none() {
                answer.error_page(502);
            }
        }
        until_ended(old.as_raw_nonzero(), SOON);
        // What it had not taken is served by the next one.
        let next = waiting.read_response(1);
        if next.code() == 200 {
            assert_ne!(next.text(), old.as_raw_nonzero().to_string());
        }
        gateway.get("/").ok();
        assert_eq!(gateway.log.count(|line| line.contains("a worker is killed")), 1);
        gateway.log.wait_for_line(&["a worker was killed by its leader"]);
    }
}

#[test]
fn worker_that_is_stopped_for_a_moment_is_left_alone() {
    let gateway = reaps("stops").start();
    let old = worker(&gateway);
    for _ in 0..3 {
        kill_process(old, Signal::STOP).unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        kill_process(old, Signal::CONT).unwrap();
        assert_eq!(worker(&gateway), old);
        // Seen running.
        std::thread::sleep(Duration::from_millis(1100));
    }
    assert_eq!(gateway.log.count(|line| line.contains("a worker is killed")), 0);
}

#[test]
fn stopped_worker_ends_with_its_leader() {
    let gateway = reaps("stops").start();
    let old = worker(&gateway);
    let leader = Pid::from_raw(parent(old)).unwrap();
    kill_process(old, Signal::STOP).unwrap();
    kill_process(leader, Signal::KILL).unwrap();
    until_ended(old.as_raw_nonzero(), SOON);
}

/// What process 1 of a container gets: children of those that have ended.
#[test]
fn orphans_are_reaped_by_process_1() {
    let namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let may = std::process::Command::new(namespace[0])
        .args(&namespace[1..])
        .arg("true")
        .output();
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("no namespace of processes is to be had here");
        return;
    }
    let gateway = Gateway::app("children").under(&namespace).start();
    let zombies = || {
        let stats = fs::read_dir("/proc").unwrap().flatten();
        let stats = stats.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
        let session = gateway.pid().as_raw_nonzero().to_string();
        stats
            .filter(|stat| {
                let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
                fields[0] == "Z" && fields[3] == session
            })
            .count()
    };
    for _ in 0..5 {
        gateway.get("/orphan").ok();
    }
    until("nobody is a zombie", SOON, || zombies() == 0);
    // Leaders are waited for as before.
    let supervisor = supervisor_in(&gateway);
    kill_process(supervisor, Signal::HUP).unwrap();
    gateway.log.wait_for_line(&["ready", "generation=2"]);
    gateway.get("/orphan").ok();
    until("nobody is a zombie", SOON, || zombies() == 0);
    kill_process(supervisor, Signal::TERM).unwrap();
    gateway.wait_exit(SOON);
}

/// The child of `unshare`.
fn supervisor_in(gateway: &Gateway) -> Pid {
    let outside = gateway.pid().as_raw_nonzero().get();
    let mut processes = gateway.processes().into_iter();
    processes.find(|pid| parent(*pid) == outside).unwrap()
}

#[test]
fn worker_that_is_ready_takes_no_request_before_all_of_its_generation_are() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = Gateway::app("one_by_one")
        .workers(2)
        .option("--preload", "off")
        .variable("GATE_DIRECTORY", directory.path())
        .spawn();
    until("the second worker waits in its import", SOON, || {
        directory.path().join("second").exists()
    });
    let mut connection = gateway.connect();
    connection.send(&Request::get("/").bytes());
    assert!(
        !connection.readable_within(Duration::from_secs(1)),
        "the first worker serves, and the generation may yet fail"
    );
    fs::write(directory.path().join("gate"), "").unwrap();
    assert_eq!(connection.read_response(1).ok().text(), "served");
}

#[test]
fn stopped_worker_that_can_not_end_is_said_to_be_one() {
    let gateway = reaps("stops").option("--stop-timeout", "1s").start();
    let stopped = worker(&gateway);
    kill_process(stopped, Signal::STOP).unwrap();
    until("the worker is stopped", SOON, || state(stopped) == "T");
    gateway.signal(Signal::TERM);
    let line = gateway
        .log
        .wait_for_line(&["ERROR", "cut off: a signal has stopped the worker"]);
    assert!(line.contains("within --stop-timeout"), "{line}");
    gateway.wait_exit(SOON);
    assert!(!gateway.log.text().contains("a thread that is no daemon"));
}

#[test]
fn end_of_a_leader_is_said_once_and_not_by_each_worker() {
    let gateway = Gateway::app("processes").workers(3).start();
    let worker = worker(&gateway);
    let leader = parent(worker);
    kill_process(Pid::from_raw(leader).unwrap(), Signal::KILL).unwrap();
    gateway.log.wait_for_line(&["ERROR", "the leader died"]);
    until_ended(worker.as_raw_nonzero().get(), SOON);
    gateway.get("/pid").ok();
    let errors = gateway.log.count(|line| line.contains(" ERROR "));
    assert_eq!(errors, 1, "{}", gateway.log.text());
}
