//! `docs/options.md` and the command line say the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use settings::{sections, tables};

use crate::run::output;

/// Options of a subcommand with their defaults, from its help. Hidden ones are not in it.
pub fn from_help(subcommand: &str) -> BTreeMap<String, Option<String>> {
    let help = String::from_utf8(output(&[subcommand, "--help"]).stdout).unwrap();
    let mut options: Vec<(String, String)> = Vec::new();
    for line in help.lines().map(str::trim) {
        let line = line.strip_prefix("-h, ").unwrap_or(line);
        if line.starts_with("--") {
            let name = line.split([' ', '[']).next().unwrap().to_owned();
            options.push((name, line.to_owned()));
        } else if let Some((_, text)) = options.last_mut() {
            text.push(' ');
            text.push_str(line);
        }
    }
    let default = |text: String| {
        let (_, rest) = text.split_once("[default: ")?;
        Some(rest.split(']').next()?.to_owned())
    };
    options.into_iter().map(|(name, text)| (name, default(text))).collect()
}

/// Set to write the tables anew instead of comparing them.
const UPDATE: &str = "UPDATE_OPTIONS";

/// The reference file as it is shipped.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/wsgi-fpm.toml")
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/options.md")
}

/// The page with the tables as they have to be, each between the marks of its section.
fn with_tables(mut page: String) -> String {
    for section in sections::SECTIONS {
        let begin = format!("<!-- options: {} -->\n\n", section.title);
        let end = "\n<!-- end of options -->";
        let start = page
            .find(&begin)
            .unwrap_or_else(|| panic!("docs/options.md has no {begin:?}"))
            + begin.len();
        let length = page[start..]
            .find(end)
            .unwrap_or_else(|| panic!("{begin:?} has no end"));
        page.replace_range(start..start + length, &tables::markdown(section));
    }
    page
}

#[test]
fn tables_of_the_documentation_are_those_of_the_declarations() {
    let text = std::fs::read_to_string(page()).unwrap();
    let wanted = with_tables(text.clone());
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(page(), wanted).unwrap();
        return;
    }
    for (there, wanted) in text.lines().zip(wanted.lines()) {
        assert_eq!(there, wanted, "{UPDATE}=1 writes the tables of docs/options.md anew");
    }
    assert_eq!(text, wanted);
}

#[test]
fn every_option_of_the_help_is_documented_with_its_default() {
    let page = std::fs::read_to_string(page()).unwrap();
    for subcommand in ["serve", "dev", "cgi", "fastcgi"] {
        let options = from_help(subcommand);
        assert!(options.len() > 20, "the help was not understood: {options:?}");
        for (name, default) in options.iter().filter(|(name, _)| *name != "--help") {
            // Behind the name stands its end, a value, or one that may be missing.
            let is_row = |line: &&str| {
                ['`', ' ', '[']
                    .iter()
                    .any(|end| line.starts_with(&format!("| `{name}{end}")))
            };
            let row = page
                .lines()
                .find(is_row)
                .unwrap_or_else(|| panic!("docs/options.md does not have {name} of {subcommand}"));
            // A default in words is explained there in other words.
            if let Some(default) = default.as_ref().filter(|default| !default.contains(' ')) {
                assert!(
                    row.contains(&format!("`{default}`")),
                    "default {default} of {name} in: {row}"
                );
            }
        }
    }
}

#[test]
fn shipped_reference_file_is_what_the_program_prints() {
    let printed = output(&["config", "reference"]);
    assert!(printed.status.success() && printed.stderr.is_empty());
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(shipped(), &printed.stdout).unwrap();
        return;
    }
    let text = std::fs::read_to_string(shipped()).unwrap();
    let wanted = String::from_utf8(printed.stdout).unwrap();
    for (there, wanted) in text.lines().zip(wanted.lines()) {
        assert_eq!(there, wanted, "{UPDATE}=1 writes deploy/wsgi-fpm.toml anew");
    }
    assert_eq!(text, wanted);
}

/// Every sign of a comment in front of an option or a table is taken away; what is an explanation stays one.
#[test]
fn reference_file_can_be_read_with_every_option_in_it() {
    let text = std::fs::read_to_string(shipped()).unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(line) if !line.starts_with(' ') => format!("{line}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let count = uncommented
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains(" = "))
        .count();
    assert!(count > 40, "{uncommented}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wsgi-fpm.toml");
    std::fs::write(&file, uncommented).unwrap();
    let checked = output(&["check", "--show", "blog", "-c", file.to_str().unwrap()]);
    let errors = String::from_utf8(checked.stderr).unwrap();
    // Some values are nothing but the name of what should stand there, and two options contradict each other.
    assert!(!errors.contains("there is no"), "{errors}");
    let shown = String::from_utf8(checked.stdout).unwrap();
    assert!(shown.contains("app = \"mysite.wsgi:application\""), "{shown}");
}
