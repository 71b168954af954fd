//! A file system that is soon full.

use std::path::PathBuf;
use std::process::Command;

/// A file system of 64 KiB. It goes with the value.
pub struct Tiny {
    directory: tempfile::TempDir,
}

impl Tiny {
    /// `None`, said aloud, where nothing may be mounted.
    pub fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(directory.path())
            .output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Self { directory });
        }
        eprintln!("skipped: no file system can be mounted here (root may)");
        None
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        // Lazily: a process of the gateway may still have a file there.
        let unmounted = Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}
