//! Whether the application, loaded in the leader, can be shared with workers by forking.
//!
//! Threads don't survive a fork and descriptors are shared after it: an application that has any when it is loaded must
//! be imported by each worker itself. Everything that the import has added counts, whoever added it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use pyo3::prelude::*;

/// What the process had before the import.
pub struct Audit {
    fds: BTreeMap<String, PathBuf>,
}

/// O_APPEND in fdinfo's octal flags: writers of a log don't disturb one another.
const APPEND: u32 = 0o2000;

impl Audit {
    pub fn begin() -> Self {
        Self { fds: descriptors() }
    }

    /// Why the application can't be shared, if it can't.
    pub fn objection(&self) -> Option<String> {
        self.new_descriptor().or_else(new_thread).or_else(child_process)
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
        .is_some_and(|flags| flags & APPEND != 0)
}

fn new_thread() -> Option<String> {
    let tasks = fs::read_dir("/proc/self/task").ok()?.flatten();
    let own = std::process::id().to_string();
    let name = tasks
        .filter(|task| task.file_name().to_string_lossy() != own)
        .map(|task| {
            fs::read_to_string(task.path().join("comm"))
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
        .next()?;
    Some(format!("it has started a thread ({name}) while it was imported"))
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
