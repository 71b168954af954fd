//! The wheel in a fresh environment of each Python, and what is in the sdist.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::loading::{answer, gateway};
use crate::release::{engine_beside, file, root};
use crate::support::python;

fn run(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env_remove("VIRTUAL_ENV");
    command.output().unwrap()
}

/// An environment that has the wheel; `None` where the interpreter can't make one with pip.
fn installed(python: &Path, directory: &Path) -> Option<PathBuf> {
    let made = run(python, &["-m", "venv", directory.to_str().unwrap()]);
    if !made.status.success() {
        eprintln!("skipped: {} can't make an environment with pip", python.display());
        return None;
    }
    let wheel = file(".whl");
    let arguments = ["-m", "pip", "install", "--quiet", "--no-index", wheel.to_str().unwrap()];
    let pip = run(&directory.join("bin/python"), &arguments);
    assert!(pip.status.success(), "{pip:?}");
    Some(directory.join("bin/wsgi-fpm"))
}

#[test]
fn wheel_serves_with_the_python_of_its_environment() {
    for python in python::available() {
        let place = tempfile::tempdir().unwrap();
        let environment = fs::canonicalize(place.path()).unwrap().join("venv");
        let Some(program) = installed(&python.path, &environment) else {
            continue;
        };
        let answer = answer(&gateway().program(&program).without_python().start());
        assert_eq!(answer["prefix"], serde_json::json!(environment));
        assert_eq!(answer["mapped"], serde_json::json!([engine_beside(&environment)]));
        let module = run(&environment.join("bin/python"), &["-m", "wsgi_fpm", "--version"]);
        assert_eq!(module.stdout, run(&program, &["--version"]).stdout);
        assert!(module.status.success(), "{module:?}");
        let bytes = |path: &Path| fs::read(path).unwrap();
        assert!(
            bytes(&program) == bytes(&root().join("bin/wsgi-fpm")),
            "the same program"
        );
    }
}

#[test]
fn module_says_that_its_program_is_missing() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/wsgi_fpm");
    let place = tempfile::tempdir().unwrap();
    let python = python::available().remove(0).path;
    if !python::make_venv(&python, &place.path().join("venv")) {
        return;
    }
    let said = run(
        &place.path().join("venv/bin/python"),
        &[package.to_str().unwrap(), "--version"],
    );
    assert_eq!(said.status.code(), Some(1));
    let log = String::from_utf8(said.stderr).unwrap();
    assert!(
        log.starts_with("wsgi-fpm: error: the program is missing beside "),
        "{log}"
    );
    assert_eq!(log.lines().count(), 1, "{log}");
}

#[test]
fn sdist_has_what_it_takes_to_build() {
    let name = fs::read_dir(crate::release::directory()).unwrap().flatten();
    let name = name
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("/wsgi_fpm-") && path.extension().is_some_and(|end| end == "gz"));
    let mut tar = Command::new("tar");
    let listed = tar.arg("--list").arg("--file").arg(name.expect("an sdist")).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    for path in [
        "PKG-INFO",
        "pyproject.toml",
        "python/backend.py",
        "Cargo.lock",
        "crates/engine/Cargo.toml",
    ] {
        let found = listed.lines().any(|line| line.ends_with(&format!("/{path}")));
        assert!(found, "{path}");
    }
}
