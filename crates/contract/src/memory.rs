//! Files in memory that this program makes: none of them is ever a program.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

/// A file in memory, for reading and writing. `name` stands in `/proc`.
///
/// # Errors
/// The system's, if it has no memory or no descriptor.
pub fn file(name: &str, flags: MemfdFlags) -> io::Result<OwnedFd> {
    // Said, for kernels that are told (`vm.memfd_noexec=2`) to make no other ones refuse who doesn't say so. A library can be
    // loaded from such a file all the same.
    let not_executable = memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL);
    match not_executable {
        // Linux before 6.3.
        Err(Errno::INVAL) => Ok(memfd_create(name, flags)?),
        made => Ok(made?),
    }
}
