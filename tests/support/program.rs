//! The program under test: the one that was built beside the tests, or an installed one.

use std::env;
use std::path::{Path, PathBuf};

/// Names an installed program to test in place of the built one.
pub const VARIABLE: &str = "WSGI_FPM_TEST_PROGRAM";

/// # Panics
/// The built program has no engine beside it.
#[track_caller]
pub fn program() -> PathBuf {
    if let Some(installed) = env::var_os(VARIABLE) {
        return installed.into();
    }
    let built = Path::new(env!("CARGO_BIN_EXE_wsgi-fpm"));
    let engine = built.with_file_name("libwsgi_fpm_engine.so");
    assert!(
        engine.exists(),
        "{} is missing: run `cargo build --workspace` first, as `make test` does",
        engine.display()
    );
    built.to_owned()
}
