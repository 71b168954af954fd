//! What `ps`, `top` and `/proc/PID/cmdline` show of a process: its part in the pool, in place of its command line.
//!
//! Linux shows the memory into which exec has copied the arguments, so that is where a title stands. What lies behind it,
//! the environment, is left alone: a title that does not fit is not set, for half of one would say less than the command
//! line. Children that are forked show their parent's title until they set one or exec.

use std::io;
use std::ptr;

use crate::process::Stat;

/// Shows `title` from now on. Failing to is no reason to stop: it is said at debug.
///
/// Whoever calls this has read the process's arguments: they are gone afterwards.
pub fn set(title: &str) {
    match try_set(title) {
        Ok(true) => {}
        Ok(false) => tracing::debug!(title, "the command line is too short for a title"),
        Err(error) => tracing::debug!(title, %error, "the title can't be set"),
    }
}

/// Whether there was room.
fn try_set(title: &str) -> io::Result<bool> {
    let (start, end) = Stat::own()?.arguments().ok_or(io::ErrorKind::InvalidData)?;
    let room = end - start;
    // The last byte stays NUL: without one Linux takes the environment for the rest of the title.
    if title.len() >= room {
        return Ok(false);
    }
    let area = ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: from `start` to `end` lies what the kernel has filled at exec and says to be the arguments: bytes at the upper
    // end of the main thread's stack, writable, never unmapped, and nobody's Rust object. libc's own pointers there are to C
    // strings, which they stay. std and Python copy arguments when asked for them, which is over (see `set`), and `title`
    // lies elsewhere, since a `&str` into this memory can't be had.
    unsafe {
        ptr::copy_nonoverlapping(title.as_ptr(), area, title.len());
        ptr::write_bytes(area.add(title.len()), 0, room - title.len());
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tests::{in_a_process, is_in_a_process};

    #[test]
    fn title_stands_in_place_of_the_command_line_and_leaves_the_environment_alone() {
        if !is_in_a_process() {
            let this = "title_stands_in_place_of_the_command_line_and_leaves_the_environment_alone";
            in_a_process(&format!("title::tests::{this}"), &[]);
            return;
        }
        let shown = || fs::read_to_string("/proc/self/cmdline").unwrap();
        let environment = fs::read("/proc/self/environ").unwrap();
        let before = shown();
        let room = before.len();
        // Its last byte is for the end.
        set(&"x".repeat(room));
        assert_eq!(shown(), before);
        for title in ["x".repeat(room - 1), "wsgi-fpm: worker".to_owned(), "w".to_owned()] {
            set(&title);
            assert_eq!(shown().trim_end_matches('\0'), title);
        }
        assert_eq!(fs::read("/proc/self/environ").unwrap(), environment);
    }

    #[test]
    fn title_without_room_is_not_set() {
        assert!(!try_set(&"x".repeat(1 << 20)).unwrap());
    }
}
