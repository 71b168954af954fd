//! What can't be written is one line and exit code 2, and nothing is printed.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;

use super::refused;
use crate::run::{output, program, refusal};
use crate::support;

#[test]
fn wrong_command_lines_are_refused_as_by_serve() {
    assert!(refused(&["ngnix", "app"]).contains("'nginx'"));
    assert!(refused(&["nginx"]).starts_with("name the application, or a configuration file"));
    assert!(refused(&[]).contains("<SERVER>"));
    assert!(refused(&["nginx", "app", "--lisen", "/x"]).contains("'--listen'"));
    for options in [
        ["--body-max", "much"],
        ["--mount", "app"],
        ["--listen", "9000"],
        ["--params-bytes", "0"],
    ] {
        let (config, serve) = (
            refused(&[&["nginx", "app:app"], &options[..]].concat()),
            refusal(
                &output(&[&["serve", "app:app", "--listen", "/x"], &options[..]].concat()),
                2,
            ),
        );
        assert_eq!(config, serve);
    }
    for (option, value) in [
        ("--static", "/static"),
        ("--static", "static=/srv"),
        ("--static", "/=/srv"),
        ("--static", "/static="),
        ("--server-name", "two words"),
        ("--server-name", "a;b"),
        ("--port", "0"),
        ("--port", "70000"),
        ("--user", "a b"),
        ("--user", "%n"),
        ("--group", ""),
    ] {
        let message = refused(&["nginx", "app", &format!("{option}={value}")]);
        assert!(message.contains(option), "{option} {value}: {message}");
    }
}

#[test]
fn values_that_a_server_can_not_hold_are_refused_by_name() {
    let cases: &[(&str, &str, &str)] = &[
        ("nginx", "--static=/s=/srv/a$b", "\"$\""),
        ("nginx", "--static=/s=/srv/a\nb", "\\n"),
        ("nginx", "--mount=/a\tb", "\\t"),
        ("systemd", "--env=A=b\nc", "\\n"),
        ("systemd", "--env-file=/a\tb", "\\t"),
        ("apache", "--static=/s=/srv/${x}", "${"),
        ("apache", "--static=/s=/srv/a*b", "\"*\""),
        ("apache", "--mount=/a?b", "--mount"),
        ("apache", "--listen=/srv/a|b", "\"|\""),
        ("lighttpd", "--listen=/srv/a\\", "\\\\"),
        ("caddy", "--static=/s=/srv/{x}", "\"{\""),
        ("caddy", "--mount=/a*b", "\"*\""),
        ("haproxy", "--listen=/srv/$x.sock", "\"$\""),
        ("haproxy", "--request-timeout=600h", "576h"),
        ("haproxy", "--static=/s=/srv/s", "--static"),
        ("nginx", "--listen=fd:3", "--listen"),
        ("nginx", "--listen=:0", "--listen"),
    ];
    for (server, option, named) in cases {
        let message = refused(&[server, "app:app", option]);
        let (name, _) = option.split_once('=').unwrap();
        assert!(
            message.contains(name) && message.contains(named),
            "{server} {option}: {message}"
        );
    }
    let long = format!("--env=A={}", "x".repeat(500));
    assert!(refused(&["apache-fcgid", "app:app", &long]).contains("511"));
    let twice = refused(&["nginx", "app:app", "--static", "/s=/a", "--static", "/s/=/b"]);
    assert!(twice.contains("--static /s: named twice"), "{twice}");
    let file = format!("--static=/s={}", support::program::program().display());
    assert!(refused(&["nginx", "app:app", &file]).contains("not a directory"));
}

#[test]
fn values_that_are_not_utf8_are_refused() {
    let mut option = b"--python=/srv/".to_vec();
    option.push(0xff);
    let mut command = program();
    command.args(["config", "nginx", "app"]).arg(OsString::from_vec(option));
    let message = refusal(&command.output().unwrap(), 2);
    assert!(message.contains("--python") && message.contains("UTF-8"), "{message}");
}

#[test]
fn output_that_can_not_be_written_is_an_error() {
    let mut command = program();
    command.args(["config", "nginx", "app"]);
    command.stdout(File::create("/dev/full").unwrap());
    let message = refusal(&command.output().unwrap(), 1);
    assert!(message.contains("standard output can't be written"), "{message}");
}

#[test]
fn https_without_a_certificate_is_refused_with_what_to_add() {
    for server in super::SERVERS.into_iter().filter(|server| *server != "systemd") {
        let message = refused(&[server, "app", "--port", "443", "--server-name", "blog.example.org"]);
        for part in [
            "--tls-cert FILE --tls-key FILE",
            "/etc/letsencrypt/live/blog.example.org/fullchain.pem",
        ] {
            assert!(message.contains(part), "{server}: {message}");
        }
    }
    for (one, other) in [("--tls-cert", "--tls-key"), ("--tls-key", "--tls-cert")] {
        assert!(refused(&["nginx", "app", one, "/x.pem"]).contains(other));
    }
    // Another port is HTTPS, too, and nothing leads there from HTTP.
    let text = super::config(
        "nginx",
        &["--port", "8443", "--tls-cert", "/c.pem", "--tls-key", "/k.pem"],
    );
    assert!(
        text.contains("listen 8443 ssl;") && !text.contains("return 301 https"),
        "{text}"
    );
}

#[test]
fn processes_of_mod_fcgid_are_always_limited() {
    let processes = |more: &[&str]| {
        let text = super::config("apache-fcgid", more);
        super::setting(&text, "FcgidMaxProcessesPerClass").to_owned()
    };
    assert_eq!(processes(&[]), "8");
    assert_eq!(processes(&["--workers", "3"]), "3");
    assert!(processes(&["--workers", "auto"]).parse::<u32>().unwrap() >= 1);
}

/// It may be for another machine.
#[test]
fn what_is_missing_here_is_noted_in_the_head_and_not_refused() {
    for server in super::SERVERS {
        let options = [
            "--chdir",
            "/nowhere/at/all",
            "--listen-group",
            "no such group",
            "--listen",
            ":9000",
        ];
        let output = output(&[&["config", server, "app/web.py:app"], &options[..]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let (head, rest) = text.split_at(text.find("\n\n").or(text.find("\n<")).unwrap());
        let note = "# Written where these are missing: /nowhere/at/all (--chdir), /nowhere/at/all/app/web.py (APP).";
        assert!(head.contains(note) && !rest.contains(note), "{text}");
    }
    assert!(!super::config("nginx", &[]).contains("missing"));
}

#[test]
fn what_can_not_be_written_for_a_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wsgi-fpm.toml");
    let text = "[pool.a]\napp = \"a\"\nlisten = \":9000\"\n[pool.b]\napp = \"b\"\nlisten = \":9001\"\n";
    std::fs::write(&file, text).unwrap();
    let refused = |words: &[&str]| {
        let words: Vec<_> = [words[0], "-c", file.to_str().unwrap()]
            .iter()
            .chain(&words[1..])
            .copied()
            .collect();
        refused(&words)
    };
    assert_eq!(refused(&["nginx", "c"]), "c: the file has no such pool; it has a, b");
    assert!(
        refused(&["nginx", "a", "--threads", "2"])
            .starts_with("--threads: it has no meaning beside a configuration file")
    );
    assert!(
        refused(&["nginx", "--server-name", "x.example.org"])
            .starts_with("--server-name: the pools of the file need several sites")
    );
    assert!(
        refused(&["apache-fcgid"]).starts_with("mod_fcgid starts the processes of an application itself"),
        "{}",
        refused(&["apache-fcgid"])
    );
    assert_eq!(
        refused(&["systemd", "a"]),
        "one unit serves all pools of the file: leave the name of the pool out"
    );
}
