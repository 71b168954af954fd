//! Where logs go; what becomes of lines when a file is put away, a receiver is gone, or the program is replaced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};
use rustix::process::Signal;

use crate::house::{House, directory, pool};
use crate::support::disk::Tiny;
use crate::support::fcgi_client::{Raw, Request};
use crate::support::log::field;
use crate::support::wait::{SOON, until, until_some};

pub fn talks(name: &str, lines: &str) -> String {
    pool(name, lines).replace("who:application", "talks:application")
}

pub fn server(lines: &str) -> String {
    format!("[server]\n{lines}\n")
}

/// A file, or nothing.
pub fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The first line with all these parts in a file, once there is one.
#[track_caller]
pub fn line_in(path: &Path, parts: &[&str]) -> String {
    until_some(&format!("{} has a line with {parts:?}", path.display()), SOON, || {
        let text = text(path);
        let mut lines = text.lines().filter(|_| text.ends_with('\n'));
        lines
            .find(|line| parts.iter().all(|part| line.contains(part)))
            .map(str::to_owned)
    })
}

#[test]
fn each_log_goes_where_its_pool_says_and_paths_begin_at_the_file() {
    let directory = directory();
    for name in ["logs", "slow"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    let mut house = House::serve_in(
        directory,
        &[
            server("log = \"logs/main.log\""),
            talks(
                "one",
                "access_log = \"logs/one.log\"\nslow_log = \"./slow/one.log\"\nslow_request = \"100ms\"",
            ),
            talks("two", "access_log = \"logs/two.log\"\naccess_format = \"combined\""),
            talks("three", "access_log = true"),
        ],
    );
    let main = house.path("logs/main.log");
    for name in ["one", "two", "three"] {
        line_in(&main, &[" ready ", &format!("pool=\"{name}\"")]);
        house.get(name, "/prints?secret");
    }
    house.get("one", "/sleeps?0.5");
    let one = line_in(
        &house.path("logs/one.log"),
        &[" INFO access: ", "pool=\"one\"", "path=/prints", "status=200"],
    );
    assert!(!one.contains("secret"), "{one}");
    let two = line_in(&house.path("logs/two.log"), &["/prints"]);
    assert!(two.starts_with("192.0.2.1 - - ["), "{two}");
    assert!(two.ends_with("] \"GET /prints HTTP/1.1\" 200 2 \"-\" \"-\""), "{two}");
    line_in(&main, &[" access: ", "pool=\"three\"", "/prints"]);
    let slow = line_in(
        &house.path("slow/one.log"),
        &[" WARN slow: ", "pool=\"one\"", "/sleeps"],
    );
    assert!(slow.contains("a slow request"), "{slow}");
    line_in(&house.path("slow/one.log"), &["  ", "time.sleep(float(query))"]);
    assert_eq!(house.stop().code(), Some(0));
    let main = text(&main);
    for other in ["a slow request", "one.sock access", "path=/sleeps"] {
        assert!(!main.contains(other), "{main}");
    }
    assert_eq!(main.matches(" access: ").count(), 1, "{main}");
    assert_eq!(house.log.text(), "", "nothing is left for standard error");
    let mode = fs::metadata(house.path("logs/one.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o027, 0, "{mode:o}: nobody else may read it");
}

#[test]
fn form_of_the_log_is_that_of_every_pool() {
    let mut house = House::serve(&[
        server("log_format = \"json\""),
        talks("one", "access_log = true\naccess_format = \"combined\""),
    ]);
    until("it is ready", SOON, || {
        house.log.text().contains("\"message\":\"ready\"")
    });
    house.get("one", "/prints?x");
    Raw::connect(&house.socket("one"))
        .unwrap()
        .exchange(&Request::get("/raises"));
    assert_eq!(house.stop().code(), Some(0));
    house.log.wait_for_end();
    let events: Vec<serde_json::Value> = house
        .log
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let has = |key: &str, value: &str| {
        events
            .iter()
            .any(|event| event[key].as_str().is_some_and(|found| found.contains(value)))
    };
    assert!(has("message", "\"GET /raises HTTP/1.1\" 500") && has("traceback", "ValueError: for the log"));
    assert!(has("message", "written x") && has("message", "printed x to stderr"));
}

#[test]
fn log_that_can_not_be_opened_is_said_before_anything_starts() {
    let mut house = House::serve(&[server("log = \"./nowhere/main.log\""), talks("one", "")]);
    assert_eq!(house.exit().code(), Some(1));
    house.log.wait_for_end();
    let text = house.log.text();
    assert!(
        text.contains("there can be no log in ") && text.contains("No such file or directory"),
        "{text}"
    );
}

#[test]
fn unknown_field_is_said_with_its_place_before_anything_starts() {
    let mut house = House::serve(&[talks("one", "access_format = \"$remote $metod\"")]);
    assert_eq!(house.exit().code(), Some(2));
    house.log.wait_for_end();
    let text = house.log.text();
    assert!(
        text.contains("there is no field $metod; there are time,") && text.contains("wsgi-fpm.toml:"),
        "{text}"
    );
}

/// Sends requests to the pool until it is told to stop; how many were answered.
fn load(house: &House, pool: &str, stop: &AtomicBool, answered: &AtomicUsize) {
    let mut connection = Raw::connect(&house.socket(pool)).unwrap();
    while !stop.load(Relaxed) {
        let path = format!("/numbered/{}", answered.load(Relaxed));
        connection.exchange(&Request::get(&path).keep_conn()).ok();
        answered.fetch_add(1, Relaxed);
    }
}

/// Every request has its line, whole, in one of these files.
#[track_caller]
fn assert_all_lines(files: &[PathBuf], requests: usize) {
    let all: String = files.iter().map(|file| text(file)).collect();
    let mut numbers: Vec<usize> = all
        .lines()
        .map(|line| {
            assert!(line.starts_with("20") && line.ends_with("outcome=Complete"), "{line}");
            field(line, "path")
                .unwrap()
                .strip_prefix("/numbered/")
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    numbers.sort_unstable();
    assert!(
        numbers.iter().copied().eq(0..requests),
        "{} of {requests}",
        numbers.len()
    );
}

#[test]
fn file_that_was_put_away_is_opened_anew_without_a_line_lost_or_torn() {
    const TIMES: usize = 5;
    let mut house = House::serve(&[talks("one", "access_log = \"./access.log\"")]);
    house.wait_ready("one");
    let (path, stop, answered) = (house.path("access.log"), AtomicBool::new(false), AtomicUsize::new(0));
    let old = |number: usize| house.path(&format!("access.log.{number}"));
    std::thread::scope(|scope| {
        scope.spawn(|| load(&house, "one", &stop, &answered));
        for number in 0..TIMES {
            until("there are lines", SOON, || text(&path).lines().count() > 20);
            fs::rename(&path, old(number)).unwrap();
            let mark = house.log.mark();
            house.signal(Signal::USR1);
            house.wait_for(
                mark,
                &["log files were opened anew", "files=1", "lost_since_the_start=0"],
            );
            // Whoever has sent the signal may compress it now.
            let length = text(&old(number)).len();
            let before = answered.load(Relaxed);
            until("it goes on", SOON, || answered.load(Relaxed) > before + 20);
            assert_eq!(text(&old(number)).len(), length, "nothing comes later");
        }
        stop.store(true, Relaxed);
    });
    let files: Vec<_> = (0..TIMES).map(old).chain([path.clone()]).collect();
    assert_eq!(house.stop().code(), Some(0));
    assert_all_lines(&files, answered.into_inner());
}

#[test]
fn file_that_can_not_be_opened_anew_is_written_on() {
    let directory = directory();
    fs::create_dir(directory.path().join("logs")).unwrap();
    let house = House::serve_in(directory, &[talks("one", "access_log = \"./logs/access.log\"")]);
    house.wait_ready("one");
    house.get("one", "/before");
    line_in(&house.path("logs/access.log"), &["/before"]);
    fs::rename(house.path("logs"), house.path("moved")).unwrap();
    house.signal(Signal::USR1);
    house.wait_for(0, &["ERROR", "it can't be opened anew", "No such file or directory"]);
    house.get("one", "/after");
    line_in(&house.path("moved/access.log"), &["/after"]);
}

#[test]
fn signal_without_log_files_says_so() {
    let house = House::serve(&[talks("one", "")]);
    house.wait_ready("one");
    house.signal(Signal::USR1);
    house.wait_for(0, &["no log goes to a file", "SIGUSR1"]);
}

#[test]
fn full_disk_stops_no_request_and_what_was_lost_is_said() {
    let directory = directory();
    let path = directory.path().join("access.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let house = House::serve_in(directory, &[talks("one", "access_log = \"./access.log\"")]);
    house.wait_ready("one");
    (0..20).for_each(|_| _ = house.get("one", "/lost"));
    house.wait_for(
        0,
        &[
            "ERROR",
            "lines can't be written and are lost until they can: No space left on device",
            "access.log",
        ],
    );
    // Room again.
    fs::remove_file(&path).unwrap();
    house.signal(Signal::USR1);
    until("it goes on", SOON, || {
        house.get("one", "/kept");
        text(&path).contains("/kept")
    });
    let parts = [
        "WARN",
        "lines were lost since they could not be written: No space left on device",
    ];
    let said = house.wait_for(0, &parts);
    let (_, number) = said.split_once("writer: ").unwrap();
    let number: usize = number.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(number + text(&path).matches("/lost").count(), 20, "{said}");
}

#[test]
fn disk_that_is_full_for_a_while_leaves_whole_lines() {
    let Some(disk) = Tiny::mount() else { return };
    let (path, filler) = (disk.path().join("access.log"), disk.path().join("filler"));
    let lines = format!("access_log = \"{}\"", path.display());
    let house = House::serve(&[server("log_format = \"json\""), talks("one", &lines)]);
    house.wait_for(0, &["\"ready\""]);
    // What finds no room is there for a moment.
    let is_whole = |part: &str| {
        let text = text(&path);
        let is_event = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
        (text.is_empty() || text.ends_with('\n')) && text.lines().all(is_event) && text.contains(part)
    };
    let long = "x".repeat(700);
    let elsewhere = || ();
    let empties = || drop(fs::File::create(&path).unwrap());
    let removes = || fs::remove_file(&path).unwrap();
    for (kept, makes_room) in [
        ("/kept-one", &elsewhere as &dyn Fn()),
        ("/kept-two", &empties),
        ("/kept-three", &removes),
    ] {
        let mark = house.log.mark();
        fs::write(&filler, vec![0; 128 * 1024]).unwrap_err();
        // A page is left.
        let length = fs::metadata(&filler).unwrap().len();
        fs::File::options()
            .write(true)
            .open(&filler)
            .and_then(|file| file.set_len(length - 4096))
            .unwrap();
        until("it is full", SOON, || {
            house.get("one", &format!("/{long}"));
            let lines = house.log.since(mark);
            lines
                .iter()
                .any(|line| line.contains("lines can't be written and are lost until they can"))
        });
        until("no part of a line is there", SOON, || is_whole(""));
        makes_room();
        fs::remove_file(&filler).unwrap();
        until("it goes on", SOON, || {
            house.get("one", kept);
            is_whole(kept)
        });
        house.wait_for(mark, &["WARN", "lines were lost since they could not be written"]);
    }
}

#[test]
fn directory_that_was_removed_and_made_again_has_the_log_again() {
    let directory = directory();
    fs::create_dir(directory.path().join("logs")).unwrap();
    let house = House::serve_in(directory, &[talks("one", "access_log = \"./logs/access.log\"")]);
    house.wait_ready("one");
    house.get("one", "/before");
    line_in(&house.path("logs/access.log"), &["/before"]);
    fs::remove_dir_all(house.path("logs")).unwrap();
    until("it is noticed", SOON, || {
        house.get("one", "/lost");
        house
            .log
            .text()
            .contains("lines can't be written and are lost until they can: No such file")
    });
    fs::create_dir(house.path("logs")).unwrap();
    until("it goes on by itself", SOON, || {
        house.get("one", "/kept");
        text(&house.path("logs/access.log")).contains("/kept")
    });
}

#[test]
fn pipe_that_nobody_reads_costs_only_its_own_lines() {
    let directory = directory();
    let path = directory.path().join("pipe");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    let reader = open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    let mut house = House::serve_in(
        directory,
        &[
            talks("stuck", "access_log = \"./pipe\""),
            talks("free", "access_log = \"./free.log\""),
        ],
    );
    house.wait_ready("stuck");
    house.wait_ready("free");
    let mut connection = Raw::connect(&house.socket("stuck")).unwrap();
    // More than the pipe takes.
    for _ in 0..1000 {
        connection.exchange(&Request::get("/stuck").keep_conn()).ok();
    }
    house.get("free", "/free");
    line_in(&house.path("free.log"), &["/free"]);
    drop(connection);
    assert_eq!(house.stop().code(), Some(0));
    drop(reader);
}

#[test]
fn another_program_writes_on_to_the_same_files() {
    let mut house = House::serve(&[
        server("log = \"./main.log\""),
        talks("one", "access_log = \"./access.log\""),
    ]);
    let main = house.path("main.log");
    line_in(&main, &[" ready "]);
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| load(&house, "one", &stop, &answered));
        for times in 1..=2 {
            let before = answered.load(Relaxed);
            house.signal(Signal::USR2);
            until("the new program takes over, with a new generation", SOON * 2, || {
                text(&main).matches(" ready ").count() > times && answered.load(Relaxed) > before + 20
            });
        }
        stop.store(true, Relaxed);
    });
    assert_eq!(house.stop().code(), Some(0));
    assert_all_lines(&[house.path("access.log")], answered.into_inner());
    assert!(
        text(&main).contains("the new program takes over") && !text(&main).contains("lost"),
        "{}",
        text(&main)
    );
}

#[test]
fn reload_changes_where_lines_go() {
    let house = House::serve(&[talks("one", "access_log = \"./old.log\"")]);
    house.wait_ready("one");
    house.get("one", "/old");
    line_in(&house.path("old.log"), &["/old"]);
    let mark = house.reload(&[talks(
        "one",
        "access_log = \"./new.log\"\naccess_format = \"$method $path\"",
    )]);
    house.wait_for(mark, &[" ready "]);
    until("the new one answers", SOON, || {
        house.get("one", "/new");
        text(&house.path("new.log")).lines().any(|line| line == "GET /new")
    });
    let mark = house.reload(&[talks("one", "")]);
    house.wait_for(mark, &[" ready "]);
}

fn has_open(pid: u32, file: &Path) -> bool {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    fds.flat_map(|fd| fs::read_link(fd.path())).any(|open| open == file)
}

#[test]
fn pool_that_leaves_has_its_log_until_its_last_request_whatever_is_reloaded_meanwhile() {
    let mut house = House::serve(&[
        talks("stays", ""),
        talks("goes", "access_log = \"./goes.log\"\nstop_timeout = 0"),
    ]);
    house.wait_ready("goes");
    house.wait_ready("stays");
    let go_on = house.path("go-on");
    let mut slow = Raw::connect(&house.socket("goes")).unwrap();
    slow.send(&Request::get(&format!("/waits?{}", go_on.display())).bytes());
    // Its thread has the request when another one is answered behind it.
    house.get("goes", "/");
    for _ in 0..2 {
        let mark = house.reload(&[talks("stays", "")]);
        house.wait_for(mark, &["the file was read again"]);
    }
    fs::write(go_on, "").unwrap();
    line_in(&house.path("goes.log"), &["/waits"]);
    house.log.wait_for_line(&["stopped", "pool=\"goes\""]);
    assert!(has_open(house.pid(), &house.path("goes.log")));
    house.reload(&[talks("stays", "")]);
    until("its log is nobody's any more", SOON, || {
        !has_open(house.pid(), &house.path("goes.log"))
    });
    assert_eq!(house.stop().code(), Some(0));
    assert_eq!(house.log.count(|line| line.contains("/waits")), 0);
}

#[test]
fn healthy_answers_of_suppressed_paths_have_no_line() {
    let lines = "access_log = \"./access.log\"\naccess_format = \"$method $path $status\"\naccess_suppress = [\"/health\", \"/static/*\", \"/raises\"]";
    let mut house = House::serve(&[talks("one", lines)]);
    house.wait_ready("one");
    for path in ["/health", "/health/more", "/static/x", "/static"] {
        house.get("one", path);
    }
    let mut connection = Raw::connect(&house.socket("one")).unwrap();
    connection.exchange(&Request::get("/raises").keep_conn());
    connection
        .exchange(&Request::post("/health", Vec::new()).keep_conn())
        .ok();
    connection.exchange(&Request::get("/health").keep_conn()).ok();
    drop(connection);
    assert_eq!(house.stop().code(), Some(0));
    let expected = "GET /health/more 200\nGET /static 200\nGET /raises 500\nPOST /health 200\n";
    assert_eq!(text(&house.path("access.log")), expected);
}
