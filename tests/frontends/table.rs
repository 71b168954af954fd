//! docs/servers.md shows the differences that the tests assert, and no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::servers::ALL;

/// Where the table begins and ends in the text.
const BEGIN: &str = "<!-- differences -->";
const END: &str = "<!-- /differences -->";

#[test]
fn docs_show_the_differences_that_the_tests_assert() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/servers.md")).unwrap();
    let (_, rest) = text.split_once(BEGIN).expect("a table of differences");
    let (table, _) = rest.split_once(END).expect("its end");
    let rows: BTreeSet<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let expected: BTreeSet<String> = ALL
        .iter()
        .flat_map(|server| {
            server
                .quirks
                .iter()
                .map(|(quirk, cause)| format!("| {} | {} | {cause} |", server.name, quirk.text()))
        })
        .collect();
    assert_eq!(
        rows,
        expected.iter().map(String::as_str).collect(),
        "the table should be:\n{}",
        expected.iter().cloned().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn no_server_has_the_same_difference_twice() {
    for server in ALL {
        let distinct: BTreeSet<_> = server.quirks.iter().map(|(quirk, _)| quirk).collect();
        assert_eq!(distinct.len(), server.quirks.len(), "{}", server.name);
    }
}
