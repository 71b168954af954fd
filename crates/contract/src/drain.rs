//! The end of a stream whose writer may still be sending.

use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Stat, fstat};
use rustix::io::{Errno, read};
use rustix::net::{Shutdown, shutdown};
use settings::values::{Drain, Timeout};

use crate::wait::timespec;

const CHUNK: usize = 64 * 1024;

/// Tells the peer that nothing more comes, and reads what it still sends: up to its end, `most` bytes or `longest`. If
/// anything is unread in a socket when it is closed, the peer loses what it has not read itself, mostly the response.
/// Whatever is no socket loses nothing.
pub fn finish(fd: impl AsFd, most: Drain, longest: Timeout) {
    if shutdown(&fd, Shutdown::Write).is_ok() {
        read_away(
            fd,
            |read| matches!(most, Drain::UpTo(size) if read >= size.bytes()),
            longest,
        );
    }
}

/// Reads what is still written to a pipe, up to `most` bytes: fcgiwrap takes a pipe that is closed before it has written
/// everything for a failure, and throws the response away.
pub fn read_pipe(pipe: impl AsFd, most: u64, longest: Timeout) {
    let is_pipe = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
    if fstat(&pipe).is_ok_and(is_pipe) {
        read_away(pipe, |read| read >= most, longest);
    }
}

/// `is_enough`: whether so many bytes are.
fn read_away(fd: impl AsFd, is_enough: impl Fn(u64) -> bool, longest: Timeout) {
    let end = longest.deadline(Instant::now());
    let mut total = 0;
    let mut chunk = vec![0; CHUNK];
    while !is_enough(total) {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let wait = left.map(timespec);
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], wait.as_ref()) {
            Ok(0) => return,
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        // It is ready, and nobody else reads: this does not wait.
        match read(&fd, &mut chunk) {
            Ok(0) => return,
            Ok(length) => total += length as u64,
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Closed by the peer, or the time is up.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::wait::is_ready;

    fn seconds(seconds: u64) -> Timeout {
        Duration::from_secs(seconds).into()
    }

    #[test]
    fn peer_that_sends_on_reads_what_was_sent_before() {
        let (mut ours, mut peer) = UnixStream::pair().unwrap();
        ours.write_all(b"response").unwrap();
        let sending = thread::spawn(move || {
            peer.write_all(&[0; 1_000_000]).unwrap();
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            let mut response = String::new();
            peer.read_to_string(&mut response).unwrap();
            response
        });
        finish(&ours, Drain::All, seconds(20));
        drop(ours);
        assert_eq!(sending.join().unwrap(), "response");
    }

    #[test]
    fn pipe_is_read_as_far_as_was_said() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(&[0; 1000]).unwrap();
        let begun = Instant::now();
        read_pipe(&reader, 0, seconds(20));
        assert!(is_ready(&reader, PollFlags::IN), "nothing was to be read");
        // The writer keeps his end open: it must not be waited for.
        read_pipe(&reader, 1000, seconds(20));
        assert!(!is_ready(&reader, PollFlags::IN));
        assert!(begun.elapsed() < Duration::from_secs(10));
        drop(reader);
        assert!(writer.write_all(b"x").is_err());
    }

    #[test]
    fn writer_of_more_than_a_pipe_holds_is_read_to_his_end() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let writing = thread::spawn(move || writer.write_all(&[0; 1_000_000]));
        read_pipe(&reader, u64::MAX, seconds(20));
        drop(reader);
        assert!(writing.join().unwrap().is_ok());
    }

    #[test]
    fn what_is_no_pipe_is_left_as_it_is() {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(b"x").unwrap();
        read_pipe(&ours, 1000, seconds(20));
        assert!(is_ready(&ours, PollFlags::IN));
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        finish(&reader, Drain::All, seconds(20));
        assert!(is_ready(&reader, PollFlags::IN));
    }

    #[test]
    fn peer_that_sends_more_or_longer_than_allowed_is_left() {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let begun = Instant::now();
        for most in ["999", "1000"] {
            peer.write_all(&[0; 1000]).unwrap();
            finish(&ours, most.parse().unwrap(), seconds(20));
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it was waited for more");
        finish(&ours, Drain::All, Duration::from_millis(10).into());
    }
}
