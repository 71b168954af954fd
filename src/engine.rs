//! Which engine a Python loads, and how that gets it: from a file beside this program, or from within this program, as an open
//! file that the Python's process inherits. Knows nothing of what an engine does.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use contract::denied::{Denied, Wish, denied};
use contract::memory;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals};

use crate::users;

const FILE_NAME: &str = "libwsgi_fpm_engine.so";
/// Names the engine's file, for packagers and tests.
const VARIABLE: &str = "WSGI_FPM_ENGINE";

/// What `build.rs` was given.
#[cfg(feature = "embedded-engine")]
const EMBEDDED: Option<&[u8]> = Some(include_bytes!(env!("WSGI_FPM_EMBEDDED_ENGINE")));
#[cfg(not(feature = "embedded-engine"))]
const EMBEDDED: Option<&[u8]> = None;
/// What no other engine has in its name.
const EMBEDDED_ID: Option<&str> = option_env!("WSGI_FPM_EMBEDDED_ENGINE_ID");

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    #[error("this program's own path is unknown: {0}")]
    OwnPath(io::Error),
    #[error("the engine is missing: {} does not exist; install {FILE_NAME} beside the program, or name it with {VARIABLE}",
            .0.display())]
    Missing(PathBuf),
    #[error("the engine: {0}")]
    Denied(Denied),
}

/// An engine, and where it is.
#[derive(Clone)]
pub enum Engine {
    File(PathBuf),
    /// Within this program.
    Embedded(&'static [u8]),
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Embedded(bytes) => write!(f, "{} bytes within this program", bytes.len()),
        }
    }
}

/// Opened once, and open as long as this process lives: all processes that inherit it share what they load of it, and an update of
/// the program takes it from nobody. It must be opened with this program's own rights: a file in memory that were a pool's user's
/// could be taken away from the others.
fn open(bytes: &[u8]) -> io::Result<BorrowedFd<'static>> {
    static IMAGE: OnceLock<OwnedFd> = OnceLock::new();
    if IMAGE.get().is_none() {
        let image = match EMBEDDED_ID.and_then(installed) {
            Some(file) => file.into(),
            None => image(bytes)?,
        };
        IMAGE.get_or_init(|| image);
    }
    IMAGE
        .get()
        .map(AsFd::as_fd)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The same bytes as a file of the installation, which spares each start, and so each CGI request, to write them into memory. By its
/// name it can be no other version's.
fn installed(id: &str) -> Option<File> {
    let program = users::program().ok()?;
    let prefix = program.parent()?.parent()?;
    File::open(prefix.join(format!("lib/wsgi-fpm/engine-{id}.so"))).ok()
}

/// A file in memory that nobody can change any more.
fn image(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut image = File::from(memory::file("wsgi-fpm-engine", flags)?);
    image.write_all(bytes)?;
    fcntl_add_seals(
        &image,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(image.into())
}

impl Engine {
    /// The one place that chooses. There is one engine for every Python: whose builds without the GIL can't load it, `python` refuses
    /// before it comes to that, and `bootstrap.py` where nobody has asked the Python what it is.
    ///
    /// The one within this program is of the same version for certain, a file beside it of any name may be left over from another
    /// installation.
    ///
    /// # Errors
    /// There is none, or this process may not read it.
    pub fn choose() -> Result<Self, EngineError> {
        let file = match (std::env::var_os(VARIABLE), EMBEDDED) {
            (Some(named), _) => std::path::absolute(named).map_err(EngineError::OwnPath)?,
            (None, Some(bytes)) => return Ok(Self::Embedded(bytes)),
            (None, None) => users::program()
                .map_err(EngineError::OwnPath)?
                .with_file_name(FILE_NAME),
        };
        if let Some(denied) = denied(&file, Wish::Read) {
            return Err(EngineError::Denied(denied));
        }
        if !file.is_file() {
            return Err(EngineError::Missing(file));
        }
        Ok(Self::File(file))
    }

    /// For a process that this one is about to become, or to start.
    ///
    /// # Errors
    /// The system's, if it has no descriptor.
    pub fn hand_over(&self) -> io::Result<Handed> {
        Ok(match self {
            Self::File(path) => Handed {
                argument: path.clone().into(),
                _open: None,
            },
            Self::Embedded(bytes) => {
                let open = rustix::io::dup(open(bytes)?)?;
                Handed {
                    argument: open.as_raw_fd().to_string().into(),
                    _open: Some(open),
                }
            }
        })
    }
}

/// An engine on its way into one process.
#[derive(Debug)]
pub struct Handed {
    /// What `bootstrap.py` gets: an absolute path, or a descriptor's number.
    argument: OsString,
    /// What the process inherits, and so would any other that is started while this lives.
    _open: Option<OwnedFd>,
}

impl Handed {
    pub fn argument(&self) -> &OsStr {
        &self.argument
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::io::FdFlags;

    use super::*;

    #[test]
    fn file_in_memory_is_whole_and_nobody_can_change_it() {
        let image = image(b"engine").unwrap();
        let path = format!("/proc/self/fd/{}", image.as_raw_fd());
        let mut text = String::new();
        File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "engine");
        let mut for_writing = File::options().write(true).open(&path).unwrap();
        for_writing.write_all(b"x").unwrap_err();
        for_writing.set_len(0).unwrap_err();
        for_writing.set_len(100).unwrap_err();
    }

    #[test]
    fn only_what_is_handed_over_is_inherited() {
        let handed = Engine::Embedded(b"engine").hand_over().unwrap();
        let image = super::open(b"engine").unwrap();
        assert!(rustix::io::fcntl_getfd(image).unwrap().contains(FdFlags::CLOEXEC));
        let open = handed._open.as_ref().unwrap();
        assert!(rustix::io::fcntl_getfd(open).unwrap().is_empty());
        assert_eq!(handed.argument().to_str().unwrap(), open.as_raw_fd().to_string());
        let handed = Engine::File("/a/b".into()).hand_over().unwrap();
        assert!(handed._open.is_none() && handed.argument() == "/a/b");
    }
}
