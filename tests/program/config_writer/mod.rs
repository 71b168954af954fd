//! `wsgi-fpm config`: what it prints for each server, and what it refuses. Whether the servers understand it is
//! `tests/frontends/config/`.

mod limits;
mod own_pages;
mod refusals;
mod scripts;
mod unit;
mod unit_of_file;

use std::collections::BTreeMap;
use std::path::Path;

use crate::options::from_help;
use crate::run::{output, refusal};

const SERVERS: [&str; 7] = [
    "nginx",
    "apache",
    "apache-fcgid",
    "lighttpd",
    "caddy",
    "haproxy",
    "systemd",
];

/// Set to 1, the files in tests/program/config_writer/golden are written anew; look at the difference before it is committed.
const BLESS: &str = "WSGI_FPM_BLESS";

/// What is printed for an application in a directory that every machine has.
#[track_caller]
fn config(server: &str, more: &[&str]) -> String {
    let arguments = [&["config", server, "mysite.wsgi:application", "--chdir", "/usr"], more].concat();
    let output = output(&arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.is_empty(), "{arguments:?}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with('\n') && !text.contains("\n\n\n"), "{text}");
    text
}

#[track_caller]
fn refused(arguments: &[&str]) -> String {
    refusal(&output(&[&["config"], arguments].concat()), 2)
}

/// The rest of the only line that begins with `setting`, spaces aside.
#[track_caller]
fn setting<'a>(text: &'a str, setting: &str) -> &'a str {
    let found: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix(setting))
        .collect();
    let [rest] = found[..] else {
        panic!("{} lines with {setting:?} in:\n{text}", found.len());
    };
    rest.trim().trim_end_matches([';', ',']).trim_start_matches(['=', ' '])
}

#[track_caller]
fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/program/config_writer/golden")
        .join(name);
    let version = env!("CARGO_PKG_VERSION");
    if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        expected,
        "{} of {version} differs; {BLESS}=1 writes it anew",
        path.display()
    );
}

#[test]
fn whole_site_is_written_for_each_server() {
    for server in SERVERS {
        let mut options = vec![
            "--python",
            "/srv/blog/.venv",
            "--env",
            "DJANGO_SETTINGS_MODULE=mysite.settings",
            "--workers",
            "4",
            "--request-timeout",
            "1m",
            "--body-max",
            "50m",
            "--server-name",
            "blog.example.org",
            "--server-name",
            "www.blog.example.org",
            "--program",
            "/usr/local/bin/wsgi-fpm",
        ];
        if server != "haproxy" {
            options.extend([
                "--static",
                "/static=/srv/blog/static",
                "--static",
                "/media/=/srv/blog/media/",
            ]);
        }
        compare(server, &config(server, &options));
    }
}

#[test]
fn application_under_a_prefix_is_written_for_each_server() {
    for server in SERVERS {
        let mut options = vec!["--mount", "/shop", "--listen", "127.0.0.1:9000", "--port", "8080"];
        options.extend([
            "--user",
            "shop",
            "--group",
            "shops",
            "--program",
            "/usr/local/bin/wsgi-fpm",
        ]);
        compare(&format!("{server}-mounted"), &config(server, &options));
    }
}

#[test]
fn options_of_the_writer_are_documented() {
    let serve = from_help("serve");
    let options: BTreeMap<_, _> = from_help("config")
        .into_iter()
        .filter(|(name, _)| !serve.contains_key(name))
        .collect();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config-writer.md")).unwrap();
    let documented: Vec<_> = page
        .lines()
        .filter_map(|line| Some(format!("--{}", line.strip_prefix("| `--")?.split(['`', ' ']).next()?)))
        .collect();
    for name in options.keys() {
        assert!(documented.contains(name), "docs/config-writer.md does not have {name}");
    }
    for name in &documented {
        assert!(
            options.contains_key(name),
            "{name} of docs/config-writer.md does not exist"
        );
    }
    for server in SERVERS {
        assert!(
            page.contains(&format!("`{server}`")),
            "docs/config-writer.md does not have {server}"
        );
    }
}
