//! Times and readiness in the form that poll has them.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A time for poll; what is too long for it is as long as it can wait.
pub const fn timespec(duration: Duration) -> Timespec {
    let seconds = duration.as_secs();
    Timespec {
        tv_sec: if seconds > i64::MAX as u64 {
            i64::MAX
        } else {
            seconds as i64
        },
        tv_nsec: duration.subsec_nanos() as i64,
    }
}

/// Whether one of `events` is there now, or an error or the end. What can't be asked is ready: the next call says why.
pub fn is_ready(fd: impl AsFd, events: PollFlags) -> bool {
    loop {
        match poll(&mut [PollFd::new(&fd, events)], Some(&timespec(Duration::ZERO))) {
            Ok(ready) => return ready > 0,
            // A signal that is due comes before the answer.
            Err(Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn time_without_an_end_is_the_longest_wait() {
        let time = timespec(Duration::MAX);
        assert_eq!((time.tv_sec, time.tv_nsec), (i64::MAX, 999_999_999));
        let time = timespec(Duration::from_millis(1500));
        assert_eq!((time.tv_sec, time.tv_nsec), (1, 500_000_000));
    }

    #[test]
    fn pipe_is_ready_once_it_has_bytes_or_no_writer() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert!(!is_ready(&reader, PollFlags::IN));
        writer.write_all(b"x").unwrap();
        assert!(is_ready(&reader, PollFlags::IN));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer);
        assert!(is_ready(&reader, PollFlags::IN));
    }
}
