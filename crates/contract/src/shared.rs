//! Memory that processes share: one structure in front and any number of others behind it, all of atomics.

use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::memory;

/// What can stand in shared memory, where others change it at any time.
///
/// # Safety
/// It consists of atomics alone, and all bits zero are a value.
pub unsafe trait Shared: Sync {}

// SAFETY: an atomic.
unsafe impl Shared for AtomicI32 {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicU32 {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicU64 {}
// SAFETY: as its elements.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

/// Declares a structure of such fields, on cache lines of its own.
macro_rules! shared {
    ($(#[$about:meta])* $visible:vis struct $name:ident { $($(#[$of_field:meta])* $seen:vis $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[repr(C, align(64))]
        $visible struct $name {
            $($(#[$of_field])* $seen $field: $type,)*
        }

        const _: () = {
            const fn is_shared<T: $crate::shared::Shared>() {}
            $(is_shared::<$type>();)*
        };

        // SAFETY: as its fields, each of which is Shared.
        unsafe impl $crate::shared::Shared for $name {}
    };
}
pub(crate) use shared;

/// Keep a memory as long as it is.
const LENGTH: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// The mapping of one `F` and, behind it, any number of `S`.
pub struct Mapping<F, S> {
    memory: NonNull<c_void>,
    slots: usize,
    holds: PhantomData<(F, S)>,
}

// SAFETY: the memory is only reachable as what is Shared.
unsafe impl<F: Shared, S: Shared> Send for Mapping<F, S> {}
// SAFETY: as above.
unsafe impl<F: Shared, S: Shared> Sync for Mapping<F, S> {}

impl<F: Shared, S: Shared> Mapping<F, S> {
    /// What stands in front keeps what stands behind it aligned.
    const IS_ALIGNED: () = assert!(size_of::<F>().is_multiple_of(align_of::<S>()) && align_of::<S>() <= 4096);

    /// Bytes of a memory with so many `slots`.
    pub const fn length(slots: usize) -> usize {
        size_of::<F>() + slots * size_of::<S>()
    }

    /// Makes the memory, all zero, for so many `slots`; the descriptor is for [`Mapping::map`]. `name` stands in `/proc`.
    ///
    /// # Errors
    /// The system's, if it has no memory or no memfd.
    pub fn create(name: &str, slots: usize) -> io::Result<OwnedFd> {
        let fd = memory::file(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, Self::length(slots) as u64)?;
        // An application that truncates files it knows nothing of would end all who have it mapped.
        fcntl_add_seals(&fd, LENGTH | SealFlags::SEAL)?;
        Ok(fd)
    }

    /// Maps what [`Mapping::create`] made. The mapping outlives `fd` and is inherited by forks.
    ///
    /// # Errors
    /// The system's; `InvalidData` for a memory that is too short, or could become shorter.
    pub fn map(fd: impl AsFd) -> io::Result<Self> {
        let () = Self::IS_ALIGNED;
        let sealed = fcntl_get_seals(&fd)?;
        if !sealed.contains(LENGTH) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let length = fstat(&fd)?.st_size as usize;
        let slots = length.checked_sub(size_of::<F>()).ok_or(io::ErrorKind::InvalidData)? / size_of::<S>();
        // SAFETY: a new shared mapping at an address that the kernel chooses aliases nothing of this process; zeroed
        // memory is a valid F and a valid S, and the memfd is sealed against being truncated, as was seen, so no access faults.
        let memory = unsafe {
            mmap(
                std::ptr::null_mut(),
                Self::length(slots),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &fd,
                0,
            )?
        };
        let memory = NonNull::new(memory).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            memory,
            slots,
            holds: PhantomData,
        })
    }

    #[inline]
    pub fn front(&self) -> &F {
        // SAFETY: the mapping is page-aligned, begins with an F, which is Shared, and lives as long as `self`.
        unsafe { self.memory.cast::<F>().as_ref() }
    }

    #[inline]
    pub fn slots(&self) -> &[S] {
        // SAFETY: the mapping is page-aligned, holds an F, whose size keeps what follows aligned, and behind it `slots` of S,
        // which is Shared, and lives as long as `self`.
        unsafe {
            let first = self.memory.byte_add(size_of::<F>()).cast::<S>();
            std::slice::from_raw_parts(first.as_ptr(), self.slots)
        }
    }
}

impl<F, S> Drop for Mapping<F, S> {
    fn drop(&mut self) {
        let length = size_of::<F>() + self.slots * size_of::<S>();
        // SAFETY: `memory` came from mmap with this length, and no reference outlives `self`. Nothing is left to do should
        // the kernel refuse.
        let _ = unsafe { munmap(self.memory.as_ptr(), length) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    shared! {
        struct Front {
            number: AtomicU32,
        }
    }

    shared! {
        struct Slot {
            words: [AtomicU64; 3],
        }
    }

    type Board = Mapping<Front, Slot>;

    #[test]
    fn memory_begins_with_zeros_and_is_the_same_through_every_mapping() {
        let fd = Board::create("wsgi-fpm-test", 2).unwrap();
        let (one, other) = (Board::map(&fd).unwrap(), Board::map(&fd).unwrap());
        assert_eq!((other.slots().len(), other.slots()[1].words[2].load(Relaxed)), (2, 0));
        one.front().number.store(7, Relaxed);
        one.slots()[1].words[2].store(8, Relaxed);
        assert_eq!(other.front().number.load(Relaxed), 7);
        assert_eq!(
            other.slots()[1].words.each_ref().map(|word| word.load(Relaxed)),
            [0, 0, 8]
        );
        assert_eq!(other.slots()[0].words[0].load(Relaxed), 0);
    }

    #[test]
    fn memory_stays_as_long_as_it_is_whoever_has_it() {
        let fd = Board::create("wsgi-fpm-test", 2).unwrap();
        for length in [0, 4096 * 4096] {
            assert_eq!(ftruncate(&fd, length), Err(rustix::io::Errno::PERM));
        }
    }

    #[test]
    fn memory_too_short_for_its_front_is_refused() {
        let empty = memory::file("empty", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        fcntl_add_seals(&empty, LENGTH).unwrap();
        let error = Board::map(&empty).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn memory_that_could_become_shorter_is_refused() {
        let fd = memory::file("open", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&fd, Board::length(2) as u64).unwrap();
        for seals in [SealFlags::GROW, SealFlags::SHRINK] {
            let error = Board::map(&fd).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            fcntl_add_seals(&fd, seals).unwrap();
        }
        Board::map(&fd).unwrap();
    }
}
