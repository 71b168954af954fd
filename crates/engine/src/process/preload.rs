//! Whether the application, loaded in the leader, can be shared with workers by forking.
//!
//! Threads don't survive a fork and descriptors are shared after it: an application that has any when it is loaded must
//! be imported by each worker itself. Everything that the import has added counts, whoever added it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use contract::log::escape;
use pyo3::prelude::*;

use crate::base::ffi;

/// What the process had before the import.
pub struct Audit {
    fds: BTreeMap<String, PathBuf>,
}

/// O_APPEND in fdinfo's octal flags: writers of a log don't disturb one another.
const APPEND: u32 = 0o2000;
const ACCESS_MODE: u32 = 0o3;
const READ_ONLY: u32 = 0o0;

impl Audit {
    pub fn begin() -> Self {
        Self { fds: descriptors() }
    }

    /// Why the application can't be shared, if it can't.
    pub fn objection(&self, py: Python<'_>) -> Option<String> {
        self.new_descriptor().or_else(|| new_thread(py)).or_else(child_process)
    }

    fn new_descriptor(&self) -> Option<String> {
        let (number, target) = descriptors()
            .into_iter()
            .find(|(number, target)| self.fds.get(number) != Some(target) && !is_harmless(number, target))?;
        Some(format!(
            "it has opened {} (descriptor {number}) while it was imported",
            target.display()
        ))
    }
}

fn descriptors() -> BTreeMap<String, PathBuf> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            // The directory being read has a descriptor itself; it is gone when its link is read.
            let target = fs::read_link(entry.path()).ok()?;
            let is_listing = target.starts_with("/proc") && target.ends_with("fd");
            (!is_listing).then(|| (entry.file_name().to_string_lossy().into_owned(), target))
        })
        .collect()
}

fn is_harmless(number: &str, target: &std::path::Path) -> bool {
    if target.starts_with("/dev/null") || target.starts_with("/dev/urandom") || target.starts_with("/dev/random") {
        return true;
    }
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & APPEND != 0 || flags & ACCESS_MODE == READ_ONLY && is_library(target))
}

/// Whether code of this file is in use. libffi, which ctypes loads, keeps a descriptor of its own file since 3.5, to map more of it.
fn is_library(file: &std::path::Path) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let file = file.to_string_lossy();
    maps.lines()
        .any(|line| line.ends_with(&*file) && line.split(' ').nth(1).is_some_and(|rights| rights.contains('x')))
}

fn new_thread(py: Python<'_>) -> Option<String> {
    let found = other_threads().into_iter().next()?;
    // In doubt it is not Python's: the application may have replaced the module.
    if let Ok(Some(name)) = python_thread(py) {
        return Some(format!(
            "it has started a thread ({}) while it was imported",
            escape(&name)
        ));
    }
    // Some libraries end their threads before each fork and make them anew when they need them: numpy's OpenBLAS does. What
    // is gone after a fork does no harm.
    if ffi::fork_for_nothing().is_ok() && other_threads().is_empty() {
        return None;
    }
    let own = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    let name = match found == own.trim() {
        true => String::new(),
        false => format!(" ({})", escape(&found)),
    };
    Some(format!(
        "it has started a thread{name} in native code while it was imported"
    ))
}

/// Names of all threads but this one, as the system knows them: a thread without one of its own has the process's.
fn other_threads() -> Vec<String> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let own = std::process::id().to_string();
    tasks
        .flatten()
        .filter(|task| task.file_name().to_string_lossy() != own)
        .map(|task| {
            fs::read_to_string(task.path().join("comm"))
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
        .collect()
}

/// The name of the first thread that Python knows, besides this one.
fn python_thread(py: Python<'_>) -> PyResult<Option<String>> {
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?;
    for thread in threading.call_method0("enumerate")?.try_iter()? {
        let thread = thread?;
        if !thread.is(&main) {
            return Ok(Some(thread.getattr("name")?.extract()?));
        }
    }
    Ok(None)
}

fn child_process() -> Option<String> {
    let own = std::process::id();
    let children = fs::read_to_string(format!("/proc/self/task/{own}/children")).ok()?;
    let child = children.split_whitespace().next()?;
    Some(format!("it has started a process ({child}) while it was imported"))
}

/// Makes what was imported permanent: the collector never looks at it again, so that workers keep sharing its memory.
///
/// # Errors
/// Python's.
pub fn freeze(py: Python<'_>) -> PyResult<()> {
    let gc = py.import("gc")?;
    gc.call_method0("collect")?;
    gc.call_method0("freeze")?;
    Ok(())
}

/// In a worker that was forked with the application: random numbers must not be the same in all of them. Python takes
/// care of its own module.
///
/// # Errors
/// What numpy raises.
pub fn reseed(py: Python<'_>) -> PyResult<()> {
    let modules = py.import("sys")?.getattr("modules")?;
    if modules.contains("numpy.random")? {
        modules.get_item("numpy.random")?.call_method0("seed")?;
    }
    Ok(())
}
