//! Descriptors that are this process's own business: a child that the application forks must not keep them open, for at the
//! other end somebody waits for us to close them.
//!
//! An [`Own`] descriptor stands in a register for as long as it is open. Who handles forks reads the register in the child,
//! where nothing but atomics may be touched, and puts something harmless in place of each.

use std::io::{self, Read, Write};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Numbers below this can be registered. Higher ones need more open files than a process of this kind has memory for; they
/// are left to whoever closes them to say so to the peer first.
const NUMBERS: usize = 1 << 22;
const BITS: usize = u64::BITS as usize;

/// A bit for each number. Pages that are never written cost no memory.
static REGISTER: [AtomicU64; NUMBERS / BITS] = [const { AtomicU64::new(0) }; NUMBERS / BITS];
/// Words of the register that have ever been used.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Threads that have a descriptor which is not registered yet.
static MAKING: AtomicU32 = AtomicU32::new(0);
/// Threads that are about to fork.
static FORKING: AtomicU32 = AtomicU32::new(0);

/// A descriptor, or what holds one, that no child of the application gets.
#[derive(Debug)]
pub struct Own<T: AsFd> {
    // Dropped first: before the number can be somebody else's.
    registered: Registered,
    fd: T,
}

/// A number that stands in the register.
#[derive(Debug)]
struct Registered(RawFd);

pub type OwnFd = Own<OwnedFd>;

impl<T: AsFd> Own<T> {
    pub fn new(fd: T) -> Self {
        let number = fd.as_fd().as_raw_fd();
        keep_number(number);
        Self {
            registered: Registered(number),
            fd,
        }
    }

    /// It is nobody's in particular from now on: children get it.
    pub fn into_inner(self) -> T {
        drop(self.registered);
        self.fd
    }
}

impl OwnFd {
    /// # Errors
    /// The system's.
    pub fn try_clone(&self) -> io::Result<Self> {
        make(|| self.fd.try_clone().map(Self::new))
    }
}

impl Own<UnixStream> {
    /// # Errors
    /// The system's.
    pub fn try_clone(&self) -> io::Result<Self> {
        make(|| self.fd.try_clone().map(Self::new))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some((word, bit)) = place(self.0) {
            REGISTER[word].fetch_and(!bit, Ordering::SeqCst);
        }
    }
}

impl<T: AsFd> Deref for Own<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.fd
    }
}

impl<T: AsFd> DerefMut for Own<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.fd
    }
}

impl<T: AsFd> AsFd for Own<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<T: AsFd + Read> Read for Own<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fd.read(buffer)
    }
}

impl<T: AsFd + Write> Write for Own<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.fd.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.fd.flush()
    }
}

/// Registers a descriptor that stays open as long as the process lives.
pub fn keep(fd: impl AsFd) {
    keep_number(fd.as_fd().as_raw_fd());
}

/// The same for one that this process was started with.
pub fn keep_number(number: RawFd) {
    if let Some((word, bit)) = place(number) {
        REGISTER[word].fetch_or(bit, Ordering::SeqCst);
        USED.fetch_max(word + 1, Ordering::SeqCst);
    }
}

fn place(number: RawFd) -> Option<(usize, u64)> {
    let number = usize::try_from(number).ok().filter(|&number| number < NUMBERS)?;
    Some((number / BITS, 1 << (number % BITS)))
}

/// Runs `work`, which makes a descriptor and registers it; no fork comes in between. It must not wait for anything, nor call
/// this function.
pub fn make<R>(work: impl FnOnce() -> R) -> R {
    struct Making;
    impl Drop for Making {
        fn drop(&mut self) {
            MAKING.fetch_sub(1, Ordering::SeqCst);
        }
    }
    loop {
        MAKING.fetch_add(1, Ordering::SeqCst);
        let making = Making;
        if FORKING.load(Ordering::SeqCst) == 0 {
            let made = work();
            drop(making);
            return made;
        }
        drop(making);
        std::thread::yield_now();
    }
}

/// This thread is about to fork: returns when no descriptor is being made any more.
pub fn before_fork() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    while MAKING.load(Ordering::SeqCst) != 0 {
        std::thread::yield_now();
    }
}

/// It has forked, and goes on.
pub fn after_fork() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

/// The same in the child, which has none of the other threads.
pub fn after_fork_in_child() {
    FORKING.store(0, Ordering::SeqCst);
    MAKING.store(0, Ordering::SeqCst);
}

/// Empties the register: calls `each` for every number in it. Touches nothing but atomics.
pub fn take_all(mut each: impl FnMut(RawFd)) {
    for (index, word) in REGISTER.iter().enumerate().take(USED.load(Ordering::SeqCst)) {
        let mut bits = word.swap(0, Ordering::SeqCst);
        while bits != 0 {
            each((index * BITS) as RawFd + bits.trailing_zeros() as RawFd);
            bits &= bits - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::tests::{in_a_process, is_in_a_process};

    const MOMENT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    /// Does it in another thread, and says when it is done.
    fn doing(what: impl FnOnce() + Send + 'static) -> mpsc::Receiver<()> {
        let (done, wait) = mpsc::channel();
        thread::spawn(move || {
            what();
            let _ = done.send(());
        });
        wait
    }

    #[test]
    fn no_fork_comes_between_the_making_of_a_descriptor_and_its_registration() {
        if !is_in_a_process() {
            let this = "no_fork_comes_between_the_making_of_a_descriptor_and_its_registration";
            in_a_process(&format!("own::tests::{this}"), &[]);
            return;
        }
        let (begin, begun) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let made = doing(move || {
            make(|| {
                begin.send(()).unwrap();
                ended.recv().unwrap();
            });
        });
        begun.recv_timeout(LONG).unwrap();
        let forking = doing(before_fork);
        assert!(forking.recv_timeout(MOMENT).is_err(), "one is being made");
        end.send(()).unwrap();
        made.recv_timeout(LONG).unwrap();
        forking.recv_timeout(LONG).unwrap();
        let made = doing(|| make(|| ()));
        assert!(made.recv_timeout(MOMENT).is_err(), "somebody is about to fork");
        after_fork();
        made.recv_timeout(LONG).unwrap();
        // Somebody else was making one when this process was forked, and is not in it.
        doing(before_fork).recv_timeout(LONG).unwrap();
        MAKING.fetch_add(1, Ordering::SeqCst);
        after_fork_in_child();
        doing(|| make(|| ())).recv_timeout(LONG).unwrap();
        doing(before_fork).recv_timeout(LONG).unwrap();
    }

    #[test]
    fn what_is_ours_alone_is_read_and_written_as_what_it_is() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Own::new(one), Own::new(other));
        one.write_all(b"there and").unwrap();
        let mut read = [0; 9];
        other.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"there and");
        other.try_clone().unwrap().write_all(b" back").unwrap();
        drop(other);
        let mut read = String::new();
        one.read_to_string(&mut read).unwrap();
        assert_eq!(read, " back");
    }

    // One test: the register is the process's.
    #[test]
    fn descriptor_is_registered_while_it_is_open() {
        let open = || Own::new(OwnedFd::from(File::open("/dev/null").unwrap()));
        let (first, second) = (open(), open());
        let third = second.try_clone().unwrap();
        let kept = File::open("/dev/null").unwrap();
        keep(&kept);
        let high = Own::new(rustix::io::fcntl_dupfd_cloexec(&kept, 200).unwrap());
        let expected = [&first.as_fd(), &third.as_fd(), &kept.as_fd(), &high.as_fd()].map(AsRawFd::as_raw_fd);
        drop(second);
        let given_up = open().into_inner();
        let mut found = Vec::new();
        take_all(|number| found.push(number));
        assert!(expected.iter().all(|number| found.contains(number)), "{found:?}");
        assert!(!found.contains(&given_up.as_raw_fd()) && rustix::fs::fstat(&given_up).is_ok());
        // Other tests have descriptors, too.
        take_all(|number| assert!(!expected.contains(&number), "it was emptied"));
        assert_eq!(place(-1), None);
        assert_eq!(place(NUMBERS as RawFd), None);
        assert_eq!(place(NUMBERS as RawFd - 1), Some((NUMBERS / BITS - 1, 1 << 63)));
        drop((first, third));
    }
}
