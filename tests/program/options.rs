//! `docs/options.md` and the command line say the same.

use std::collections::BTreeMap;
use std::path::Path;

use crate::run::output;

/// Options of a subcommand with their defaults, from its help. Hidden ones are not in it.
pub fn from_help(subcommand: &str) -> BTreeMap<String, Option<String>> {
    let help = String::from_utf8(output(&[subcommand, "--help"]).stdout).unwrap();
    let mut options: Vec<(String, String)> = Vec::new();
    for line in help.lines().map(str::trim) {
        let line = line.strip_prefix("-h, ").unwrap_or(line);
        if line.starts_with("--") {
            let name = line.split(' ').next().unwrap().to_owned();
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

/// Options that have a row in a table of the page, with their row.
fn from_page() -> BTreeMap<String, String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/options.md");
    let text = std::fs::read_to_string(page).unwrap();
    let rows = text.lines().filter_map(|line| {
        let name = line.strip_prefix("| `--")?.split(['`', ' ']).next()?;
        Some((format!("--{name}"), line.to_owned()))
    });
    rows.collect()
}

#[test]
fn every_option_is_documented_with_its_default() {
    let page = from_page();
    for subcommand in ["serve", "dev"] {
        let options = from_help(subcommand);
        assert!(options.len() > 20, "the help was not understood: {options:?}");
        for (name, default) in options.iter().filter(|(name, _)| *name != "--help") {
            let row = page
                .get(name)
                .unwrap_or_else(|| panic!("docs/options.md does not have {name} of {subcommand}"));
            // A default in words is explained there in other words.
            if let Some(default) = default.as_ref().filter(|default| !default.contains(' ')) {
                assert!(
                    row.contains(&format!("| `{default}` |")),
                    "default {default} of {name} in: {row}"
                );
            }
        }
    }
}

#[test]
fn every_documented_option_exists() {
    let mut options = from_help("serve");
    options.extend(from_help("dev"));
    for name in from_page().keys() {
        assert!(options.contains_key(name), "{name} of docs/options.md does not exist");
    }
}
