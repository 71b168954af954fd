//! Which Pythons there are to test with.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Clone)]
pub struct Python {
    /// What `--python` gets.
    pub path: PathBuf,
    /// `(3, 11)`.
    pub version: (u32, u32),
}

/// Names further interpreters: paths, separated by colons.
pub const VARIABLE: &str = "WSGI_FPM_TEST_PYTHONS";

/// Names the interpreter of every test that asks for none; without it the program's own choice, python3 on PATH.
pub const DEFAULT_VARIABLE: &str = "WSGI_FPM_TEST_PYTHON";

/// The interpreter that `WSGI_FPM_TEST_PYTHON` names.
pub fn default() -> Option<PathBuf> {
    env::var_os(DEFAULT_VARIABLE).map(PathBuf::from)
}

/// One interpreter of each supported version: those of `WSGI_FPM_TEST_PYTHONS`, of pyenv, and the system's
/// own `/usr/bin/python3`, which often has no shared libpython.
pub fn available() -> Vec<Python> {
    let named = env::var_os(VARIABLE).unwrap_or_default();
    let mut candidates: Vec<PathBuf> = env::split_paths(&named).filter(|path| path.is_file()).collect();
    let pyenv = env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv")))
        .unwrap_or_default();
    let mut versions: Vec<_> = std::fs::read_dir(pyenv.join("versions"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/python3"))
        .filter(|path| path.is_file())
        .collect();
    versions.sort();
    candidates.extend(versions);
    candidates.push(PathBuf::from("/usr/bin/python3"));
    let mut found: Vec<Python> = Vec::new();
    for path in candidates {
        let Some(version) = version(&path) else { continue };
        let system = path.starts_with("/usr/bin");
        if version >= (3, 9) && (system || found.iter().all(|known| known.version != version)) {
            found.push(Python { path, version });
        }
    }
    found
}

/// `(major, minor)`; `None` for anything but a CPython that runs.
pub fn version(path: &Path) -> Option<(u32, u32)> {
    let code = "import sys; assert sys.implementation.name == 'cpython'; print(*sys.version_info[:2])";
    let output = Command::new(path).args(["-c", code]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A virtual environment of `python` in `directory`, without pip: quick, and it needs no network. `false` where the
/// interpreter can't make one (Debian keeps `venv` in a package of its own, but not this form of it).
pub fn make_venv(python: &Path, directory: &Path) -> bool {
    Command::new(python)
        .args(["-m", "venv", "--without-pip"])
        .arg(directory)
        .output()
        .is_ok_and(|output| output.status.success())
}
