//! What holds, in the form of a file.

use std::path::Path;

use settings::toml::Source;
use settings::{Entries, Layers, Origin, Said, show};

fn file(table: &str) -> Origin {
    Origin::File {
        file: Path::new("/etc/wsgi-fpm/wsgi-fpm.toml").into(),
        table: table.into(),
    }
}

fn said(table: &str, text: &str) -> Vec<Said> {
    let source = Source {
        text,
        first_line: 1,
        directory: Path::new("/etc/wsgi-fpm"),
    };
    let origin = file(table);
    let parsed = source.parse(&origin).expect("TOML");
    let spoken = source.read(&origin, parsed.get_ref(), |_| true);
    assert!(spoken.mistakes.is_empty(), "{:?}", spoken.mistakes);
    spoken.said
}

fn shown(layers: &Layers) -> String {
    show::table("pool.blog", layers, |option| option.entries.has(Entries::POOL))
}

#[track_caller]
fn line<'a>(shown: &'a str, key: &str) -> &'a str {
    let found = shown.lines().find(|line| line.starts_with(&format!("{key} ")));
    found.unwrap_or_else(|| panic!("no {key} in {shown}"))
}

/// With every kind of value, some of which have to be quoted.
fn pool() -> Layers {
    let mut layers = Layers::at(Entries::POOL, file("pool.blog"));
    layers.put(said(
        "defaults",
        "request_timeout = \"1m\"\nenv = { A = \"1\", \"B.C\" = \"x=\\\"y\\\\\" }\nvalidate = true\nstrip_script = false\n",
    ));
    layers.put(said(
        "pool.blog",
        "\napp = \"blog:app\"\nenv.A = \"2\"\nlisten = [\":9000\", \"./a.sock\"]\nthreads = \"8\"\nlisten_mode = 0o666\n",
    ));
    layers
}

#[test]
fn every_value_is_shown_with_where_it_comes_from() {
    let text = shown(&pool());
    let is = |key: &str, value: &str, origin: &str| {
        let expected = format!("{key} = {value}");
        assert_eq!(line(&text, key), format!("{expected:44} # {origin}"));
    };
    is("request_timeout", "\"1m\"", "wsgi-fpm.toml:1: defaults");
    is("idle_timeout", "\"75s\"", "default");
    is("app", "\"blog:app\"", "wsgi-fpm.toml:2: pool.blog");
    is(
        "env",
        "{ A = \"2\", \"B.C\" = \"x=\\\"y\\\\\" }",
        "wsgi-fpm.toml:3: pool.blog, wsgi-fpm.toml:2: defaults",
    );
    is("listen_mode", "\"0o666\"", "wsgi-fpm.toml:6: pool.blog");
    is("threads", "8", "wsgi-fpm.toml:5: pool.blog");
    is("validate", "true", "wsgi-fpm.toml:3: defaults");
    is("strip_script", "false", "wsgi-fpm.toml:4: defaults");
    assert!(text.contains("\n# mount is unset "), "{text}");
}

#[test]
fn what_is_unset_is_shown_with_what_holds_then() {
    let shown = shown(&Layers::at(Entries::POOL, file("pool.blog")));
    let said = |key: &str| {
        let start = format!("# {key} is unset");
        let line = shown.lines().find(|line| line.starts_with(&start)).expect(key);
        line.rsplit_once(" # ").expect("where it comes from").1.to_owned()
    };
    for option in ["mount", "user"] {
        let otherwise = settings::find(option).expect("an option").otherwise;
        assert_eq!(said(option), format!("default: {otherwise}"));
    }
    let bare = settings::all().find(|option| {
        let is_shown = shown.contains(&format!("# {} is unset", option.key));
        is_shown && option.otherwise.is_empty()
    });
    let bare = bare.expect("an option that is unset and needs no words");
    assert_eq!(said(bare.key), "default");
    assert!(line(&shown, "groups").ends_with(" # default"));
}

#[test]
fn names_are_quoted_unless_toml_takes_them_as_they_are() {
    for (name, written) in [("a_B-1", "a_B-1"), ("a.b", "\"a.b\""), ("a b", "\"a b\""), ("", "\"\"")] {
        assert_eq!(show::key(name), written);
    }
}

#[test]
fn what_is_shown_can_be_read_back() {
    let first = shown(&pool());
    let body = first.strip_prefix("[pool.blog]\n").expect("the table's name");
    let mut again = Layers::at(Entries::POOL, file("pool.blog"));
    again.put(said("pool.blog", body));
    assert!(again.take_mistakes().is_empty());
    let values = |text: &str| {
        let lines = text
            .lines()
            .map(|line| line.split(" # ").next().unwrap_or_default().trim_end().to_owned());
        lines.filter(|line| !line.starts_with('#')).collect::<Vec<_>>()
    };
    assert_eq!(values(&shown(&again)), values(&first));
    assert!(values(&first).len() > 30);
}

#[test]
fn what_was_not_said_and_follows_from_something_is_a_default() {
    let mut layers = pool();
    layers.assume("chdir", "/srv/blog");
    assert!(line(&shown(&layers), "chdir").ends_with("# default"));
}

#[test]
fn texts_are_quoted_as_toml_has_them() {
    for text in [
        "",
        "a b",
        "\"",
        "\\",
        "tab\t",
        "line\nbreak",
        "\u{1}\u{7f}",
        "caf\u{e9}",
        "#x",
    ] {
        let mut layers = Layers::at(Entries::POOL, file("pool.blog"));
        layers.put([Said::typed(
            settings::find("env").expect("an option"),
            vec![format!("X={text}").into()],
        )]);
        let shown = shown(&layers);
        let written = line(&shown, "env");
        let values = said("pool.blog", written)[0].values.clone();
        assert_eq!(values, [std::ffi::OsString::from(format!("X={text}"))], "{written}");
    }
}
