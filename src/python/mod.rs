//! Finds the Python that a pool is to run in, and asks it what it is. Never guesses a version: the interpreter that the
//! administrator names decides. How it is then run is `host`'s business.

mod lookup;
mod own;
mod probe;

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use contract::denied::Denied;
use serde::Deserialize;
use settings::Setting;

use crate::config::stamp::FileStamp;
use crate::users::Identity;
use lookup::search_path;
pub use own::keep_own_path;
use own::{OWN, is_for_applications};
use probe::{PROBE_TIMEOUT, check, probe};

/// What an interpreter says about itself.
#[derive(Debug, Clone, Deserialize)]
pub struct Interpreter {
    pub version: [u32; 3],
    /// `sys.version`, with compiler and build date.
    pub full_version: String,
    pub implementation: String,
    pub executable: PathBuf,
    pub prefix: PathBuf,
    pub base_prefix: PathBuf,
    /// Built with a shared libpython. Debian's executable is not, though Debian has the library in a package.
    pub shared: bool,
    pub libdir: Option<PathBuf>,
    pub multiarch: Option<String>,
    pub soname: Option<String>,
    pub library: Option<String>,
    pub gil_disabled: bool,
    pub platform: String,
    /// `sys.path` without an application: the standard library, what is installed, and projects that are installed as they
    /// stand (`pip install --editable`).
    #[serde(default)]
    pub path: Vec<PathBuf>,
    #[serde(skip)]
    pub mark: Mark,
}

/// What was run, and as what it stood there: once that differs, another Python may be behind it, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    executable: PathBuf,
    /// At the end of links.
    stamp: Option<FileStamp>,
    /// Of what makes it that of a virtual environment.
    pyvenv: Option<FileStamp>,
}

impl Mark {
    fn of(executable: &Path) -> Self {
        let directory = executable.parent().and_then(Path::parent);
        Self {
            executable: executable.to_owned(),
            stamp: FileStamp::of(executable),
            pyvenv: directory.and_then(|directory| FileStamp::of(&directory.join("pyvenv.cfg"))),
        }
    }
}

impl Interpreter {
    /// Directories that the Python searches and that are of no installation: projects that are being worked on.
    pub fn projects(&self) -> impl Iterator<Item = &PathBuf> {
        let libraries: Vec<_> = [&self.prefix, &self.base_prefix]
            .iter()
            .flat_map(|prefix| ["lib", "lib64"].map(|name| prefix.join(name)))
            .collect();
        self.path.iter().filter(move |entry| {
            let is_installed = |part: &OsStr| part == "site-packages" || part == "dist-packages";
            entry.is_absolute()
                && !libraries.iter().any(|library| entry.starts_with(library))
                && !entry.iter().any(is_installed)
        })
    }

    /// What an administrator is told of a version that is newer than those tested.
    pub fn untested(&self) -> Option<String> {
        let [major, minor, _] = self.version;
        contract::pythons::untested([major, minor])
    }

    /// "3.11.7", as `sys.version` begins.
    pub fn version(&self) -> &str {
        self.full_version.split(' ').next().unwrap_or_default()
    }
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.version(), self.executable.display())
    }
}

/// Who named the interpreter; error messages begin with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Option(Setting<PathBuf>),
    /// The virtual environment that this program was run from.
    Own(PathBuf),
    VirtualEnv(PathBuf),
    DotVenv(PathBuf),
    Path,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(path) => write!(f, "{} {}", path.name(), path.display()),
            Self::Own(path) => write!(f, "the virtual environment of this program, {}", path.display()),
            Self::VirtualEnv(path) => write!(f, "the active virtual environment $VIRTUAL_ENV={}", path.display()),
            Self::DotVenv(path) => write!(f, "the virtual environment {}", path.display()),
            Self::Path => write!(f, "python3 on PATH"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PythonError {
    #[error("{named}: {denied}")]
    Denied { named: Source, denied: Denied },
    #[error("{0}: no such file or directory; name a virtual environment, an installation or an executable")]
    Missing(Source),
    #[error("{0}: no executable of this name on PATH; name a virtual environment, an installation or an executable")]
    NotOnPath(Source),
    #[error("no python3 on PATH, and no virtual environment; name one with {0}")]
    NoPython(String),
    #[error("{source_}: the directory has neither bin/python nor bin/python3; name a virtual environment or an \
             installation", source_ = .0)]
    NoInterpreter(Source),
    #[error("{named}: {} points to {}, which does not exist; make the virtual environment anew with a Python that \
             is installed", .link.display(), .target.display())]
    Dangling {
        named: Source,
        link: PathBuf,
        target: PathBuf,
    },
    #[error("{named}: its pyvenv.cfg names {} as the home of its Python, which does not exist; make the virtual \
             environment anew with a Python that is installed", .home.display())]
    HomeMissing { named: Source, home: PathBuf },
    #[error("{named}: {} is not executable; name a virtual environment, an installation or an executable",
            .path.display())]
    NotExecutable { named: Source, path: PathBuf },
    #[error("{named}: {} can't be run: {error}", .path.display())]
    NotRun {
        named: Source,
        path: PathBuf,
        error: io::Error,
    },
    #[error("{named}: {} did not answer within {} s when asked for its version", .path.display(),
            PROBE_TIMEOUT.as_secs())]
    Hangs { named: Source, path: PathBuf },
    #[error("{named}: {} can't be run: {how}", .path.display())]
    NotAs { named: Source, path: PathBuf, how: String },
    #[error("{named}: {} is not a working Python: {how}", .path.display())]
    NotPython { named: Source, path: PathBuf, how: String },
    #[error("{named}: {} is Python {version}, which is too old: 3.9 or newer is needed", .path.display())]
    TooOld {
        named: Source,
        path: PathBuf,
        version: String,
    },
    #[error("{named}: {} is {implementation}, but only CPython can be hosted", .path.display())]
    NotCPython {
        named: Source,
        path: PathBuf,
        implementation: String,
    },
    #[error("{named}: {} is a free-threaded build of Python {version}, which the engine does not support; name a \
             build with the GIL", .path.display())]
    FreeThreaded {
        named: Source,
        path: PathBuf,
        version: String,
    },
}

/// What decides which Python is used.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What somebody has said.
    pub option: Setting<Option<PathBuf>>,
    /// The virtual environment in whose `bin` this program was called, by its path.
    pub own: Option<PathBuf>,
    /// `$VIRTUAL_ENV`.
    pub virtual_env: Option<PathBuf>,
    /// The virtual environment in whose `bin` a shell has found this program.
    pub found: Option<PathBuf>,
    /// `$PATH`.
    pub path: Vec<PathBuf>,
    /// The application's working directory, where `.venv` is looked for.
    pub chdir: PathBuf,
    /// Who is to run it.
    pub identity: Identity,
}

impl Wanted {
    pub fn from_environment(option: Setting<Option<PathBuf>>, chdir: &Path, identity: &Identity) -> Self {
        Self {
            option,
            own: OWN.called.clone().filter(|directory| is_for_applications(directory)),
            found: OWN.found.clone().filter(|directory| is_for_applications(directory)),
            virtual_env: std::env::var_os("VIRTUAL_ENV")
                .filter(|dir| !dir.is_empty())
                .map(PathBuf::from),
            path: search_path(std::env::var_os("PATH")),
            chdir: chdir.to_owned(),
            identity: identity.clone(),
        }
    }

    /// Finds the interpreter, asks it what it is, and checks that the engine can run in it.
    ///
    /// # Errors
    /// Says what was looked for, where, and what to do.
    pub async fn find(&self) -> Result<Interpreter, PythonError> {
        let (named, executable, mark) = self.identity.looks(|| self.marked())?;
        let interpreter = probe(&named, &executable, &self.identity).await?;
        check(named, executable, &interpreter)?;
        Ok(Interpreter { mark, ..interpreter })
    }

    /// What would be found now, without asking it anything.
    ///
    /// # Errors
    /// As [`Wanted::find`] says them, of what is looked for.
    pub fn mark(&self) -> Result<Mark, PythonError> {
        self.identity.looks(|| self.marked()).map(|(_, _, mark)| mark)
    }

    fn marked(&self) -> Result<(Source, PathBuf, Mark), PythonError> {
        let (named, executable) = self.locate()?;
        let mark = Mark::of(&executable);
        Ok((named, executable, mark))
    }

    /// The executable alone: what it is comes out when it runs.
    ///
    /// # Errors
    /// Says what was looked for, where, and what to do.
    pub fn executable(&self) -> Result<PathBuf, PythonError> {
        self.locate().map(|(_, executable)| executable)
    }
}
