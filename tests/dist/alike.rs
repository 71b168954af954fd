//! Whoever builds the same commit gets the same bytes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::release::directory;

/// The same commit, cloned into another folder and built there from nothing, with another target directory.
#[test]
fn another_folder_makes_the_same_bytes() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = |arguments: &[&str]| {
        Command::new("git")
            .current_dir(source)
            .args(arguments)
            .output()
            .unwrap()
    };
    let changed = git(&["status", "--porcelain"]);
    assert!(changed.status.success(), "this is no clone: {changed:?}");
    assert!(
        changed.stdout.is_empty(),
        "commit first: what is not committed can't be built elsewhere"
    );
    // Its build takes a gigabyte.
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let clone = elsewhere.path().join("another, longer folder");
    assert!(
        git(&["clone", "--quiet", ".", clone.to_str().unwrap()])
            .status
            .success()
    );
    let status = Command::new(clone.join("scripts/dist.sh"))
        .arg(source.join(".cache/dist-venv"))
        .env("CARGO_TARGET_DIR", elsewhere.path().join("built"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let sums = |directory: &Path| fs::read_to_string(directory.join("SHA256SUMS")).unwrap();
    assert_eq!(
        sums(&clone.join("dist")),
        sums(&directory()),
        "those of the other folder, and ours"
    );
}
