//! Real responders: ours, a script that spawn-fcgi has started, php-fpm.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::{BROKEN, OK, STATUS, TIMED_OUT, assert_line, failed, ping, text};
use crate::support::fcgi_client::Request;
use crate::support::installed;
use crate::support::php_fpm::PhpFpm;
use crate::support::process::{Builder, Gateway, Shared};
use crate::support::program::program;
use crate::support::python;
use crate::support::spawn_fcgi::Spawned;
use crate::support::wait::{SOON, until};
use crate::support::web_server::write;

static SERVED: Shared = Shared::new(|| app().workers(1));

fn app() -> Builder {
    Gateway::app("responder").chdir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/ping/apps"))
}

#[test]
fn pages_of_ours_are_told_with_their_status() {
    let address = SERVED.address.option();
    let output = ping(&address, &["/hello?x=1", "--body", "--header", "Host=a.test"], OK);
    assert_eq!(text(&output.stdout), "hello from a.test x=1");
    assert_line(&text(&output.stderr), "200 OK in ", ", 21 bytes");
    ping(&address, &["/missing"], OK);
    ping(&address, &["/missing", "--expect", "2xx"], STATUS);
    let line = failed(&address, &["/raises"], STATUS);
    assert!(line.contains("500 Internal Server Error"), "{line}");
    let output = ping(&address, &["/hello", "--method", "HEAD"], OK);
    assert_line(&text(&output.stdout), "200 OK in ", ", 0 bytes");
    let line = failed(&address, &["/half"], BROKEN);
    assert!(line.contains("the application failed; its log says why"), "{line}");
}

#[test]
fn values_of_ours_are_told() {
    let output = text(&ping(&SERVED.address.option(), &[], OK).stdout);
    for name in ["FCGI_MAX_CONNS=", "FCGI_MAX_REQS=", "FCGI_MPXS_CONNS=0"] {
        assert!(output.lines().any(|line| line.starts_with(name)), "{output}");
    }
}

#[test]
fn ours_is_asked_over_tcp_too() {
    let gateway = app().tcp("::1").start();
    ping(&gateway.address.option(), &["/hello"], OK);
}

#[test]
fn gateway_whose_threads_are_busy_answers_for_its_values_alone() {
    let gateway = app().threads(1).start();
    let release = gateway.directory.path().join("release");
    let mut busy = gateway.connect();
    busy.send(&Request::get(&format!("/wait?{}", release.display())).bytes());
    let waits = release.with_extension("waits");
    until("the request runs", SOON, || waits.exists());
    let address = gateway.address.option();
    ping(&address, &[], OK);
    let line = failed(&address, &["/hello", "--timeout", "200ms"], TIMED_OUT);
    assert!(line.contains("all its threads are busy"), "{line}");
    fs::write(&release, "").unwrap();
    busy.read_response(1).ok();
    ping(&address, &["/hello"], OK);
}

#[test]
fn script_that_spawn_fcgi_has_started_answers() {
    if !installed::spawn_fcgi() {
        return;
    }
    let spawned = Spawned::start(
        |directory| {
            let script = script_in(directory.path());
            let words = ["spawn-fcgi", "-n", "%SOCKET%", "--", script.to_str().unwrap()];
            words.map(str::to_owned).to_vec()
        },
        false,
    );
    let address = spawned.address.option();
    let output = ping(&address, &["/hello?from=script", "--body"], OK);
    assert!(text(&output.stdout).ends_with("from=script"), "{output:?}");
    ping(&address, &[], OK);
}

fn script_in(directory: &Path) -> PathBuf {
    let python = python::default().map(|python| format!("# python = \"{}\"\n", python.display()));
    let path = directory.join("app.fcgi");
    let source = include_str!("apps/responder.py");
    // By its path: env would need PATH to name a directory of ours.
    let program = program();
    let program = program.display();
    let block = python.unwrap_or_default();
    write(
        &path,
        format!("#!{program}\n# /// wsgi-fpm\n{block}# ///\n{source}").as_bytes(),
        0o755,
    );
    path
}

static PHP: LazyLock<PhpFpm> = LazyLock::new(PhpFpm::start);

#[test]
fn php_fpm_answers_for_itself_and_its_scripts() {
    if !installed::php_fpm() {
        return;
    }
    let address = PHP.address();
    let output = ping(&address, &["/ping", "--script-filename", "/ping", "--body"], OK);
    assert_eq!(text(&output.stdout), "pong");
    let output = ping(
        &address,
        &["/status?json", "--script-filename", "/status", "--body"],
        OK,
    );
    assert!(text(&output.stdout).contains("\"pool\":\"www\""), "{output:?}");
    let script = PHP.script("<?php http_response_code((int)$_GET['status']); echo $_SERVER['SCRIPT_NAME'];");
    let output = ping(
        &address,
        &["/a.php?status=201", "--script-filename", &script, "--body"],
        OK,
    );
    assert_eq!(text(&output.stdout), "/a.php");
    failed(&address, &["/a.php?status=503", "--script-filename", &script], STATUS);
}

#[test]
fn php_fpm_tells_its_values() {
    if !installed::php_fpm() {
        return;
    }
    let output = text(&ping(&PHP.address(), &[], OK).stdout);
    assert!(output.contains("FCGI_MPXS_CONNS=0\n"), "{output}");
}

#[test]
fn script_that_php_fpm_does_not_find_is_404_with_its_reason() {
    if !installed::php_fpm() {
        return;
    }
    let output = ping(&PHP.address(), &["/x", "--expect", "2xx"], STATUS);
    let said = text(&output.stderr);
    assert!(said.contains("the responder says: Primary script unknown"), "{said}");
    assert!(
        said.contains("php-fpm finds nothing without --script-filename"),
        "{said}"
    );
}
