//! What can be said to be wrong without Python and without a socket: one line each, exit code 2.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use crate::run::{output, program, refusal};

#[track_caller]
fn usage_error(arguments: &[&str]) -> String {
    refusal(&output(arguments), 2)
}

/// `serve` with an application and an address, and `more`.
#[track_caller]
fn serve_error(more: &[&str]) -> String {
    let arguments = ["serve", "app:application", "--listen", "/nowhere/socket"];
    usage_error(&[&arguments[..], more].concat())
}

#[test]
fn version_and_help_are_printed() {
    let version = output(&["--version"]);
    assert!(version.status.success());
    let expected = format!("wsgi-fpm {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), expected);
    for arguments in [&["--help"] as &[&str], &["serve", "--help"], &["dev", "-h"]] {
        let help = output(arguments);
        assert!(help.status.success() && help.stderr.is_empty());
        assert!(String::from_utf8(help.stdout).unwrap().contains("Usage: wsgi-fpm"));
    }
    assert_eq!(output::<&str>(&[]).status.code(), Some(2));
}

#[test]
fn missing_arguments_are_named() {
    assert!(usage_error(&["serve"]).contains("APP"));
    assert!(usage_error(&["serve", "app"]).contains("--listen"));
    assert!(usage_error(&["srve"]).contains("'serve'"));
    assert!(serve_error(&["--worker", "1"]).contains("'--workers'"));
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for (option, value) in [
        ("--workers", "0"),
        ("--workers", "many"),
        ("--threads", "0"),
        ("--threads", "100000"),
        ("--backlog", "0"),
        ("--listen", "9000"),
        ("--listen", "example.org:9000"),
        ("--listen", "fd:1"),
        ("--listen-mode", "999"),
        ("--env", "NOVALUE"),
        ("--env", "=value"),
        ("--mount", "app"),
        ("--name", "two words"),
        ("--log-level", "loud"),
        ("--log-format", "xml"),
        ("--body-max", "1q"),
        ("--body-max", "1.5g"),
        ("--idle-timeout", "10 minutes"),
        ("--idle-timeout", "-1s"),
        ("--connections", "0"),
        ("--params-bytes", "0"),
        ("--response-head", "0"),
    ] {
        let message = serve_error(&[&format!("{option}={value}")]);
        assert!(message.contains(option), "{option} {value}: {message}");
    }
    assert!(usage_error(&["serve", "", "--listen", "/x"]).contains("APP"));
}

#[test]
fn what_does_not_exist_is_named() {
    let message = serve_error(&["--chdir", "/no/such/directory"]);
    assert!(
        message.starts_with("--chdir /no/such/directory: No such file"),
        "{message}"
    );
    let message = serve_error(&["--chdir", "/etc/passwd"]);
    assert_eq!(message, "--chdir /etc/passwd: not a directory");
    assert!(serve_error(&["--listen-owner", "no-such-user"]).contains("no-such-user: no such user"));
    assert!(serve_error(&["--listen-group", "no-such-group"]).contains("no-such-group: no such group"));
    let message = usage_error(&["serve", "no/such.py:app", "--chdir", "/srv", "--listen", "/x"]);
    assert_eq!(
        message,
        "the application no/such.py:app: the file /srv/no/such.py does not exist; it is looked for in the working directory, \
         which is /srv here: name another one (--chdir), or write the whole path of the file"
    );
}

#[test]
fn what_was_meant_is_what_is_said() {
    for (arguments, meant) in [
        (
            &["serve", "app.py"] as &[&str],
            "wsgi-fpm serve app.py --listen 127.0.0.1:9000",
        ),
        (&["serve", "app.py"], "wsgi-fpm dev app.py"),
        (&["serve", "app", "--listen", "x.sock"], "write ./x.sock"),
        (
            &["serve", "app", "--listen", "http://127.0.0.1:9000"],
            "write 127.0.0.1:9000; what is spoken there is FastCGI",
        ),
        (&["serve", "app", "--listen", "9000"], "write :9000"),
        (
            &["serve", "app", "--listen", ":9000", "--workers", "many"],
            "auto for one",
        ),
        (&["dev", "app", "--listen", ":9000"], "--bind 127.0.0.1:8000"),
        (
            &["dev", "app", "--bind", "http://127.0.0.1:8000/"],
            "write 127.0.0.1:8000",
        ),
    ] {
        let message = usage_error(arguments);
        assert!(message.contains(meant), "{message}");
    }
    // The next thing that is wrong is another one.
    assert!(serve_error(&["--workers", "auto", "--chdir", "/nowhere/at/all"]).starts_with("--chdir"));
}

#[test]
fn directories_whose_names_are_not_utf8_are_refused_by_name() {
    let directory = tempfile::TempDir::with_prefix("wsgi-fpm-").unwrap();
    let odd = directory.path().join(OsString::from_vec(b"caf\xe9".to_vec()));
    std::fs::create_dir(&odd).unwrap();
    let refused = |command: &mut Command| {
        let message = refusal(&command.output().unwrap(), 2);
        assert!(message.contains("caf\u{fffd}: the name is not UTF-8"), "{message}");
        message
    };
    let arguments = ["serve", "app", "--listen", "/nowhere/socket"];
    for option in ["--chdir", "--pythonpath", "--python"] {
        let message = refused(program().args(arguments).arg(option).arg(&odd));
        assert!(message.starts_with(option), "{message}");
    }
    refused(program().args(arguments).current_dir(&odd));
}

#[test]
fn the_same_address_twice_is_refused() {
    let message = serve_error(&["--listen", "unix:/nowhere/socket"]);
    assert_eq!(message, "--listen unix:/nowhere/socket: named twice");
}

/// SPEC A31.
#[test]
fn malformed_list_of_web_servers_is_refused() {
    for list in ["", "1.2.3", "10.0.0.1,", "localhost"] {
        let mut command = program();
        command.args(["serve", "app", "--listen", "/nowhere/socket"]);
        let output = command.env("FCGI_WEB_SERVER_ADDRS", list).output().unwrap();
        let message = refusal(&output, 2);
        assert!(message.starts_with("FCGI_WEB_SERVER_ADDRS: "), "{list:?}: {message}");
    }
}

/// SPEC F6.
#[test]
fn preview_refuses_addresses_that_others_can_reach() {
    for address in ["0.0.0.0:8000", "[::]:8000", "192.0.2.1:8000"] {
        let message = usage_error(&["dev", "app", "--bind", address]);
        assert!(message.contains("loopback"), "{message}");
    }
    assert!(usage_error(&["dev", "app", "--bind", "/tmp/socket"]).contains("--bind"));
}
