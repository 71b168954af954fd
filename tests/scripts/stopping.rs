//! How a process that a web server has started comes to its end.

use std::fs;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::script::{Script, Server, finish};
use crate::support::fcgi_client::Request;
use crate::support::net::Address;
use crate::support::wait::{self, SOON};

/// A request that runs, on its connection.
fn running(script: &Script, server: &Server, seconds: f64) -> crate::support::fcgi_client::Raw {
    let mut connection = server.connect();
    connection.send(&Request::get(&format!("/sleep?{seconds}")).bytes());
    wait::until("the request runs", SOON, || script.notes() == "asleep\n");
    connection
}

#[test]
fn a32_sigterm_lets_the_running_request_finish() {
    let script = Script::new("");
    let server = script.fastcgi();
    let mut connection = running(&script, &server, 1.0);
    server.signal(Signal::TERM);
    // mod_fcgid asks twice.
    server.signal(Signal::TERM);
    assert_eq!(connection.read_response(1).ok().text(), "slept");
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn a32_sigterm_ends_an_idle_process_and_its_kept_connections() {
    let server = Script::new("").fastcgi();
    let mut kept = server.connect();
    kept.exchange(&Request::get("/pid").keep_conn()).ok();
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit().code(), Some(0));
    kept.expect_close();
}

#[test]
fn request_that_runs_on_is_cut_before_mod_fcgid_kills() {
    let script = Script::new("");
    let server = script.fastcgi();
    let _connection = running(&script, &server, 60.0);
    let begin = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit().code(), Some(1));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    server.log.wait_for_line(&["cut", "/sleep", "app.fcgi: stop_timeout"]);
}

#[test]
fn stop_timeout_of_the_script_counts() {
    let script = Script::new("stop_timeout = \"300ms\"");
    let server = script.fastcgi();
    let _connection = running(&script, &server, 60.0);
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit_within(Duration::from_secs(2)).code(), Some(1));
}

#[test]
fn sigint_and_sigquit_end_the_process_at_once() {
    for signal in [Signal::INT, Signal::QUIT] {
        let server = Script::new("").fastcgi();
        server.get("/pid").ok();
        server.signal(signal);
        assert!(!server.wait_exit().success());
    }
}

#[test]
fn signals_that_the_starter_ignores_end_the_process_all_the_same() {
    for signal in [Signal::INT, Signal::QUIT] {
        let script = Script::new("");
        let path = script.file("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' INT QUIT; exec \"$0\""])
            .arg(&script.path)
            .env_clear();
        for (name, value) in script.command().get_envs() {
            command.env(name, value.unwrap());
        }
        let server = Server::start(command, listener.into(), Address::Unix(path));
        server.get("/pid").ok();
        server.signal(signal);
        assert!(!server.wait_exit().success());
    }
}

#[test]
fn crash_is_answered_and_ends_the_process() {
    let server = Script::new("").fastcgi();
    server.get("/crash").error_page(502);
    assert!(!server.wait_exit().success());
}

/// mod_fcgid sends the next request as soon as it has an answer. It tries again where it is refused, and nowhere else.
#[test]
fn process_that_has_answered_for_a_crash_takes_no_more_connections() {
    let server = Script::new("").fastcgi();
    let mut connection = server.connect();
    connection.send(&Request::get("/crash").bytes());
    connection.read_response(1).error_page(502);
    assert!(!server.address.answers());
}

#[test]
fn request_over_its_timeout_is_answered_and_the_stuck_process_ends() {
    let script = Script::new("request_timeout = \"500ms\"\nkill_timeout = \"500ms\"");
    let server = script.fastcgi();
    server.get("/stubborn").error_page(504);
    assert_eq!(server.wait_exit().code(), Some(1));
    let name = script.name_of("kill_timeout");
    server.log.wait_for_line(&["/stubborn", &name]);
}

#[test]
fn script_that_does_not_import_ends_with_the_reason() {
    let script = Script::named("app.fcgi", "", "import no_such_module\n");
    let server = script.fastcgi();
    assert_eq!(server.wait_exit().code(), Some(1));
    server.log.wait_for_line(&["no_such_module"]);
}

/// A CGI request for `target`, after the application has noted `what`.
fn noted(script: &Script, target: &str, what: &str) -> Child {
    let (child, _) = script.cgi("GET", target).spawn();
    wait::until("the application has said where it is", SOON, || script.notes() == what);
    child
}

/// lighttpd and mod_cgid send it as soon as they have the whole response.
#[test]
fn d8_sigterm_after_the_response_does_not_stop_close_and_exit_functions() {
    for target in ["/lingers?declared", "/lingers"] {
        let script = Script::new("");
        let child = noted(&script, target, "closing\n");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        fs::write(script.file("go"), "").unwrap();
        assert_eq!(finish(child).ok(), "whole");
        assert_eq!(script.notes(), "closing\nclosed\nexit\n");
    }
}

#[test]
fn sigterm_before_the_response_ends_a_cgi_process() {
    let script = Script::new("");
    let child = noted(&script, "/sleep?60", "asleep\n");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(finish(child).status.signal(), Some(Signal::TERM.as_raw()));
}
