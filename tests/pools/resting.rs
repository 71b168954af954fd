//! Pools that have no process while no request comes.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::house::{self, House, pool};
use crate::support::fcgi_client::{Raw, Request};
use crate::support::python;
use crate::support::wait::{SOON, until};

/// A pool that rests after so long.
fn resting(name: &str, idle_timeout: &str) -> String {
    let workers = format!("workers = {{ min = 0, max = 2, idle_timeout = \"{idle_timeout}\" }}\nidle_timeout = \"0\"");
    pool(name, &workers)
}

/// Processes below the supervisor.
fn children(house: &House) -> usize {
    let pid = house.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().count()
}

#[track_caller]
fn until_at_rest(house: &House) {
    until("no process is left", SOON, || children(house) == 0);
}

fn get(connection: &mut Raw) -> String {
    connection.exchange(&Request::get("/").keep_conn()).ok().text()
}

#[test]
fn pool_begins_at_rest_and_a_request_starts_it() {
    let mut house = House::serve(&[resting("one", "1s"), resting("two", "1h")]);
    for name in ["one", "two"] {
        house.wait_for(
            0,
            &["at rest: the first request starts it", &format!("pool=\"{name}\"")],
        );
    }
    until_at_rest(&house);
    let first = house.who("one", "pid");
    // Somebody may be looking at its Python still.
    until("the other one rests", SOON, || children(&house) == 1);
    house.wait_for(0, &["at rest: no request has come for 1s", "pool=\"one\""]);
    until_at_rest(&house);
    assert_ne!(house.who("one", "pid"), first);
    assert_eq!(house.stop().code(), Some(0));
}

#[test]
fn kept_connections_outlive_a_rest() {
    let house = House::serve(&[resting("one", "300ms")]);
    house.wait_for(0, &["at rest"]);
    // More than fit into the handover.
    let mut kept: Vec<Raw> = (0..400).map(|_| Raw::connect(&house.socket("one")).unwrap()).collect();
    for _ in 0..2 {
        for connection in &mut kept {
            get(connection);
        }
        until_at_rest(&house);
    }
    // Who goes now wakes nobody.
    let mut last = kept.pop().unwrap();
    drop(kept);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(children(&house), 0);
    get(&mut last);
}

#[test]
fn requests_that_come_just_as_a_pool_rests_are_served() {
    // Leaders look once a second whether there was a request: now before it, now behind it.
    let pauses = [1007, 1033, 1061, 1109];
    let pools: Vec<_> = pauses
        .iter()
        .map(|pause| resting(&format!("p{pause}"), "1ms"))
        .collect();
    let house = House::serve(&pools);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for pause in pauses {
            let (house, over) = (&house, &over);
            scope.spawn(move || {
                let name = format!("p{pause}");
                house.wait_for(0, &["at rest", &format!("pool=\"{name}\"")]);
                let mut kept = Raw::connect(&house.socket(&name)).unwrap();
                while !over.load(Ordering::Relaxed) {
                    get(&mut kept);
                    house.get(&name, "/");
                    thread::sleep(Duration::from_millis(pause));
                }
            });
        }
        until("pools have rested often", SOON * 2, || {
            house.log.count(|line| line.contains("at rest: no request has come")) >= 20
        });
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(
        house.log.count(|line| line.contains("ERROR")),
        0,
        "{}",
        house.log.text()
    );
}

#[test]
fn reload_of_a_pool_at_rest_starts_nothing() {
    let house = House::serve(&[resting("one", "300ms")]);
    house.wait_for(0, &["at rest"]);
    let mark = house.reload(&[resting("one", "300ms") + "env = { MARK = \"new\" }\n"]);
    house.wait_for(mark, &["at rest: the first request starts it"]);
    until_at_rest(&house);
    let mark = house.log.mark();
    house.signal(Signal::TTIN);
    house.wait_for(mark, &["nothing is done: the pool has no workers now", "pool=\"one\""]);
    assert_eq!(house.who("one", "mark"), "new");
    until_at_rest(&house);
    // One that does not rest any more.
    let mark = house.reload(&[pool("one", "")]);
    house.wait_for(mark, &[" ready ", "pool=\"one\""]);
    let mark = house.reload(&[resting("one", "300ms")]);
    house.wait_for(mark, &["at rest: no request has come"]);
    until_at_rest(&house);
}

#[test]
fn application_that_can_not_start_is_said_and_tried_again() {
    let house = House::serve(&[resting("one", "300ms").replace("who:application", "broken:application")]);
    house.wait_for(0, &["at rest"]);
    let mut connection = Raw::connect(&house.socket("one")).unwrap();
    let answer = connection.exchange(&Request::get("/"));
    assert_eq!(answer.code(), 503);
    house.wait_for(0, &["the application can't start", "broken"]);
    fs::copy(house.path("who.py"), house.path("broken.py")).unwrap();
    house.signal(Signal::HUP);
    until("it serves", SOON * 2, || {
        let mut connection = Raw::connect(&house.socket("one")).unwrap();
        connection.exchange(&Request::get("/")).code() == 200
    });
}

#[test]
fn missing_python_of_a_pool_at_rest_is_said_before_it_is_needed() {
    let house = House::serve(&[resting("one", "1s") + "python = \"/no/such/python\"\n"]);
    house.wait_for(0, &["at rest: the first request starts it"]);
    house.wait_for(0, &["the pool at rest can't be started", "/no/such/python"]);
    assert_eq!(
        Raw::connect(&house.socket("one"))
            .unwrap()
            .exchange(&Request::get("/"))
            .code(),
        503
    );
}

#[test]
fn virtual_environment_that_has_vanished_is_said_and_its_base_does_not_run_in_its_place() {
    let directory = house::directory();
    let [venv, elsewhere] = ["venv", "elsewhere"].map(|name| directory.path().join(name));
    let python = python::default().unwrap_or_else(|| "python3".into());
    assert!(python::make_venv(&python, &venv));
    let said = format!("python = {:?}\n", venv.to_str().unwrap());
    let serving = house::pool("serving", &said);
    let house = House::serve_in(directory, &[resting("resting", "300ms") + &said, serving]);
    house.wait_ready("serving");
    for pool in ["resting", "serving"] {
        assert_eq!(house.who(pool, "prefix"), venv.to_str().unwrap());
    }
    house.wait_for(0, &["at rest: no request has come"]);
    let leader = house.who("serving", "pid").parse().unwrap();
    fs::rename(&venv, &elsewhere).unwrap();
    let leader = Pid::from_raw(leader).unwrap();
    kill_process(leader, Signal::KILL).unwrap();
    let named = format!("python {}: no such file or directory", venv.display());
    for pool in ["resting", "serving"] {
        let mut connection = Raw::connect(&house.socket(pool)).unwrap();
        assert_eq!(connection.exchange(&Request::get("/")).code(), 503, "{pool}");
        let pool = format!("pool=\"{pool}\"");
        house.wait_for(0, &["a new generation can't be started", &named, &pool]);
    }
    // The next try finds it.
    fs::rename(&elsewhere, &venv).unwrap();
    for pool in ["resting", "serving"] {
        until("it serves again", SOON, || {
            let mut connection = Raw::connect(&house.socket(pool)).unwrap();
            let answer = connection.exchange(&Request::get("/"));
            answer.code() == 200 && answer.text().contains(&format!("prefix={} ", venv.display()))
        });
    }
}

#[test]
fn supervisor_of_pools_at_rest_sleeps() {
    let pools: Vec<String> = (0..5).map(|i| resting(&format!("p{i}"), "300ms")).collect();
    let house = House::serve(&pools);
    let mut kept = Vec::new();
    for i in 0..5 {
        house.wait_for(0, &["at rest", &format!("pool=\"p{i}\"")]);
        let mut connection = Raw::connect(&house.socket(&format!("p{i}"))).unwrap();
        get(&mut connection);
        kept.push(connection);
    }
    until_at_rest(&house);
    let pid = house.pid();
    let woken = || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let status = tasks.map(|task| fs::read_to_string(task.path().join("status")).unwrap());
        let switches = status.map(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse::<u64>().unwrap()
        });
        switches.sum::<u64>()
    };
    // What has ended is looked after for a moment.
    until("it sleeps for three seconds", SOON * 2, || {
        let before = woken();
        thread::sleep(Duration::from_secs(3));
        woken() == before
    });
}
