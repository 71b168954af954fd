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
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    /// Nobody of the system; as whom this process asks if it is root, whom nothing is denied.
    const NOBODY: u32 = 65_534;
    /// This user has no name.
    const NAMELESS: u32 = 123_456_789;

    fn is_root() -> bool {
        Uid::effective().is_root()
    }

    /// What is said by a thread with the rights of `user`, or with its own where it can't take others.
    fn said_to(user: u32, path: &Path, wish: Wish) -> Option<String> {
        let ask = || {
            if is_root() {
                setfsuid(Uid::from_raw(user));
            }
            denied(path, wish).map(|denied| denied.to_string())
        };
        std::thread::scope(|scope| scope.spawn(ask).join().unwrap())
    }

    fn said(path: &Path, wish: Wish) -> Option<String> {
        said_to(NOBODY, path, wish)
    }

    fn output(program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// "user nobody (uid 65534) may not read /path (mode 0000, of root:root)".
    fn refusal(verb: &str, path: &Path) -> String {
        let uid = if is_root() { NOBODY } else { Uid::effective().as_raw() };
        let name = output("id", &["-un", &uid.to_string()]);
        let shown = path.display().to_string();
        let mode = output("stat", &["-c", "%04a, of %U:%G", &shown]);
        format!("user {name} (uid {uid}) may not {verb} {shown} (mode {mode})")
    }

    /// A directory that everybody can enter, and in it things with these permissions.
    fn directory(things: &[(&str, u32)]) -> tempfile::TempDir {
        let permit = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        permit(directory.path(), 0o777);
        for (name, mode) in things {
            let path = directory.path().join(name);
            match name.strip_suffix('/') {
                Some(_) => fs::create_dir(&path).unwrap(),
                None => fs::write(&path, "").unwrap(),
            }
            permit(&path, *mode);
        }
        directory
    }

    #[test]
    fn every_wish_is_refused_where_its_own_permission_is_missing() {
        let things = directory(&[
            ("none", 0),
            ("file", 0o666),
            ("unwritable", 0o555),
            ("writable", 0o222),
            ("all", 0o777),
        ]);
        for (name, wish, verb) in [
            ("none", Wish::Read, "read"),
            ("file", Wish::Run, "run"),
            ("file", Wish::Enter, "enter"),
            ("unwritable", Wish::Write, "write in"),
            ("writable", Wish::Write, "write in"),
        ] {
            let path = things.path().join(name);
            assert_eq!(said(&path, wish), Some(refusal(verb, &path)));
            assert_eq!(said(&things.path().join("all"), wish), None, "{verb}");
        }
        assert_eq!(said(&things.path().join("none"), Wish::Reach), None);
    }

    #[test]
    fn first_directory_that_cannot_be_entered_is_named_with_what_lies_behind_it() {
        let things = directory(&[("locked/", 0)]);
        let locked = things.path().join("locked");
        let behind = locked.join("blog/app.py");
        let expected = format!("{}, so it can't reach {}", refusal("enter", &locked), behind.display());
        assert_eq!(said(&behind, Wish::Reach), Some(expected.clone()));
        // A way there by links: up, through a dot, and on.
        fs::create_dir(things.path().join("links")).unwrap();
        symlink("../hop", things.path().join("links/up")).unwrap();
        symlink("./locked/blog", things.path().join("hop")).unwrap();
        assert_eq!(
            said(&things.path().join("links/up/app.py"), Wish::Reach),
            Some(expected)
        );
    }

    #[test]
    fn as_many_links_are_followed_as_the_kernel_follows() {
        let things = directory(&[("1", 0)]);
        let link = |number: usize| things.path().join(number.to_string());
        for number in 2..=42 {
            symlink((number - 1).to_string(), link(number)).unwrap();
        }
        assert_eq!(fs::metadata(link(41)).map_err(|error| error.kind()).map(drop), Ok(()));
        assert_eq!(said(&link(41), Wish::Read), Some(refusal("read", &link(1))));
        assert!(fs::metadata(link(42)).is_err());
        assert_eq!(said(&link(42), Wish::Read), None);
    }

    #[test]
    fn user_without_a_name_is_called_by_his_number() {
        if !is_root() {
            eprintln!("skipped: only root can ask as another user");
            return;
        }
        let things = directory(&[("none", 0)]);
        let said = said_to(NAMELESS, &things.path().join("none"), Wish::Read).unwrap();
        assert!(said.starts_with("the user with uid 123456789 may not read /"), "{said}");
    }

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
