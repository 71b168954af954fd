//! Program and engine as files: what they need of the system, and how large they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::release::{debug, engine, program};

/// The C library of Debian 10.
const NEWEST_GLIBC: (u32, u32) = (2, 28);
const LARGEST: u64 = 9 << 20;

fn readelf(options: &[&str], file: &Path) -> String {
    let output = Command::new("readelf")
        .args(options)
        .arg(file)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {output:?}", file.display());
    String::from_utf8(output.stdout).unwrap()
}

/// Of `Name: GLIBC_2.28  Flags: none  Version: 5`.
fn needed_versions(file: &Path) -> Vec<String> {
    let text = readelf(&["--version-info", "--wide"], file);
    let (_, needs) = text
        .split_once("Version needs section")
        .expect("versions that it needs");
    let names = needs.lines().filter_map(|line| line.split_once("Name: "));
    names
        .map(|(_, rest)| rest.split_whitespace().next().unwrap().to_owned())
        .collect()
}

#[test]
fn no_symbol_is_newer_than_the_oldest_c_library_that_is_promised() {
    for file in [program(), engine()] {
        let versions = needed_versions(&file);
        let glibc: Vec<_> = versions
            .iter()
            .filter_map(|version| version.strip_prefix("GLIBC_"))
            .collect();
        assert!(!glibc.is_empty(), "{versions:?}");
        for version in glibc {
            let mut numbers = version.split('.').map(|number| number.parse::<u32>().expect(version));
            let version = (numbers.next().unwrap(), numbers.next().unwrap());
            assert!(
                version <= NEWEST_GLIBC,
                "{}: {version:?} of {versions:?}",
                file.display()
            );
        }
    }
}

#[test]
fn nothing_is_needed_but_the_c_library() {
    for file in [program(), engine()] {
        let text = readelf(&["--dynamic", "--wide"], &file);
        let needed = text.lines().filter(|line| line.contains("(NEEDED)"));
        for line in needed {
            let (_, name) = line.split_once('[').unwrap();
            let name = name.trim_end_matches(']');
            let known = [
                "libc.so",
                "libm.so",
                "libdl.so",
                "libpthread.so",
                "librt.so",
                "libutil.so",
                "libgcc_s.so",
                "ld-linux",
            ];
            assert!(
                known.iter().any(|known| name.starts_with(known)),
                "{}: {name}",
                file.display()
            );
        }
        assert!(!text.contains("RUNPATH") && !text.contains("RPATH"), "{text}");
    }
}

/// A thread that Python ends while it waits for the GIL is unwound by libgcc_s, through frames of the engine: another unwinder within
/// the engine would take what that hands out for its own.
#[test]
fn engine_is_unwound_by_the_unwinder_of_the_process() {
    let text = readelf(&["--dynamic", "--wide"], &engine());
    assert!(text.contains("[libgcc_s.so.1]"), "{text}");
}

#[test]
fn one_file_is_small() {
    let size = fs::metadata(program()).unwrap().len();
    assert!(size <= LARGEST, "{size} bytes");
}

/// gdb finds them below `/usr/lib/debug` by these paths.
#[test]
fn what_only_a_debugger_needs_is_in_files_of_its_own() {
    for file in [program(), engine()] {
        let sections = readelf(&["--sections", "--wide"], &file);
        assert!(
            !sections.contains(".debug_line") && !sections.contains(".symtab"),
            "{sections}"
        );
        let notes = readelf(&["--notes"], &file);
        let (_, id) = notes.split_once("Build ID: ").expect("a build id");
        let id = id.lines().next().unwrap().trim();
        let path = debug()
            .join(".build-id")
            .join(&id[..2])
            .join(format!("{}.debug", &id[2..]));
        let sections = readelf(&["--sections", "--wide"], &path);
        assert!(
            sections.contains(".debug_line") && sections.contains(".symtab"),
            "{sections}"
        );
        assert!(readelf(&["--notes"], &path).contains(id));
    }
}

/// Paths of the machine that has built it are of no use to anybody, and differ.
#[test]
fn no_path_of_the_machine_that_has_built_it_stands_in_it() {
    let here = env!("CARGO_MANIFEST_DIR");
    let home = std::env::var("HOME").unwrap();
    for file in [program(), engine()] {
        let bytes = fs::read(&file).unwrap();
        for path in [here, &format!("{home}/.cargo")] {
            let found = bytes.windows(path.len()).any(|window| window == path.as_bytes());
            assert!(!found, "{path} in {}", file.display());
        }
    }
}
