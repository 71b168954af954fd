//! What importing an application may do to be shared by forking, and what becomes of it otherwise: nothing is lost silently.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until};

const ALONE: &str = "each worker imports the application itself";

fn imports(what: &str) -> Builder {
    Gateway::app("imports").variable("IMPORT", what)
}

/// Why the application is not shared.
#[track_caller]
fn reason(gateway: &Gateway) -> String {
    gateway.get("/hello").ok();
    gateway.log.wait_for_line(&[ALONE])
}

#[test]
fn background_thread_of_an_import_runs_in_each_worker() {
    let gateway = imports("starts_a_heartbeat").workers(2).threads(1).start();
    let line = reason(&gateway);
    assert!(line.contains("it has started a thread (heartbeat)"), "{line}");
    let mut beats: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    until("the thread goes on in both workers", SOON, || {
        let texts = std::thread::scope(|scope| {
            let ask = || gateway.get("/beats").ok().text();
            [scope.spawn(ask), scope.spawn(ask)].map(|asked| asked.join().unwrap())
        });
        for text in texts {
            let (pid, number) = text.split_once(' ').unwrap();
            beats.entry(pid.to_owned()).or_default().push(number.parse().unwrap());
        }
        beats.len() == 2 && beats.values().all(|numbers| numbers.last() > numbers.first())
    });
}

#[test]
fn thread_whose_name_is_no_text_is_found() {
    let line = reason(&imports("starts_a_thread_whose_name_is_no_text").start());
    assert!(line.contains("it has started a thread (cafeteria)"), "{line}");
}

#[test]
fn all_that_an_import_has_started_is_named() {
    let gateway = imports("starts_two_threads").start();
    let line = reason(&gateway);
    for name in ["(heartbeat)", "(collector of metrics)"] {
        assert!(line.contains(&format!("it has started a thread {name}")), "{line}");
    }
}

#[test]
fn sockets_that_an_import_has_opened_are_named_by_their_addresses() {
    let database = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = database.local_addr().unwrap().to_string();
    let gateway = imports("connects").variable("ARGUMENT", &address).start();
    let line = reason(&gateway);
    assert!(
        line.contains(&format!(
            "it has opened a socket that is connected to {address} (descriptor "
        )),
        "{line}"
    );
    assert!(line.contains("it has opened a socket at 127.0.0.1:"), "{line}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("own");
    let gateway = imports("listens_on_unix").variable("ARGUMENT", &path).spawn();
    let line = gateway.log.wait_for_line(&[ALONE]);
    assert!(
        line.contains(&format!("it has opened a socket at unix:{}", path.display())),
        "{line}"
    );
}

#[test]
fn timer_of_an_import_goes_on_in_each_worker() {
    let gateway = imports("sets_a_late_timer").threads(1).start();
    assert!(reason(&gateway).contains("it has set a timer (ITIMER_REAL)"));
    assert_eq!(gateway.get("/ticks").ok().text(), "ticks");
}

/// A library that computes with threads of OpenMP, as PyTorch and scikit-learn do.
fn pool(directory: &Path) -> PathBuf {
    let (source, library) = (directory.join("pool.c"), directory.join("pool.so"));
    let text = "int sum_up(void) {\n    int sum = 0;\n#pragma omp parallel for reduction(+ : sum)\n    \
                for (int i = 0; i < 1000; i++)\n        sum += i;\n    return sum;\n}\n";
    fs::write(&source, text).unwrap();
    // Whoever builds this has a C compiler: rustc links by it.
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-fopenmp", "-o"])
        .args([&library, &source]);
    assert!(compiler.status().unwrap().success());
    library
}

#[test]
fn pool_that_no_fork_carries_over_keeps_an_application_from_being_shared_and_its_variable_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let library = pool(directory.path());
    let computes = |threads: &str| {
        imports("computes_with_a_pool")
            .variable("ARGUMENT", &library)
            .variable("OMP_NUM_THREADS", threads)
            .workers(2)
            .start()
    };
    let gateway = computes("3");
    let line = reason(&gateway);
    assert!(
        line.contains("in native code while it was imported (2 times) (OMP_NUM_THREADS=1 "),
        "{line}"
    );
    for _ in 0..6 {
        assert_eq!(gateway.get("/pooled").ok().text(), "499500");
    }
    let gateway = computes("1");
    for _ in 0..6 {
        assert_eq!(gateway.get("/pooled").ok().text(), "499500");
    }
    assert!(!gateway.log.text().contains(ALONE), "{}", gateway.log.text());
}
