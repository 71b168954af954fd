//! Applications that fail, and what the peer and the log get: SPEC C36 to C40 and E.

use rustix::process::{Signal, kill_process};

use crate::support::fcgi_client::{Request, Response};
use crate::support::log::field;
use crate::support::process::{Gateway, Shared};
use crate::support::wait::{SOON, until};

static APPS: Shared = Shared::new(|| Gateway::app("failures"));

/// Every exception of failures.py.
const ERRORS: [&str; 13] = [
    "ValueError",
    "SystemExit",
    "KeyboardInterrupt",
    "GeneratorExit",
    "StopIteration",
    "Strange",
    "Unprintable",
    "ConnectionResetError",
    "BrokenPipeError",
    "OSError",
    "MemoryError",
    "RecursionError",
    "UnicodeError",
];

/// Asserts the gateway's 500: nothing of the failure or of the request in it, appStatus 1.
#[track_caller]
fn internal_error(response: Response) {
    let response = response.error_page(500);
    assert_eq!(response.end, Some((1, 0)), "{response}");
    let sent = String::from_utf8_lossy(&response.stdout).into_owned();
    for leak in [
        "Traceback",
        "Error:",
        "secret",
        "failures",
        ".py",
        "/",
        "X-Dropped",
        "Content-Length: 5\r",
    ] {
        let body_only = leak == "/";
        let place = if body_only { response.text() } else { sent.clone() };
        assert!(!place.contains(leak), "{leak} in {sent}");
    }
}

#[track_caller]
fn next_request_works(gateway: &Gateway) {
    assert_eq!(gateway.get("/hello").ok().text(), "hello");
}

/// Whether the log has come to hold the traceback of `error` for a request of `path`.
#[track_caller]
fn logged(mark: usize, path: &str, error: &str) {
    until(&format!("a logged traceback of {error} for {path}"), SOON, || {
        let text = APPS.log.since(mark).join("\n");
        text.contains("ERROR") && text.contains(path) && text.contains("Traceback") && text.contains(error)
    });
}

#[test]
fn c36_exception_in_the_call_is_a_500() {
    for error in ERRORS {
        let mark = APPS.log.mark();
        internal_error(APPS.get(&format!("/in_call?{error}")));
        logged(mark, "/in_call", error);
    }
    next_request_works(&APPS);
}

#[test]
fn c36_exception_after_an_unsent_start_response_is_a_500() {
    for error in ERRORS {
        internal_error(APPS.get(&format!("/in_call_after_start?{error}")));
    }
}

#[test]
fn c36_exception_in_iter_and_in_the_first_block_is_a_500() {
    for place in ["in_iter", "in_first"] {
        for error in ERRORS {
            if (place, error) == ("in_first", "StopIteration") {
                continue; // That is how an iterator says that it is empty.
            }
            internal_error(APPS.get(&format!("/{place}?{error}")));
        }
    }
    next_request_works(&APPS);
}

#[test]
fn c37_exception_after_the_head_cuts_the_response() {
    for error in ERRORS {
        if error == "StopIteration" {
            continue; // As above.
        }
        let response = APPS.get(&format!("/in_second?{error}")).cut();
        assert_eq!(response.text(), "a", "nothing is appended");
    }
    for error in ERRORS {
        assert_eq!(APPS.get(&format!("/after_write?{error}")).cut().text(), "a");
    }
    next_request_works(&APPS);
}

#[test]
fn c38_worker_survives_every_exception() {
    let pid = |response: Response| response.ok().text();
    let gateway = Gateway::app("failures").start();
    let worker = gateway.processes();
    for error in ERRORS {
        for place in ["in_call", "in_iter", "in_first", "in_second", "in_close"] {
            gateway.get(&format!("/{place}?{error}"));
        }
    }
    assert_eq!(pid(gateway.get("/hello")), "hello");
    assert_eq!(gateway.processes(), worker, "no process was replaced");
}

#[test]
fn c38_exception_in_close_leaves_the_response_whole() {
    for error in ERRORS {
        assert_eq!(APPS.get(&format!("/in_close?{error}")).ok().text(), "a", "{error}");
    }
    next_request_works(&APPS);
}

#[test]
fn c39_connection_errors_of_the_application_are_its_failures() {
    for error in ["ConnectionResetError", "BrokenPipeError", "OSError"] {
        let mark = APPS.log.mark();
        internal_error(APPS.get(&format!("/in_call?{error}")));
        logged(mark, "/in_call", error);
    }
}

#[test]
fn c40_stop_iteration_from_the_call_is_an_error() {
    let mark = APPS.log.mark();
    internal_error(APPS.get("/in_call?StopIteration"));
    logged(mark, "/in_call", "StopIteration");
}

#[test]
fn e2_endless_recursion_is_a_500() {
    internal_error(APPS.get("/recursion"));
    next_request_works(&APPS);
}

#[test]
fn e2_error_page_is_the_same_for_every_failure() {
    let page = |target: &str| APPS.get(target).stdout;
    assert_eq!(page("/in_call?ValueError"), page("/in_first?KeyboardInterrupt"));
    assert_eq!(page("/in_call?ValueError"), page("/in_call_after_start?OSError"));
}

#[test]
fn e2_log_names_request_exception_and_frames() {
    let mark = APPS.log.mark();
    APPS.get("/in_call?ValueError");
    logged(mark, "/in_call", "ValueError: the secret reason");
    let text = APPS.log.since(mark).join("\n");
    assert!(text.contains("GET") && text.contains("failures.py"), "{text}");
}

#[test]
fn e8a_failure_after_the_head_without_a_length_is_cut_so_that_every_front_server_notices() {
    let response = APPS.get("/in_second?ValueError").cut();
    assert_eq!((response.code(), response.text().as_str()), (200, "a"));
    // On a kept connection too: the close is part of the message.
    let mut connection = APPS.connect();
    let response = connection
        .exchange(&Request::get("/in_second?ValueError").keep_conn())
        .cut();
    assert_eq!(response.text(), "a");
    assert!(response.closed.is_some());
}

#[test]
fn e8a_failure_after_the_head_with_a_length_never_ends_as_if_it_were_whole() {
    let response = APPS.get("/in_second_declared?ValueError");
    assert_eq!(
        (response.header("Content-Length").as_deref(), response.text().as_str()),
        (Some("10"), "a")
    );
    // The length tells the front server, so that an end may follow; it says that the application failed.
    assert!(matches!(response.end, None | Some((1, 0))), "{response}");
}

/// mod_fcgid would put the beginning of Apache's error page in the place of the missing bytes. Where Apache has sent nothing
/// yet, or the page is too short, the end of the connection is better: it shows at once.
#[test]
fn e8a_end_that_apache_would_fill_up_is_an_end_of_the_stream() {
    for (server, lack, is_end) in [
        ("Apache/2.4.58 (Debian)", "70000,5", true),
        ("Apache", "70000,65536", true),
        ("Apache/2.4.58", "70000,65537", false),
        ("Apache/2.4.58", "65536,5", false),
        ("Apache/2.4.58", "1000,5", false),
        ("nginx/1.22.1", "70000,5", false),
        ("lighttpd/1.4.69", "70000,5", false),
        ("", "70000,5", false),
    ] {
        let mut connection = APPS.connect();
        let request = Request::get(&format!("/lacks?{lack}")).param("SERVER_SOFTWARE", server);
        connection.send(&request.bytes());
        let response = connection.read_response(1);
        let (end, trailing) = match is_end {
            true => (Some((1, 0)), &[][..]),
            false => (None, &[0; 8][..]),
        };
        let seen = (response.code(), response.end, &response.trailing[..]);
        assert_eq!(seen, (200, end, trailing), "{server} {lack}");
        connection.expect_close();
    }
}

#[test]
fn e8_log_tells_the_bytes_that_were_sent_and_expected() {
    for (path, phrase) in [
        (
            "/e8/in_second_declared",
            "the application failed after 1 bytes of 10 were sent",
        ),
        (
            "/e8/in_second",
            "the application failed after 1 bytes of a body without Content-Length were sent",
        ),
    ] {
        APPS.get(&format!("{path}?ValueError"));
        APPS.log.wait_for(&format!("with {phrase:?} for {path}"), |event| {
            event.contains("ERROR") && event.contains(&format!("GET {path} ")) && event.contains(phrase)
        });
    }
}

#[test]
fn e9_malformed_requests_are_refused_and_the_connection_closed() {
    for request in [
        Request::get("/waits?e9").without("REQUEST_METHOD"),
        Request::get("/waits?e9").param("CONTENT_LENGTH", "-1"),
        Request::get("/waits?e9").param("HTTP_X", b"\0".to_vec()),
    ] {
        let mut connection = APPS.connect();
        let response = connection.exchange(&request.keep_conn()).error_page(400);
        assert_eq!(response.end, Some((0, 0)));
        connection.expect_close();
    }
    let line = APPS.log.wait_for_line(&["WARN", "CONTENT_LENGTH", "/waits"]);
    assert!(line.contains("GET"), "names the request: {line}");
    assert_eq!(
        APPS.get("/recorded?e9").ok().text(),
        "[]",
        "the application was never called"
    );
}

#[test]
fn e16_app_status_is_0_for_success_and_1_for_a_failure() {
    assert_eq!(APPS.get("/hello").end, Some((0, 0)));
    assert_eq!(APPS.get("/in_call?ValueError").end, Some((1, 0)));
}

#[test]
fn f9_exception_text_cannot_forge_a_log_line() {
    APPS.get("/log_injection");
    APPS.log.wait_for_line(&["FAKE log line"]);
    for line in APPS.log.lines() {
        assert!(!line.contains('\x1b') && !line.contains('\r'), "{line:?}");
        assert!(!line.starts_with("FAKE"), "{line:?}");
    }
}

/// Asserts that a crash was reported with the request and that a new worker serves.
#[track_caller]
fn recovers(gateway: &Gateway, path: &str, how: &str) {
    gateway
        .log
        .wait_for(&format!("about the crash of {path} with {how}"), |line| {
            line.contains(path) && line.contains("ERROR")
        });
    gateway.log.wait_for_line(&[how]);
    next_request_works(gateway);
}

#[test]
fn e6_segmentation_fault_is_answered_with_502_and_the_next_request_works() {
    let gateway = Gateway::app("failures").start();
    let response = gateway.get("/segfaults").error_page(502);
    assert_eq!(response.end, Some((1, 0)), "{response}");
    recovers(&gateway, "/segfaults", "SIGSEGV");
}

#[test]
fn e6_abort_is_answered_with_502_and_the_next_request_works() {
    let gateway = Gateway::app("failures").start();
    let response = gateway.get("/aborts").error_page(502);
    assert_eq!(response.end, Some((1, 0)), "{response}");
    recovers(&gateway, "/aborts", "SIGABRT");
}

#[test]
fn e6_crash_answers_502_to_the_waiting_neighbours() {
    let gateway = Gateway::app("failures").start();
    let mut neighbour = gateway.connect();
    neighbour.send(&Request::get("/waits?neighbour").bytes());
    until("the neighbour runs", SOON, || {
        gateway.get("/recorded?neighbour").text().contains("called")
    });
    gateway.get("/segfaults").error_page(502);
    neighbour.read_response(1).error_page(502);
    next_request_works(&gateway);
}

#[test]
fn e6_crash_after_the_head_never_ends_as_if_it_were_whole() {
    let gateway = Gateway::app("failures").start();
    let mut connection = gateway.connect();
    connection.send(&Request::get("/segfaults_after_head?e6").bytes());
    let mut response = Response::default();
    connection.read_until_body_has(&mut response, b"begun;");
    gateway.get("/open_gate?e6").ok();
    connection.read_more(&mut response, 1);
    assert_eq!((response.text().as_str(), response.end), ("begun;", None), "{response}");
    recovers(&gateway, "/segfaults_after_head", "SIGSEGV");
}

#[test]
fn e6_os_exit_is_a_crash_and_the_next_request_works() {
    let gateway = Gateway::app("failures").start();
    let response = gateway.get("/exits");
    assert!(response.end.is_none() || response.code() == 502, "{response}");
    recovers(&gateway, "/exits", "7");
}

#[test]
fn e6_killed_worker_is_reported_with_its_request_and_replaced() {
    let gateway = Gateway::app("failures").start();
    let response = gateway.get("/kills_itself");
    assert!(response.end.is_none() || response.code() == 502, "{response}");
    recovers(&gateway, "/kills_itself", "SIGKILL");
    let line = gateway
        .log
        .wait_for_line(&["a request died with its worker", "GET /kills_itself"]);
    let (worker, id) = (field(&line, "worker").unwrap(), field(&line, "request").unwrap());
    assert!(id.ends_with(" GET /kills_itself"), "{line}");
    let id: Vec<_> = id.split(' ').next().unwrap().split('-').collect();
    assert!(
        id.len() == 3 && id[0] == worker,
        "the number that all lines about it have: {line}"
    );
    assert!(id[1..].iter().all(|part| part.parse::<u64>().is_ok()), "{line}");
}

#[test]
fn e6_idle_worker_that_is_killed_is_replaced() {
    let gateway = Gateway::app("processes").start();
    let pid = || gateway.get("/pid").ok().text();
    let first = pid();
    let worker = rustix::process::Pid::from_raw(first.parse().unwrap()).unwrap();
    kill_process(worker, Signal::KILL).unwrap();
    until("another worker serves", SOON, || {
        let response = gateway.get("/pid");
        response.code() == 200 && response.text() != first
    });
}

#[test]
fn e6_crash_of_one_worker_leaves_the_others_alone() {
    let gateway = Gateway::app("failures").workers(2).threads(1).start();
    let mut connections = Vec::new();
    for key in ["first", "second"] {
        // One thread each: the two run in different workers, and so the gates are apart.
        let mut connection = gateway.connect();
        let target = match key {
            "first" => "/waits?other",
            _ => "/segfaults",
        };
        connection.send(&Request::get(target).bytes());
        if key == "second" {
            connection.read_response(1).error_page(502);
        }
        connections.push(connection);
    }
    assert!(
        !connections[0].readable_within(std::time::Duration::from_millis(50)),
        "the request in the other worker still runs"
    );
    next_request_works(&gateway);
}
