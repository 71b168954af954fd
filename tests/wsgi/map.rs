//! The maps of clauses to tests say the truth: every clause has a row, every named test exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Sources that may hold tests.
fn sources() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = ["src", "tests", "crates"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// `module::test` of every test, where the module is the file's name.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in sources() {
        let module = file.file_stem().unwrap().to_string_lossy().into_owned();
        let mut is_test = false;
        for line in fs::read_to_string(&file).unwrap().lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if is_test && !line.starts_with("#[") {
                let function = line.trim_start_matches("async ").strip_prefix("fn ");
                if let Some(name) = function.and_then(|rest| rest.split('(').next()) {
                    names.insert(format!("{module}::{name}"));
                }
                is_test = false;
            }
        }
    }
    names
}

/// Names in backticks that have the form of a test's.
fn named(text: &str) -> Vec<&str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains("::"))
        .collect()
}

/// Rows of a table: the first cell, then all that follows.
fn rows(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .filter(|(first, _)| !first.starts_with('-') && !first.starts_with("clause") && !first.starts_with("the PEP"))
        .collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join("tests/wsgi").join(name)).unwrap()
}

#[test]
fn every_test_that_a_map_names_exists() {
    let tests = tests();
    for map in ["CLAUSES.md", "PEP3333.md"] {
        let text = read(map);
        let missing: Vec<_> = named(&text).into_iter().filter(|name| !tests.contains(*name)).collect();
        assert!(missing.is_empty(), "{map} names tests that don't exist: {missing:#?}");
    }
}

#[test]
fn every_clause_has_a_row() {
    let text = read("CLAUSES.md");
    let rows: BTreeMap<&str, &str> = rows(&text).into_iter().collect();
    for (group, first, last) in [
        ('A', 1, 32),
        ('B', 1, 21),
        ('C', 1, 60),
        ('D', 1, 9),
        ('E', 0, 16),
        ('F', 1, 15),
    ] {
        for number in first..=last {
            let clause = format!("{group}{number}");
            assert!(rows.contains_key(clause.as_str()), "CLAUSES.md has no row for {clause}");
        }
    }
    for clause in ["E8a", "E8b", "E10a"] {
        assert!(rows.contains_key(clause), "CLAUSES.md has no row for {clause}");
    }
}

#[test]
fn every_row_names_a_test_or_says_why_not() {
    for map in ["CLAUSES.md", "PEP3333.md"] {
        let text = read(map);
        for (first, rest) in rows(&text) {
            let reason = rest.contains("no test: ");
            assert!(reason || !named(rest).is_empty(), "{map}: {first} names no test");
        }
    }
}

#[test]
fn every_test_named_after_a_clause_is_in_the_map() {
    let text = read("CLAUSES.md");
    let rows: BTreeMap<&str, &str> = rows(&text).into_iter().collect();
    let folder = root().join("tests/wsgi");
    let here: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    for test in tests() {
        let (module, name) = test.split_once("::").unwrap();
        let clause = name.split('_').next().unwrap();
        let numbered = clause.len() > 1 && clause[1..].starts_with(|c: char| c.is_ascii_digit());
        if !here.contains(module) || !numbered || !clause.starts_with(['a', 'b', 'c', 'e', 'f']) {
            continue;
        }
        let clause = format!("{}{}", clause[..1].to_ascii_uppercase(), &clause[1..]);
        let row = rows.get(clause.as_str()).copied().unwrap_or_default();
        assert!(
            named(row).contains(&test.as_str()),
            "CLAUSES.md: row {clause} lacks {test}"
        );
    }
}
