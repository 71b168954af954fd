//! What is made from the declarations for people to read.

use std::path::Path;

use settings::toml::Source;
use settings::{Entries, Origin, Scope, sections, tables};

#[test]
fn table_has_a_row_for_each_option() {
    for section in sections::SECTIONS {
        let table = tables::markdown(section);
        for option in section.options.iter().filter(|option| option.key != "app") {
            let row = format!("--{}", option.long());
            assert!(
                table.contains(&row) || table.contains(&format!("`{}`", option.key)),
                "{}",
                option.key
            );
        }
        assert!(
            table
                .lines()
                .all(|line| line.replace("\\|", "").matches('|').count() == 5),
            "{table}"
        );
    }
}

#[test]
fn reference_file_is_read_as_saying_nothing() {
    let origin = Origin::CommandLine;
    let reference = tables::reference();
    let source = Source {
        text: &reference,
        first_line: 1,
        directory: Path::new("/"),
    };
    let file = source.parse(&origin).expect("TOML");
    let empty = |table: &str| file.get_ref()[table].get_ref().as_table().expect("a table").is_empty();
    assert!(empty("server") && empty("defaults"));
}

#[test]
fn values_of_the_reference_file_are_the_defaults() {
    let reference = tables::reference();
    let (_, defaults) = reference.split_once("[defaults]").expect("a table");
    let (defaults, _) = defaults.split_once("# One application.").expect("an example");
    for option in settings::all().filter(|option| option.entries.has(Entries::POOL) && option.scope != Scope::Server) {
        let line = defaults
            .lines()
            .find_map(|line| line.strip_prefix(&format!("#{} = ", option.key)));
        let value = line.unwrap_or_else(|| panic!("{} is missing", option.key));
        if let (Some(default), false) = (option.default, option.form == settings::Form::Switch) {
            assert_eq!(value.trim_matches('"'), default, "{}", option.key);
        }
    }
}

#[test]
fn row_says_how_an_option_is_typed_and_what_holds_without_it() {
    let tables: String = sections::SECTIONS.iter().map(tables::markdown).collect();
    for row in [
        "| `--threads N` | `4` | ",
        "| `--strip-script` | off | ",
        "| `--preload auto\\|off` | `auto` | ",
        "| `--log-level LEVEL` | `info` | ",
        "| `--stop-timeout TIME` | `30s`; `2500ms` where a web server has started the process | ",
        "| `--groups GROUP` | those of the user | ",
        "| `keep_env` (file alone) | none | ",
    ] {
        assert!(tables.contains(&format!("\n{row}")), "{row} in {tables}");
    }
    assert!(!tables.contains("`--app"), "APP stands for itself");
}

/// What the reference file says of an option under `[defaults]`: its comment, and the option itself.
fn described(key: &str) -> (Vec<String>, String) {
    let reference = tables::reference();
    let (_, defaults) = reference.split_once("[defaults]").expect("a table");
    let start = format!("#{key} = ");
    let blocks = defaults
        .split("\n\n")
        .map(|block| block.lines().rev().collect::<Vec<_>>());
    let found = blocks
        .into_iter()
        .find(|block| block.first().is_some_and(|line| line.starts_with(&start)));
    let block = found.unwrap_or_else(|| panic!("{key} in {reference}"));
    let comment = block[1..].iter().rev().map(|line| (*line).to_owned()).collect();
    (comment, block[0].to_owned())
}

#[test]
fn values_of_the_reference_file_are_written_as_toml_has_them() {
    for written in [
        "#threads = 4",
        "#strip_script = false",
        "#preload = \"auto\"",
        // Octal, and none of TOML's numbers.
        "#listen_mode = \"0660\"",
        "#groups = []",
        "#env = {}",
        "#mount = \"PREFIX\"",
    ] {
        let (key, _) = written[1..].split_once(" = ").expect("a value");
        assert_eq!(described(key).1, written);
    }
}

#[test]
fn option_of_the_reference_file_is_described_in_lines_that_are_full_and_not_too_long() {
    for key in ["mount", "threads", "groups"] {
        let option = settings::find(key).expect("an option");
        let (comment, _) = described(key);
        let text: Vec<_> = comment
            .iter()
            .map(|line| line.strip_prefix("# ").expect(line))
            .collect();
        let without = match option.otherwise {
            "" => String::new(),
            otherwise => format!(" Without it: {otherwise}"),
        };
        assert_eq!(text.join(" "), format!("{}{without}", option.effect()));
        assert!(text.iter().all(|line| line.chars().count() <= 118), "{text:?}");
        // A line ends where the next word would not fit, or where what follows is of something else.
        for pair in text.windows(2).filter(|pair| !pair[1].starts_with("Without it")) {
            let word = pair[1].split(' ').next().unwrap_or_default();
            assert!(pair[0].chars().count() + 1 + word.chars().count() > 118, "{pair:?}");
        }
    }
}

#[test]
fn reference_file_has_the_programs_own_options_in_one_place() {
    let reference = tables::reference();
    let places = |key: &str| reference.matches(&format!("\n#{key} = ")).count();
    // The level of each pool's log may be another one; its form may not.
    assert_eq!(
        (places("log_format"), places("log_level"), places("threads")),
        (1, 2, 1)
    );
    // A pool has its name above its table, and nothing of a developer's.
    for option in settings::all().filter(|option| !option.entries.has(Entries::POOL) && option.scope != Scope::Server) {
        assert_eq!(places(option.key), 0, "{}", option.key);
    }
}
