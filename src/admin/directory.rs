//! Where control sockets are that nobody has named: made there by instances, looked for there by commands.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdirat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// What the names of sockets end with; the number of the process stands before it.
const SUFFIX: &str = ".control";
const OF_ROOT: &str = "/run/wsgi-fpm";

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    #[error("{}: {error}", .path.display())]
    System { path: PathBuf, error: io::Error },
    #[error("{} is a link or a file, and should be a directory of this user", .0.display())]
    NoDirectory(PathBuf),
    #[error("{} belongs to another user ({uid})", .path.display())]
    NotOurs { path: PathBuf, uid: u32 },
    #[error("others may write to {} (mode {mode:04o})", .path.display())]
    Open { path: PathBuf, mode: u32 },
}

/// The directory of this process's own socket. It is made, unless a service manager has.
///
/// # Errors
/// It is not this user's alone to write to, or can't be made.
pub fn own() -> Result<PathBuf, DirectoryError> {
    if let Some(path) = of_service() {
        check(&path)?;
        return Ok(path);
    }
    let (path, mode) = match geteuid().is_root() {
        true => (OF_ROOT.into(), 0o755),
        false => (of_session().unwrap_or_else(temporary), 0o700),
    };
    match mkdirat(CWD, &path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => {
            let error = error.into();
            return Err(DirectoryError::System { path, error });
        }
    }
    check(&path)?;
    Ok(path)
}

/// The name of this process's own socket.
pub fn name(pid: u32) -> String {
    format!("{pid}{SUFFIX}")
}

/// All control sockets in the directories where instances put theirs, this user's own directories first.
pub fn sockets() -> Vec<PathBuf> {
    directories()
        .iter()
        .flat_map(|directory| sockets_in(directory))
        .collect()
}

/// Those of one directory, in the order of their numbers.
pub fn sockets_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = directory.read_dir() else {
        return Vec::new();
    };
    let name = |path: &PathBuf| path.file_name().and_then(|name| number(name.to_str()?));
    let mut sockets: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    sockets.retain(|path| name(path).is_some());
    sockets.sort_by_key(name);
    sockets
}

/// That of the process whose socket has this name.
pub fn number(name: &str) -> Option<u32> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// And no link to one.
pub fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket())
}

/// Where instances may be that commands look for.
pub fn directories() -> Vec<PathBuf> {
    let mut all = Vec::from_iter(of_service());
    if !geteuid().is_root() {
        all.extend(of_session());
        all.push(temporary());
    }
    all.push(OF_ROOT.into());
    // Those of units, each of which has its own.
    let of_units = glob::glob(&format!("{OF_ROOT}-*")).into_iter().flatten().flatten();
    all.extend(of_units.filter(|path| path.is_dir()));
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|path| seen.insert(path.clone()));
    all
}

/// A service may have several: the first is its own.
fn of_service() -> Option<PathBuf> {
    let all = std::env::var_os("RUNTIME_DIRECTORY")?;
    std::env::split_paths(&all).next().filter(|path| path.is_absolute())
}

fn of_session() -> Option<PathBuf> {
    let directory = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)?;
    (directory.is_absolute() && directory.is_dir()).then(|| directory.join("wsgi-fpm"))
}

fn temporary() -> PathBuf {
    format!("/tmp/wsgi-fpm-{}", geteuid().as_raw()).into()
}

/// Nobody else can have put something else in the place of what is in it.
fn check(path: &Path) -> Result<(), DirectoryError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let system = |error: Errno| DirectoryError::System {
        path: path.to_owned(),
        error: error.into(),
    };
    let directory = openat(CWD, path, flags, Mode::empty()).map_err(system)?;
    let found = fstat(directory.as_fd()).map_err(system)?;
    let path = path.to_owned();
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Err(DirectoryError::NoDirectory(path));
    }
    let uid = found.st_uid;
    if uid != geteuid().as_raw() {
        return Err(DirectoryError::NotOurs { path, uid });
    }
    let mode = found.st_mode & 0o7777;
    if mode & 0o022 != 0 {
        return Err(DirectoryError::Open { path, mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn directory_that_others_can_write_to_or_that_is_a_link_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let error = |path: &Path| check(path).unwrap_err().to_string();
        assert!(check(place.path()).is_ok());
        for mode in [0o770, 0o777, 0o1777] {
            fs::set_permissions(place.path(), Permissions::from_mode(mode)).unwrap();
            assert!(error(place.path()).contains(&format!("mode {mode:04o}")));
        }
        fs::set_permissions(place.path(), Permissions::from_mode(0o700)).unwrap();
        let (link, file) = (place.path().join("link"), place.path().join("file"));
        symlink(place.path(), &link).unwrap();
        fs::write(&file, "").unwrap();
        for path in [&link, &file] {
            assert!(error(path).contains("is a link or a file"));
        }
        assert!(error(&place.path().join("none")).contains("No such file"));
        if !geteuid().is_root() {
            assert!(error(Path::new("/")).contains("another user (0)"));
        }
    }

    #[test]
    fn sockets_are_those_with_a_number_in_the_order_of_the_numbers() {
        let place = tempfile::tempdir().unwrap();
        for name in [
            "100.control",
            "20.control",
            "x.control",
            ".control",
            "20.sock",
            "-1.control",
        ] {
            fs::write(place.path().join(name), "").unwrap();
        }
        let found: Vec<_> = sockets_in(place.path());
        assert_eq!(
            found,
            [place.path().join("20.control"), place.path().join("100.control")]
        );
        assert_eq!(number(&name(7)), Some(7));
        assert!(sockets_in(&place.path().join("none")).is_empty());
    }
}
