//! Workers that are replaced although they work: after so many requests, with so much memory, at such an age.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::processes::pid;
use crate::support::fcgi_client::{Raw, Request};
use crate::support::load::under_load;
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until, until_ended};

fn is_replaced(line: &str) -> bool {
    line.contains("a worker is replaced: ")
}

/// The number behind `name=` in a line of the log.
fn field(line: &str, name: &str) -> u64 {
    let (_, rest) = line.split_once(&format!(" {name}=")).unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn worker_is_replaced_after_its_requests_and_none_is_lost() {
    let gateway = Gateway::app("processes")
        .workers(2)
        .threads(2)
        .option("--max-requests", "50")
        .option("--max-requests-jitter", "10")
        .option("--connection-requests", "0")
        .start();
    let requests = [Request::get("/pid"), Request::get("/pid").keep_conn()];
    under_load(&gateway, &requests, || {
        until("eight workers were replaced", SOON, || {
            gateway.log.count(is_replaced) >= 8
        });
    });
    let lines: Vec<_> = gateway
        .log
        .since(0)
        .into_iter()
        .filter(|line| is_replaced(line))
        .collect();
    for line in lines {
        assert!(line.contains("a worker is replaced: --max-requests 50"), "{line}");
        assert!(field(&line, "requests") >= 50, "{line}");
    }
    assert_eq!(gateway.complaints(), Vec::<String>::new());
}

#[test]
fn number_of_requests_is_kept_to_where_they_come_one_by_one() {
    let gateway = Gateway::app("processes")
        .threads(3)
        .option("--max-requests", "20")
        .option("--max-requests-jitter", "0")
        .start();
    let mut kept = gateway.connect();
    let mut served: Vec<(String, u32)> = Vec::new();
    until("the third worker serves", SOON, || {
        let pid = pid(&mut kept);
        match served.last_mut() {
            Some((last, count)) if *last == pid => *count += 1,
            _ => served.push((pid, 1)),
        }
        served.len() == 3
    });
    // And those that came while the next worker started.
    assert!(served[..2].iter().all(|(_, count)| *count >= 20), "{served:?}");
}

/// One whose application takes a while to load, in each worker.
fn slow(directory: &Path, more: &str) -> Builder {
    let source = format!(
        "import os\nimport time\n\ntime.sleep(0.7)\n{more}\n\n\ndef application(environ, start_response):\n    \
         start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [str(os.getpid()).encode()]\n"
    );
    std::fs::write(directory.join("slow.py"), source).unwrap();
    Gateway::app("slow").chdir(directory).option("--preload", "off")
}

#[test]
fn nobody_waits_for_a_replacement_that_takes_long() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = slow(directory.path(), "").option("--max-requests", "5").start();
    let first = gateway.get("/").ok().text();
    until("another worker has taken over", SOON, || {
        let begun = Instant::now();
        let pid = gateway.get("/").ok().text();
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
        pid != first
    });
}

#[test]
fn replacement_that_can_not_start_leaves_the_old_worker_serving() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = slow(directory.path(), "").option("--max-requests", "3").start();
    let old = gateway.get("/").ok().text();
    slow(directory.path(), "import no_such_module");
    for _ in 0..5 {
        gateway.get("/").ok();
    }
    gateway.log.wait_for_line(&["no_such_module"]);
    assert_eq!(gateway.get("/").ok().text(), old);
    slow(directory.path(), "");
    until("a new worker serves", SOON, || gateway.get("/").ok().text() != old);
}

#[test]
fn running_request_of_a_replaced_worker_is_finished() {
    let gateway = Gateway::app("processes")
        .threads(2)
        .option("--max-requests", "10")
        .option("--stop-timeout", "1s")
        .start();
    let old = gateway.get("/pid").ok().text();
    let file = format!("{}/gate", gateway.directory.path().display());
    let mut long = gateway.connect();
    long.send(&Request::get(&format!("/waits?{file}")).keep_conn().bytes());
    until("it runs", SOON, || Path::new(&format!("{file}.called")).exists());
    until("another worker serves", SOON, || gateway.get("/pid").ok().text() != old);
    // Longer than a stop would have left it.
    thread::sleep(Duration::from_millis(2500));
    std::fs::write(&file, "").unwrap();
    assert_eq!(long.read_response(1).ok().text(), "waited");
    assert_ne!(pid(&mut long), old);
    until_ended(old, SOON);
}

#[test]
fn replaced_worker_that_does_not_end_is_killed() {
    let gateway = Gateway::app("processes")
        .threads(1)
        .option("--max-requests", "3")
        .option("--stop-timeout", "500ms")
        .start();
    let old = gateway.get("/pid").ok().text();
    gateway.get("/never_ends?thread").ok();
    until("another worker serves", SOON, || gateway.get("/pid").ok().text() != old);
    let line = gateway
        .log
        .wait_for_line(&["cut off: no request runs", "--stop-timeout"]);
    assert!(line.contains(&format!("worker={old}")), "{line}");
    until_ended(old, SOON);
}

#[test]
fn worker_that_has_grown_is_replaced() {
    let gateway = Gateway::app("processes").option("--max-memory", "150m").start();
    let old = gateway.get("/pid").ok().text();
    gateway.get("/grows?200").ok();
    let line = gateway.log.wait_for_line(&["a worker is replaced: --max-memory 150m"]);
    assert!((150 << 20..500 << 20).contains(&field(&line, "memory")), "{line}");
    until("another worker serves", SOON, || gateway.get("/pid").ok().text() != old);
}

#[test]
fn worker_that_takes_more_from_the_beginning_is_left_alone_and_that_is_said() {
    let gateway = Gateway::app("processes")
        .workers(2)
        .option("--max-memory", "1m")
        .start();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        gateway.get("/pid").ok();
        thread::sleep(Duration::from_millis(50));
    }
    let said = |line: &str| line.contains("a new worker takes more than --max-memory 1m already");
    assert_eq!(gateway.log.count(said), 1);
    assert_eq!(gateway.log.count(is_replaced), 0);
}

#[test]
fn worker_is_replaced_at_its_age_and_its_connections_stay() {
    let gateway = Gateway::app("processes").workers(2).option("--max-age", "1s").start();
    let mut kept: Vec<Raw> = (0..8).map(|_| gateway.connect()).collect();
    let old: BTreeSet<String> = kept.iter_mut().map(pid).collect();
    until("others serve", SOON * 2, || {
        kept.iter_mut().map(pid).all(|pid| !old.contains(&pid))
    });
    gateway.log.wait_for_line(&["a worker is replaced: --max-age 1s"]);
}
