//! `scripts/count-tests.sh`, with which `make test` and `.ci/run` say what all test binaries come to.

use std::path::Path;
use std::process::{Command, Output};

/// What the script says of a command that prints `report`, in part to standard error as cargo does, and ends with `code`.
fn count(report: &str, code: i32) -> Output {
    let directory = tempfile::Builder::new().prefix("with a space ").tempdir().unwrap();
    let script = directory.path().join("count-tests.sh");
    std::fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/count-tests.sh"),
        &script,
    )
    .unwrap();
    let pretended = r#"while IFS= read -r line; do
        case $line in *Running*) echo "$line" >&2 ;; *) echo "$line" ;; esac
    done <<<"$1"
    exit "$2""#;
    Command::new("bash")
        .arg(&script)
        .args(["bash", "-c", pretended, "bash", report, &code.to_string()])
        .env("TMPDIR", directory.path())
        .output()
        .unwrap()
}

/// Status and the lines behind the report.
fn summary(output: &Output) -> (Option<i32>, Vec<String>) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let (_, summary) = text.rsplit_once("\n\n").expect("a summary");
    (output.status.code(), summary.lines().map(str::to_owned).collect())
}

fn result(passed: u32, failed: u32) -> String {
    let word = if failed == 0 { "ok" } else { "FAILED" };
    format!("test result: {word}. {passed} passed; {failed} failed; 1 ignored; 0 measured; 0 filtered out; finished")
}

#[test]
fn total_is_of_all_binaries_and_the_status_stays() {
    let report = [
        "     Running unittests src/main.rs (target/debug/deps/wsgi_fpm-1)",
        "test dev::tests::reloads ... ok",
        &result(1, 0),
        "     Running tests/wsgi/main.rs (target/debug/deps/wsgi-2)",
        "test input::reads ... FAILED",
        "test input::fails ... ok",
        "failures:",
        "    input::reads",
        &result(20, 1),
        "   Doc-tests fastcgi",
        &result(0, 0),
    ]
    .join("\n");
    let output = count(&report, 101);
    let lines = [
        "failed: tests/wsgi/main.rs: input::reads",
        "tests: 21 passed, 1 failed, 3 ignored",
    ];
    assert_eq!(summary(&output), (Some(101), lines.map(str::to_owned).into()));
    assert!(
        String::from_utf8(output.stdout).unwrap().starts_with(&report),
        "the report itself is shown"
    );
    assert_eq!(summary(&count(&result(2, 0), 0)).0, Some(0));
}

#[test]
fn binary_that_crashed_is_named() {
    let report = format!(
        "     Running tests/wsgi/main.rs (target/debug/deps/wsgi-2)\ntest input::reads ... ok\n\
         error: test failed, to rerun pass `--test wsgi`\n     Running tests/frontends/main.rs (x)\n{}",
        result(3, 0)
    );
    let lines = [
        "ended in the middle: tests/wsgi/main.rs",
        "tests: 3 passed, 0 failed, 1 ignored",
    ];
    assert_eq!(
        summary(&count(&report, 101)),
        (Some(101), lines.map(str::to_owned).into())
    );
}

#[test]
fn no_test_at_all_is_a_failure() {
    assert_eq!(
        summary(&count("nothing", 0)),
        (Some(1), vec!["no test has run".to_owned()])
    );
    assert_eq!(summary(&count("error: could not compile", 101)).0, Some(101));
}

#[test]
fn make_test_and_ci_count() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for target in ["test", "test-compat"] {
        let output = Command::new("make")
            .args(["-n", target])
            .current_dir(root)
            .output()
            .unwrap();
        let recipe = String::from_utf8(output.stdout).unwrap();
        assert!(recipe.contains("scripts/count-tests.sh cargo test"), "{recipe}");
    }
    let ci = std::fs::read_to_string(root.join(".ci/run")).unwrap();
    assert!(ci.contains("scripts/count-tests.sh bash -c"), "{ci}");
}
