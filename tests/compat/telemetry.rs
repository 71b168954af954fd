//! Libraries that count and trace, with threads and files of their own: OpenTelemetry and prometheus_client.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::libraries::library;
use crate::support::fcgi_client::Request;
use crate::support::process::Gateway;
use crate::support::wait::{SOON, until};

/// Requests until each of two workers has answered; their pids, and how many it were.
#[track_caller]
fn of_both(gateway: &Gateway, request: &Request) -> (BTreeSet<i32>, usize) {
    let (mut pids, mut sent) = (BTreeSet::new(), 0);
    until("both workers have answered", SOON, || {
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| gateway.send(request).ok().text()))
                .collect();
            for answer in asking {
                pids.insert(answer.join().unwrap().parse().unwrap());
                sent += 1;
            }
        });
        pids.len() == 2
    });
    (pids, sent)
}

/// Pid, trace and span of each that was exported.
fn spans(file: &Path) -> Vec<[String; 3]> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let span = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        words.try_into().unwrap()
    };
    text.lines().map(span).collect()
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn spans_of_all_workers_are_exported_whether_the_application_is_shared_or_not() {
    for (start, is_shared) in [("request", true), ("import", false)] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("spans");
        let gateway = library("traced").variable("START", start).variable("SPANS", &file);
        let gateway = gateway.workers(2).threads(2).start();
        let thread = "it has started a thread (OtelBatchSpanRecordProcessor) while it was imported";
        assert_eq!(gateway.log.find(|line| line.contains(thread)).is_none(), is_shared);
        let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let request = Request::get("/").param("HTTP_TRACEPARENT", traceparent);
        let (pids, sent) = of_both(&gateway, &request);
        until("all spans are exported", SOON, || spans(&file).len() == sent);
        // What was not exported yet is, when a worker ends.
        gateway.send(&request).ok();
        gateway.signal(Signal::TERM);
        assert!(gateway.wait_exit(SOON).success());
        let spans = spans(&file);
        assert_eq!(spans.len(), sent + 1);
        let exported: BTreeSet<i32> = spans.iter().map(|[pid, ..]| pid.parse().unwrap()).collect();
        assert_eq!(exported, pids);
        assert!(spans.iter().all(|[_, trace, _]| trace == TRACE), "{spans:?}");
        // Workers that were forked with one generator of random numbers have each its own.
        let ids: BTreeSet<_> = spans.iter().map(|[.., span]| span).collect();
        assert_eq!(ids.len(), spans.len());
    }
}

/// The value of a series.
fn value(gateway: &Gateway, series: &str) -> Option<f64> {
    let text = gateway.get("/metrics").ok().text();
    let line = text.lines().find(|line| line.split(' ').next() == Some(series))?;
    Some(line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn prometheus_client_s_gauges_end_with_their_workers_and_its_counters_go_on() {
    for preload in ["auto", "off"] {
        let directory = tempfile::tempdir().unwrap();
        // It is made, with what is above it.
        let files = directory.path().join("run/metrics");
        let gateway = library("counts").option("--preload", preload).workers(2).threads(2);
        let gateway = gateway
            .option("--env", format!("PROMETHEUS_MULTIPROC_DIR={}", files.display()))
            .start();
        let not_shared = gateway
            .log
            .find(|line| line.contains("each worker imports the application itself"));
        assert_eq!(not_shared, None, "its files are no reason");
        let (pids, mut sent) = of_both(&gateway, &Request::get("/"));
        let each = |pid: i32| value(&gateway, &format!("each{{pid=\"{pid}\"}}"));
        assert_eq!(value(&gateway, "hits_total"), Some(sent as f64));
        assert_eq!(value(&gateway, "busy"), Some(2.0 * sent as f64));
        for pid in &pids {
            assert_eq!(each(*pid), Some(1.0));
            kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL).unwrap();
        }
        until("both are replaced", SOON, || {
            gateway.processes().len() == 4
                && pids
                    .iter()
                    .all(|pid| !gateway.processes().contains(&Pid::from_raw(*pid).unwrap()))
        });
        until("nothing of the dead is left", SOON, || {
            pids.iter().all(|pid| each(*pid).is_none())
        });
        assert_eq!(value(&gateway, "hits_total"), Some(sent as f64));
        assert!(matches!(value(&gateway, "busy"), None | Some(0.0)));
        gateway.signal(Signal::HUP);
        until("the new version serves", SOON, || {
            gateway.log.count(|line| line.contains(" ready ")) == 2
        });
        until("those of the old version have ended", SOON, || {
            gateway.processes().len() == 4
        });
        let (now, more) = of_both(&gateway, &Request::get("/"));
        sent += more;
        assert_eq!(value(&gateway, "hits_total"), Some(sent as f64));
        assert_eq!(value(&gateway, "busy"), Some(2.0 * more as f64));
        assert!(now.iter().all(|pid| each(*pid) == Some(1.0)));
        // Killed with all processes, nobody is there to clean up but the next start. A leader that dies last may be quick enough: what
        // it has removed is put back.
        let gauges = gauges_of_live_processes(&files);
        assert!(!gauges.is_empty());
        // A worker may have died with its leader.
        gateway
            .processes()
            .iter()
            .for_each(|pid| _ = kill_process(*pid, Signal::KILL));
        gateway.wait_exit(SOON);
        gateway.wait_for_nobody(SOON);
        for (path, content) in &gauges {
            fs::write(path, content).unwrap();
        }
        let next = library("counts").option("--preload", "off").threads(2);
        let next = next
            .option("--env", format!("PROMETHEUS_MULTIPROC_DIR={}", files.display()))
            .start();
        assert_eq!(value(&next, "busy"), Some(0.0));
        assert_eq!(value(&next, "hits_total"), Some(sent as f64));
        assert!(gauges.iter().all(|(path, _)| !path.exists()));
    }
}

/// The files that `prometheus_client` has of gauges that only count while their process lives, with what is in them.
fn gauges_of_live_processes(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("gauge_live"));
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}
