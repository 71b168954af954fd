//! What commands do to pools that run: `wsgi-fpm reload`, `stop`, `recycle`, `scale`, `upgrade`, `logs`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::house::{House, pool};
use crate::support::fcgi_client::{Raw, Request};
use crate::support::log::Log;
use crate::support::wait::{SOON, until, until_some};

#[test]
fn reload_waits_for_the_new_version_and_loads_one_that_the_file_says_nothing_new_of() {
    let house = House::serve(&[pool("one", ""), pool("two", "")]);
    house.wait_ready("one");
    house.wait_ready("two");
    let before = [house.who("one", "pid"), house.who("two", "pid")];
    assert_eq!(house.done(&["reload", "one"]), "one: serves\n");
    house.wait_who("one", "pid", |pid| pid != before[0]);
    assert_eq!(house.who("two", "pid"), before[1]);
    let mut lines: Vec<_> = house.done(&["reload"]).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["one: serves", "two: serves"]);
    house.wait_who("two", "pid", |pid| pid != before[1]);
    // As SIGHUP does: the file says the same.
    let now = house.who("two", "pid");
    house.done(&["reload", "--changed"]);
    assert_eq!(house.who("two", "pid"), now);
    let json = house.done(&["reload", "--json", "one"]);
    assert_eq!(json, "{\"pool\":{\"name\":\"one\",\"state\":\"serving\"}}\n");
    let message = house.failed(&["reload", "three"]);
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
    let message = house.failed(&["reload"]);
    let first = message.lines().next().unwrap();
    let expected = "wsgi-fpm: error: shop: the new version failed, and the one before goes on: ";
    assert!(
        first.starts_with(expected) && first.contains("no_such_module"),
        "{message}"
    );
    assert!(message.contains("Traceback (most recent call last)"), "{message}");
    assert!(message.contains("who.py\", line 1"), "{message}");
    assert_eq!(house.who("shop", "pid"), before);
    let status = house.done(&["status"]);
    assert!(status.starts_with("shop: the new version failed "), "{status}");
    fs::write(house.path("who.py"), right).unwrap();
    house.done(&["reload"]);
    house.wait_who("shop", "pid", |pid| pid != before);
}

#[test]
fn reload_of_what_has_changed_tries_again_what_has_failed() {
    let house = House::serve(&[pool("one", ""), pool("two", "")]);
    house.wait_ready("one");
    house.wait_ready("two");
    let before = [house.who("one", "pid"), house.who("two", "pid")];
    let right = fs::read_to_string(house.path("who.py")).unwrap();
    fs::write(house.path("who.py"), "import no_such_module\n").unwrap();
    house.write(&[pool("one", "threads = 3"), pool("two", "")]);
    for _ in 0..2 {
        let message = house.failed(&["reload", "--changed"]);
        assert!(
            message.contains("error: one: the new version failed") && !message.contains("two"),
            "{message}"
        );
    }
    assert_eq!(house.who("one", "pid"), before[0]);
    // The file says what it said, and the application was mended.
    fs::write(house.path("who.py"), &right).unwrap();
    house.done(&["reload", "--changed"]);
    house.wait_who("one", "pid", |pid| pid != before[0]);
    assert_eq!(house.who("two", "pid"), before[1]);
    let now = house.who("one", "pid");
    house.done(&["reload", "--changed"]);
    assert_eq!(house.who("one", "pid"), now, "it is well");
}

#[test]
fn reload_of_a_file_with_mistakes_prints_them_and_changes_nothing() {
    let house = House::serve(&[pool("one", "")]);
    house.wait_ready("one");
    let before = house.who("one", "pid");
    house.write(&[pool("one", "thread = 2")]);
    for arguments in [&["reload"] as &[&str], &["reload", "one"]] {
        let message = house.failed(arguments);
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
    assert!(house.done(&["reload", "new"]).contains("new: serves"));
    house.get("new", "/");
    house.write(&[pool("one", "")]);
    let message = house.failed(&["reload", "new"]);
    assert!(
        message.contains("the file has no pool new any more; wsgi-fpm reload ends it"),
        "{message}"
    );
    house.get("new", "/");
    house.done(&["reload"]);
    house.wait_gone("new");
}

#[test]
fn stop_waits_until_the_pool_or_everything_has_ended() {
    let mut house = House::serve(&[pool("one", ""), pool("two", "")]);
    house.wait_ready("one");
    house.wait_ready("two");
    assert_eq!(house.done(&["stop", "one"]), "one stops\none: has ended\n");
    house.wait_gone("one");
    house.get("two", "/");
    let status = house.status("one");
    assert_eq!(
        (&status["state"], &status["app"]),
        (&"stopped".into(), &"who:application".into())
    );
    assert!(
        house
            .done(&["status"])
            .lines()
            .any(|line| line.starts_with("one   stopped "))
    );
    assert!(
        house
            .failed(&["stop", "one"])
            .contains("one has ended; wsgi-fpm reload one starts it")
    );
    house.done(&["reload", "one"]);
    house.get("one", "/");
    assert_eq!(house.status("one")["state"], "serving");
    let mut sleeping = Raw::connect(&house.socket("two")).unwrap();
    sleeping.send(&Request::get("/sleep").bytes());
    until("it runs", SOON, || {
        house.done(&["status", "two"]).contains("GET /sleep")
    });
    let text = house.done(&["stop", "two", "--now"]);
    assert_eq!(text, "two stops\ntwo: has ended\n");
    house
        .log
        .wait_for_line(&["cut off: the stop waits for no request", "GET /sleep"]);
    let text = house.done(&["stop", "--now"]);
    assert_eq!(text, "everything stops\nit has ended\n");
    assert_eq!(house.exit().code(), Some(0));
    assert!(!house.control().exists());
}

#[test]
fn request_that_dies_with_its_worker_counts_as_failed() {
    let house = House::serve(&[pool("one", "workers = 1")]);
    house.wait_ready("one");
    let mut sleeping = Raw::connect(&house.socket("one")).unwrap();
    sleeping.send(&Request::get("/sleep").bytes());
    until("it runs", SOON, || {
        house.done(&["status", "one"]).contains("GET /sleep")
    });
    let worker = Pid::from_raw(house.workers("one")[0] as i32).unwrap();
    kill_process(worker, Signal::KILL).unwrap();
    until("it is counted", SOON, || {
        house.status("one")["totals"]["outcomes"]["failed"] == 1
    });
    let line = house
        .log
        .wait_for_line(&["a request died with its worker", "GET /sleep"]);
    assert!(line.contains(" GET /sleep\""), "it is one value: {line}");
}

#[test]
fn recycle_replaces_every_worker_and_scale_has_another_number() {
    let house = House::serve(&[pool("one", "workers = 2")]);
    house.wait_ready("one");
    until("both serve", SOON, || house.workers("one").len() == 2);
    let before = house.workers("one");
    assert_eq!(
        house.done(&["recycle", "one"]),
        "one: all workers are replaced, one after the other\none: all workers have been replaced\n"
    );
    // It has waited for that.
    let now = house.workers("one");
    assert!(
        now.len() == 2 && now.iter().all(|pid| !before.contains(pid)),
        "{before:?} {now:?}"
    );
    let json = house.done(&["status", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["pools"][0]["totals"]["replaced"]["asked"], 2);
    // There is room for as many again.
    let generation = |house: &House| {
        let json: serde_json::Value = serde_json::from_str(&house.done(&["status", "--json"])).unwrap();
        json["pools"][0]["generation"].as_u64().unwrap()
    };
    assert_eq!(
        house.done(&["scale", "one", "4"]),
        "one: 4 workers, until the next reload\n"
    );
    until("four serve", SOON, || house.workers("one").len() == 4);
    assert_eq!(generation(&house), 1);
    assert_eq!(
        house.done(&["scale", "one", "1"]),
        "one: 1 workers, until the next reload\n"
    );
    until("one serves", SOON, || house.workers("one").len() == 1);
    // More than it was made for takes a new generation.
    let text = house.done(&["scale", "one", "5..6"]);
    assert!(
        text.contains("5..6 workers, until the next reload, by a new generation") && text.ends_with("one: serves\n"),
        "{text}"
    );
    until("five serve", SOON, || house.workers("one").len() == 5);
    assert_eq!(generation(&house), 2);
    house.done(&["reload", "one"]);
    until("as the file says", SOON, || house.workers("one").len() == 2);
    let output = house.run(&["scale", "one", "0"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn recycle_says_what_a_new_worker_dies_of_and_the_old_ones_go_on() {
    let house = House::serve(&[
        pool("shop", "preload = \"off\"\nworkers = 2\n"),
        pool("rest", "workers = \"0..1\""),
    ]);
    house.wait_ready("shop");
    until("both serve", SOON, || house.workers("shop").len() == 2);
    let before = house.workers("shop");
    let right = fs::read_to_string(house.path("who.py")).unwrap();
    fs::write(house.path("who.py"), "import no_such_module\n").unwrap();
    let message = house.failed(&["recycle", "shop"]);
    let first = message.lines().next().unwrap();
    let expected = "wsgi-fpm: error: shop: a worker is not replaced, and goes on; it is tried again: ";
    assert!(
        first.starts_with(expected) && first.contains("no_such_module"),
        "{message}"
    );
    assert!(message.contains("who.py\", line 1"), "{message}");
    assert_eq!(house.workers("shop"), before);
    let json = house.run(&["recycle", "--json", "shop"]);
    assert_eq!(json.status.code(), Some(1), "{json:?}");
    let json = String::from_utf8(json.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!(last["pool"]["state"], "not_replaced", "{json}");
    fs::write(house.path("who.py"), right).unwrap();
    house.done(&["recycle", "shop"]);
    assert!(house.workers("shop").iter().all(|pid| !before.contains(pid)));
    // Where none runs there is nothing to wait for.
    let text = house.done(&["recycle", "rest"]);
    assert!(
        text.ends_with("rest: at rest; the next request loads the application\n"),
        "{text}"
    );
}

#[test]
fn fixed_number_that_has_become_a_range_grows_when_requests_wait() {
    let house = House::serve(&[pool("one", "workers = 2\nthreads = 1")]);
    house.wait_ready("one");
    house.done(&["scale", "one", "1..3"]);
    let sleeping: Vec<Raw> = (0..2)
        .map(|_| {
            let mut connection = Raw::connect(&house.socket("one")).unwrap();
            connection.send(&Request::get("/sleep").bytes());
            connection
        })
        .collect();
    until("a third one serves", SOON, || house.workers("one").len() == 3);
    drop(sleeping);
}

#[test]
fn bytes_of_bodies_are_counted_as_they_come_whatever_was_declared() {
    let house = House::serve(&[pool("one", "body_max = 0")]);
    house.wait_ready("one");
    for declared in [u64::MAX.to_string(), "3".to_owned()] {
        let body = vec![b'x'; if declared.len() > 1 { 200_000 } else { 3 }];
        let request = Request::post("/", body).param("CONTENT_LENGTH", declared);
        Raw::connect(&house.socket("one")).unwrap().exchange(&request).ok();
    }
    let json: serde_json::Value = serde_json::from_str(&house.done(&["status", "--json"])).unwrap();
    let received = json["pools"][0]["totals"]["received"].as_u64().unwrap();
    assert!((3..=200_003).contains(&received), "{received}");
}

#[test]
fn upgrade_waits_for_the_new_program_and_says_why_it_could_not_take_over() {
    let house = House::serve(&[pool("one", "")]);
    house.wait_ready("one");
    let before = house.who("one", "pid");
    let text = house.done(&["upgrade"]);
    assert!(text.contains("one: serves\n"), "{text}");
    let last = text.lines().last().unwrap();
    assert!(
        last.ends_with(&format!("has taken over, pid {}", house.pid())),
        "{text}"
    );
    house.wait_who("one", "pid", |pid| pid != before);
    house.write(&[pool("one", "thread = 2")]);
    let message = house.failed(&["upgrade"]);
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
        let mut child = house
            .command(&[&["logs", "--follow"], more].concat())
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
    house.done(&["reload", "one"]);
    until("all of it", SOON, || {
        all_lines.find(|line| line.contains("pool=\"one\"")).is_some()
    });
    // What another pool's application says of this one is not of this one.
    house.get("one", "/says?pool=\"loud\"");
    all_lines.wait_for_line(&["a request has said pool=\"loud\""]);
    house.get("loud", "/");
    until("both hear it", SOON, || {
        loud_lines.count(|line| line.contains("printed by a request")) > 1
    });
    assert_eq!(
        loud_lines.find(|line| line.contains("pool=\"one\"") || line.contains("has said")),
        None
    );
    house.done(&["upgrade"]);
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
    let mut child = house
        .command(&["logs", "--follow"])
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
    assert_eq!(house.done(&["logs", "--reopen"]), "1 log file was opened anew\n");
    assert!(house.path("access.log").exists());
}
