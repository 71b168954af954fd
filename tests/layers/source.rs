//! The sources as the layer rules see them: code without comments, literals and tests, and the paths that it names.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

pub struct Source {
    /// From the project's root.
    pub path: String,
    pub text: String,
    /// `text` with comments, literals and test modules blanked; line for line the same.
    pub code: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folders` whose name ends in one of `endings` ("" for all).
pub fn files(folders: &[&str], endings: &[&str]) -> Vec<PathBuf> {
    let mut left: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", "corpus", "__pycache__", ".venv"].contains(&name.as_str()) {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        } else if path.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

/// All of the product's own Rust: no tests.
pub fn sources() -> Vec<Source> {
    let crates = [
        "crates/fastcgi/src",
        "crates/settings/src",
        "crates/contract/src",
        "crates/engine/src",
        "src",
    ];
    let sources: Vec<Source> = files(&crates, &[".rs"])
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code = without_tests(&blanked(&text));
            let path = relative(&path);
            Source { path, text, code }
        })
        .filter(|source| !source.path.ends_with("/tests.rs") && !source.path.contains("/tests/"))
        .collect();
    assert!(sources.len() > 40, "the sources were not found");
    sources
}

/// Blanks comments and the contents of literals. Line breaks stay.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_or_comment(bytes, at);
        if end > at {
            out.extend(
                bytes[at..end]
                    .iter()
                    .map(|&byte| if byte == b'\n' { '\n' } else { ' ' }),
            );
            at = end;
        } else {
            out.push(if bytes[at].is_ascii() {
                char::from(bytes[at])
            } else {
                ' '
            });
            at += 1;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` if none does.
fn literal_or_comment(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let find = |needle: &[u8], from: usize| {
        rest[from..]
            .windows(needle.len())
            .position(|window| window == needle)
            .map_or(bytes.len(), |found| at + from + found + needle.len())
    };
    let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => find(b"\n", 0) - 1,
        [b'/', b'*', ..] => find(b"*/", 2),
        [b'"', ..] => {
            let mut end = 1;
            while end < rest.len() && rest[end] != b'"' {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            (at + end + 1).min(bytes.len())
        }
        [b'r', b'"' | b'#', ..] | [b'b', b'r', b'"' | b'#', ..] if !after_word => {
            let start = usize::from(rest[0] == b'b') + 1;
            let hashes = rest[start..].iter().take_while(|&&byte| byte == b'#').count();
            if rest.get(start + hashes) != Some(&b'"') {
                return at; // a raw identifier
            }
            find(&[b"\"".as_slice(), &vec![b'#'; hashes]].concat(), start + hashes + 1)
        }
        // A character; a lifetime has no second quote behind it.
        [b'\'', b'\\', ..] => find(b"'", 3),
        [b'\'', _, b'\'', ..] => at + 3,
        _ => at,
    }
}

/// Blanks what follows `#[cfg(test)]` up to the end of its item.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let rest = &out[start..];
        let semicolon = rest.find(';').unwrap_or(rest.len() - 1);
        let end = match rest.find('{') {
            Some(open) if open < semicolon => {
                let mut depth = 0;
                let close = rest[open..].char_indices().find(|(_, character)| {
                    depth += i32::from(*character == '{') - i32::from(*character == '}');
                    depth == 0
                });
                close.map_or(rest.len(), |(close, _)| open + close + 1)
            }
            _ => semicolon + 1,
        };
        let blank: String = rest[..end]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        out.replace_range(start..start + end, &blank);
    }
    out
}

/// The module that a file holds: `crates/engine/src/wsgi/input.rs` is `["wsgi", "input"]`.
pub fn module(path: &str) -> Vec<&str> {
    let inside = path.rsplit_once("src/").unwrap().1.trim_end_matches(".rs");
    let mut module: Vec<&str> = inside.split('/').collect();
    if ["mod", "lib", "main"].contains(module.last().unwrap()) {
        module.pop();
    }
    module
}

/// Every path that the code names, with its line; groups are taken apart, and `super` and `self` are resolved to
/// `crate::...`.
pub fn paths(source: &Source) -> Vec<(usize, String)> {
    let code = &source.code;
    let mut found = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let word = rest.len() - rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len();
        if word == 0 {
            at += 1;
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let before = code[..at].trim_end();
        let is_use = before.ends_with("use") || before.ends_with("extern crate");
        let end = path_end(rest);
        if end > word || is_use {
            let mut all = Vec::new();
            expand("", &rest[..end], &mut all);
            found.extend(
                all.into_iter()
                    .map(|path| (line, resolved(&module(&source.path), &path))),
            );
        }
        at += end.max(word);
    }
    found
}

/// Length of the path at the start of `text`, with the groups in it.
fn path_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut end = 0;
    loop {
        while end < bytes.len() && (bytes[end].is_ascii_alphanumeric() || bytes[end] == b'_') {
            end += 1;
        }
        if !text[end..].starts_with("::") {
            return end;
        }
        match bytes.get(end + 2) {
            Some(b'{') => {
                let close = text[end..].find("};").or_else(|| text[end..].find('}'));
                return close.map_or(bytes.len(), |close| end + close + 1);
            }
            Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'_' => end += 2,
            _ => return end,
        }
    }
}

/// `a::{b, c::d}` into `a::b` and `a::c::d`.
fn expand(prefix: &str, path: &str, all: &mut Vec<String>) {
    let path = path.trim();
    let Some((head, group)) = path.split_once('{') else {
        let path = path.split(" as ").next().unwrap_or_default().trim_end_matches("::*");
        if !path.is_empty() {
            all.push(format!("{prefix}{path}"));
        }
        return;
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start) = (0, 0);
    for (at, character) in group.char_indices().chain([(group.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&format!("{prefix}{}", head.trim()), &group[start..at], all);
                start = at + 1;
            }
            _ => {}
        }
    }
}

fn resolved(module: &[&str], path: &str) -> String {
    let mut parts = path.split("::").peekable();
    let mut here = module.to_vec();
    let mut is_own = false;
    while let Some(part) = parts.next_if(|part| ["super", "self"].contains(part)) {
        is_own = true;
        if part == "super" {
            here.pop();
        }
    }
    if !is_own {
        return path.to_owned();
    }
    let mut whole = String::from("crate");
    for part in here.into_iter().chain(parts) {
        let _ = write!(whole, "::{part}"); // a String takes everything
    }
    whole
}

fn sample(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
        code: without_tests(&blanked(text)),
    }
}

#[test]
fn comments_literals_and_tests_are_no_code() {
    let text = "/* a::b */ 'x' '\\'' \"c::d\\\"\" r#\"e::\"f\"# b'g' &'h i // j::k\nl::m\n#[cfg(test)]\nmod t { n::o() }\np::q";
    let code = sample("src/x.rs", text).code;
    assert_eq!(
        code.split_whitespace().collect::<Vec<_>>(),
        ["b", "&'h", "i", "l::m", "p::q"]
    );
    assert_eq!(code.matches('\n').count(), text.matches('\n').count());
}

#[test]
fn groups_and_relative_paths_are_resolved() {
    let text = "use crate::{body, exchange::{Carrier, Ending as E}};\nuse super::super::connection::Step;\nself::x::y();\nuse pool;";
    let source = sample("crates/engine/src/wsgi/input.rs", text);
    let expected = [
        (1, "crate::body"),
        (1, "crate::exchange::Carrier"),
        (1, "crate::exchange::Ending"),
        (2, "crate::connection::Step"),
        (3, "crate::wsgi::input::x::y"),
        (4, "pool"),
    ];
    assert_eq!(paths(&source), expected.map(|(line, path)| (line, path.to_owned())));
}
