//! What only fcgiwrap has: how it takes the words of scripts, and which scripts it runs.

use tempfile::TempDir;

use crate::harness::scripts::{interpreter, script};
use crate::support::fcgi_client::{Raw, Request, Response};
use crate::support::fcgiwrap::Fcgiwrap;
use crate::support::installed;
use crate::support::units::expect_systemd_to_accept;
use crate::support::web_server::{started_by, write};

/// A fcgiwrap as the shipped unit starts it, but for `options`, and its script.
fn start(options: (&str, &str), script: &str) -> Option<Fcgiwrap> {
    if !installed::fcgiwrap() {
        return None;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-fcgiwrap-").unwrap();
    let app = directory.path().join("app.cgi");
    write(&app, script.as_bytes(), 0o755);
    write(&directory.path().join("other.cgi"), script.as_bytes(), 0o755);
    let replacements = [
        ("/usr/sbin/", ""),
        options,
        ("/srv/example/app.cgi", app.to_str().unwrap()),
    ];
    let arguments = started_by("deploy/systemd/fcgiwrap.service", &replacements);
    Some(Fcgiwrap::start(directory, &arguments))
}

fn get(fcgiwrap: &Fcgiwrap, script: &str, target: &str) -> Response {
    let script = fcgiwrap.directory.path().join(script).display().to_string();
    let request = Request::get(target).param("SCRIPT_FILENAME", script);
    Raw::connect(&fcgiwrap.address).unwrap().exchange(&request)
}

#[test]
fn script_that_the_unit_does_not_name_is_not_run() {
    let Some(fcgiwrap) = start(("-c 8", "-c 2"), &script("plain", "")) else {
        return;
    };
    get(&fcgiwrap, "app.cgi", "/").ok();
    assert_eq!(get(&fcgiwrap, "other.cgi", "/").code(), 403);
}

/// Writes an empty line to standard error, and goes on when it has been read: a reader that finds the response there too
/// takes that first.
const EMPTY_LINE: &str = r"
import fcntl, os, termios, time

os.write(2, b'\n')
end = time.monotonic() + 20
while any(fcntl.ioctl(2, termios.FIONREAD, bytes(4))) and time.monotonic() < end:
    time.sleep(0.002)


def application(environ, start_response):
    start_response('200 OK', [])
    return [b'whole']
";

/// docs/nginx.md says so, and why the unit has no -f.
#[test]
fn empty_line_on_standard_error_spoils_the_response_with_the_option_f() {
    let says = format!(
        "#!/usr/bin/env wsgi-fpm\n# /// wsgi-fpm\n# python = {:?}\n# ///\n{EMPTY_LINE}",
        interpreter()
    );
    let Some(fcgiwrap) = start(("-c 8", "-c 1"), &says) else {
        return;
    };
    assert_eq!(get(&fcgiwrap, "app.cgi", "/").ok().text(), "whole");
    let fcgiwrap = start(("-c 8", "-f"), &says).unwrap();
    assert_eq!(get(&fcgiwrap, "app.cgi", "/").code(), 502);
}

#[test]
fn systemd_accepts_the_units() {
    expect_systemd_to_accept(&[
        ("deploy/systemd/fcgiwrap.service", "example.service"),
        ("deploy/systemd/fcgiwrap.socket", "example.socket"),
    ]);
}
