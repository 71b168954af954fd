//! Libraries that do something to the whole process: gevent and eventlet to threads and sockets, numpy with threads of its own.

use rustix::process::{Pid, Signal, kill_process};

use crate::sites::{sites, venv};
use crate::support::fcgi_client::Request;
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until};

pub fn library(app: &str) -> Builder {
    Gateway::app(app)
        .chdir(sites().join("libraries"))
        .python(venv().join("bin/python"))
}

fn patched(by: &str, thread: &str) -> Builder {
    library("patched").variable("PATCH", by).variable("THREAD", thread)
}

/// Uploads at the same time, one for each thread; all are served.
#[track_caller]
fn expect_service(gateway: &Gateway, threads: usize) {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let response = gateway.send(&Request::post("/", vec![b'u'; 300_000])).ok();
                assert!(response.text().starts_with("5 of 5; 300000 bytes"), "{response}");
            });
        }
    });
}

#[test]
fn monkey_patched_applications_are_served_by_one_thread_in_each_worker() {
    for by in ["gevent", "eventlet"] {
        let gateway = patched(by, "yes").threads(1).workers(2).start();
        expect_service(&gateway, 4);
    }
}

#[test]
fn monkey_patched_locks_and_several_threads_are_refused_in_one_line() {
    for by in ["gevent", "eventlet"] {
        let (status, log) = patched(by, "yes").threads(2).fail();
        assert!(!status.success());
        log.wait_for_line(&[by, "replaced Python's locks", "--threads 1", "thread=False"]);
    }
}

#[test]
fn patching_that_leaves_locks_alone_is_served_by_several_threads() {
    for by in ["gevent", "eventlet"] {
        let gateway = patched(by, "no").threads(4).start();
        expect_service(&gateway, 4);
    }
}

/// In many forks of one process, which lives on, by several threads at once.
#[test]
fn threads_of_openblas_keep_no_application_from_being_shared() {
    let gateway = library("calculates").workers(2).threads(2).start();
    let ask = || {
        let text = gateway.get("/").ok().text();
        assert!(text.ends_with(" threads at import, 64000000, 80000"), "{text}");
        let mut words = text.split(' ').map(|word| word.parse::<i32>().unwrap_or_default());
        let (pid, threads) = (words.next().unwrap(), words.next().unwrap());
        assert!(threads > 1, "none was there to be carried over: {text}");
        pid
    };
    for _ in 0..15 {
        let pids = std::thread::scope(|scope| [(); 8].map(|()| scope.spawn(ask)).map(|asked| asked.join().unwrap()));
        kill_process(Pid::from_raw(pids[0]).unwrap(), Signal::KILL).unwrap();
        until("its replacement serves", SOON, || {
            gateway.processes().len() == 4 && gateway.connect().exchange(&Request::get("/")).code() == 200
        });
    }
    let not_shared = gateway
        .log
        .find(|line| line.contains("each worker imports the application itself"));
    assert_eq!(not_shared, None);
}
