//! What commands do to pools that run: `wsgi-fpm reload`, `stop`, `recycle`, `scale`, `upgrade`, `logs`, `stacks`, `kill`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::house::{House, pool};
use crate::support::fcgi_client::{Raw, Request};
use crate::support::log::Log;
use crate::support::program::program;
use crate::support::wait::{SOON, until, until_some};

fn command(house: &House, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).arg("--control").arg(house.control());
    command
}

fn run(house: &House, arguments: &[&str]) -> Output {
    command(house, arguments).output().unwrap()
}

/// Standard output of one that was done.
#[track_caller]
fn done(house: &House, arguments: &[&str]) -> String {
    let output = run(house, arguments);
    assert!(output.status.success(), "{arguments:?} {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Standard error of one that has failed.
#[track_caller]
fn failed(house: &House, arguments: &[&str]) -> String {
    let output = run(house, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?} {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn workers(house: &House, pool: &str) -> Vec<u64> {
    let json: serde_json::Value = serde_json::from_str(&done(house, &["status", "--json", pool])).unwrap();
    let workers = json["pools"][0]["workers"].as_array().unwrap();
    let serving = workers.iter().filter(|worker| worker["phase"] == "serving");
    serving.map(|worker| worker["pid"].as_u64().unwrap()).collect()
}

#[test]
fn reload_waits_for_the_new_version_and_loads_one_that_the_file_says_nothing_new_of() {
    let house = House::serve(&[pool("one", ""), pool("two", "")]);
    house.wait_ready("one");
    house.wait_ready("two");
    let before = [house.who("one", "pid"), house.who("two", "pid")];
    assert_eq!(done(&house, &["reload", "one"]), "one: serves\n");
    house.wait_who("one", "pid", |pid| pid != before[0]);
    assert_eq!(house.who("two", "pid"), before[1]);
    let mut lines: Vec<_> = done(&house, &["reload"]).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["one: serves", "two: serves"]);
    house.wait_who("two", "pid", |pid| pid != before[1]);
    // As SIGHUP does: the file says the same.
    let now = house.who("two", "pid");
    done(&house, &["reload", "--changed"]);
    assert_eq!(house.who("two", "pid"), now);
    let json = done(&house, &["reload", "--json", "one"]);
    assert_eq!(json, "{\"pool\":{\"name\":\"one\",\"state\":\"serving\"}}\n");
    let message = failed(&house, &["reload", "three"]);
    assert_eq!(
        message,
        "wsgi-fpm: error: there is no pool \"three\"; there are: one, two\n"
    );
}

#[test]
fn reload_that_fails_prints_the_traceback_and_the_version_before_goes_on() {
    let house = House::serve(&[pool("shop", "")]);
    house.wait_ready("shop");
    let before = house.who("shop", "pid");
    let right = fs::read_to_string(house.path("who.py")).unwrap();
    fs::write(house.path("who.py"), "import no_such_module\n").unwrap();
    let message = failed(&house, &["reload"]);
    let first = message.lines().next().unwrap();
    let expected = "wsgi-fpm: error: shop: the new version failed, and the one before goes on: ";
    assert!(
        first.starts_with(expected) && first.contains("no_such_module"),
        "{message}"
    );
    assert!(message.contains("Traceback (most recent call last)"), "{message}");
    assert!(message.contains("who.py\", line 1"), "{message}");
    assert_eq!(house.who("shop", "pid"), before);
    let status = done(&house, &["status"]);
    assert!(status.starts_with("shop: the new version failed "), "{status}");
    fs::write(house.path("who.py"), right).unwrap();
    done(&house, &["reload"]);
    house.wait_who("shop", "pid", |pid| pid != before);
}

#[test]
fn reload_of_a_file_with_mistakes_prints_them_and_changes_nothing() {
    let house = House::serve(&[pool("one", "")]);
    house.wait_ready("one");
    let before = house.who("one", "pid");
    house.write(&[pool("one", "thread = 2")]);
    for arguments in [&["reload"] as &[&str], &["reload", "one"]] {
        let message = failed(&house, arguments);
        let lines: Vec<_> = message.lines().collect();
        assert_eq!(
            lines[0], "wsgi-fpm: error: the file has mistakes, and nothing has changed:",
            "{message}"
        );
        // As check prints them, with the text.
        assert!(
            message.contains("did you mean threads?") && message.contains("thread = 2"),
            "{message}"
        );
    }
    assert_eq!(house.who("one", "pid"), before);
    house.write(&[pool("one", ""), pool("new", "")]);
    assert!(done(&house, &["reload", "new"]).contains("new: serves"));
    house.get("new", "/");
    house.write(&[pool("one", "")]);
    let message = failed(&house, &["reload", "new"]);
    assert!(
        message.contains("the file has no pool new any more; wsgi-fpm reload ends it"),
        "{message}"
    );
    house.get("new", "/");
    done(&house, &["reload"]);
    house.wait_gone("new");
}

#[test]
fn stop_waits_until_the_pool_or_everything_has_ended() {
    let mut house = House::serve(&[pool("one", ""), pool("two", "")]);
    house.wait_ready("one");
    house.wait_ready("two");
    assert_eq!(done(&house, &["stop", "one"]), "one stops\none: has ended\n");
    house.wait_gone("one");
    house.get("two", "/");
    assert!(failed(&house, &["stop", "one"]).contains("one has ended; wsgi-fpm reload one starts it"));
    done(&house, &["reload", "one"]);
    house.get("one", "/");
    let mut sleeping = Raw::connect(&house.socket("two")).unwrap();
    sleeping.send(&Request::get("/sleep").bytes());
    until("it runs", SOON, || {
        done(&house, &["status", "two"]).contains("GET /sleep")
    });
    let text = done(&house, &["stop", "--now"]);
    assert_eq!(text, "everything stops\nit has ended\n");
    assert_eq!(house.exit().code(), Some(0));
    assert!(!house.control().exists());
}

#[test]
fn recycle_replaces_every_worker_and_scale_has_another_number() {
    let house = House::serve(&[pool("one", "workers = 2")]);
    house.wait_ready("one");
    until("both serve", SOON, || workers(&house, "one").len() == 2);
    let before = workers(&house, "one");
    assert_eq!(
        done(&house, &["recycle", "one"]),
        "one: all workers are replaced, one after the other\n"
    );
    until("both are others", SOON, || {
        let now = workers(&house, "one");
        now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
    });
    let json = done(&house, &["status", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["pools"][0]["totals"]["replaced"]["asked"], 2);
    // There is room for as many again.
    let generation = |house: &House| {
        let json: serde_json::Value = serde_json::from_str(&done(house, &["status", "--json"])).unwrap();
        json["pools"][0]["generation"].as_u64().unwrap()
    };
    assert_eq!(
        done(&house, &["scale", "one", "4"]),
        "one: 4 workers, until the next reload\n"
    );
    until("four serve", SOON, || workers(&house, "one").len() == 4);
    assert_eq!(generation(&house), 1);
    assert_eq!(
        done(&house, &["scale", "one", "1"]),
        "one: 1 workers, until the next reload\n"
    );
    until("one serves", SOON, || workers(&house, "one").len() == 1);
    // More than it was made for takes a new generation.
    let text = done(&house, &["scale", "one", "5..6"]);
    assert!(
        text.contains("5..6 workers, until the next reload, by a new generation") && text.ends_with("one: serves\n"),
        "{text}"
    );
    until("five serve", SOON, || workers(&house, "one").len() == 5);
    assert_eq!(generation(&house), 2);
    done(&house, &["reload", "one"]);
    until("as the file says", SOON, || workers(&house, "one").len() == 2);
    let output = run(&house, &["scale", "one", "0"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn upgrade_waits_for_the_new_program_and_says_why_it_could_not_take_over() {
    let house = House::serve(&[pool("one", "")]);
    house.wait_ready("one");
    let before = house.who("one", "pid");
    let text = done(&house, &["upgrade"]);
    assert!(text.contains("one: serves\n"), "{text}");
    let last = text.lines().last().unwrap();
    assert!(
        last.ends_with(&format!("has taken over, pid {}", house.pid())),
        "{text}"
    );
    house.wait_who("one", "pid", |pid| pid != before);
    house.write(&[pool("one", "thread = 2")]);
    let message = failed(&house, &["upgrade"]);
    assert!(
        message.contains("the new program can't take over, and the old one goes on"),
        "{message}"
    );
    house.get("one", "/");
}

#[test]
fn logs_are_followed_by_pool_and_over_an_upgrade() {
    let house = House::serve(&[pool("one", ""), pool("loud", "").replace("who:", "loud:")]);
    house.wait_ready("one");
    house.wait_ready("loud");
    let follow = |more: &[&str]| {
        let mut child = command(&house, &[&["logs", "--follow"], more].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::collect(child.stdout.take().unwrap());
        (child, log)
    };
    let (mut all, all_lines) = follow(&[]);
    let (mut loud, loud_lines) = follow(&["loud"]);
    // Nothing says that they follow: somebody speaks until both have heard it.
    until("both hear it", SOON, || {
        house.get("loud", "/");
        [&all_lines, &loud_lines]
            .iter()
            .all(|log| log.find(|line| line.contains("printed by a request")).is_some())
    });
    done(&house, &["reload", "one"]);
    until("all of it", SOON, || {
        all_lines.find(|line| line.contains("pool=\"one\"")).is_some()
    });
    assert!(loud_lines.find(|line| line.contains("pool=\"one\"")).is_none());
    done(&house, &["upgrade"]);
    let mark = all_lines.mark();
    until("it goes on", SOON, || {
        house.get("loud", "/");
        all_lines
            .since(mark)
            .iter()
            .any(|line| line.contains("printed by a request"))
    });
    for child in [&mut all, &mut loud] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn one_who_follows_and_does_not_read_is_told_how_much_he_has_missed() {
    let house = House::serve(&[pool("loud", "").replace("who:", "loud:")]);
    house.wait_ready("loud");
    let mut child = command(&house, &["logs", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    let mut connection = Raw::connect(&house.socket("loud")).unwrap();
    let heard = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !heard.load(Ordering::Relaxed) {
                house.get("loud", "/");
            }
        });
        lines.read_line(&mut first).unwrap();
        heard.store(true, Ordering::Relaxed);
    });
    // More than a pipe, two sockets and the queue hold.
    for _ in 0..6000 {
        connection.exchange(&Request::get("/").keep_conn());
    }
    until_some("the gap is told", SOON, || {
        first.clear();
        lines.read_line(&mut first).unwrap();
        first.contains("left out: they were not read in time").then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let mut rest = Vec::new();
    let _ = lines.read_to_end(&mut rest);
}

#[test]
fn log_files_are_opened_anew() {
    let house = House::serve(&[pool("one", "access_log = \"./access.log\"")]);
    house.wait_ready("one");
    house.get("one", "/");
    until("it is written", SOON, || {
        fs::read_to_string(house.path("access.log")).is_ok_and(|text| !text.is_empty())
    });
    fs::rename(house.path("access.log"), house.path("old.log")).unwrap();
    assert_eq!(done(&house, &["logs", "--reopen"]), "1 log file was opened anew\n");
    assert!(house.path("access.log").exists());
}

#[test]
fn stacks_show_what_a_request_does_and_kill_ends_it() {
    let house = House::serve(&[pool("one", "")]);
    house.wait_ready("one");
    let mut sleeping = Raw::connect(&house.socket("one")).unwrap();
    sleeping.send(&Request::get("/sleep").bytes());
    until("it runs", SOON, || {
        done(&house, &["status", "one"]).contains("GET /sleep")
    });
    let worker = workers(&house, "one")[0].to_string();
    for arguments in [&["stacks", "one"] as &[&str], &["stacks", "one", &worker]] {
        let text = done(&house, arguments);
        assert!(text.starts_with(&format!("worker {worker}\n")), "{text}");
        assert!(
            text.contains("GET /sleep") && text.contains("who.py") && text.contains("application"),
            "{text}"
        );
    }
    let message = failed(&house, &["stacks", "one", "1"]);
    assert!(
        message.contains(&format!("one has no worker 1; it has: {worker}")),
        "{message}"
    );
    let status: serde_json::Value = serde_json::from_str(&done(&house, &["status", "--json"])).unwrap();
    let threads = status["pools"][0]["workers"][0]["threads"].as_array().unwrap();
    let request = threads
        .iter()
        .find_map(|thread| thread["request"]["id"].as_str())
        .unwrap();
    // A sleep of C code ends before it is interrupted: it is told so, or has ended.
    let output = run(&house, &["kill", request]);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(text.contains(request), "{text}");
    let message = failed(&house, &["kill", "1-0-1"]);
    assert!(message.contains("there is no worker 1 that serves"), "{message}");
    let message = failed(&house, &["kill", "all"]);
    assert!(message.contains("\"all\" is no request"), "{message}");
}
