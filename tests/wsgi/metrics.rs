//! `wsgi_fpm.metrics`: what an application counts is one for the pool, whatever becomes of its processes.

use std::fs;
use std::path::PathBuf;

use contract::metrics::{Family, Memory, Reader, Value};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until};

/// As the supervisor of `gateway` reads them: it has their memory open.
fn read(gateway: &Gateway) -> Reader {
    let directory = PathBuf::from(format!("/proc/{}/fd", gateway.pid()));
    let is_memory =
        |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("memfd:wsgi-fpm-metrics"));
    let mut files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(is_memory).expect("the supervisor has no metrics");
    let file = fs::File::options().read(true).write(true).open(file).unwrap();
    Reader::new(Memory::map(file).unwrap())
}

fn family(gateway: &Gateway, name: &str) -> Option<Family> {
    let families = read(gateway).families();
    families.into_iter().find(|family| family.name == name)
}

/// `None`: there is no such series.
fn number(gateway: &Gateway, name: &str, labels: &[&str]) -> Option<f64> {
    let samples = family(gateway, name)?.samples;
    let sample = samples.into_iter().find(|sample| sample.labels == labels)?;
    match sample.value {
        Value::Number(number) => Some(number),
        Value::Histogram { counts, .. } => Some(counts.iter().sum::<u64>() as f64),
    }
}

fn app() -> Builder {
    Gateway::app("metrics")
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.parse().unwrap()).unwrap()
}

/// Asks until each of `workers` workers has answered; their pids.
fn of_each(gateway: &Gateway, workers: usize, target: &str) -> Vec<(Pid, usize)> {
    let mut answers: Vec<(Pid, usize)> = Vec::new();
    until("each worker has answered", SOON, || {
        // At the same time, so that one alone can't have them all.
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| pid(&gateway.get(target).ok().text())))
                .collect();
            for answer in asking {
                let worker = answer.join().unwrap();
                match answers.iter_mut().find(|(known, _)| *known == worker) {
                    Some((_, times)) => *times += 1,
                    None => answers.push((worker, 1)),
                }
            }
        });
        answers.len() >= workers
    });
    answers
}

#[test]
fn counters_and_histograms_go_on_over_a_killed_worker_a_reload_and_an_upgrade() {
    let gateway = app().workers(2).start();
    let mut hits = 0;
    let mut hit = |gateway: &Gateway| {
        hits += of_each(gateway, 2, "/hit?a")
            .iter()
            .map(|(_, times)| times)
            .sum::<usize>();
        let hits = Some(hits as f64);
        assert_eq!(number(gateway, "hits_total", &["a"]), hits);
        assert_eq!(number(gateway, "all_total", &[]), hits);
        assert_eq!(number(gateway, "took_seconds", &["a"]), hits);
    };
    hit(&gateway);
    let (worker, _) = of_each(&gateway, 1, "/raise_busy?0")[0];
    kill_process(worker, Signal::KILL).unwrap();
    until("it is gone", SOON, || !gateway.processes().contains(&worker));
    hit(&gateway);
    for signal in [Signal::HUP, Signal::USR2] {
        let is_ready = |line: &str| line.contains(" ready ");
        let ready = gateway.log.count(is_ready) + 1;
        gateway.signal(signal);
        until("the new generation is ready", SOON, || {
            gateway.log.count(is_ready) == ready
        });
        hit(&gateway);
    }
    let family = family(&gateway, "hits_total").unwrap();
    assert_eq!(family.help, "Requests, \"all\".\nOf any kind.");
}

#[test]
fn gauge_is_that_of_the_workers_that_live_and_begins_with_what_was_set_while_the_application_was_loaded() {
    for preload in ["auto", "off"] {
        let gateway = app().workers(2).option("--preload", preload).start();
        // Of both workers, before any request.
        assert_eq!(number(&gateway, "age_seconds", &[]), Some(7.0), "{preload}");
        assert_eq!(number(&gateway, "busy", &[]), Some(0.0));
        let raised = of_each(&gateway, 2, "/raise_busy?2");
        let times: usize = raised.iter().map(|(_, times)| times).sum();
        assert_eq!(number(&gateway, "busy", &[]), Some(2.0 * times as f64));
        let (worker, of_worker) = raised[0];
        kill_process(worker, Signal::KILL).unwrap();
        let left = 2.0 * (times - of_worker) as f64;
        until("its part is gone", SOON, || number(&gateway, "busy", &[]) == Some(left));
        gateway.get("/hit?a").ok();
        assert_eq!(number(&gateway, "last", &[]), Some(2.0));
        gateway.signal(Signal::HUP);
        // The latest is nobody's.
        until("those of the old workers are gone", SOON, || {
            number(&gateway, "busy", &[]) == Some(0.0)
        });
        assert_eq!(number(&gateway, "last", &[]), Some(2.0));
    }
}

#[test]
fn what_a_child_of_the_application_counts_counts_and_its_gauges_are_its_own() {
    let gateway = app().start();
    gateway.get("/raise_busy?3").ok();
    gateway.get("/forks").ok();
    assert_eq!(number(&gateway, "all_total", &[]), Some(10.0));
    assert_eq!(number(&gateway, "busy", &[]), Some(3.0));
}

#[test]
fn series_beyond_the_limit_are_not_counted_and_logged_and_nothing_fails() {
    // Those without labels, and six pages.
    let gateway = app().option("--metrics-series", "10").start();
    for _ in 0..2 {
        assert_eq!(gateway.get("/many").ok().text(), "counted");
    }
    const TOO_MANY: &str = "as many as --metrics-series 10 allows";
    let line = gateway.log.wait_for_line(&[TOO_MANY]);
    assert!(line.contains("hits_total") && line.contains("WARN"), "{line}");
    gateway
        .log
        .wait_for_line(&["its labels are longer than 1024 bytes together"]);
    assert_eq!(
        gateway.log.count(|line| line.contains(TOO_MANY)),
        1,
        "{}",
        gateway.log.text()
    );
    let family = family(&gateway, "hits_total").unwrap();
    assert_eq!(family.samples.len(), 6);
    assert!(
        family.samples.iter().all(|sample| sample.value == Value::Number(2.0)),
        "{family:?}"
    );
    assert_eq!(read(&gateway).dropped(), 2 * 15);
    // As many as there may be.
    let roomy = app().option("--metrics-series", "24").start();
    roomy.get("/many").ok();
    assert_eq!(
        (
            self::family(&roomy, "hits_total").unwrap().samples.len(),
            read(&roomy).dropped()
        ),
        (20, 1)
    );
    assert!(!roomy.log.text().contains("--metrics-series"));
}

#[test]
fn metric_that_is_too_large_is_named_and_others_are_counted() {
    let gateway = app().option("--metrics-series", "100").start();
    gateway.get("/large").ok();
    let line = gateway.log.wait_for_line(&["as many buckets"]);
    assert!(
        line.contains("WARN") && line.contains("metric=\"large\"") && line.contains("--metrics-series 100"),
        "{line}"
    );
    assert!(!line.contains("further ones"), "{line}");
    assert_eq!(number(&gateway, "large", &[]), None);
    assert_eq!(number(&gateway, "small", &[]), Some(1.0));
    assert_eq!(read(&gateway).dropped(), 1);
}

#[test]
fn another_limit_is_another_memory() {
    let gateway = app().option("--metrics-series", "20").start();
    gateway.get("/hit?a").ok();
    assert_eq!(read(&gateway).memory().most(), 20);
}

#[test]
fn everything_can_be_called_and_mistakes_are_refused() {
    let gateway = app().start();
    assert_eq!(gateway.get("/interface").ok().text(), "all right");
    assert_eq!(number(&gateway, "interface_now", &["1", "2"]), Some(4.5));
    assert_eq!(number(&gateway, "interface_running", &[]), Some(0.0));
    assert_eq!(number(&gateway, "took_seconds", &["timed"]), Some(2.0));
    assert_eq!(number(&gateway, "hits_total", &["[1, '\\udc80']"]), Some(1.0));
}

#[test]
fn where_no_supervisor_runs_everything_can_be_called_and_nothing_is_counted() {
    let gateway = app().on_stdin().start();
    assert_eq!(gateway.get("/hit?a").ok().text(), gateway.pid().to_string());
    assert_eq!(gateway.get("/many").ok().text(), "counted");
    assert!(gateway.complaints().is_empty(), "{}", gateway.log.text());
}

#[test]
fn application_that_has_a_wsgi_fpm_of_its_own_gets_that() {
    let directory = tempfile::tempdir().unwrap();
    let source =
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'its own']\n";
    fs::write(directory.path().join("wsgi_fpm.py"), source).unwrap();
    fs::write(directory.path().join("own.py"), "from wsgi_fpm import application\n").unwrap();
    let gateway = Gateway::app("own").chdir(directory.path()).start();
    assert_eq!(gateway.get("/").ok().text(), "its own");
}

#[test]
fn gauges_of_a_version_that_can_not_be_loaded_end_with_its_workers() {
    let directory = tempfile::tempdir().unwrap();
    let write = |last: &str| {
        let source = format!(
            "from wsgi_fpm import metrics\n\nmetrics.gauge('pool_size').set(10)\n{last}\n\n\n\
             def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"
        );
        fs::write(directory.path().join("pools.py"), source).unwrap();
    };
    write("");
    let gateway = Gateway::app("pools")
        .chdir(directory.path())
        .workers(2)
        .option("--preload", "off")
        .start();
    assert_eq!(number(&gateway, "pool_size", &[]), Some(20.0));
    for last in ["raise ValueError", "import os; os._exit(3)"] {
        write(last);
        let is_told = |line: &str| line.contains("the previous generation goes on");
        let told = gateway.log.count(is_told) + 1;
        gateway.signal(Signal::HUP);
        until("it has failed", SOON, || gateway.log.count(is_told) == told);
        until("nothing of it is left", SOON, || {
            number(&gateway, "pool_size", &[]) == Some(20.0)
        });
    }
}

#[test]
fn gauge_that_is_made_twice_in_a_process_is_one() {
    let gateway = app().start();
    gateway.get("/once_more").ok();
    assert_eq!(number(&gateway, "lowest", &[]), Some(6.0));
}
