//! Replays the fuzzing corpus, so that a stable toolchain checks what fuzzing has found.

use std::fs;
use std::path::Path;

use crate::support::oracle;

#[test]
fn pairs_corpus_holds() {
    replay("pairs", oracle::pairs);
}

#[test]
fn connection_corpus_holds() {
    replay("connection", oracle::connection);
}

fn replay(target: &str, check: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in fs::read_dir(&directory).expect("the corpus is there") {
        let path = entry.expect("a readable entry").path();
        // Shown only if the check fails.
        println!("{}", path.display());
        check(&fs::read(&path).expect("a readable corpus file"));
        files += 1;
    }
    assert!(files > 0, "{} is empty", directory.display());
}
