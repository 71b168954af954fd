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
