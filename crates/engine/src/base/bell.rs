//! Wakes the watchdog.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use contract::own::{Own, OwnFd};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::base::lost;

pub struct Bell {
    fd: OwnFd,
    asleep: AtomicBool,
}

impl Bell {
    /// # Errors
    /// The system's, if it has no eventfd.
    pub fn new() -> std::io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            fd: Own::new(fd),
            asleep: AtomicBool::new(false),
        })
    }

    /// Called for every piece of work: a load, unless the watchdog sleeps without a limit, because nothing was there to watch.
    pub fn ring_if_asleep(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::AcqRel) {
            self.ring();
        }
    }

    /// It is to look now.
    pub fn ring(&self) {
        // Its counter can't overflow.
        if let Err(error @ Errno::BADF) = rustix::io::write(&self.fd, &1u64.to_ne_bytes()) {
            lost::give_up("what wakes the watchdog", error);
        }
    }

    /// It is about to sleep for as long as nobody rings.
    pub fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// It is awake: nobody need ring.
    pub fn wake_up(&self) {
        self.asleep.store(false, Ordering::Release);
        let mut counter = [0; 8];
        // EAGAIN: nobody rang.
        let _ = rustix::io::read(&self.fd, &mut counter);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
