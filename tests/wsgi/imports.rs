//! What an import, or an application later, does to the process that it shares with the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::held_python::HeldPython;
use crate::support::fcgi_client::{Request, STDIN, record};
use crate::support::process::{Builder, Gateway};
use crate::support::python;
use crate::support::wait::{SOON, until, until_some};

/// A gateway whose application does `what` when it is imported.
fn imports(what: &str) -> Builder {
    Gateway::app("imports").variable("IMPORT", what)
}

/// The ways to be started: preloaded, imported by each worker, by a web server.
fn each_way(what: &str) -> [Builder; 3] {
    let imports = || imports(what).threads(2);
    [imports(), imports().option("--preload", "off"), imports().on_stdin()]
}

#[test]
fn streams_without_a_descriptor_are_no_reason_not_to_serve() {
    for what in [
        "replaces_streams_by_an_object",
        "replaces_streams_by_memory",
        "replaces_streams_by_none",
        "closes_streams",
        "detaches_streams",
    ] {
        for builder in each_way(what) {
            let gateway = builder.start();
            assert_eq!(gateway.get("/hello").ok().text(), "hello", "{what}");
        }
    }
}

/// From 3.12 on Python would warn of threads, and finds them where there are none. 3.15 would raise what a filter makes of it.
#[test]
fn worker_is_forked_without_a_warning() {
    let shown = python::available().into_iter().map(|python| {
        imports("is_nice_and_filters_warnings")
            .python(&python.path)
            .variable("ARGUMENT", "always")
    });
    let raised = imports("is_nice_and_filters_warnings").variable("ARGUMENT", "error");
    for builder in shown.chain([raised]) {
        let gateway = builder.start();
        assert_eq!(gateway.get("/hello").ok().text(), "hello");
        assert_eq!(gateway.log.find(|line| line.contains("Warning")), None);
    }
}

/// The stack of a crash is in the log, behind the line by which it is known, and the answer is a 502.
#[track_caller]
fn expect_crash(gateway: &Gateway, target: &str, frame: &str) {
    gateway.get(target).error_page(502);
    gateway.log.wait_for_line(&["Fatal Python error: Segmentation fault"]);
    gateway.log.wait_for_line(&["File ", "imports.py", frame]);
}

#[test]
fn crash_has_its_answer_and_its_stack_beside_the_application_s_own_faulthandler() {
    for python in python::available() {
        for builder in each_way("enables_faulthandler") {
            let directory = tempfile::tempdir().unwrap();
            let own = directory.path().join("own");
            let gateway = builder.python(&python.path).variable("ARGUMENT", &own).start();
            expect_crash(&gateway, "/crashes", "in crashes");
            until("the application's own file has it", SOON, || {
                let text = fs::read_to_string(&own).unwrap();
                text.contains("Fatal Python error: Segmentation fault") && text.contains("in crashes")
            });
        }
    }
}

#[test]
fn crash_has_its_answer_and_its_stack_beside_a_faulthandler_that_was_enabled_later() {
    for python in python::available() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("own");
        let gateway = imports("nothing")
            .python(&python.path)
            .variable("ARGUMENT", &own)
            .start();
        expect_crash(&gateway, "/enables_faulthandler_and_crashes", "in crashes");
        assert!(fs::read_to_string(&own).unwrap().contains("in crashes"));
        gateway.log.wait_for_line(&["signal 11 (SIGSEGV)"]);
    }
}

#[test]
fn crash_has_its_answer_and_its_stack_under_python_s_own_variables() {
    for variable in ["PYTHONFAULTHANDLER", "PYTHONDEVMODE"] {
        for python in python::available() {
            let gateway = imports("nothing").python(&python.path).variable(variable, "1").start();
            expect_crash(&gateway, "/crashes", "in crashes");
            gateway.log.wait_for_line(&["signal 11 (SIGSEGV)"]);
        }
    }
}

#[test]
fn stack_overflow_is_a_crash_like_any_other() {
    for python in python::available() {
        let gateway = imports("nothing").python(&python.path).threads(1).start();
        expect_crash(&gateway, "/overflows", "in overflows");
        let gateway = imports("nothing").python(&python.path).threads(2).start();
        // One of the two gets another thread than the main one; the crash ends both.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    gateway.get("/overflows_outside_the_main_thread").error_page(502);
                });
            }
        });
        gateway.log.wait_for_line(&["Fatal Python error: Segmentation fault"]);
        gateway.log.wait_for_line(&["File ", "imports.py", "in overflows"]);
    }
}

#[test]
fn peer_that_leaves_during_a_file_costs_no_worker_whose_sigpipe_ends_processes() {
    let gateway = imports("gives_sigpipe_its_default").start();
    let pid = gateway.get("/pid").ok().text();
    for _ in 0..4 {
        let mut connection = gateway.connect();
        connection.send(&Request::get("/large_file").bytes());
        connection.read_record();
        connection.reset();
    }
    // Each of the threads has had one.
    gateway.log.wait_for("all have failed", |_| {
        gateway.log.count(|line| line.contains("disconnected")) == 4
    });
    assert_eq!(gateway.get("/pid").ok().text(), pid);
    assert_eq!(gateway.get("/mask").ok().text(), "[]", "children would inherit it");
}

/// A request whose body stops after its first bytes.
fn stalled(target: &str) -> Vec<u8> {
    let request = Request::post(target, vec![b'b'; 1000]);
    let mut bytes = request.head_bytes();
    bytes.extend(record(STDIN, 1, b"begun"));
    bytes
}

/// One thread, which starts a request at once. Timers are not inherited: it imports the application itself.
fn main_thread_only(what: &str) -> Builder {
    imports(what)
        .threads(1)
        .option("--body-buffer", "0")
        .option("--preload", "off")
}

#[test]
fn body_timeout_holds_and_handlers_run_however_many_signals_come() {
    let gateway = main_thread_only("sets_a_timer")
        .option("--body-timeout", "700ms")
        .start();
    let mut connection = gateway.connect();
    let begun = Instant::now();
    connection.send(&stalled("/reads"));
    let text = connection.read_response(1).ok().text();
    assert!(begun.elapsed() >= Duration::from_millis(700));
    assert!(text.starts_with("OSError: no byte of the request body"), "{text}");
    let handled: usize = text.rsplit_once("; ").unwrap().1.parse().unwrap();
    assert!(handled > 2, "{text}");
}

#[test]
fn write_timeout_holds_and_handlers_run_however_many_signals_come() {
    let gateway = main_thread_only("sets_a_timer")
        .option("--write-timeout", "700ms")
        .start();
    let mut connection = gateway.connect();
    connection.send(&Request::get("/writes").bytes());
    gateway
        .log
        .wait_for_line(&["writing: OSError", "--write-timeout", "; handled"]);
}

#[test]
fn exception_of_a_signal_handler_comes_out_of_reading_and_writing() {
    let gateway = main_thread_only("raises_at_an_alarm").start();
    let mut connection = gateway.connect();
    connection.send(&stalled("/reads_until_an_alarm"));
    let text = connection.read_response(1).ok().text();
    assert!(text.starts_with("Alarm: it is time"), "{text}");
    let mut connection = gateway.connect();
    connection.send(&Request::get("/writes_until_an_alarm").bytes());
    gateway.log.wait_for_line(&["writing: Alarm: it is time"]);
    let response = connection.read_to_end();
    assert_eq!(response.end, None, "it is cut");
    assert_eq!(gateway.get("/hello").ok().text(), "hello");
}

#[test]
fn what_an_import_prints_is_logged_at_once_and_once() {
    for preload in ["auto", "off"] {
        let directory = tempfile::tempdir().unwrap();
        let go_on = directory.path().join("go_on");
        let gateway = imports("prints_and_waits")
            .variable("ARGUMENT", &go_on)
            .option("--preload", preload)
            .workers(2)
            .spawn();
        gateway.log.wait_for_line(&["printed at once"]);
        fs::write(&go_on, "").unwrap();
        gateway.log.wait_for_line(&[" ready ", "leader="]);
        let first = worker_of(&gateway);
        kill_process(first, Signal::KILL).unwrap();
        until("another worker serves", SOON, || {
            (0..4).all(|_| gateway.get("/pid").code() == 200) && !gateway.processes().contains(&first)
        });
        if preload == "auto" {
            gateway.signal(Signal::TERM);
            gateway.wait_exit(SOON);
            gateway.log.wait_for_end();
            for text in ["printed at once", "printed late", "without an end"] {
                assert_eq!(
                    gateway.log.count(|line| line.contains(text)),
                    1,
                    "{}",
                    gateway.log.text()
                );
            }
        }
    }
}

#[test]
fn what_an_import_prints_is_logged_at_once_where_a_web_server_starts_it() {
    let directory = tempfile::tempdir().unwrap();
    let go_on = directory.path().join("go_on");
    let gateway = imports("prints_and_waits")
        .variable("ARGUMENT", &go_on)
        .on_stdin()
        .spawn();
    gateway.log.wait_for_line(&["printed at once"]);
    fs::write(&go_on, "").unwrap();
    gateway.get("/hello").ok();
}

fn worker_of(gateway: &Gateway) -> Pid {
    Pid::from_raw(gateway.get("/pid").ok().text().parse().unwrap()).unwrap()
}

#[test]
fn import_that_takes_long_is_said_to_go_on() {
    let gateway = imports("takes_long").variable("ARGUMENT", "6").spawn();
    gateway
        .log
        .wait_for_line(&["imports is still being imported, for 5 s so far"]);
    gateway.log.wait_for_line(&[" ready ", "leader="]);
    gateway.get("/hello").ok();
}

#[test]
fn generator_that_is_seeded_after_a_fork_gives_each_worker_its_own_numbers() {
    let gateway = imports("draws_random_numbers").workers(2).threads(1).start();
    let mut numbers = BTreeMap::new();
    until("both workers have answered", SOON, || {
        let texts = std::thread::scope(|scope| {
            let ask = || gateway.get("/number").ok().text();
            [scope.spawn(ask), scope.spawn(ask)].map(|asked| asked.join().unwrap())
        });
        for text in texts {
            let (pid, number) = text.split_once(' ').unwrap();
            numbers.entry(pid.to_owned()).or_insert_with(|| number.to_owned());
        }
        numbers.len() == 2
    });
    let numbers: BTreeSet<_> = numbers.into_values().collect();
    assert_eq!(numbers.len(), 2, "{numbers:?}");
}

#[test]
fn open_file_keeps_an_application_from_being_shared_unless_it_is_a_library() {
    let alone = "each worker imports the application itself";
    let gateway = imports("opens_a_file").start();
    let line = gateway.log.wait_for_line(&[alone]);
    assert!(line.contains("it has opened") && line.contains("imports.py"), "{line}");
    let gateway = imports("opens_a_library").start();
    gateway.get("/hello").ok();
    let line = gateway.log.find_line(|line| line.contains(alone));
    assert!(line.is_none(), "{line:?}");
}

#[test]
fn threads_that_keep_an_application_from_being_shared_are_named() {
    let reason = |what: &str| {
        let gateway = imports(what).start();
        gateway.get("/hello").ok();
        gateway
            .log
            .wait_for_line(&["each worker imports the application itself"])
    };
    let line = reason("starts_a_thread");
    assert!(
        line.contains("it has started a thread (collector of metrics)"),
        "{line}"
    );
    let line = reason("starts_a_native_thread");
    assert!(line.contains("it has started a thread in native code"), "{line}");
}

#[test]
fn asgi_application_is_refused_at_the_start_in_one_line() {
    for name in ["coroutine", "asynchronous", "OfTwoCalls", "by_names"] {
        let app = format!("imports:{name}");
        for preload in ["auto", "off"] {
            let (status, log) = Gateway::app(&app).option("--preload", preload).fail();
            assert!(!status.success());
            let line = log.find_line(|line| line.contains("can't be loaded"));
            let line = line.unwrap_or_else(|| panic!("{}", log.text()));
            assert!(
                line.contains(&app) && line.contains("ASGI") && line.contains("a2wsgi"),
                "{line}"
            );
        }
    }
}

#[test]
fn wsgi_application_is_never_taken_for_an_asgi_one() {
    for name in ["hello", "bridge", "partial", "Iterable", "in_c"] {
        let gateway = Gateway::app(&format!("imports:{name}")).start();
        assert_eq!(gateway.get("/").ok().text(), "hello", "{name}");
    }
}

/// A build of Python that calls itself free-threaded.
#[test]
fn free_threaded_python_of_a_script_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let pretends = "import sys\nsys.abiflags = 't'\n";
    fs::write(directory.path().join("sitecustomize.py"), pretends).unwrap();
    let gateway = imports("nothing")
        .variable("PYTHONPATH", directory.path())
        .on_stdin()
        .spawn();
    assert_eq!(gateway.wait_exit(SOON).code(), Some(2));
    gateway
        .log
        .wait_for_line(&["wsgi-fpm: error: ", "is a free-threaded build of Python"]);
}

/// A library that holds up every write to a place in a file, as those to spooled bodies are, while the file that HANGS names
/// is there.
fn hanging_disk(directory: &Path) -> PathBuf {
    let (source, library) = (directory.join("disk.c"), directory.join("disk.so"));
    let text = r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <stdlib.h>
        #include <unistd.h>
        ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
            ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
            while (access(getenv("HANGS"), F_OK) == 0)
                usleep(10000);
            return real(fd, bytes, length, offset);
        }
    "#;
    fs::write(&source, text).unwrap();
    // Whoever builds this has a C compiler: rustc links by it.
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl");
    assert!(compiler.status().unwrap().success());
    library
}

#[test]
fn hung_disk_under_one_request_holds_up_no_time_limit_and_no_stop() {
    let directory = tempfile::tempdir().unwrap();
    let library = hanging_disk(directory.path());
    let hangs = directory.path().join("hangs");
    fs::write(&hangs, "").unwrap();
    let gateway = Gateway::app("failures")
        .variable("LD_PRELOAD", library)
        .variable("HANGS", &hangs)
        .option("--body-memory", "64K")
        .option("--body-buffer", "0")
        .option("--request-timeout", "1s")
        .option("--kill-timeout", "60s")
        .option("--stop-timeout", "1s")
        .threads(3)
        .on_stdin()
        .start();
    let mut upload = gateway.connect();
    upload.send(&Request::post("/sleeps?upload", vec![b'u'; 1 << 20]).head_bytes());
    let mut beside = gateway.connect();
    beside.send(&Request::get("/sleeps?beside").bytes());
    for name in ["upload", "beside"] {
        until("it runs", SOON, || {
            gateway.get(&format!("/recorded?{name}")).text().contains("called")
        });
    }
    // Its thread is busy elsewhere: what comes is received for it, and hangs.
    for _ in 0..4 {
        upload.send(&record(STDIN, 1, &[b'u'; 60_000]));
    }
    beside.read_response(1).error_page(504);
    gateway
        .log
        .wait_for_line(&["longer than --request-timeout", "POST /sleeps"]);
    gateway.signal(Signal::TERM);
    let status = gateway.wait_exit(SOON);
    assert_eq!(status.code(), Some(1), "{}", gateway.log.text());
    drop(upload);
}

#[test]
fn requests_that_are_over_their_time_together_are_answered_together() {
    let gateway = Gateway::app("failures")
        .option("--request-timeout", "500ms")
        .threads(6)
        .start();
    let mut asleep: Vec<_> = (0..5).map(|_| gateway.connect()).collect();
    for connection in &mut asleep {
        connection.send(&Request::get("/sleeps?together").bytes());
    }
    // Somebody holds the GIL: no thread's stack can be had.
    let mut held = HeldPython::of(&gateway);
    let begun = Instant::now();
    for connection in &mut asleep {
        connection.read_response(1).error_page(504);
    }
    held.connection.read_response(1).error_page(504);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    until("each is in the log", SOON, || {
        gateway.log.count(|line| line.contains("longer than --request-timeout")) == 6
    });
    held.let_go();
    until_some("it serves on", SOON, || {
        (gateway.get("/hello").code() == 200).then_some(())
    });
}
