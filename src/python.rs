//! Finds the Python that a pool is to run in, and asks it what it is. Never guesses a version: the interpreter that the
//! administrator names decides. How it is then run is `host`'s business.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use contract::denied::{Denied, Wish, denied};
use serde::Deserialize;
use settings::Setting;
use tokio::process::Command;

use crate::children::Ours;
use crate::users::Identity;

/// The engine's stable ABI begins with this version.
const OLDEST: [u32; 3] = [3, 9, 0];
/// An interpreter on a cold network file system needs seconds; one that hangs must not hang the start.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
const PROBE: &str = include_str!("probe.py");

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
    /// The virtual environment in whose `bin` this program was called.
    pub own: Option<PathBuf>,
    /// `$VIRTUAL_ENV`.
    pub virtual_env: Option<PathBuf>,
    /// `$PATH`.
    pub path: Vec<PathBuf>,
    /// The application's working directory, where `.venv` is looked for.
    pub chdir: PathBuf,
    /// Who is to run it.
    pub identity: Identity,
}

/// Where Python is looked for if there is no `$PATH`: lighttpd starts CGI scripts without one.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

fn search_path(variable: Option<OsString>) -> Vec<PathBuf> {
    std::env::split_paths(&variable.unwrap_or_else(|| DEFAULT_PATH.into())).collect()
}

impl Wanted {
    pub fn from_environment(option: Setting<Option<PathBuf>>, chdir: &Path, identity: &Identity) -> Self {
        Self {
            option,
            own: own_environment(),
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
        let (named, executable) = self.identity.looks(|| self.locate())?;
        let interpreter = probe(&named, &executable, &self.identity).await?;
        check(named, executable, &interpreter)?;
        Ok(interpreter)
    }

    /// The executable alone: what it is comes out when it runs.
    ///
    /// # Errors
    /// Says what was looked for, where, and what to do.
    pub fn executable(&self) -> Result<PathBuf, PythonError> {
        self.locate().map(|(_, executable)| executable)
    }

    fn locate(&self) -> Result<(Source, PathBuf), PythonError> {
        if let Some(path) = &*self.option {
            return self.locate_option(&Setting::new(path.clone(), self.option.name()));
        }
        if let Some(directory) = &self.own {
            let named = Source::Own(directory.clone());
            return in_directory(&named, directory).map(|executable| (named, executable));
        }
        if let Some(directory) = &self.virtual_env {
            let named = Source::VirtualEnv(directory.clone());
            return in_directory(&named, directory).map(|executable| (named, executable));
        }
        let directory = self.chdir.join(".venv");
        let named = Source::DotVenv(directory.clone());
        may(&named, &directory, Wish::Enter)?;
        if directory.is_dir() {
            return in_directory(&named, &directory).map(|executable| (named, executable));
        }
        match self.search_path(Path::new("python3")) {
            Some(executable) => Ok((Source::Path, executable)),
            None => Err(PythonError::NoPython(self.option.name().to_owned())),
        }
    }

    fn locate_option(&self, option: &Setting<PathBuf>) -> Result<(Source, PathBuf), PythonError> {
        let named = Source::Option(option.clone());
        let path = std::path::absolute(&**option).map_err(|_| PythonError::Missing(named.clone()))?;
        may(&named, &path, Wish::Reach)?;
        if path.is_dir() {
            return in_directory(&named, &path).map(|executable| (named, executable));
        }
        if path.symlink_metadata().is_ok() {
            return usable(&named, &path).map(|()| (named, path));
        }
        // A bare name is a command, as in a shell: python3.12.
        if option.components().count() == 1 {
            return match self.search_path(option) {
                Some(executable) => Ok((named, executable)),
                None => Err(PythonError::NotOnPath(named)),
            };
        }
        Err(PythonError::Missing(named))
    }

    fn search_path(&self, name: &Path) -> Option<PathBuf> {
        let mut candidates = self.path.iter().map(|directory| directory.join(name));
        candidates.find(|candidate| is_executable(candidate))
    }
}

/// By the path that this program was called by, such as a script's `#!/srv/blog/.venv/bin/wsgi-fpm`: often a link.
fn own_environment() -> Option<PathBuf> {
    OWN.clone().filter(|directory| is_for_applications(directory))
}

/// What marks an environment that `uv tool install` or `pipx install` has made for this program alone.
const OF_TOOLS: [&str; 2] = ["uv-receipt.toml", "pipx_metadata.json"];

/// A virtual environment, in which applications may be: none is in a tool's.
fn is_for_applications(directory: &Path) -> bool {
    let has = |name: &str| directory.join(name).is_file();
    has("pyvenv.cfg") && !OF_TOOLS.into_iter().any(has)
}

static OWN: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let called = PathBuf::from(std::env::args_os().next()?);
    std::path::absolute(called.parent()?.parent()?).ok()
});

/// Keeps the path that this program was called by: a title takes the place of the arguments.
pub fn keep_own_path() {
    LazyLock::force(&OWN);
}

/// The interpreter of a virtual environment or an installation.
fn in_directory(named: &Source, directory: &Path) -> Result<PathBuf, PythonError> {
    may(named, directory, Wish::Enter)?;
    if !directory.is_dir() {
        return Err(PythonError::Missing(named.clone()));
    }
    for name in ["bin/python", "bin/python3"] {
        let executable = directory.join(name);
        may(named, &executable, Wish::Reach)?;
        if executable.symlink_metadata().is_err() {
            continue;
        }
        let cfg = directory.join("pyvenv.cfg");
        may(named, &cfg, Wish::Read)?;
        if let Some(home) = pyvenv_home(&cfg) {
            may(named, &home, Wish::Enter)?;
            if !home.is_dir() {
                let named = named.clone();
                return Err(PythonError::HomeMissing { named, home });
            }
        }
        return usable(named, &executable).map(|()| executable);
    }
    Err(PythonError::NoInterpreter(named.clone()))
}

/// `home` of a virtual environment: the directory of the executable that it was made with.
fn pyvenv_home(file: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut entries = text.lines().filter_map(|line| line.split_once('='));
    let (_, home) = entries.find(|(key, _)| key.trim().eq_ignore_ascii_case("home"))?;
    Some(PathBuf::from(home.trim()))
}

/// That no permission is missing.
fn may(named: &Source, path: &Path, wish: Wish) -> Result<(), PythonError> {
    let named = named.clone();
    denied(path, wish).map_or(Ok(()), |denied| Err(PythonError::Denied { named, denied }))
}

/// That `executable` exists, at the end of its links too, and may be run.
fn usable(named: &Source, executable: &Path) -> Result<(), PythonError> {
    // What nobody may run is no matter of who this is.
    let wish = if is_executable(executable) {
        Wish::Run
    } else {
        Wish::Reach
    };
    may(named, executable, wish)?;
    let named = named.clone();
    let mut link = executable.to_owned();
    // The first link whose target is missing: it is what has to be repaired. 40 is the kernel's own limit.
    for _ in 0..40 {
        let Ok(target) = link.read_link() else { break };
        let target = link.parent().unwrap_or(Path::new("/")).join(target);
        if target.symlink_metadata().is_err() {
            return Err(PythonError::Dangling { named, link, target });
        }
        link = target;
    }
    if !is_executable(executable) {
        let path = executable.to_owned();
        return Err(PythonError::NotExecutable { named, path });
    }
    Ok(())
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

async fn probe(named: &Source, executable: &Path, identity: &Identity) -> Result<Interpreter, PythonError> {
    let (named, path) = (named.clone(), executable.to_owned());
    let mut command = std::process::Command::new(executable);
    // -I would do the same, but Python 2 does not know it, and it deserves the message "too old" as well.
    command.args(["-E", "-s", "-c", PROBE]);
    let running = async {
        let child = Command::from(identity.command(command)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let _ours = child.id().map(Ours::new);
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(PROBE_TIMEOUT, running).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(PythonError::NotExecutable { named, path });
        }
        Ok(Err(error)) => return Err(PythonError::NotRun { named, path, error }),
        Err(_) => return Err(PythonError::Hangs { named, path }),
    };
    answer(&output).map_err(|how| match how.split_once(OUR_ERROR) {
        Some((_, how)) => PythonError::NotAs {
            named,
            path,
            how: how.to_owned(),
        },
        None => PythonError::NotPython { named, path, how },
    })
}

/// As this program begins the line in which it says why it can't become the user or run the interpreter.
const OUR_ERROR: &str = "wsgi-fpm: error: ";

fn answer(output: &Output) -> Result<Interpreter, String> {
    if !output.status.success() {
        return Err(match last_line(&output.stderr) {
            Some(line) => format!("{}: {line}", output.status),
            None => output.status.to_string(),
        });
    }
    // A .pth file of site-packages may print, so the answer is the last line rather than everything.
    let line = last_line(&output.stdout).filter(|line| line.contains("wsgi_fpm_probe"));
    let line = line.ok_or("it did not say its version")?;
    serde_json::from_str(&line).map_err(|error| format!("it did not say its version: {error}"))
}

fn last_line(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .map(str::to_owned)
}

fn check(named: Source, path: PathBuf, interpreter: &Interpreter) -> Result<(), PythonError> {
    let version = interpreter.version().to_owned();
    if interpreter.version < OLDEST {
        return Err(PythonError::TooOld { named, path, version });
    }
    if interpreter.implementation != "cpython" {
        let implementation = interpreter.implementation.clone();
        return Err(PythonError::NotCPython {
            named,
            path,
            implementation,
        });
    }
    if interpreter.gil_disabled {
        return Err(PythonError::FreeThreaded { named, path, version });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn option(path: Option<PathBuf>) -> Setting<Option<PathBuf>> {
        Setting::new(path, "--python")
    }

    fn wanted(directory: &Path) -> Wanted {
        Wanted {
            option: option(None),
            own: None,
            virtual_env: None,
            path: vec![directory.join("path")],
            chdir: directory.to_owned(),
            identity: Identity::default(),
        }
    }

    fn executable(path: &Path) -> PathBuf {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_owned()
    }

    #[test]
    fn environment_of_a_tool_is_for_no_application() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_for_applications(directory.path()));
        std::fs::write(directory.path().join("pyvenv.cfg"), "").unwrap();
        assert!(is_for_applications(directory.path()));
        for name in OF_TOOLS {
            let marker = directory.path().join(name);
            std::fs::write(&marker, "").unwrap();
            assert!(!is_for_applications(directory.path()), "{name}");
            std::fs::remove_file(&marker).unwrap();
        }
    }

    #[test]
    fn without_a_search_path_there_are_the_usual_directories() {
        assert_eq!(search_path(Some("/a:/b".into())), [Path::new("/a"), Path::new("/b")]);
        assert!(search_path(None).contains(&PathBuf::from("/usr/bin")));
    }

    #[test]
    fn sources_are_tried_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let mut wanted = wanted(root);
        assert!(matches!(wanted.locate(), Err(PythonError::NoPython(_))));
        let on_path = executable(&root.join("path/python3"));
        assert_eq!(wanted.locate().unwrap(), (Source::Path, on_path));
        let dot_venv = executable(&root.join(".venv/bin/python"));
        assert_eq!(wanted.locate().unwrap().1, dot_venv);
        let active = executable(&root.join("active/bin/python3"));
        wanted.virtual_env = Some(root.join("active"));
        assert_eq!(wanted.locate().unwrap().1, active);
        let named = executable(&root.join("named/bin/python"));
        let own = executable(&root.join("own/bin/python"));
        wanted.own = Some(root.join("own"));
        assert_eq!(wanted.locate().unwrap().1, own);
        wanted.option = option(Some(root.join("named")));
        assert_eq!(wanted.locate().unwrap().1, named);
        wanted.option = option(Some(named.clone()));
        assert_eq!(wanted.locate().unwrap().1, named);
        let command = executable(&root.join("path/python3.12"));
        wanted.option = option(Some("python3.12".into()));
        assert_eq!(wanted.locate().unwrap().1, command);
        wanted.option = option(Some("python3.99".into()));
        assert!(matches!(wanted.locate(), Err(PythonError::NotOnPath(_))));
    }

    #[test]
    fn answer_after_other_output_is_found() {
        let output = |stdout: &str, stderr: &str, code: i32| Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        let json = r#"{"wsgi_fpm_probe":1,"version":[3,12,1],"full_version":"3.12.1 (main)","implementation":"cpython",
            "executable":"/p","prefix":"/","base_prefix":"/","shared":true,"libdir":null,"multiarch":null,
            "soname":null,"library":null,"gil_disabled":false,"platform":"linux-x86_64"}"#;
        let printed = format!("a .pth file prints\n{}\n\n", json.replace('\n', ""));
        assert_eq!(answer(&output(&printed, "", 0)).unwrap().version(), "3.12.1");
        assert_eq!(answer(&output("", "", 0)).unwrap_err(), "it did not say its version");
        assert_eq!(
            answer(&output("", "first\nlast\n", 1)).unwrap_err(),
            "exit status: 1: last"
        );
    }
}
