//! Shared memory with one slot per thread: workers write what they do, the leader and the supervisor read it.
//!
//! The only way to know what a worker was doing when it was killed. Every field is an atomic and a reader may see a slot
//! half-way through a change of its request line: good for reports. Whether a request runs and since when is exact
//! (published with release, read with acquire), for time-outs depend on it.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

use rustix::fs::{MemfdFlags, fstat, ftruncate};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::time::{ClockId, clock_gettime};

use crate::memory;

/// Words of a slot's request line: 192 bytes hold the method and most paths.
const LINE_WORDS: usize = 24;

/// What one thread does.
#[repr(C, align(64))]
pub struct Slot {
    /// The worker's pid; 0: nobody has this slot.
    pub pid: AtomicI32,
    /// 1 while a request runs.
    busy: AtomicU32,
    /// When the running request began: milliseconds of the coarse monotonic clock.
    since_ms: AtomicU64,
    /// Number of the running or last request among the thread's.
    serial: AtomicU64,
    /// Of the whole; what is kept may be shorter.
    line_length: AtomicU32,
    line: [AtomicU64; LINE_WORDS],
}

impl Slot {
    /// The request with this number begins. `method` and `path` are kept as far as there is room.
    pub fn begin(&self, now_ms: u64, serial: u64, method: &[u8], path: &[u8]) {
        let mut line = [0u8; LINE_WORDS * 8];
        let mut length = 0;
        for part in [method, b" ", path] {
            let n = part.len().min(line.len() - length);
            line[length..length + n].copy_from_slice(&part[..n]);
            length += n;
        }
        for (word, bytes) in self.line.iter().zip(line[..length.next_multiple_of(8)].chunks_exact(8)) {
            word.store(
                u64::from_ne_bytes(bytes.try_into().expect("chunks of eight bytes")),
                Relaxed,
            );
        }
        self.line_length.store((method.len() + 1 + path.len()) as u32, Relaxed);
        self.since_ms.store(now_ms, Relaxed);
        self.serial.store(serial, Relaxed);
        // After the start: a reader that sees the one must see the other.
        self.busy.store(1, Release);
    }

    pub fn end(&self) {
        self.busy.store(0, Relaxed);
    }

    /// The start of the running request in milliseconds of [`now_ms`]; `None` if the thread is idle.
    pub fn busy_since_ms(&self) -> Option<u64> {
        (self.busy.load(Acquire) == 1).then(|| self.since_ms.load(Relaxed))
    }

    /// Number of the running or last request; 0 if there was none.
    pub fn serial(&self) -> u64 {
        self.serial.load(Relaxed)
    }

    /// Method and path of the running or last request, escaped for a log; dots at the end if they were longer.
    pub fn request_line(&self) -> String {
        let mut bytes = Vec::with_capacity(LINE_WORDS * 8);
        for word in &self.line {
            bytes.extend_from_slice(&word.load(Relaxed).to_ne_bytes());
        }
        let length = self.line_length.load(Relaxed) as usize;
        let cut = if length > bytes.len() { "..." } else { "" };
        bytes.truncate(length);
        format!("{}{cut}", bytes.escape_ascii())
    }

    /// Gives the slot to a thread of the worker `pid` (0: to nobody).
    pub fn assign(&self, pid: i32) {
        self.busy.store(0, Relaxed);
        self.serial.store(0, Relaxed);
        self.pid.store(pid, Relaxed);
    }
}

/// Milliseconds of the coarse monotonic clock: 1 to 4 ms resolution, a few nanoseconds to read.
pub fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// What stands before the slots.
#[repr(C, align(64))]
struct Front {
    told: AtomicU32,
}

/// The mapping of one pool's slots: worker after worker, thread after thread.
pub struct Scoreboard {
    memory: NonNull<c_void>,
    slots: usize,
}

// SAFETY: the memory is only reachable as slots of atomics.
unsafe impl Send for Scoreboard {}
// SAFETY: as above.
unsafe impl Sync for Scoreboard {}

impl Scoreboard {
    /// Makes the memory for `slots` slots; the descriptor is for [`Scoreboard::map`] and for a leader.
    ///
    /// # Errors
    /// The system's, if it has no memory or no memfd.
    pub fn create(slots: usize) -> io::Result<OwnedFd> {
        let fd = memory::file("wsgi-fpm-scoreboard", MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, (size_of::<Front>() + slots * size_of::<Slot>()) as u64)?;
        Ok(fd)
    }

    /// Maps what [`Scoreboard::create`] made. The mapping outlives `fd` and is inherited by forks.
    ///
    /// # Errors
    /// The system's, if `fd` can't be mapped.
    pub fn map(fd: impl AsFd) -> io::Result<Self> {
        let length = fstat(&fd)?.st_size as usize;
        let slots = length
            .checked_sub(size_of::<Front>())
            .ok_or(io::ErrorKind::InvalidData)?
            / size_of::<Slot>();
        // SAFETY: a new shared mapping at an address that the kernel chooses aliases nothing of this process; zeroed
        // memory is a valid Front and a valid Slot, and the memfd is never truncated, so no access faults.
        let memory = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &fd,
                0,
            )?
        };
        let memory = NonNull::new(memory).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { memory, slots })
    }

    pub fn slots(&self) -> &[Slot] {
        // SAFETY: the mapping is page-aligned, holds a Front and behind it `slots` slots of atomics, which Front's size
        // keeps aligned, and lives as long as `self`.
        unsafe {
            let first = self.memory.byte_add(size_of::<Front>()).cast::<Slot>();
            std::slice::from_raw_parts(first.as_ptr(), self.slots)
        }
    }

    /// Bits for what is logged once for an application, whichever thread of whichever worker sees it first.
    pub fn told(&self) -> &AtomicU32 {
        // SAFETY: the mapping is page-aligned, begins with a Front, which is atomic, and lives as long as `self`.
        unsafe { &self.memory.cast::<Front>().as_ref().told }
    }
}

impl Drop for Scoreboard {
    fn drop(&mut self) {
        // SAFETY: `memory` came from mmap with this length, and no slot outlives `self`. Nothing is left to do should
        // the kernel refuse.
        let _ = unsafe {
            munmap(
                self.memory.as_ptr(),
                size_of::<Front>() + self.slots * size_of::<Slot>(),
            )
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tests::{in_a_process, is_in_a_process};

    #[test]
    fn slots_written_through_one_mapping_are_read_through_another() {
        let fd = Scoreboard::create(3).unwrap();
        let (worker, leader) = (Scoreboard::map(&fd).unwrap(), Scoreboard::map(&fd).unwrap());
        assert_eq!(leader.slots().len(), 3);
        worker.slots()[1].assign(42);
        worker.slots()[1].begin(1234, 7, b"GET", b"/caf\xc3\xa9\n");
        let seen = &leader.slots()[1];
        assert_eq!((seen.pid.load(Relaxed), seen.busy_since_ms()), (42, Some(1234)));
        assert_eq!(
            (seen.serial(), seen.request_line().as_str()),
            (7, r"GET /caf\xc3\xa9\n")
        );
        worker.slots()[1].end();
        assert_eq!(seen.busy_since_ms(), None);
    }

    #[test]
    fn what_was_told_is_known_to_all_and_stands_apart_from_the_slots() {
        let fd = Scoreboard::create(1).unwrap();
        let (one, other) = (Scoreboard::map(&fd).unwrap(), Scoreboard::map(&fd).unwrap());
        one.told().store(u32::MAX, Relaxed);
        assert_eq!(other.told().load(Relaxed), u32::MAX);
        assert_eq!((other.slots().len(), other.slots()[0].pid.load(Relaxed)), (1, 0));
    }

    #[test]
    fn slot_of_another_thread_knows_nothing_of_the_one_before() {
        let scoreboard = Scoreboard::map(Scoreboard::create(1).unwrap()).unwrap();
        let slot = &scoreboard.slots()[0];
        slot.begin(1234, 7, b"GET", b"/");
        slot.assign(43);
        assert_eq!(
            (slot.pid.load(Relaxed), slot.busy_since_ms(), slot.serial()),
            (43, None, 0)
        );
    }

    #[test]
    fn clock_of_the_slots_is_the_monotonic_one_in_milliseconds() {
        let exact_ms = || {
            let now = clock_gettime(ClockId::Monotonic);
            Duration::new(now.tv_sec as u64, now.tv_nsec as u32).as_millis() as u64
        };
        for _ in 0..10 {
            let (before, now, after) = (exact_ms(), now_ms(), exact_ms());
            assert!(before - 20 <= now && now <= after, "{before} {now} {after}");
            // At other parts of a second.
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    #[test]
    fn memory_is_given_back_to_its_last_page() {
        if !is_in_a_process() {
            in_a_process("scoreboard::tests::memory_is_given_back_to_its_last_page", &[]);
            return;
        }
        let mapped = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().filter(|line| line.contains("wsgi-fpm-scoreboard")).count()
        };
        // One page of slots, so that what stands before them takes another.
        let scoreboard = Scoreboard::map(Scoreboard::create(4096 / size_of::<Slot>()).unwrap()).unwrap();
        assert_eq!(mapped(), 1);
        drop(scoreboard);
        assert_eq!(mapped(), 0);
    }

    #[test]
    fn memory_too_short_for_any_slot_is_refused() {
        let empty = memory::file("empty", MemfdFlags::CLOEXEC).unwrap();
        let error = Scoreboard::map(&empty).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn request_line_of_the_slots_size_is_whole() {
        let scoreboard = Scoreboard::map(Scoreboard::create(1).unwrap()).unwrap();
        let path = format!("/{}", "x".repeat(187));
        scoreboard.slots()[0].begin(0, 1, b"GET", path.as_bytes());
        assert_eq!(scoreboard.slots()[0].request_line(), format!("GET {path}"));
        scoreboard.slots()[0].begin(0, 1, b"HEAD", path.as_bytes());
        let cut = &path[..path.len() - 1];
        assert_eq!(scoreboard.slots()[0].request_line(), format!("HEAD {cut}..."));
    }

    #[test]
    fn request_line_over_the_slots_size_is_cut_and_marked() {
        let scoreboard = Scoreboard::map(Scoreboard::create(1).unwrap()).unwrap();
        scoreboard.slots()[0].begin(0, 1, b"POST", &[b'x'; 1000]);
        let line = scoreboard.slots()[0].request_line();
        assert!(line.len() == LINE_WORDS * 8 + 3 && line.ends_with("xxx..."), "{line}");
        scoreboard.slots()[0].begin(0, 2, b"GET", b"/");
        assert_eq!(scoreboard.slots()[0].request_line(), "GET /");
    }
}
