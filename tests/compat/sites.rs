//! The sites in `sites/`: what they need, and their frameworks' own ways where those differ.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Names the virtual environment with everything in `requirements/`.
const VENV: &str = "WSGI_FPM_COMPAT_VENV";

/// One site, and what is particular to its framework.
#[derive(Debug)]
pub struct Site {
    /// Of its directory.
    pub name: &'static str,
    /// More than one, where state is not in the memory of a process.
    pub processes: u32,
    /// More than one, where the framework serves several requests of a process at a time.
    pub threads: u32,
    /// Makes what the site needs besides its files.
    pub prepare: fn(&Copy),
}

/// A site in a private directory, with the virtual environment as `.venv` in it.
#[derive(Debug)]
pub struct Copy {
    directory: TempDir,
    path: PathBuf,
}

impl Copy {
    /// # Panics
    /// Without the virtual environment.
    #[track_caller]
    pub fn of(site: &Site) -> Self {
        let directory = TempDir::with_prefix("wsgi-fpm-site-").unwrap();
        let path = directory.path().join("site");
        copy_files(&sites().join(site.name), &path);
        symlink(venv(), path.join(".venv")).unwrap();
        let copy = Self { directory, path };
        (site.prepare)(&copy);
        copy
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `content` into a file beside the site's directory: what the web server reads is not in the site.
    pub fn publish(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Runs a program of the virtual environment in the site's directory.
    #[track_caller]
    pub fn run(&self, program: &str, arguments: &[&str], variables: &[(&str, &str)]) {
        let output = Command::new(self.path().join(".venv/bin").join(program))
            .args(arguments)
            .current_dir(self.path())
            .envs(variables.iter().copied())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    }
}

pub fn sites() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/sites")
}

/// # Panics
/// Without it: there is nothing to test with.
#[track_caller]
pub fn venv() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/compat-venv");
    let venv = env::var_os(VENV).map_or(default, PathBuf::from);
    assert!(
        venv.join("bin/python").exists(),
        "no virtual environment in {} (named by {VENV}): run `make test-compat`",
        venv.display()
    );
    venv
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_files(&source, &target);
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}
