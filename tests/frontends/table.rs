//! docs/servers.md shows what the tests assert of each server, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::harness::front::Server;
use crate::harness::quirk::Quirk;
use crate::servers::all;

/// The rows between the two marks of this name.
fn rows(text: &str, name: &str) -> BTreeSet<String> {
    let (_, rest) = text.split_once(&format!("<!-- {name} -->")).expect("a table");
    let (table, _) = rest.split_once(&format!("<!-- /{name} -->")).expect("its end");
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(str::to_owned).collect()
}

#[track_caller]
fn expect_table(name: &str, expected: BTreeSet<String>) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/servers.md")).unwrap();
    assert!(
        rows(&text, name) == expected,
        "the table of {name} in docs/servers.md should be:\n{}",
        expected.iter().cloned().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn docs_show_the_differences_that_the_tests_assert() {
    let row =
        |server: &Server, (quirk, cause): &(Quirk, &str)| format!("| {} | {} | {cause} |", server.name, quirk.text());
    let servers = all();
    let expected = servers
        .iter()
        .flat_map(|server| server.quirks.iter().map(|difference| row(server, difference)));
    expect_table("differences", expected.collect());
}

#[test]
fn docs_show_the_limits_that_the_tests_assert() {
    let expected = all().into_iter().map(|server| {
        let (request, response) = (server.request_header, server.response_header);
        format!(
            "| {} | {} | {} | {} | {} | {} |",
            server.name, request.passes, request.status, response.passes, response.status, server.vanished
        )
    });
    expect_table("limits", expected.collect());
}

#[test]
fn no_server_has_the_same_difference_twice() {
    for server in all() {
        let distinct: BTreeSet<_> = server.quirks.iter().map(|(quirk, _)| quirk).collect();
        assert_eq!(distinct.len(), server.quirks.len(), "{}", server.name);
    }
}
