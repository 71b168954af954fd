//! Request bodies that find no room: the temporary file takes no more, or can't be made (SPEC E0, F10).

use std::path::Path;

use rustix::process::{Resource, Rlimit, prlimit};

use crate::support::disk::Tiny;
use crate::support::fcgi_client::{Request, Response};
use crate::support::process::Gateway;

/// A gateway whose temporary files are there.
fn gateway(directory: &Path) -> Gateway {
    Gateway::app("input").variable("TMPDIR", directory).start()
}

/// Its length is not known, so that all of it is collected before the application runs.
fn unsized_upload(length: usize) -> Request {
    Request::post("/echo_all", vec![b'x'; length])
        .without("CONTENT_LENGTH")
        .header("Transfer-Encoding", "chunked")
}

const TOO_MUCH: usize = 600_000;

#[track_caller]
fn expect_refusal(gateway: &Gateway, status: u16, parts: &[&str]) {
    for _ in 0..3 {
        let response = gateway.send(&unsized_upload(TOO_MUCH)).error_page(status);
        assert_eq!(response.end, Some((0, 0)), "the application did not run: {response}");
    }
    let line = gateway
        .log
        .wait_for_line(&["ERROR", "a request's body can't be kept", "POST /echo_all"]);
    for part in parts {
        assert!(line.contains(part), "{part} in {line}");
    }
    // One that fits into memory needs no file.
    assert_eq!(gateway.send(&unsized_upload(100_000)).ok().body().len(), 100_000);
}

/// The application runs, and reads when more has come than could be kept.
#[track_caller]
fn expect_failed_read(gateway: &Gateway, key: &str, parts: &[&str]) {
    let mut connection = gateway.connect();
    connection.send(
        &Request::post(&format!("/read_when_open?{key}"), vec![b'x'; TOO_MUCH])
            .keep_conn()
            .bytes(),
    );
    let mut response = Response::default();
    connection.read_until_body_has(&mut response, b"running;");
    gateway.get(&format!("/open_gate?{key}")).ok();
    connection.read_more(&mut response, 1);
    let response = response.ok();
    assert!(response.text().starts_with("running;OSError "), "{response}");
    let line = gateway
        .log
        .wait_for_line(&["ERROR", "a request's body can't be kept", "POST /read_when_open"]);
    for part in parts {
        assert!(line.contains(part), "{part} in {line}");
    }
    // The connection is as good as before.
    assert_eq!(
        connection
            .exchange(&Request::post("/echo", "next").keep_conn())
            .ok()
            .text(),
        "next"
    );
}

#[test]
fn upload_is_answered_with_507_when_the_disk_is_full() {
    let Some(tiny) = Tiny::mount() else { return };
    let gateway = gateway(&tiny.path());
    let directory = tiny.path().display().to_string();
    expect_refusal(
        &gateway,
        507,
        &[&directory, "No space left on device", "make room", "TMPDIR"],
    );
}

#[test]
fn read_fails_when_the_disk_is_full_and_the_response_goes_on() {
    let Some(tiny) = Tiny::mount() else { return };
    let gateway = gateway(&tiny.path());
    let directory = tiny.path().display().to_string();
    expect_failed_read(&gateway, "full", &[&directory, "make room", "TMPDIR"]);
    // What was kept of it is given back.
    expect_failed_read(&gateway, "again", &[&directory]);
}

#[test]
fn upload_is_answered_with_507_beyond_the_largest_file_that_the_process_may_write() {
    let gateway = Gateway::app("input").start();
    for pid in gateway.processes() {
        let limit = Rlimit {
            current: Some(64 * 1024),
            maximum: Some(64 * 1024),
        };
        prlimit(Some(pid), Resource::Fsize, limit).unwrap();
    }
    expect_refusal(&gateway, 507, &["File too large", "make room", "TMPDIR"]);
    expect_failed_read(&gateway, "limit", &["make room"]);
}

#[test]
fn upload_is_answered_with_500_when_there_is_no_directory_for_it() {
    let gateway = gateway(Path::new("/nowhere/at/all"));
    expect_refusal(
        &gateway,
        500,
        &["/nowhere/at/all", "No such file or directory", "TMPDIR"],
    );
    expect_failed_read(&gateway, "nowhere", &["/nowhere/at/all", "TMPDIR"]);
}

#[test]
fn upload_that_could_not_be_kept_has_failed_for_the_access_log() {
    let gateway = Gateway::app("input")
        .flag("--access-log")
        .variable("TMPDIR", "/nowhere/at/all")
        .start();
    gateway.send(&unsized_upload(TOO_MUCH)).error_page(500);
    gateway
        .log
        .wait_for_line(&[" access: ", "path=/echo_all", "status=500", "outcome=Failed"]);
}

/// Nobody reads the body: that it is lost is nobody's business.
#[test]
fn response_is_whole_although_the_body_that_nobody_reads_is_lost() {
    let gateway = gateway(Path::new("/nowhere/at/all"));
    for target in ["/ignored", "/ignored_big_answer"] {
        let response = gateway.send(&Request::post(target, vec![b'x'; TOO_MUCH]));
        assert_eq!(response.end, Some((0, 0)), "{target}: {response}");
    }
    assert_eq!(gateway.log.find(|line| line.contains("can't be kept")), None);
}

#[test]
fn application_that_does_not_catch_the_failed_read_is_answered_with_500() {
    let gateway = gateway(Path::new("/nowhere/at/all"));
    gateway
        .send(&Request::post("/echo_all", vec![b'x'; TOO_MUCH]))
        .error_page(500);
    let said = "the request body can't be kept in /nowhere/at/all";
    gateway
        .log
        .wait_for_line(&["ERROR", "exception=", "POST /echo_all", said]);
}
