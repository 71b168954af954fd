//! What is asked of one worker: `wsgi-fpm stacks` and `wsgi-fpm kill`.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::house::{House, directory, pool};
use crate::support::fcgi_client::{Raw, Request};
use crate::support::wait::{SOON, until, until_some};

/// A pool with `asked.py`, which has started a thread of its own.
fn asked(lines: &str) -> String {
    pool("one", &format!("preload = \"off\"\n{lines}")).replace("who:", "asked:")
}

fn serve(lines: &str) -> House {
    let house = House::serve(&[asked(lines)]);
    house.wait_ready("one");
    house
}

/// A request that runs, and its name.
struct Running {
    connection: Raw,
    id: String,
}

impl Running {
    fn begin(house: &House, target: &str) -> Self {
        let mut connection = Raw::connect(&house.socket("one")).unwrap();
        connection.send(&Request::get(target).bytes());
        let line = format!("GET {}", target.split('?').next().unwrap());
        let id = until_some(&format!("{target} runs"), SOON, || {
            let status = house.status("one");
            let workers = status["workers"].as_array().unwrap().iter();
            let threads = workers.flat_map(|worker| worker["threads"].as_array().unwrap());
            let mut requests = threads.map(|thread| &thread["request"]);
            let found = requests.find(|request| request["line"] == line.as_str())?;
            Some(found["id"].as_str().unwrap().to_owned())
        });
        Self { connection, id }
    }

    fn worker(&self) -> &str {
        self.id.split('-').next().unwrap()
    }

    /// The name of another request of its worker.
    fn other(&self, thread: u32, number: u64) -> String {
        format!("{}-{thread}-{number}", self.worker())
    }
}

/// What is said of each worker, by its pid.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks
        .map(|block| {
            let rest = block
                .trim_start()
                .strip_prefix("worker ")
                .unwrap_or_else(|| panic!("{text}"));
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
            (&rest[..end], block)
        })
        .collect()
}

fn notes(house: &House) -> String {
    fs::read_to_string(house.path("notes")).unwrap_or_default()
}

/// A request that holds Python's lock until this is dropped.
fn hold(house: &House) -> (Running, File) {
    let fifo = house.path("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let running = Running::begin(house, &format!("/holds?{}", fifo.display()));
    // Opening waits until the application has opened the other end.
    let writer = File::options().write(true).open(&fifo).unwrap();
    (running, writer)
}

#[test]
fn stacks_show_requests_and_threads_of_the_application_of_all_workers_or_of_one() {
    let house = serve("workers = 2");
    let sleeping = Running::begin(&house, "/sleeps");
    let text = house.done(&["stacks", "one"]);
    let all = blocks(&text);
    let mut pids: Vec<u64> = all.iter().map(|(pid, _)| pid.parse().unwrap()).collect();
    let mut workers = house.workers("one");
    pids.sort_unstable();
    workers.sort_unstable();
    assert_eq!(pids, workers, "{text}");
    for (pid, block) in &all {
        assert!(block.starts_with(&format!("worker {pid}\n")), "{text}");
        assert!(
            block.contains("  thread beside\n") && block.contains("in beside"),
            "{text}"
        );
        let is_it = *pid == sleeping.worker();
        assert_eq!(
            block.contains("asked.py\", line") && block.contains("in sleeps"),
            is_it,
            "{text}"
        );
        assert_eq!(block.contains("time.sleep(60)"), is_it, "{text}");
        assert_eq!(block.matches(": idle\n").count(), if is_it { 1 } else { 2 }, "{text}");
    }
    let (_, block) = all.iter().find(|(pid, _)| *pid == sleeping.worker()).unwrap();
    // The request first.
    let first = block.lines().nth(1).unwrap();
    assert!(
        first.contains(": GET /sleeps, for ") && first.ends_with(&format!(" ({})", sleeping.id)),
        "{text}"
    );
    let text = house.done(&["stacks", "one", sleeping.worker()]);
    assert!(
        matches!(blocks(&text)[..], [(pid, block)] if pid == sleeping.worker() && block.contains("in sleeps")),
        "{text}"
    );
    let text = house.done(&["stacks", "--json", "one"]);
    let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2, "{text}");
    let is_it = |answer: &&Value| answer["worker"].as_u64() == sleeping.worker().parse().ok();
    let answer = answers.iter().find(is_it).unwrap();
    assert_eq!(answer["stacks"]["by_python"], true, "{text}");
    let thread = &answer["stacks"]["threads"][0];
    assert_eq!(
        (&thread["request"]["id"], &thread["serves"]),
        (&sleeping.id.as_str().into(), &true.into())
    );
}

#[test]
fn stacks_come_from_outside_while_c_code_holds_python() {
    let house = serve("workers = 2");
    let (held, writer) = hold(&house);
    let began = Instant::now();
    let text = house.done(&["stacks", "one"]);
    let took = began.elapsed();
    // A second is waited for Python; the limit is four.
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(5),
        "{took:?}"
    );
    let all = blocks(&text);
    assert_eq!(all.len(), 2, "{text}");
    for (pid, block) in &all {
        let is_it = *pid == held.worker();
        let head = block.lines().next().unwrap();
        assert_eq!(
            head.ends_with(" (Python's lock is held: read from outside)"),
            is_it,
            "{text}"
        );
        assert_eq!(block.contains("in holds"), is_it, "{text}");
    }
    let (_, block) = all.iter().find(|(pid, _)| *pid == held.worker()).unwrap();
    assert!(block.contains("GET /holds") && block.contains(&held.id), "{text}");
    let text = house.done(&["stacks", "--json", "one", held.worker()]);
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["stacks"]["by_python"], false, "{text}");
    drop(writer);
    let Running { mut connection, .. } = held;
    connection.read_response(1).ok();
    until("Python answers again", SOON, || {
        !house.done(&["stacks", "one"]).contains("read from outside")
    });
}

#[test]
fn stacks_of_nobody_is_one_line_that_says_why() {
    let resting = pool("rest", "workers = \"0..1\"");
    let house = House::serve(&[asked(""), resting, pool("gone", "")]);
    for name in ["one", "gone"] {
        house.wait_ready(name);
    }
    house.done(&["stop", "gone"]);
    let worker = house.workers("one")[0];
    for (arguments, expected) in [
        (
            &["one", "1"] as &[&str],
            format!("one has no worker 1; it has: {worker}"),
        ),
        (
            &["two"],
            "there is no pool \"two\"; there are: gone, one, rest".to_owned(),
        ),
        (
            &["rest"],
            "rest is at rest: it has no worker until a request comes".to_owned(),
        ),
        (&["gone"], "gone was stopped; wsgi-fpm reload gone starts it".to_owned()),
    ] {
        let message = house.failed(&[&["stacks"], arguments].concat());
        assert_eq!(message, format!("wsgi-fpm: error: {expected}\n"));
    }
    for arguments in [&["stacks", "one", "worker"] as &[&str], &["stacks", "a b"], &["stacks"]] {
        let output = house.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {output:?}");
    }
}

#[test]
fn stacks_show_what_a_generation_imports_be_it_in_its_leader_or_in_its_workers() {
    for (preload, who, is_leader) in [("auto", "leader", true), ("off", "worker", false)] {
        let directory = directory();
        let hold = directory.path().join("hold");
        fs::write(&hold, "").unwrap();
        let house = House::serve_in(directory, &[asked("").replace("\"off\"", &format!("\"{preload}\""))]);
        let imports = |generation: &str| {
            let said = format!("of generation {generation} imports the application, for ");
            let text = until_some(&said, SOON, || {
                let output = house.run(&["stacks", "one"]);
                let text = String::from_utf8(output.stdout).unwrap();
                // It may not be there yet.
                (text.contains(&said) && text.contains("in imports")).then_some(text)
            });
            let mut blocks = text.split("\n\n");
            let block = blocks.find(|block| block.contains(&said)).unwrap().to_owned();
            let pid = block.trim_start().split(' ').nth(1).unwrap().to_owned();
            assert!(block.trim_start().starts_with(&format!("{who} {pid} {said}")), "{text}");
            (pid, block, text)
        };
        // The very first start: nobody serves yet.
        let (pid, block, text) = imports("1");
        let lines: Vec<_> = block.trim_start().lines().collect();
        assert_eq!(lines[1], "  thread MainThread", "{text}");
        let at = |part: &str| {
            lines
                .iter()
                .position(|line| line.contains(part))
                .unwrap_or_else(|| panic!("{text}"))
        };
        assert!(
            at("asked.py\", line") < lines.len() && at("in <module>") < at("in imports"),
            "{text}"
        );
        assert_eq!(lines.len() - 1, at("in imports"), "{text}");
        let json = house.done(&["stacks", "--json", "one", &pid]);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (json["worker"].to_string(), &json["imports"]["is_leader"]),
            (pid.clone(), &is_leader.into())
        );
        fs::remove_file(&hold).unwrap();
        house.wait_ready("one");
        let serving = house.get("one", "/").text();
        // What was looked at goes on as if nothing had been.
        assert_eq!(serving == pid, !is_leader);
        fs::write(&hold, "").unwrap();
        let reload = house
            .command(&["reload", "one"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (_, _, text) = until_some("both are shown", SOON, || {
            let seen = imports(if is_leader { "3" } else { "2" });
            seen.2.contains(&format!("worker {serving}\n")).then_some(seen)
        });
        assert!(
            text.contains("  thread wsgi-fpm-1: idle\n") && text.contains("in imports"),
            "{text}"
        );
        fs::remove_file(&hold).unwrap();
        let output = reload.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn kill_ends_one_request_with_a_504_and_others_go_on() {
    let house = serve("");
    let mut goes_on = Running::begin(&house, "/waits?end");
    let mut killed = Running::begin(&house, "/waits?never");
    // Both look alike: the later one has the name that the first has not.
    if killed.id == goes_on.id {
        killed.id = until_some("the other one is seen", SOON, || {
            let status = house.status("one").to_string();
            let other = if goes_on.id.contains("-0-") { 1 } else { 0 };
            let id = goes_on.other(other, 1);
            status.contains(&id).then_some(id)
        });
    }
    let mark = house.log.mark();
    let id = &killed.id;
    assert_eq!(
        house.done(&["kill", id]),
        format!("{id} has ended; its client has got a 504\n")
    );
    killed.connection.read_response(1).error_page(504);
    assert_eq!(
        notes(&house),
        "RequestTimeout: the request was ended by root (wsgi-fpm kill)\n"
    );
    house.wait_for(
        mark,
        &[
            "WARN",
            "a request is ended by root (wsgi-fpm kill)",
            id,
            "answered_504=true",
        ],
    );
    fs::write(house.path("end"), "").unwrap();
    goes_on.connection.read_response(1).ok();
    // The thread is as good as new.
    let worker = killed.worker();
    for _ in 0..4 {
        assert_eq!(house.get("one", "/").text(), worker);
    }
    let message = house.failed(&["kill", id]);
    assert_eq!(
        message,
        format!("wsgi-fpm: error: {id} does not run: it has ended, or never was\n")
    );
}

#[test]
fn kill_of_what_does_not_run_ends_nothing() {
    let house = serve("");
    let mut running = Running::begin(&house, "/waits?end");
    let [thread, number] = [1, 2].map(|part| running.id.split('-').nth(part).unwrap().parse::<u64>().unwrap());
    let thread = thread as u32;
    for id in [
        // Not yet begun, of the other thread, of none.
        running.other(thread, number + 1),
        running.other(1 - thread, number),
        running.other(7, number),
        running.other(thread, u64::MAX),
    ] {
        let message = house.failed(&["kill", &id]);
        assert_eq!(
            message,
            format!("wsgi-fpm: error: {id} does not run: it has ended, or never was\n")
        );
    }
    let message = house.failed(&["kill", "1-0-1"]);
    assert_eq!(
        message,
        "wsgi-fpm: error: there is no worker 1 that serves; `wsgi-fpm status` lists them\n"
    );
    for wrong in ["all", "1234", "-1-0-1", "1-0-1-1", "99999999999-0-1"] {
        let output = house.run(&["kill", "--", wrong]);
        assert_ne!(output.status.code(), Some(0), "{wrong} {output:?}");
    }
    fs::write(house.path("end"), "").unwrap();
    running.connection.read_response(1).ok();
    assert_eq!(notes(&house), "");
}

#[test]
fn kill_of_a_request_whose_response_has_begun_breaks_it_off() {
    let house = serve("");
    let mut running = Running::begin(&house, "/begins?never");
    let mut response = Default::default();
    running.connection.read_until_body_has(&mut response, b"begun");
    let id = &running.id;
    assert_eq!(
        house.done(&["kill", id]),
        format!("{id} has ended; its client has got no 504, for its response had begun\n")
    );
    running.connection.read_more(&mut response, 1);
    response.cut();
    assert!(notes(&house).starts_with("RequestTimeout: "));
}

#[test]
fn kill_of_a_request_that_ignores_it_says_so_and_its_worker_is_replaced() {
    let house = serve("kill_timeout = \"3s\"");
    let mut running = Running::begin(&house, "/ignores?never");
    let (id, worker) = (running.id.clone(), running.worker().to_owned());
    let mark = house.log.mark();
    let message = house.failed(&["kill", &id]);
    assert!(
        message.starts_with(&format!(
            "wsgi-fpm: error: {id} goes on: its worker {worker} is replaced, and killed 3s after the request was told to end, \
             unless it ends before ("
        )) && message.contains("kill_timeout"),
        "{message}"
    );
    running.connection.read_response(1).error_page(504);
    assert!(
        notes(&house).starts_with("ignored: RequestTimeout\n"),
        "{}",
        notes(&house)
    );
    house.wait_for(mark, &["a worker is replaced: the request has not ended", &worker]);
    house.wait_for(mark, &["killed: the request is stuck after it was told to end", &id]);
    assert_ne!(house.get("one", "/").text(), worker);
    assert_eq!(house.status("one")["totals"]["replaced"]["stuck"], 1);
}

#[test]
fn kill_says_what_else_helps_where_nothing_follows() {
    let house = serve("kill_timeout = \"0s\"");
    let mut running = Running::begin(&house, "/ignores?end");
    let (id, worker) = (running.id.clone(), running.worker().to_owned());
    let message = house.failed(&["kill", &id]);
    assert!(
        message.contains("goes on: nothing else ends it")
            && message.contains(&format!("`kill -9 {worker}` ends its worker")),
        "{message}"
    );
    running.connection.read_response(1).error_page(504);
    fs::write(house.path("end"), "").unwrap();
    until("it has ended", SOON, || house.get("one", "/").text() == worker);
}

#[test]
fn kill_whose_worker_dies_meanwhile_says_that() {
    let house = serve("");
    let running = Running::begin(&house, "/ignores?never");
    let mark = house.log.mark();
    let kill = house
        .command(&["kill", &running.id])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It is told, and two seconds are waited for its end.
    house.wait_for(mark, &["a request is ended by root (wsgi-fpm kill)"]);
    let worker = Pid::from_raw(running.worker().parse().unwrap()).unwrap();
    kill_process(worker, Signal::KILL).unwrap();
    let output = kill.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        message,
        format!("wsgi-fpm: error: worker {} has ended meanwhile\n", running.worker())
    );
}

#[test]
fn workers_of_the_program_before_are_asked_while_an_upgrade_is_under_way_and_afterwards() {
    let house = serve("");
    let mut killed = Running::begin(&house, "/waits?never");
    let before = killed.worker().to_owned();
    let mut goes_on = Running::begin(&house, "/ignores?end");
    fs::write(house.path("hold"), "").unwrap();
    let mark = house.log.mark();
    let upgrade = house.command(&["upgrade"]).stdout(Stdio::piped()).spawn().unwrap();
    until("the new program starts a generation", SOON, || {
        house.log.since(mark).iter().any(|line| line.contains("upgrade")) && house.status("one")["reloading"] == true
    });
    let text = house.done(&["stacks", "one", &before]);
    assert!(text.contains("in waits") && text.contains("in ignores"), "{text}");
    let id = &killed.id;
    assert_eq!(
        house.done(&["kill", id]),
        format!("{id} has ended; its client has got a 504\n")
    );
    killed.connection.read_response(1).error_page(504);
    fs::remove_file(house.path("hold")).unwrap();
    let output = upgrade.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // The old worker finishes what it runs.
    let text = house.done(&["stacks", "one", &before]);
    assert!(text.contains("in ignores"), "{text}");
    assert_ne!(house.get("one", "/").text(), before);
    fs::write(house.path("end"), "").unwrap();
    goes_on.connection.read_response(1).ok();
}
