//! Descriptors that whoever started this program has left open for it: by number (`--listen fd:3`), or with a name; and those that
//! the program whose place this one takes has passed on.
//!
//! `unsafe` for one operation, naming a descriptor by its number, which the standard library has no safe way for.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::own::{Own, OwnFd};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The number of the first that a service manager passes; the others follow it.
const FIRST: RawFd = 3;

/// A copy of descriptor `fd` that is not inherited further; the original is not inherited either (SPEC F8).
///
/// # Errors
/// EBADF if nothing was left open under that number.
pub fn take(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: nothing is read, written or closed through the borrow, which ends before this function does. A number that is not
    // open makes the calls fail with EBADF and nothing else. One that is this program's own, be it closed by another thread
    // meanwhile, is copied, and its owner keeps it. -1, the one value that is not allowed, can't be typed (`settings::values::Address`).
    let named = unsafe { BorrowedFd::borrow_raw(fd) };
    let copy = fcntl_dupfd_cloexec(named, 3)?;
    fcntl_setfd(named, FdFlags::CLOEXEC)?;
    Ok(copy)
}

/// Those that a service manager has passed to this process under names that begin with `prefix`, with the rest of their names.
/// They are this program's own from now on, and not inherited further. To be asked before anything is opened; the second
/// time there are none. The others stay open, to be had by their numbers or names.
pub fn kept(prefix: &str) -> Vec<(String, OwnedFd)> {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) || ASKED.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let passed = number("LISTEN_FDS").unwrap_or(0);
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut kept = Vec::new();
    for (fd, name) in (FIRST..).zip(names.split(':')).take(passed as usize) {
        let Some(descriptor) = own(fd) else { continue };
        match name.strip_prefix(prefix) {
            Some(rest) => kept.push((rest.to_owned(), descriptor)),
            None => given().push((name.to_owned(), Arc::new(Own::new(descriptor)))),
        }
    }
    kept
}

/// What a service manager has passed from its socket units, with their names, as long as the program runs.
static GIVEN: Mutex<Vec<(String, Arc<OwnFd>)>> = Mutex::new(Vec::new());

fn given() -> MutexGuard<'static, Vec<(String, Arc<OwnFd>)>> {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies of those that have this name, in the order in which they were passed.
///
/// # Errors
/// No descriptor is left.
pub fn named(wanted: &str) -> io::Result<Vec<OwnedFd>> {
    let given = given();
    let those = given.iter().filter(|(name, _)| name == wanted);
    those
        .map(|(_, descriptor)| Ok(fcntl_dupfd_cloexec(&**descriptor, FIRST)?))
        .collect()
}

/// The names that there are, each once.
pub fn names() -> Vec<String> {
    let names: BTreeSet<_> = given().iter().map(|(name, _)| name.clone()).collect();
    names.into_iter().collect()
}

/// A socket of a socket unit, for the program that takes this one's place.
#[derive(Debug, Serialize, Deserialize)]
pub struct Given {
    name: String,
    descriptor: Passed,
}

/// All of them.
pub fn all_given() -> Vec<Given> {
    let given = given();
    let passed = given.iter().map(|(name, descriptor)| Given {
        name: name.clone(),
        descriptor: Passed::shared(Arc::clone(descriptor)),
    });
    passed.collect()
}

/// The same in the program that has taken the place. They have kept their numbers.
///
/// # Errors
/// One of them was not passed.
pub fn take_given(all: Vec<Given>) -> io::Result<()> {
    for Given { name, descriptor } in all {
        let descriptor = Arc::new(Own::new(descriptor.take()?));
        given().push((name, descriptor));
    }
    Ok(())
}

/// `None` if it is not open.
fn own(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: `fd` is 3 or higher. If it is not open, the call fails with EBADF and nothing else.
    fcntl_setfd(unsafe { BorrowedFd::borrow_raw(fd) }, FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is open, and nobody else's: the service manager, or the program that had this one's place, has made it for
    // this process, which had opened nothing when it noted the numbers, and each comes here once.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What was open when this program took another's place, and nobody has taken yet.
static LEFT: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Of these, what another program has passed on, as this one has read. The rest is somebody else's: whoever started the first
/// program may have left open what is to stay so.
static PASSED: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Notes what the program whose place this one has taken has left open. To be called before anything is opened.
///
/// # Errors
/// The system does not say what is open.
pub fn note() -> io::Result<()> {
    let mut open = BTreeSet::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    // One was open for looking.
    open.retain(|&fd| fd >= FIRST && is_open(fd));
    *left() = open;
    Ok(())
}

/// What was passed under this number; from now on it is this program's alone.
///
/// # Errors
/// `NotFound`: nothing was, or somebody has it already.
pub fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    let is_left = left().remove(&fd);
    is_left
        .then(|| own(fd))
        .flatten()
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Closes what was passed on and nobody has taken: it would stay open, and every program that this one starts would have it.
/// To be called when everybody has had a chance to take something, and before another program is started.
pub fn close_untaken() {
    for fd in std::mem::take(&mut *passed()) {
        // Who has taken it has it.
        drop(adopt(fd));
    }
}

fn left() -> MutexGuard<'static, BTreeSet<RawFd>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn passed() -> MutexGuard<'static, BTreeSet<RawFd>> {
    PASSED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: `fd` is 3 or higher; if it is not open, the call fails with EBADF and nothing else.
    fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).is_ok()
}

/// A descriptor that is passed on to the program that takes this one's place: in what that one reads a number stands for it.
#[derive(Debug)]
pub struct Passed {
    number: RawFd,
    /// `None` in the program that has read the number, until it takes what is behind it.
    descriptor: Option<Descriptor>,
}

#[derive(Debug)]
enum Descriptor {
    Duplicate(OwnedFd),
    Shared(Arc<OwnFd>),
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Duplicate(descriptor) => descriptor.as_fd(),
            Self::Shared(descriptor) => descriptor.as_fd(),
        }
    }
}

impl Passed {
    /// A duplicate.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn copy(of: impl AsFd) -> io::Result<Self> {
        let descriptor = fcntl_dupfd_cloexec(of, FIRST)?;
        Ok(Self {
            number: descriptor.as_raw_fd(),
            descriptor: Some(Descriptor::Duplicate(descriptor)),
        })
    }

    /// The very one, of which there may be too many for duplicates.
    pub fn shared(descriptor: Arc<OwnFd>) -> Self {
        Self {
            number: descriptor.as_fd().as_raw_fd(),
            descriptor: Some(Descriptor::Shared(descriptor)),
        }
    }

    /// What was passed.
    ///
    /// # Errors
    /// As [`adopt`].
    pub fn take(mut self) -> io::Result<OwnedFd> {
        match self.descriptor.take() {
            None => adopt(self.number),
            Some(Descriptor::Duplicate(descriptor)) => Ok(descriptor),
            Some(Descriptor::Shared(descriptor)) => Ok(fcntl_dupfd_cloexec(&*descriptor, FIRST)?),
        }
    }
}

/// Who is not replaced after all has what he had.
impl Drop for Passed {
    fn drop(&mut self) {
        if let Some(descriptor) = &self.descriptor {
            // It fails for what is not open.
            let _ = fcntl_setfd(descriptor, FdFlags::CLOEXEC);
        }
    }
}

/// What has been written stays open over exec.
impl Serialize for Passed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(descriptor) = &self.descriptor {
            fcntl_setfd(descriptor, FdFlags::empty()).map_err(serde::ser::Error::custom)?;
        }
        self.number.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = RawFd::deserialize(deserializer)?;
        passed().insert(number);
        Ok(Self {
            number,
            descriptor: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn descriptor_is_passed_as_a_number_that_stays_open_and_can_be_taken_once() {
        let (mut reader, writer) = io::pipe().unwrap();
        let passed = Passed::copy(&writer).unwrap();
        drop(writer);
        let flags = |passed: &Passed| fcntl_getfd(passed.descriptor.as_ref().unwrap()).unwrap();
        assert!(flags(&passed).contains(FdFlags::CLOEXEC));
        let text = serde_json::to_string(&passed).unwrap();
        assert!(!flags(&passed).contains(FdFlags::CLOEXEC));
        // As exec does it: nobody here has it any more.
        let number = passed.take().unwrap().into_raw_fd();
        assert_eq!(text, number.to_string());
        let read = |text: &str| serde_json::from_str::<Passed>(text).unwrap();
        assert_eq!(read(&text).take().unwrap_err().kind(), io::ErrorKind::NotFound);
        note().unwrap();
        let taken = read(&text).take().unwrap();
        assert!(fcntl_getfd(&taken).unwrap().contains(FdFlags::CLOEXEC));
        assert!(read(&text).take().is_err(), "somebody has it");
        std::fs::File::from(taken).write_all(b"x").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn what_is_shared_is_passed_itself_and_stays_with_who_is_not_replaced() {
        let (reader, _writer) = io::pipe().unwrap();
        let shared = Arc::new(Own::new(OwnedFd::from(reader)));
        let is_inherited = || !fcntl_getfd(&*shared).unwrap().contains(FdFlags::CLOEXEC);
        let passed = Passed::shared(Arc::clone(&shared));
        assert!(!is_inherited());
        let text = serde_json::to_string(&passed).unwrap();
        assert_eq!(text, shared.as_fd().as_raw_fd().to_string());
        assert!(is_inherited());
        drop(passed);
        assert!(!is_inherited());
    }
}
