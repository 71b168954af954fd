//! Units of systemd, judged by systemd itself.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::installed;
use super::web_server::shipped;

/// Asserts that systemd takes these files of the project, each under the name that it gets.
#[track_caller]
pub fn expect_systemd_to_accept(units: &[(&str, &str)]) {
    if !installed::systemd_analyze() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    for (file, name) in units {
        fs::write(directory.path().join(name), shipped(file, &[])).unwrap();
    }
    for (_, name) in units {
        let verdict = Command::new("systemd-analyze")
            .arg("verify")
            .arg(directory.path().join(name))
            .env("SYSTEMD_UNIT_PATH", format!("{}:", directory.path().display()))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&verdict.stderr);
        assert!(
            verdict.status.success() && !errors.contains("example."),
            "{name}: {errors}"
        );
    }
}
