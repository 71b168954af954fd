//! Holds the documentation together: links between its files lead somewhere, and every page is found from the index.
//!
//! `make docs` checks the same while it makes the site; this needs nothing but the files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::none;
use crate::source::{files, relative, root};

const PAGES: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs",
    "examples",
    "tests",
];

/// The text with its code blanked, in fences and in backticks: what stands there is no link and no heading. Line breaks stay.
fn without_code(text: &str) -> String {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            lines.push(String::new());
        } else if fenced {
            lines.push(String::new());
        } else {
            // Every second piece is code.
            let pieces = line.split('`').enumerate();
            lines.push(pieces.filter(|(at, _)| at % 2 == 0).map(|(_, piece)| piece).collect());
        }
    }
    lines.join("\n")
}

/// The targets of the links in the text, each with the number of its line.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in without_code(text).lines().enumerate() {
        for piece in line.split("](").skip(1) {
            let target = piece.split(')').next().unwrap_or_default();
            found.push((at + 1, target.to_owned()));
        }
    }
    found
}

/// The anchors that a forge makes of the headings: lower case, without punctuation, `-` for spaces, `-1` behind a second one.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        if fenced || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let anchor: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let mut unique = anchor.clone();
        let mut number = 0;
        while !found.insert(unique) {
            number += 1;
            unique = format!("{anchor}-{number}");
        }
    }
    found
}

/// What is wrong with a link of the page at `page`.
fn fault(page: &Path, target: &str) -> Option<&'static str> {
    if let Some(rest) = target.strip_prefix("https://").or(target.strip_prefix("http://")) {
        let host = rest.split(['/', '#', '?']).next().unwrap_or_default();
        let known = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#@!$&'*+,;=%".contains(c);
        let whole = host.contains('.') && rest.chars().all(known);
        return (!whole).then_some("that is no URL");
    }
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    if path.starts_with('/') || path.contains(':') || path.contains(' ') {
        return Some("neither a path from this file on nor a URL");
    }
    let there = match path {
        "" => page.to_owned(),
        _ => page.parent().unwrap().join(path),
    };
    if there.is_dir() {
        return Some("a directory, which the site does not have: link a file of it");
    }
    // Pictures are no text.
    let Ok(bytes) = fs::read(&there) else {
        return Some("no such file");
    };
    let text = String::from_utf8_lossy(&bytes);
    match anchor {
        Some(anchor) if !anchors(&text).contains(anchor) => Some("no such heading there"),
        _ => None,
    }
}

#[test]
fn links_of_the_documentation_lead_somewhere() {
    let mut violations = Vec::new();
    let mut count = 0;
    for page in files(PAGES, &[".md"]) {
        for (line, target) in links(&fs::read_to_string(&page).unwrap()) {
            count += 1;
            if let Some(what) = fault(&page, &target) {
                violations.push(format!("{}:{line}: {target}: {what}", relative(&page)));
            }
        }
    }
    assert!(count > 200, "the links were not found");
    none(&violations, "links of the documentation");
}

#[test]
fn every_page_of_the_documentation_is_linked_in_its_index() {
    let mut violations = Vec::new();
    for folder in ["docs", "docs/internals"] {
        let index = root().join(folder).join("README.md");
        let linked: BTreeSet<_> = links(&fs::read_to_string(&index).unwrap())
            .into_iter()
            .map(|(_, target)| index.with_file_name(target))
            .collect();
        for page in files(&[folder], &[".md"]) {
            let here = page.parent() == index.parent();
            if here && page != index && !linked.contains(&page) {
                violations.push(format!("{} has no link in {folder}/README.md", relative(&page)));
            }
        }
    }
    none(&violations, "the index of the documentation");
}

#[test]
fn anchors_are_those_of_a_forge() {
    let text = "# One, `two`: --three_4\n\n## One\n```sh\n# no heading\n```\n## One\n#hash\n";
    let wanted = ["one-two---three_4", "one", "one-1"].map(str::to_owned);
    assert_eq!(anchors(text), BTreeSet::from(wanted));
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let page = root().join("docs/README.md");
    let text = "[a](options.md#limits) `[b](none.md)` [c](options.md#no-such)\n\
                ```\n[d](none.md)\n```\n\
                [e](none.md), [f](#nowhere), [g](../deploy), [h](/docs/options.md)\n\
                [i](https://peps.python.org/pep-3333/) [j](https://a host/) [k](https:/one.org)";
    let faults: Vec<_> = links(text)
        .into_iter()
        .filter(|(_, target)| fault(&page, target).is_some())
        .map(|(line, target)| format!("{line} {target}"))
        .collect();
    let wanted = [
        "1 options.md#no-such",
        "5 none.md",
        "5 #nowhere",
        "5 ../deploy",
        "5 /docs/options.md",
        "6 https://a host/",
        "6 https:/one.org",
    ];
    assert_eq!(faults, wanted);
}
