//! Tables of files: what they say, and what is said of their mistakes.

use std::path::Path;

use settings::toml::Source;
use settings::{Entries, Origin};

fn origin() -> Origin {
    Origin::File {
        file: Path::new("/etc/wsgi-fpm/wsgi-fpm.toml").into(),
        table: "pool.blog".into(),
    }
}

/// What is wrong, and the text that it stands in.
type Shown = (String, String);

/// Values as they would be typed, by key, and mistakes.
fn read(text: &str) -> (Vec<(String, Vec<String>)>, Vec<Shown>) {
    let source = Source {
        text,
        first_line: 1,
        directory: Path::new("/etc/wsgi-fpm"),
    };
    let table = source.parse(&origin()).expect("TOML");
    let spoken = source.read(&origin(), table.get_ref(), |option| option.entries.has(Entries::POOL));
    let values = spoken.said.iter().map(|said| {
        let values = said.values.iter().map(|value| value.to_string_lossy().into_owned());
        (said.option.key.to_owned(), values.collect())
    });
    let mistakes = spoken
        .mistakes
        .iter()
        .map(|mistake| (mistake.to_string(), text[mistake.place.span.clone()].to_owned()));
    (values.collect(), mistakes.collect())
}

fn values(text: &str) -> Vec<String> {
    let (values, mistakes) = read(text);
    assert_eq!(mistakes, []);
    let [(_, values)] = &values[..] else {
        panic!("one option: {values:?}")
    };
    values.clone()
}

fn mistake(text: &str) -> Shown {
    let (_, mistakes) = read(text);
    let [mistake] = &mistakes[..] else {
        panic!("one mistake: {mistakes:?}")
    };
    mistake.clone()
}

#[test]
fn every_form_of_value_is_read() {
    assert_eq!(values("threads = 8"), ["8"]);
    assert_eq!(values("threads = \"8\""), ["8"]);
    assert_eq!(values("validate = true"), Vec::<String>::new());
    assert_eq!(values("validate = false"), ["false"]);
    assert_eq!(
        values("listen = [\"127.0.0.1:9000\", \":9001\"]"),
        ["127.0.0.1:9000", ":9001"]
    );
    assert_eq!(values("listen = \":9001\""), [":9001"]);
    assert_eq!(values("env = { A = \"b c\", N = 1 }"), ["A=b c", "N=1"]);
    assert_eq!(values("env.A = \"b\""), ["A=b"]);
    assert_eq!(values("listen_mode = 0o660"), ["0o660"]);
    assert_eq!(values("listen_mode = \"0660\""), ["0660"]);
}

/// What is said, in the order of the text.
fn said(text: &str) -> Vec<String> {
    let (values, mistakes) = read(text);
    assert_eq!(mistakes, []);
    values
        .into_iter()
        .map(|(key, values)| format!("{key} {}", values.join(" ")))
        .collect()
}

#[test]
fn workers_may_be_a_table_with_what_belongs_to_them() {
    assert_eq!(said("workers = 4"), ["workers 4"]);
    assert_eq!(said("workers = \"1..4\""), ["workers 1..4"]);
    assert_eq!(said("workers = { min = 1, max = 4 }"), ["workers 1..4"]);
    assert_eq!(said("workers = { max = 4 }"), ["workers 1..4"]);
    assert_eq!(said("workers = { min = 0 }"), ["workers 0..auto"]);
    assert_eq!(
        said("workers = { min = 0, max = \"auto\", spare = 1, idle_timeout = \"20s\" }"),
        ["worker_idle_timeout 20s", "spare 1", "workers 0..auto"]
    );
}

#[test]
fn mistakes_in_a_table_of_workers_are_said_where_they_stand() {
    let (text, place) = mistake("workers = { min = 1, maxx = 4 }");
    assert_eq!(
        (text.as_str(), place.as_str()),
        ("wsgi-fpm.toml:1: there is no key \"maxx\"; did you mean max?", "maxx")
    );
    let (text, place) = mistake("workers = { min = 4, max = 1 }");
    assert_eq!(
        (text.as_str(), place.as_str()),
        (
            "wsgi-fpm.toml:1: pool.blog.workers: the range ends before it begins",
            "workers"
        )
    );
    let (text, place) = mistake("workers = { min = [1] }");
    assert_eq!(
        (text.as_str(), place.as_str()),
        ("wsgi-fpm.toml:1: pool.blog.workers: write one number for min", "min")
    );
    let (text, place) = mistake("workers = { max = 2, spare = \"many\" }");
    assert_eq!(
        (text.as_str(), place.as_str()),
        (
            "wsgi-fpm.toml:1: pool.blog.spare: write a number from 0 to 1024",
            "\"many\""
        )
    );
}

#[test]
fn paths_begin_at_the_files_directory() {
    assert_eq!(values("chdir = \"/srv/blog\""), ["/srv/blog"]);
    assert_eq!(
        values("env_file = \"secrets/blog.env\""),
        ["/etc/wsgi-fpm/secrets/blog.env"]
    );
    assert_eq!(values("python = \"python3.12\""), ["python3.12"]);
    assert_eq!(
        values("python = \"venv/bin/python\""),
        ["/etc/wsgi-fpm/venv/bin/python"]
    );
    assert_eq!(values("listen = \"unix:blog.sock\""), ["unix:/etc/wsgi-fpm/blog.sock"]);
    assert_eq!(values("listen = \"./blog.sock\""), ["/etc/wsgi-fpm/./blog.sock"]);
}

#[test]
fn command_that_is_also_a_file_beside_the_text_is_the_file() {
    let source = Source {
        text: "python = \"Cargo.toml\"",
        first_line: 1,
        directory: Path::new(env!("CARGO_MANIFEST_DIR")),
    };
    let table = source.parse(&origin()).expect("TOML");
    let spoken = source.read(&origin(), table.get_ref(), |_| true);
    let file = source.directory.join("Cargo.toml");
    assert_eq!(spoken.said[0].values, [file.into_os_string()]);
}

#[test]
fn unknown_option_is_answered_with_the_nearest_one() {
    let nearest = |text| mistake(text).0;
    assert_eq!(
        nearest("thread = 2"),
        "wsgi-fpm.toml:1: there is no option \"thread\"; did you mean threads?"
    );
    assert_eq!(
        nearest("request-timeout = 2"),
        "wsgi-fpm.toml:1: there is no option \"request-timeout\"; did you mean request_timeout?"
    );
    assert_eq!(nearest("zzz = 2"), "wsgi-fpm.toml:1: there is no option \"zzz\"");
    // Not in a pool of the file: its table has the name.
    assert_eq!(nearest("name = \"x\""), "wsgi-fpm.toml:1: there is no option \"name\"");
}

#[test]
fn wrong_value_is_shown_where_it_stands() {
    assert_eq!(
        mistake("\nthreads = \"many\"\n"),
        (
            "wsgi-fpm.toml:2: pool.blog.threads: write a number from 1 to 1024".into(),
            "\"many\"".into()
        )
    );
    assert_eq!(
        mistake("threads = [1]"),
        (
            "wsgi-fpm.toml:1: pool.blog.threads: write one value, threads = \"...\"; this is of type array".into(),
            "[1]".into()
        )
    );
    // Not the file's directory.
    assert_eq!(
        mistake("chdir = \"\"").0,
        "wsgi-fpm.toml:1: pool.blog.chdir: write a path"
    );
    // Octal is for permissions, hexadecimal for nothing.
    assert_eq!(
        mistake("threads = 0x10").0,
        "wsgi-fpm.toml:1: pool.blog.threads: write one value, threads = \"...\"; this is of type integer"
    );
    assert_eq!(
        mistake("validate = \"yes\"").0,
        "wsgi-fpm.toml:1: pool.blog.validate: write true or false; this is of type string"
    );
    assert_eq!(
        mistake("env = \"A=b\"").0,
        "wsgi-fpm.toml:1: pool.blog.env: write env = { NAME = \"value\" }; this is of type string"
    );
    assert_eq!(
        mistake("request_timeout = 1.5").0,
        "wsgi-fpm.toml:1: pool.blog.request_timeout: write one value, request_timeout = \"...\"; this is of type float"
    );
}

#[test]
fn all_mistakes_are_said_at_once_and_the_rest_is_read() {
    let (values, mistakes) = read("threads = 0\nfoo = 1\nworkers = 2\nbody_max = \"much\"\n");
    assert_eq!(values, [("workers".to_owned(), vec!["2".to_owned()])]);
    assert_eq!(mistakes.len(), 3);
}

#[test]
fn what_is_no_toml_is_said_with_its_line() {
    let source = Source {
        text: "threads = 2\nmount = /app\n",
        first_line: 3,
        directory: Path::new("/"),
    };
    let mistake = source.parse(&origin()).expect_err("no TOML");
    assert_eq!(mistake.place.line, Some(4));
}
