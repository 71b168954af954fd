//! What `ps`, `top` and `/proc/PID/cmdline` show of a process: its part in the pool, in place of its command line.
//!
//! Linux shows the memory into which exec has copied the arguments, so that is where a title stands. What lies behind it,
//! the environment, is left alone: a title that does not fit is not set, for half of one would say less than the command
//! line. Children that are forked show their parent's title until they set one or exec.

use std::fs;
use std::io;
use std::ptr;

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
    let stat = fs::read("/proc/self/stat")?;
    let (start, end) = arguments(&stat).ok_or(io::ErrorKind::InvalidData)?;
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

/// `arg_start` and `arg_end`, fields 48 and 49 of a process's `stat`. Where the system does not tell, they are 0.
fn arguments(stat: &[u8]) -> Option<(usize, usize)> {
    // The second field is a name in parentheses, which may hold anything.
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let text = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    let mut fields = text.split_ascii_whitespace().skip(45);
    let (start, end) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (start != 0 && start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{in_a_process, is_in_a_process};

    fn stat(name: &str, start: usize, end: usize) -> Vec<u8> {
        let between = " 1".repeat(44);
        format!("4711 ({name}) S{between} {start} {end} 7 8 0\n").into_bytes()
    }

    #[test]
    fn place_of_the_arguments_is_found_behind_any_name() {
        for name in ["python3", "a) S 1 2", ""] {
            assert_eq!(arguments(&stat(name, 4096, 4200)), Some((4096, 4200)));
        }
        assert_eq!(
            arguments(&fs::read("/proc/self/stat").unwrap()).map(|(start, _)| start == 0),
            Some(false)
        );
    }

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

    #[test]
    fn system_that_does_not_tell_the_place_is_believed_nothing() {
        assert_eq!(arguments(&stat("x", 0, 0)), None);
        assert_eq!(arguments(&stat("x", 4200, 4096)), None);
        assert_eq!(arguments(&stat("x", 4096, 4096)), None);
        assert_eq!(arguments(b"4711 (x) S 1 2"), None);
        assert_eq!(arguments(b""), None);
    }
}
