//! The files in `dist/`, and what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where `make dist` puts everything.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist")
}

/// A file of `dist/` whose name ends like this.
#[track_caller]
pub fn file(end: &str) -> PathBuf {
    let found = fs::read_dir(directory()).ok().into_iter().flatten().flatten();
    let mut found = found
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(end));
    found
        .next()
        .unwrap_or_else(|| panic!("no dist/*{end}: run `make dist` first"))
}

/// The tarball and that of the debug files, unpacked below one directory.
fn unpacked() -> &'static Path {
    static UNPACKED: OnceLock<PathBuf> = OnceLock::new();
    UNPACKED.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dist");
        if place.exists() {
            fs::remove_dir_all(&place).unwrap();
        }
        for (name, end) in [("root", "-linux.tar.gz"), ("debug", "-linux-debug.tar.gz")] {
            let into = place.join(name);
            fs::create_dir_all(&into).unwrap();
            let mut tar = Command::new("tar");
            tar.args(["--extract", "--strip-components=1", "--directory"])
                .arg(&into);
            assert!(tar.arg("--file").arg(file(end)).status().unwrap().success());
        }
        place
    })
}

/// What is unpacked into `/usr/local`.
pub fn root() -> PathBuf {
    unpacked().join("root")
}

/// What is unpacked into `/usr/lib/debug`.
pub fn debug() -> PathBuf {
    unpacked().join("debug")
}

/// Without the engine's file, which the tarball has beside it.
pub fn program() -> PathBuf {
    static ALONE: OnceLock<PathBuf> = OnceLock::new();
    let copy = || {
        let path = unpacked().join("alone/bin/wsgi-fpm");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(root().join("bin/wsgi-fpm"), &path).unwrap();
        path
    };
    ALONE.get_or_init(copy).clone()
}

/// The engine's file beside the program of an installation; there is one.
#[track_caller]
pub fn engine_beside(prefix: &Path) -> PathBuf {
    let files = fs::read_dir(prefix.join("lib/wsgi-fpm")).unwrap().flatten();
    let files: Vec<_> = files.map(|entry| entry.path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    file.clone()
}

/// The engine as it lies in the program: the second ELF file there.
pub fn engine() -> PathBuf {
    static ENGINE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let program = fs::read(program()).unwrap();
        let magic = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0";
        let at = program.windows(magic.len()).skip(1).position(|window| window == magic);
        let bytes = &program[at.expect("an engine in the program") + 1..];
        let path = unpacked().join("engine.so");
        fs::write(&path, bytes).unwrap();
        path
    };
    ENGINE.get_or_init(make).clone()
}

#[test]
fn release_has_program_configuration_and_licences_and_the_debug_files_apart() {
    for path in [
        "bin/wsgi-fpm",
        "share/wsgi-fpm/wsgi_fpm_params",
        "share/wsgi-fpm/systemd/example.service",
        "share/wsgi-fpm/apache/fcgid.conf",
        "share/man/man1/wsgi-fpm.1",
        "share/bash-completion/completions/wsgi-fpm",
        "share/doc/wsgi-fpm/LICENSE-MIT",
        "share/doc/wsgi-fpm/LICENSES-OF-DEPENDENCIES",
        "share/doc/wsgi-fpm/CHANGELOG.md",
    ] {
        assert!(root().join(path).is_file(), "{path}");
    }
    let listed = Command::new("tar")
        .arg("--list")
        .args(["--verbose", "--numeric-owner"])
        .arg("--file")
        .arg(file("-linux.tar.gz"))
        .output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    assert!(
        listed.lines().all(|line| line.contains(" 0/0 ")),
        "everything is root's:\n{listed}"
    );
    assert!(!listed.contains("debug"), "{listed}");
}

#[test]
fn dependencies_are_listed_with_their_licences() {
    let list = fs::read_to_string(root().join("share/doc/wsgi-fpm/LICENSES-OF-DEPENDENCIES")).unwrap();
    for said in ["\npyo3 0.", ": MIT OR Apache-2.0", "Permission is hereby granted"] {
        assert!(list.contains(said), "{said}");
    }
    assert!(!list.contains("\nproptest "), "what only tests need is in no release");
}

#[test]
fn checksums_name_every_file() {
    let sums = fs::read_to_string(directory().join("SHA256SUMS")).unwrap();
    let named: BTreeMap<_, _> = sums
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name, sum))
        .collect();
    let files = fs::read_dir(directory()).unwrap().flatten();
    let mut files: Vec<_> = files.map(|entry| entry.file_name().into_string().unwrap()).collect();
    files.retain(|name| name != "SHA256SUMS");
    files.sort();
    assert_eq!(named.keys().copied().collect::<Vec<_>>(), files);
    let check = Command::new("sha256sum")
        .args(["--check", "--quiet", "SHA256SUMS"])
        .current_dir(directory())
        .status();
    assert!(check.unwrap().success());
}
