//! A file that is appended to, and that others move away and remove.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::Errno;

use super::regular;

/// How often it is looked whether the file is there still.
const LOOK: Duration = Duration::from_secs(1);

pub struct LogFile {
    path: PathBuf,
    file: Option<OwnedFd>,
    looked: Instant,
    /// Where it ended when something could not be written.
    left: Option<u64>,
}

impl LogFile {
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            looked: Instant::now(),
            left: None,
        }
    }

    /// Opens it, or makes it. What was open before stays so if that fails.
    pub fn open(&mut self) -> Result<(), Errno> {
        // Not to wait: for whoever is to read a named pipe, or a terminal.
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
        self.looked = Instant::now();
        self.file = Some(open(&self.path, flags, mode)?);
        Ok(())
    }

    /// The open file: a new one if somebody has removed the last.
    pub fn descriptor(&mut self) -> Result<BorrowedFd<'_>, Errno> {
        let is_gone = |file: &OwnedFd| fstat(file).is_ok_and(|found| found.st_nlink == 0);
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            if self.file.as_ref().is_some_and(is_gone) {
                self.file = None;
                // Whatever is found there now is not what was left.
                self.left = self.left.map(|_| u64::MAX);
            }
        }
        if self.file.is_none() {
            self.open()?;
        }
        self.file.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    /// Something could not be written.
    pub fn was_left(&mut self) {
        self.left = self.file.as_ref().and_then(regular::length);
    }

    /// Whether it is another file since then, or shorter; or empty.
    pub fn begins_anew(&mut self) -> bool {
        let Some(length) = self.descriptor().ok().and_then(regular::length) else {
            return false;
        };
        length == 0 || self.left.is_some_and(|left| length < left)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(file: &mut LogFile, text: &str) -> Result<usize, Errno> {
        rustix::io::write(file.descriptor()?, text.as_bytes())
    }

    #[test]
    fn file_is_made_for_its_owner_and_group_and_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        write(&mut LogFile::new(path.clone()), "one\n").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777 & !0o640, 0, "{mode:o}");
        write(&mut LogFile::new(path.clone()), "two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn file_that_was_removed_is_made_again_and_one_that_was_moved_waits_to_be_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        let old = directory.path().join("x.log.1");
        let mut file = LogFile::new(path.clone());
        write(&mut file, "one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        file.looked = Instant::now() - LOOK;
        write(&mut file, "two\n").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        file.open().unwrap();
        write(&mut file, "three\n").unwrap();
        fs::remove_file(&path).unwrap();
        file.looked = Instant::now() - LOOK;
        write(&mut file, "four\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\n");
    }

    #[test]
    fn file_that_can_not_be_made_is_tried_again_and_keeps_what_was_open() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("below");
        let path = below.join("x.log");
        let mut file = LogFile::new(path.clone());
        assert_eq!(write(&mut file, "lost\n"), Err(Errno::NOENT));
        fs::create_dir(&below).unwrap();
        write(&mut file, "one\n").unwrap();
        let moved = directory.path().join("moved");
        fs::rename(&below, &moved).unwrap();
        assert_eq!(file.open(), Err(Errno::NOENT));
        write(&mut file, "two\n").unwrap();
        assert_eq!(fs::read_to_string(moved.join("x.log")).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn named_pipe_without_a_reader_is_an_error_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        assert_eq!(write(&mut LogFile::new(path), "lost\n"), Err(Errno::NXIO));
    }
}
