//! The file of a unix socket. Others may have the right to write to its directory: whatever they put in its place, and
//! whenever, nothing but a socket of ours gets our owner, is listened on, or is removed.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, chmodat, chownat, fchmod, fstat, openat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, bind};
use rustix::process::{Gid, Uid, getegid, geteuid, umask};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::config::SocketOptions;
use crate::inherited::Passed;

/// Known by its inode: another instance may have put its own in the same place. Dropping it removes the file.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    place: Place,
    inode: Inode,
    /// Dropping it leaves the file where it is.
    is_left: bool,
}

/// The same for another program.
#[derive(Debug, Serialize, Deserialize)]
pub struct FileState {
    path: OsString,
    directory: Passed,
    name: OsString,
    inode: Inode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inode {
    device: u64,
    number: u64,
}

/// A name in a directory that stays the same, whatever becomes of the path to it.
#[derive(Debug)]
pub struct Place {
    directory: OwnedFd,
    name: OsString,
}

impl Place {
    /// # Errors
    /// The directory can't be opened, or the path has no name at its end.
    pub fn new(path: &Path) -> Result<Self, Errno> {
        let name = path.file_name().ok_or(Errno::ISDIR)?.to_owned();
        let directory = path.parent().filter(|parent| *parent != Path::new(""));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, directory.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        Ok(Self { directory, name })
    }

    /// What is there, be it a link.
    ///
    /// # Errors
    /// NOENT if nothing is.
    pub fn find(&self) -> Result<Stat, Errno> {
        statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Removes `inode`, if it is still there. Who puts something else there at the very last moment may write to the
    /// directory, and could have removed that himself.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self, inode: Inode) -> Result<(), Errno> {
        match self.find() {
            Ok(found) if Inode::of(&found) == inode => unlinkat(&self.directory, &self.name, AtFlags::empty()),
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Inode {
    pub fn of(found: &Stat) -> Self {
        Self {
            device: found.st_dev,
            number: found.st_ino,
        }
    }
}

impl fmt::Display for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.device, self.number)
    }
}

/// Why a socket has no file.
#[derive(Debug)]
pub enum BindError {
    /// Owner or group.
    Owner(Errno),
    /// Somebody else has put something in its place.
    Replaced,
    System(Errno),
}

impl From<Errno> for BindError {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

/// The umask is the whole process's: nobody else may set it meanwhile, and what other threads make has modes that need none.
fn without_umask<R>(make: impl FnOnce() -> R) -> R {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = umask(Mode::empty());
    let made = make();
    umask(before);
    made
}

impl SocketFile {
    /// Gives `socket` its file, with mode, owner and group from the beginning. Nobody can connect before it listens.
    ///
    /// # Errors
    /// In [`BindError`]; what was made is gone then.
    pub fn bind(socket: impl AsFd, path: &Path, options: &SocketOptions) -> Result<Self, BindError> {
        let place = Place::new(path)?;
        let name = SocketAddrUnix::new(path)?;
        // The file takes its mode from the socket, so that none has to be changed by its name. The umask would take bits
        // away.
        fchmod(&socket, Mode::from_raw_mode(options.mode))?;
        without_umask(|| bind(&socket, &name))?;
        // Held, and looked at, by what it is and not by its name.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&place.directory, &place.name, flags, Mode::empty())?;
        let found = fstat(&file)?;
        let is_ours = FileType::from_raw_mode(found.st_mode) == FileType::Socket && found.st_uid == geteuid().as_raw();
        if !is_ours {
            return Err(BindError::Replaced);
        }
        let bound = Self {
            path: path.to_owned(),
            inode: Inode::of(&found),
            place,
            is_left: false,
        };
        let (owner, group) = (options.owner.map(Uid::from_raw), options.group.map(Gid::from_raw));
        if owner.is_some() || group.is_some() {
            chownat(&file, "", owner, group, AtFlags::EMPTY_PATH).map_err(BindError::Owner)?;
        }
        match bound.place.find() {
            Ok(found) if Inode::of(&found) == bound.inode => Ok(bound),
            _ => Err(BindError::Replaced),
        }
    }

    /// Gives the file another mode, owner and group; without one named, those of this process.
    ///
    /// # Errors
    /// In [`BindError`].
    pub fn set(&self, options: &SocketOptions) -> Result<(), BindError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.place.directory, &self.place.name, flags, Mode::empty())?;
        if Inode::of(&fstat(&file)?) != self.inode {
            return Err(BindError::Replaced);
        }
        let owner = options.owner.map_or_else(geteuid, Uid::from_raw);
        let group = options.group.map_or_else(getegid, Gid::from_raw);
        chownat(&file, "", Some(owner), Some(group), AtFlags::EMPTY_PATH).map_err(BindError::Owner)?;
        // A descriptor of a mere path has no mode to set, but a name that leads to it and to nothing else.
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        chmodat(CWD, name, Mode::from_raw_mode(options.mode), AtFlags::empty())?;
        Ok(())
    }

    /// That of a socket which is there already.
    pub fn find(path: &Path) -> Option<Self> {
        let place = Place::new(path).ok()?;
        let found = place.find().ok()?;
        let is_socket = FileType::from_raw_mode(found.st_mode) == FileType::Socket;
        is_socket.then(|| Self {
            path: path.to_owned(),
            inode: Inode::of(&found),
            place,
            is_left: false,
        })
    }

    /// That of a socket which another program has made, in whose place this one is.
    ///
    /// # Errors
    /// Its directory can't be taken.
    pub fn passed(state: FileState) -> io::Result<Self> {
        Ok(Self {
            path: state.path.into(),
            place: Place {
                directory: state.directory.take()?,
                name: state.name,
            },
            inode: state.inode,
            is_left: false,
        })
    }

    /// What that program needs.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn state(&self) -> io::Result<FileState> {
        Ok(FileState {
            path: self.path.clone().into(),
            directory: Passed::copy(&self.place.directory)?,
            name: self.place.name.clone(),
            inode: self.inode,
        })
    }

    pub fn inode(&self) -> Inode {
        self.inode
    }

    /// It stays when this is dropped.
    pub fn leave(&mut self) {
        self.is_left = true;
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path still leads to it.
    pub fn is_there(&self) -> bool {
        let found = self.path.symlink_metadata();
        found.is_ok_and(|found| (found.dev(), found.ino()) == (self.inode.device, self.inode.number))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        if let Err(error) = self.place.remove(self.inode) {
            let error = io::Error::from(error);
            warn!(path = %self.path.display(), %error, "the socket's file can't be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::net::{AddressFamily, SocketType, socket};

    use super::*;

    const OPTIONS: SocketOptions = SocketOptions {
        mode: 0o666,
        owner: None,
        group: None,
        backlog: 16,
    };

    #[test]
    fn mode_is_there_from_the_beginning_whatever_the_umask() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        let file = SocketFile::bind(&socket, &path, &OPTIONS).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o666);
        assert!(file.is_there());
        drop(file);
        assert!(!path.exists());
    }

    /// Somebody puts a link to a precious file, or the file itself, in the place of each socket as soon as it is there.
    #[test]
    fn file_that_is_put_in_the_socket_s_place_keeps_its_mode_and_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, precious) = (directory.path().join("socket"), directory.path().join("precious"));
        std::fs::write(&precious, "precious").unwrap();
        std::fs::set_permissions(&precious, std::fs::Permissions::from_mode(0o600)).unwrap();
        let group = Some(rustix::process::getgid().as_raw());
        let options = SocketOptions { group, ..OPTIONS };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let link = directory.path().join("link");
                while !over.load(Ordering::Relaxed) {
                    if path.symlink_metadata().is_ok() && symlink(&precious, &link).is_ok() {
                        std::fs::rename(&link, &path).unwrap();
                    }
                }
            });
            let mut replaced = 0;
            for _ in 0..2000 {
                let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
                match SocketFile::bind(&socket, &path, &options) {
                    Ok(file) => drop(file),
                    Err(BindError::Replaced) => replaced += 1,
                    Err(BindError::System(Errno::ADDRINUSE)) => {}
                    Err(error) => panic!("{error:?}"),
                }
                let _ = std::fs::remove_file(&path);
            }
            over.store(true, Ordering::Relaxed);
            replaced
        });
        let found = precious.metadata().unwrap();
        assert_eq!((found.mode() & 0o7777, found.len()), (0o600, 8));
    }

    #[test]
    fn directory_that_was_exchanged_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (below, elsewhere) = (directory.path().join("below"), directory.path().join("elsewhere"));
        for directory in [&below, &elsewhere] {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::write(elsewhere.join("socket"), "precious").unwrap();
        let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        let file = SocketFile::bind(&socket, &below.join("socket"), &OPTIONS).unwrap();
        std::fs::rename(&below, directory.path().join("moved")).unwrap();
        symlink(&elsewhere, &below).unwrap();
        assert!(!file.is_there());
        drop(file);
        assert!(elsewhere.join("socket").exists());
        assert!(!directory.path().join("moved/socket").exists());
    }
}
