//! Whether the application, loaded in the leader, can be shared with workers by forking.
//!
//! Threads and timers don't survive a fork and descriptors are shared after it: an application that has any when it is loaded must
//! be imported by each worker itself. Everything that the import has added counts, whoever added it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use contract::log::escape;
use contract::process;
use pyo3::prelude::*;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, getpeername, getsockname};

use crate::base::ffi;

/// What the process had before the import.
pub struct Audit {
    fds: BTreeMap<String, PathBuf>,
}

/// Of what was found so much is named: a pool of threads may have hundreds.
const MOST_NAMED: usize = 8;
/// O_APPEND in fdinfo's octal flags: writers of a log don't disturb one another.
const APPEND: u32 = 0o2000;
const ACCESS_MODE: u32 = 0o3;
const READ_ONLY: u32 = 0o0;

impl Audit {
    pub fn begin() -> Self {
        Self { fds: descriptors() }
    }

    /// Why the application can't be shared, if it can't: everything that was found.
    pub fn objection(&self, py: Python<'_>) -> Option<String> {
        let mut found = self.new_descriptors();
        found.extend(new_threads(py));
        found.extend(timers(py));
        found.extend(child_process());
        let more = found.len().saturating_sub(MOST_NAMED);
        found.truncate(MOST_NAMED);
        if more > 0 {
            found.push(format!("and {more} more like this"));
        }
        (!found.is_empty()).then(|| found.join("; "))
    }

    fn new_descriptors(&self) -> Vec<String> {
        descriptors()
            .into_iter()
            .filter(|(number, target)| self.fds.get(number) != Some(target) && !is_harmless(number, target))
            .map(|(number, target)| {
                let what = describe(&number, &target);
                format!("it has opened {what} (descriptor {number}) while it was imported")
            })
            .collect()
    }
}

/// What a descriptor is, as an administrator knows it.
fn describe(number: &str, target: &Path) -> String {
    let text = target.to_string_lossy();
    if text.starts_with("socket:") {
        return socket(number).unwrap_or_else(|| "a socket".to_owned());
    }
    match &*text {
        "anon_inode:[eventpoll]" => "an epoll set (an event loop's, mostly)".to_owned(),
        text if text.starts_with("pipe:") => "a pipe".to_owned(),
        text => escape(text),
    }
}

/// A socket by its addresses; `None` if it is none of those that have any.
fn socket(number: &str) -> Option<String> {
    let fd = ffi::duplicate_fd(number.parse().ok()?).ok()?;
    let own = address(getsockname(&fd).ok()?);
    let peer = getpeername(&fd).ok().flatten().and_then(address);
    Some(match (own, peer) {
        (_, Some(peer)) => format!("a socket that is connected to {peer}"),
        (Some(own), None) => format!("a socket at {own}"),
        (None, None) => return None,
    })
}

fn address(address: SocketAddrAny) -> Option<String> {
    match address.address_family() {
        AddressFamily::UNIX => {
            let address = SocketAddrUnix::try_from(address).ok()?;
            let path = address.path()?;
            Some(format!("unix:{}", escape(&path.to_string_lossy())))
        }
        // Where nothing is bound yet there is nothing to be said.
        _ => SocketAddr::try_from(address)
            .ok()
            .filter(|address| address.port() != 0)
            .map(|address| address.to_string()),
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

fn is_harmless(number: &str, target: &Path) -> bool {
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
fn is_library(file: &Path) -> bool {
    let maps = process::text("/proc/self/maps").unwrap_or_default();
    let file = file.to_string_lossy();
    maps.lines()
        .any(|line| line.ends_with(&*file) && line.split(' ').nth(1).is_some_and(|rights| rights.contains('x')))
}

fn new_threads(py: Python<'_>) -> Vec<String> {
    let mut found = other_threads();
    if found.is_empty() {
        return Vec::new();
    }
    // In doubt none is Python's: the application may have replaced the module.
    let python = python_threads(py).unwrap_or_default();
    // Some libraries end their threads before each fork and make them anew when they need them: OpenBLAS does, which numpy and
    // scipy bring. What is gone after a fork does no harm.
    if python.is_empty() && ffi::fork_for_nothing().is_ok() {
        found = other_threads();
    }
    let own = process::text("/proc/self/comm").unwrap_or_default();
    // A pool's threads have one name.
    let mut named = BTreeMap::new();
    for (number, name) in found {
        let what = match python.get(&number) {
            Some(name) => format!("it has started a thread ({}) while it was imported", escape(name)),
            None if name == own.trim() => "it has started a thread in native code while it was imported".to_owned(),
            None => format!(
                "it has started a thread ({}) in native code while it was imported",
                escape(&name)
            ),
        };
        *named.entry((python.contains_key(&number), what)).or_insert(0) += 1;
    }
    let (times, hint) = (
        |n| if n > 1 { format!(" ({n} times)") } else { String::new() },
        native_hint(),
    );
    named
        .into_iter()
        .map(|((is_python, what), n)| match is_python {
            true => what + &times(n),
            false => what + &times(n) + &hint,
        })
        .collect()
}

/// All threads but this one, by number, with their names as the system knows them: a thread without one of its own has the process's.
fn other_threads() -> BTreeMap<u64, String> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return BTreeMap::new();
    };
    let own = u64::from(std::process::id());
    tasks
        .flatten()
        .filter_map(|task| {
            let number = task.file_name().to_string_lossy().parse().ok()?;
            // One that is gone by now does no harm.
            let name = process::text(task.path().join("comm")).ok()?;
            (number != own).then(|| (number, name.trim().to_owned()))
        })
        .collect()
}

/// The threads that Python knows, besides this one: the system's number of each, and its name.
fn python_threads(py: Python<'_>) -> PyResult<BTreeMap<u64, String>> {
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?;
    let mut threads = BTreeMap::new();
    for thread in threading.call_method0("enumerate")?.try_iter()? {
        let thread = thread?;
        if let (false, Some(number)) = (thread.is(&main), thread.getattr("native_id")?.extract()?) {
            threads.insert(number, thread.getattr("name")?.extract()?);
        }
    }
    Ok(threads)
}

/// Libraries that compute with threads of their own, by a part of their files' names, and the variable that keeps each from it.
const POOLS: [(&str, &str); 6] = [
    ("openblas", "OPENBLAS_NUM_THREADS"),
    ("libmkl_", "MKL_NUM_THREADS"),
    ("libblis", "BLIS_NUM_THREADS"),
    ("libgomp", "OMP_NUM_THREADS"),
    ("libiomp", "OMP_NUM_THREADS"),
    ("libomp", "OMP_NUM_THREADS"),
];

/// How threads of native code can be kept away, if it is known.
fn native_hint() -> String {
    let maps = process::text("/proc/self/maps").unwrap_or_default();
    let files: BTreeSet<_> = maps.lines().filter_map(|line| line.rsplit('/').next()).collect();
    let variables: BTreeSet<_> = POOLS
        .iter()
        .filter(|(part, _)| files.iter().any(|file| file.contains(part)))
        .map(|(_, variable)| format!("{variable}=1"))
        .collect();
    match variables.is_empty() {
        true => String::new(),
        false => {
            let variables = Vec::from_iter(variables).join(" and ");
            format!(" ({variables} in its environment may keep its libraries from that)")
        }
    }
}

/// Timers don't survive a fork.
fn timers(py: Python<'_>) -> Vec<String> {
    let is_set = |which: &&str| {
        let asked = py.import("signal").and_then(|signal| {
            let which = signal.getattr(*which)?;
            signal.call_method1("getitimer", (which,))?.extract::<(f64, f64)>()
        });
        asked.is_ok_and(|(delay, _)| delay > 0.0)
    };
    let names = ["ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF"];
    let set = names.into_iter().filter(is_set);
    set.map(|name| format!("it has set a timer ({name}) while it was imported"))
        .collect()
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
