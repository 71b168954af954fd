//! Which permission is missing on the way to a path. The kernel says no more than "permission denied" or, to whoever only
//! looks whether a path is there, nothing at all.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{Group, Uid, User, setfsuid};
use rustix::fs::{Access, AtFlags, CWD, accessat};

/// What somebody is to do with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Anything: look whether it is there.
    Reach,
    /// A directory: work in it, and reach what is below it.
    Enter,
    /// A file, or the list of a directory.
    Read,
    /// A directory: make files in it.
    Write,
    /// A program.
    Run,
    /// A unix socket.
    Connect,
}

impl Wish {
    fn access(self) -> Access {
        match self {
            Self::Reach => Access::EXISTS,
            Self::Enter | Self::Run => Access::EXEC_OK,
            Self::Connect => Access::WRITE_OK,
            Self::Read => Access::READ_OK,
            Self::Write => Access::WRITE_OK | Access::EXEC_OK,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Reach => "reach",
            Self::Enter => "enter",
            Self::Read => "read",
            Self::Write => "write in",
            Self::Run => "run",
            Self::Connect => "connect to",
        }
    }
}

/// Who may not do what, where, in words for whoever can change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied(String);

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As many links as the kernel itself follows.
const LINKS: usize = 40;

/// What keeps this thread's user from `wish` at `path`: the first directory on the way, its links followed, that can't be
/// entered, or the path itself. `None` if no permission is missing, whatever else may be wrong.
pub fn denied(path: &Path, wish: Wish) -> Option<Denied> {
    let path = std::path::absolute(path).ok()?;
    let mut rest: VecDeque<PathBuf> = parts(&path).collect();
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        match part.to_str() {
            Some("/") => here = part,
            Some("..") => _ = here.pop(),
            _ => {
                let next = here.join(&part);
                let metadata = match fs::symlink_metadata(&next) {
                    Ok(metadata) => metadata,
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        let behind = rest.iter().fold(next, |path, part| path.join(part));
                        return Some(Denied::new(Wish::Enter, &here, Some(&behind)));
                    }
                    Err(_) => return None,
                };
                if !metadata.is_symlink() {
                    here = next;
                    continue;
                }
                links += 1;
                let target = fs::read_link(&next).ok().filter(|_| links <= LINKS)?;
                for part in parts(&target).rev() {
                    rest.push_front(part);
                }
            }
        }
    }
    let refused =
        accessat(CWD, &here, wish.access(), AtFlags::EACCESS).is_err_and(|error| error == rustix::io::Errno::ACCESS);
    refused.then(|| Denied::new(wish, &here, None))
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = PathBuf> {
    let meaningful = |part: &Component<'_>| !matches!(part, Component::CurDir);
    path.components()
        .filter(meaningful)
        .map(|part| PathBuf::from(part.as_os_str()))
}

impl Denied {
    /// `behind`: what `at` keeps the user from, with its links followed as far as they could be.
    fn new(wish: Wish, at: &Path, behind: Option<&Path>) -> Self {
        let mut text = format!("{} may not {} {}{}", this_user(), wish.verb(), at.display(), mode(at));
        if let Some(behind) = behind {
            let _ = write!(text, ", so it can't reach {}", behind.display());
        }
        Self(text)
    }
}

/// "user www-data (uid 33)", or the number alone where it has no name.
fn this_user() -> String {
    let uid = file_user();
    match User::from_uid(uid.into()) {
        Ok(Some(user)) => format!("user {} (uid {uid})", user.name),
        Ok(None) | Err(_) => format!("the user with uid {uid}"),
    }
}

/// By whose rights this thread reaches files: its effective user, unless it has put on another's for that alone.
fn file_user() -> u32 {
    // No user has this number, so nothing changes; the call says who it was until now.
    setfsuid(Uid::from_raw(u32::MAX)).as_raw()
}

/// " (mode 0700, of root:root)"; nothing if not even that can be seen.
fn mode(path: &Path) -> String {
    let Ok(metadata) = path.metadata() else {
        return String::new();
    };
    let (uid, gid) = (metadata.uid(), metadata.gid());
    let user = User::from_uid(uid.into()).ok().flatten();
    let group = Group::from_gid(gid.into()).ok().flatten();
    format!(
        " (mode {:04o}, of {}:{})",
        metadata.mode() & 0o7777,
        user.map_or(uid.to_string(), |user| user.name),
        group.map_or(gid.to_string(), |group| group.name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_allowed_is_not_denied() {
        for path in ["/no/such/path", "/", "/etc/passwd", "/proc/self/exe/below"] {
            assert_eq!(denied(Path::new(path), Wish::Read), None, "{path}");
        }
        let directory = std::env::temp_dir().join(format!("denied-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        std::os::unix::fs::symlink("loop", directory.join("loop")).unwrap();
        let looped = denied(&directory.join("loop"), Wish::Read);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(looped, None);
    }
}
