//! Who counts when several have said something, and what the value is called.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use settings::sections::{App, Front, Limits, Processes};
use settings::toml::{Source, Spoken};
use settings::{Entries, Layers, Mistake, Origin, Place, Said};

fn file(table: &str) -> Origin {
    Origin::File {
        file: Path::new("/etc/wsgi-fpm/wsgi-fpm.toml").into(),
        table: table.into(),
    }
}

/// What stands in a table of a file.
fn spoken(origin: &Origin, text: &str) -> Spoken {
    let source = Source {
        text,
        first_line: 10,
        directory: Path::new("/etc/wsgi-fpm"),
    };
    let table = source.parse(origin).expect("TOML");
    source.read(origin, table.get_ref(), |option| option.entries.has(Entries::POOL))
}

fn said(origin: &Origin, text: &str) -> Vec<Said> {
    let spoken = spoken(origin, text);
    assert!(spoken.mistakes.is_empty(), "{:?}", spoken.mistakes);
    spoken.said
}

fn typed(key: &str, values: &[&str]) -> Said {
    Said::typed(
        settings::find(key).expect("an option"),
        values.iter().map(OsString::from).collect(),
    )
}

fn pool() -> Layers {
    Layers::at(Entries::POOL, file("pool.blog"))
}

#[test]
fn upper_layer_counts_and_every_value_knows_where_it_came_from() {
    let mut layers = pool();
    layers.put(said(&file("defaults"), "request_timeout = \"1m\"\nbody_max = \"2m\"\n"));
    layers.put(said(&file("pool.blog"), "\nrequest_timeout = 30\n"));
    let limits = Limits::take(&mut layers);
    assert_eq!(limits.request_timeout.duration(), Some(Duration::from_secs(30)));
    assert_eq!(
        limits.request_timeout.name(),
        "wsgi-fpm.toml:11: pool.blog.request_timeout"
    );
    assert!(limits.body_max.is_exceeded_by((2 << 20) + 1));
    assert_eq!(limits.body_max.name(), "wsgi-fpm.toml:11: defaults.body_max");
    assert_eq!(limits.idle_timeout.name(), "wsgi-fpm.toml: pool.blog.idle_timeout");
    assert!(layers.take_mistakes().is_empty());
}

#[test]
fn what_is_typed_is_called_as_it_is_typed() {
    let mut layers = Layers::new(Entries::SERVE);
    layers.put([typed("drain_timeout", &["7s"])]);
    let limits = Limits::take(&mut layers);
    assert_eq!(limits.drain_timeout.to_string(), "--drain-timeout 7s");
    assert_eq!(limits.kill_timeout.to_string(), "--kill-timeout 30s");
}

#[test]
fn scripts_options_have_its_name_and_line() {
    let script = Origin::Script {
        file: Path::new("/srv/blog/app.fcgi").into(),
    };
    let mut layers = Layers::at(Entries::FASTCGI, script.clone());
    layers.put(said(&script, "threads = 2"));
    let processes = Processes::take(&mut layers);
    assert_eq!(processes.threads.to_string(), "app.fcgi:10: threads 2");
    assert_eq!(
        Limits::take(&mut layers).stop_timeout.to_string(),
        "app.fcgi: stop_timeout 2500ms"
    );
}

#[test]
fn variables_are_merged_name_by_name_and_lists_replaced() {
    let mut layers = pool();
    layers.put(said(
        &file("defaults"),
        "env = { A = \"1\", B = 2 }\npythonpath = [\"lib\", \"/srv/lib\"]\n",
    ));
    layers.put(said(
        &file("pool.blog"),
        "env = { B = \"3\" }\npythonpath = \"/srv/blog\"\n",
    ));
    let app = App::take(&mut layers);
    let env: Vec<_> = app
        .env
        .iter()
        .map(|variable| (variable.name.as_str(), variable.value.as_str()))
        .collect();
    assert_eq!(env, [("A", "1"), ("B", "2"), ("B", "3")]);
    assert_eq!(app.pythonpath[..], [std::path::PathBuf::from("/srv/blog")]);
}

#[test]
fn empty_list_takes_back_what_was_said_below() {
    let mut layers = pool();
    layers.put(said(&file("defaults"), "pythonpath = [\"/srv/lib\"]"));
    layers.put(said(&file("pool.blog"), "pythonpath = []"));
    assert!(App::take(&mut layers).pythonpath.is_empty());
}

#[test]
fn switch_that_is_off_overrules_one_that_is_on() {
    let mut layers = pool();
    layers.put(said(&file("defaults"), "strip_script = true"));
    assert!(*Front::take(&mut layers.clone()).strip_script);
    layers.put(said(&file("pool.blog"), "strip_script = false"));
    assert!(!*Front::take(&mut layers).strip_script);
}

#[test]
fn of_two_options_that_contradict_each_other_the_upper_one_counts() {
    let mut layers = pool();
    layers.put(said(&file("defaults"), "strip_script = true"));
    layers.put(said(&file("pool.blog"), "mount = \"/app\""));
    assert!(!*Front::take(&mut layers).strip_script);
    assert_eq!(
        App::take(&mut layers).mount.as_ref().map(|mount| mount.as_str()),
        Some("/app")
    );
    assert!(layers.take_mistakes().is_empty());
}

#[test]
fn two_options_of_one_layer_that_contradict_each_other_are_a_mistake() {
    let mistakes = |layer: Vec<Said>| {
        let mut layers = pool();
        layers.put(layer);
        layers
            .take_mistakes()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        mistakes(vec![typed("mount", &["/app"]), typed("strip_script", &[])]),
        ["--strip-script: has no meaning together with --mount; leave one out"]
    );
    assert_eq!(
        mistakes(said(&file("pool.blog"), "mount = \"/app\"\nstrip_script = true")),
        ["wsgi-fpm.toml:11: pool.blog.strip_script: has no meaning together with mount; leave one out"]
    );
    assert!(mistakes(said(&file("pool.blog"), "mount = \"/app\"\nstrip_script = false")).is_empty());
}

#[test]
fn what_is_assumed_has_the_name_by_which_its_user_would_say_it() {
    let script = Origin::Script {
        file: Path::new("/srv/app.fcgi").into(),
    };
    for (home, name) in [
        (Origin::CommandLine, "--chdir"),
        (file("pool.blog"), "wsgi-fpm.toml: pool.blog.chdir"),
        (script, "app.fcgi: chdir"),
    ] {
        let mut layers = Layers::at(Entries::ALL, home);
        layers.assume("chdir", "/srv");
        let chdir = App::take(&mut layers).chdir;
        assert_eq!((chdir.as_deref(), chdir.name()), (Some(Path::new("/srv")), name));
    }
}

#[test]
fn place_is_shown_with_its_whole_file_and_its_line() {
    let (file, script) = (
        file("pool.blog"),
        Origin::Script {
            file: Path::new("/srv/app.fcgi").into(),
        },
    );
    let shown = |origin: &Origin, line| {
        let (origin, span) = (origin.clone(), 0..0);
        Place { origin, line, span }.to_string()
    };
    assert_eq!(shown(&file, Some(12)), "/etc/wsgi-fpm/wsgi-fpm.toml:12");
    assert_eq!(shown(&file, None), "/etc/wsgi-fpm/wsgi-fpm.toml");
    assert_eq!(shown(&script, Some(3)), "/srv/app.fcgi:3");
    assert_eq!(Place::command_line().to_string(), "the command line");
}

#[test]
fn layers_say_the_same_if_their_values_and_entries_are_wherever_they_were_said() {
    let layers = |entry, text: &str| {
        let mut layers = Layers::at(entry, file("pool.blog"));
        layers.put(said(&file("pool.blog"), text));
        layers
    };
    let one = layers(Entries::POOL, "threads = 2\nmount = \"/app\"");
    assert!(one.say_the_same(&layers(Entries::POOL, "\nmount = \"/app\"\n\nthreads = 2")));
    assert!(!one.say_the_same(&layers(Entries::SERVE, "threads = 2\nmount = \"/app\"")));
    for other in [
        "threads = 3\nmount = \"/app\"",
        "threads = 2",
        "threads = 2\nmount = \"/app\"\nvalidate = true",
    ] {
        assert!(!one.say_the_same(&layers(Entries::POOL, other)), "{other}");
    }
}

#[test]
fn what_was_said_can_be_asked_for() {
    let mut layers = pool();
    layers.put(said(&file("pool.blog"), "threads = 2\nvalidate = true"));
    let keys: Vec<_> = layers.all_said().map(|said| said.option.key).collect();
    assert_eq!(keys, ["threads", "validate"]);
    assert!(layers.said("threads").is_some() && layers.said("mount").is_none());
    assert_eq!(layers.entry(), Entries::POOL);
}

#[test]
fn mistakes_are_taken_once_and_say_where_what_and_what_to_do() {
    let mut layers = pool();
    let place = |origin: Origin, line| Place {
        origin,
        line,
        span: 0..0,
    };
    layers.add_mistake(Mistake::at(place(file("pool.blog"), Some(7)), "it has no application").with_help("add app"));
    layers.put([typed("threads", &["many"])]);
    Processes::take(&mut layers);
    let mistakes = layers.take_mistakes();
    let shown: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "wsgi-fpm.toml:7: it has no application; add app",
            "--threads: write a number from 1 to 1024"
        ]
    );
    let titles: Vec<_> = mistakes.iter().map(Mistake::title).collect();
    assert_eq!(
        titles,
        ["it has no application", "--threads: write a number from 1 to 1024"]
    );
    assert!(layers.take_mistakes().is_empty());
}

#[test]
fn table_that_something_was_said_in_is_named_with_its_line() {
    let place = |origin: Origin| Place {
        origin,
        line: Some(3),
        span: 0..0,
    };
    assert_eq!(place(file("pool.blog")).table(), "wsgi-fpm.toml:3: pool.blog");
    assert_eq!(
        place(Origin::Script {
            file: Path::new("/srv/app.fcgi").into()
        })
        .table(),
        "app.fcgi:3"
    );
    assert_eq!(Place::command_line().table(), "the command line");
}
