//! The clauses in `docs/internals/` and the maps of clauses to tests say the truth: every clause that is cited is there,
//! every clause has a row, every named test exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folders` whose extension is one of `extensions`.
fn files(folders: &[&str], extensions: &[&str]) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = folders.iter().map(|name| root().join(name)).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if extension.is_some_and(|extension| extensions.contains(&extension)) {
                files.push(path);
            }
        }
    }
    files
}

/// `module::test` of every test, where the module is the file's name.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files(&["src", "tests", "crates"], &["rs"]) {
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
    fs::read_to_string(root().join("docs/internals").join(name)).unwrap()
}

/// The files that state the clauses, by the letter of their section.
const SECTIONS: [(char, &str); 6] = [
    ('A', "a-fastcgi.md"),
    ('B', "b-environ.md"),
    ('C', "c-wsgi.md"),
    ('D', "d-cgi.md"),
    ('E', "e-failures.md"),
    ('F', "f-security.md"),
];

/// Whether this is the name of a clause: a section's letter, a number, and a small letter or none (`E8a`).
fn is_clause(word: &str) -> bool {
    let number = word.strip_prefix(|c| ('A'..='F').contains(&c)).unwrap_or_default();
    let digits = number.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or(number);
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
}

/// Every clause that is stated, in its order.
fn stated() -> Vec<String> {
    let mut clauses = Vec::new();
    for (letter, file) in SECTIONS {
        let text = read(file);
        for clause in text.lines().filter_map(|line| line.strip_prefix("### ")) {
            assert!(
                is_clause(clause) && clause.starts_with(letter),
                "{file}: {clause} is the name of no clause of this section"
            );
            clauses.push(clause.to_owned());
        }
    }
    clauses
}

/// The clauses that a text cites: those of "SPEC B14", of "SPEC C2 to C12, C15 and C16", and over the end of a line of
/// comment.
fn cited(text: &str) -> Vec<&str> {
    let mut words = text
        .split_whitespace()
        .filter(|word| !["//", "///", "//!", "#"].contains(word))
        .map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
        .peekable();
    let is_section = |word: &str| {
        SECTIONS
            .iter()
            .any(|(letter, _)| word.strip_prefix(*letter) == Some(""))
    };
    let mut clauses = Vec::new();
    while let Some(word) = words.next() {
        while word == "SPEC"
            && let Some(word) =
                words.next_if(|word| is_clause(word) || is_section(word) || ["to", "and"].contains(word))
        {
            clauses.extend(is_clause(word).then_some(word));
        }
    }
    clauses
}

#[test]
fn citations_are_found_in_lists_and_over_lines() {
    let text = "/// (SPEC B14): as SPEC C2 to C12,\n    /// C15 and E8a; not D4. SPEC E, F9 and of B2, SPEC 7";
    assert_eq!(cited(text), ["B14", "C2", "C12", "C15", "E8a", "F9"]);
}

#[test]
fn every_clause_that_is_cited_is_stated() {
    let stated: BTreeSet<String> = stated().into_iter().collect();
    let mut found = 0;
    for file in files(&["src", "crates", "tests", "benches", "fuzz"], &["rs", "py", "c", "sh"]) {
        let text = fs::read_to_string(&file).unwrap();
        for clause in cited(&text) {
            found += 1;
            assert!(
                stated.contains(clause),
                "{}: SPEC {clause} has no heading in docs/internals",
                file.display()
            );
        }
    }
    assert!(found > 100, "only {found} citations were found");
}

#[test]
fn every_test_that_a_map_names_exists() {
    let tests = tests();
    for map in ["clauses.md", "pep3333.md"] {
        let text = read(map);
        let missing: Vec<_> = named(&text).into_iter().filter(|name| !tests.contains(*name)).collect();
        assert!(missing.is_empty(), "{map} names tests that don't exist: {missing:#?}");
    }
}

#[test]
fn every_clause_is_stated_once_and_has_one_row() {
    let text = read("clauses.md");
    let all: Vec<&str> = rows(&text).into_iter().map(|(clause, _)| clause).collect();
    let rows: BTreeSet<String> = all.iter().map(|&clause| clause.to_owned()).collect();
    assert_eq!(rows.len(), all.len(), "clauses.md has two rows for one clause");
    let all = stated();
    let stated: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(stated.len(), all.len(), "a clause is stated twice");
    let lacks: Vec<_> = stated.difference(&rows).collect();
    assert!(lacks.is_empty(), "clauses.md has no row for {lacks:?}");
    let excess: Vec<_> = rows.difference(&stated).collect();
    assert!(excess.is_empty(), "no section states {excess:?}, which clauses.md has");
}

#[test]
fn every_row_names_a_test_or_says_why_not() {
    for map in ["clauses.md", "pep3333.md"] {
        let text = read(map);
        for (first, rest) in rows(&text) {
            let reason = rest.contains("no test: ");
            assert!(reason || !named(rest).is_empty(), "{map}: {first} names no test");
        }
    }
}

#[test]
fn every_test_named_after_a_clause_is_in_the_map() {
    let text = read("clauses.md");
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
            "clauses.md: row {clause} lacks {test}"
        );
    }
}
