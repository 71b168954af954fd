//! What a test needs of the machine: it runs with it, is skipped in one line without it, and fails without it where
//! `REQUIRE_SERVERS=1` says that everything has to be there.

use std::collections::BTreeSet;
use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::{apache, php_fpm};

/// Set to 1, it turns skipped tests into failures.
pub const REQUIRED: &str = "REQUIRE_SERVERS";
/// A virtual environment with Flask and Django.
pub const VENV: &str = "WSGI_FPM_TEST_VENV";

/// Whether nginx can be run.
pub fn nginx() -> bool {
    has_program("nginx", "-v")
}

/// Whether Apache can be run, with its module `module` as `a2enmod` names it.
pub fn apache(module: &str) -> bool {
    let file = Path::new(apache::MODULES).join(format!("mod_{module}.so"));
    has_program("apache2", "-v") && needed(file.is_file(), &format!("{}", file.display()))
}

/// Whether a syslog daemon can be run.
pub fn rsyslog() -> bool {
    has_program("rsyslogd", "-v")
}

/// Whether lighttpd can be run.
pub fn lighttpd() -> bool {
    has_program("lighttpd", "-v")
}

/// Whether it can be run with TLS.
pub fn lighttpd_tls() -> bool {
    const MODULE: &str = "/usr/lib/lighttpd/mod_openssl.so";
    lighttpd() && needed(Path::new(MODULE).is_file(), MODULE)
}

/// Whether fcgiwrap can be run.
pub fn fcgiwrap() -> bool {
    has_program("fcgiwrap", "-h")
}

/// Whether spawn-fcgi can be run.
pub fn spawn_fcgi() -> bool {
    has_program("spawn-fcgi", "-v")
}

/// Whether Chromium can be run, which may take a while to say so.
pub fn chromium() -> bool {
    has_program("chromium", "--version")
}

/// Whether Prometheus and its tool can be run.
pub fn prometheus() -> bool {
    has_program("prometheus", "--version") && has_program("promtool", "--version")
}

/// Whether man can be run.
pub fn man() -> bool {
    has_program("man", "--version")
}

/// Whether mandoc is there, which has no option that does nothing.
pub fn mandoc() -> bool {
    let there = Command::new("mandoc").stdin(Stdio::null()).output();
    needed(there.is_ok(), "mandoc")
}

/// Whether zsh can be run.
pub fn zsh() -> bool {
    has_program("zsh", "--version")
}

/// Whether fish can be run.
pub fn fish() -> bool {
    has_program("fish", "--version")
}

/// Whether php-fpm can be run.
pub fn php_fpm() -> bool {
    needed(php_fpm::program().is_some(), "php-fpm")
}

/// Whether openssl can be run.
pub fn openssl() -> bool {
    has_program("openssl", "version")
}

/// Whether Caddy can be run.
pub fn caddy() -> bool {
    has_program("caddy", "version")
}

/// Whether HAProxy can be run.
pub fn haproxy() -> bool {
    has_program("haproxy", "-v")
}

/// Whether systemd can judge a unit; it need not run.
pub fn systemd_analyze() -> bool {
    has_program("systemd-analyze", "--version")
}

/// Whether systemd can make users and directories of a directory that is a root; it need not run.
pub fn systemd_sysusers() -> bool {
    has_program("systemd-sysusers", "--version")
}

/// Whether logrotate can be run.
pub fn logrotate() -> bool {
    has_program("logrotate", "--version")
}

/// Whether curl can be run.
pub fn curl() -> bool {
    has_program("curl", "--version")
}

/// Whether make can be run.
pub fn make() -> bool {
    has_program("make", "--version")
}

/// Whether python3 can make virtual environments.
pub fn python_venv() -> bool {
    let modules = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    let usable = modules.is_ok_and(|output| output.status.success());
    needed(usable, "python3 with ensurepip and venv")
}

/// Whether `path` is there.
pub fn file(path: &Path) -> bool {
    needed(path.is_file(), &path.display().to_string())
}

/// Whether this is root, who alone can run programs as somebody else. Never required: it is no matter of installing.
pub fn root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        tell("root");
    }
    is_root
}

/// The virtual environment, if `module` can be imported in it.
pub fn venv_with(module: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/test-venv");
    let venv = env::var_os(VENV).map_or(default, PathBuf::from);
    let import = Command::new(venv.join("bin/python"))
        .args(["-c", &format!("import {module}")])
        .output();
    let usable = import.is_ok_and(|output| output.status.success());
    needed(
        usable,
        &format!(
            "a virtual environment with {module} (looked in {}, named by {VENV})",
            venv.display()
        ),
    )
    .then_some(venv)
}

fn has_program(name: &str, question: &str) -> bool {
    let there = Command::new(name)
        .arg(question)
        .output()
        .is_ok_and(|output| output.status.success());
    needed(there, name)
}

/// `there`, after what was missing has been told, once for each thing.
fn needed(there: bool, what: &str) -> bool {
    if there {
        return true;
    }
    let required = env::var_os(REQUIRED).is_some_and(|value| value == "1");
    assert!(!required, "{REQUIRED}=1, and there is no {what}");
    tell(what);
    false
}

/// That tests are skipped, once for each thing that is missing.
fn tell(what: &str) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if TOLD
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(what.to_owned())
    {
        // Not by println!: the test passes, and then its output is thrown away.
        let line = format!("skipped: tests that need {what}, which is not there\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
}
