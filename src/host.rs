//! Runs a leader's Python, as its pool's user: embedded in this program where that Python ships a shared libpython, else by its
//! own executable. Either way the same bootstrap loads the same engine. Knows nothing of what the engine does.
//!
//! One of the few places that have `unsafe`: loading a library and calling CPython's `main` can't be done without.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::Args;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};

use contract::denied::{Wish, denied};

use crate::engine::{Engine, EngineError, Handed};
use crate::python::Interpreter;
use crate::users::Identity;

const BOOTSTRAP: &str = include_str!("bootstrap.py");
/// `exec` or `embedded` instead of the choice of [`Host::new`], to tell the two apart when one of them fails.
const HOSTING_VARIABLE: &str = "WSGI_FPM_HOSTING";

/// The arguments of the hidden subcommand `host`.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// Whom to become first, as JSON
    #[arg(long)]
    pub identity: Option<String>,
    /// What runs the command inside this process, if it can
    #[arg(long, requires = "python_version")]
    pub libpython: Option<PathBuf>,
    /// The version that the interpreter reports, "3.11.7": the library must report the same
    #[arg(long)]
    pub python_version: Option<String>,
    /// An interpreter and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosting {
    /// In a process of this program, which loads this library.
    Embedded { libpython: PathBuf },
    /// In the interpreter's own executable.
    Exec,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("{HOSTING_VARIABLE}={0}: write embedded or exec")]
    UnknownHosting(String),
    #[error("{HOSTING_VARIABLE}=embedded: {0} has no shared libpython; looked for {1}")]
    NoLibrary(String, String),
}

/// Everything that is needed to start a leader's Python, found once: a reload uses the same files.
#[derive(Debug, Clone)]
pub struct Host {
    engine: Engine,
    executable: PathBuf,
    version: String,
    hosting: Hosting,
}

impl Host {
    /// `identity`: who is to read it all.
    ///
    /// # Errors
    /// The engine is missing, or [`HOSTING_VARIABLE`] asks for what there is not.
    pub fn new(interpreter: &Interpreter, identity: &Identity) -> Result<Self, HostError> {
        let found = libpython(interpreter);
        let hosting = match std::env::var_os(HOSTING_VARIABLE) {
            None => found.map_or(Hosting::Exec, |libpython| Hosting::Embedded { libpython }),
            Some(wanted) if wanted == "exec" => Hosting::Exec,
            Some(wanted) if wanted == "embedded" => match found {
                Some(libpython) => Hosting::Embedded { libpython },
                None => {
                    let places: Vec<_> = library_places(interpreter)
                        .iter()
                        .map(|place| place.display().to_string())
                        .collect();
                    return Err(HostError::NoLibrary(interpreter.to_string(), places.join(", ")));
                }
            },
            Some(wanted) => return Err(HostError::UnknownHosting(wanted.to_string_lossy().into_owned())),
        };
        Ok(Self {
            engine: identity.looks(Engine::choose)?,
            executable: interpreter.executable.clone(),
            version: interpreter.version().to_owned(),
            hosting,
        })
    }

    pub fn hosting(&self) -> &Hosting {
        &self.hosting
    }

    /// What runs the engine's `main` in the pool's Python, as the pool's user.
    ///
    /// # Errors
    /// This program's own path is unknown, or there is no descriptor left.
    pub fn launch(&self, identity: &Identity) -> io::Result<Launch> {
        let engine = self.engine.hand_over()?;
        let command = exec_command(&self.executable, &engine);
        let command = match &self.hosting {
            Hosting::Embedded { libpython } => {
                let version = OsStr::new(&self.version);
                let with = [
                    OsStr::new("--libpython"),
                    libpython.as_ref(),
                    OsStr::new("--python-version"),
                    version,
                ];
                identity.hosted(&with, command)
            }
            Hosting::Exec => identity.command(command),
        }?;
        Ok(Launch { command, engine })
    }
}

/// A leader's command, and what its process inherits: to be started at once.
#[derive(Debug)]
pub struct Launch {
    pub command: Command,
    pub engine: Handed,
}

/// The command that runs the engine in `executable`.
pub fn exec_command(executable: &Path, engine: &Handed) -> Command {
    let mut command = Command::new(executable);
    command.arg("-c").arg(BOOTSTRAP).arg(engine.argument());
    command
}

/// The shared libpython that belongs to `interpreter`, if it ships one.
fn libpython(interpreter: &Interpreter) -> Option<PathBuf> {
    library_places(interpreter).into_iter().find(|place| place.is_file())
}

/// Where it can be. An installation that was moved since it was built (as all relocatable ones) names a LIBDIR of
/// another machine, so the places below its own prefix come first.
fn library_places(interpreter: &Interpreter) -> Vec<PathBuf> {
    let shared_name = |name: &&String| name.contains(".so") || name.contains(".dylib");
    let names = [&interpreter.soname, &interpreter.library];
    let names: Vec<_> = names.into_iter().flatten().filter(shared_name).collect();
    let base = &interpreter.base_prefix;
    let mut directories = vec![base.join("lib"), base.join("lib64")];
    directories.extend(interpreter.multiarch.iter().map(|tag| base.join("lib").join(tag)));
    directories.extend(interpreter.libdir.clone());
    let mut places = Vec::new();
    for directory in directories {
        for name in &names {
            let place = directory.join(name);
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places
}

/// The hidden subcommand `host`: becomes somebody, then the command. Where a libpython is named, that runs it in this very
/// process; if it turns out not to be the interpreter's, or can't be loaded, the interpreter's own executable takes over.
pub fn run(args: &HostArgs) -> anyhow::Result<ExitCode> {
    if let Some(identity) = &args.identity {
        let identity: Identity = serde_json::from_str(identity).context("what is no identity")?;
        identity.put_on()?;
    }
    let (python, arguments) = args.command.split_first().context("no command")?;
    let (Some(libpython), Some(version)) = (&args.libpython, &args.python_version) else {
        return exec(python, arguments).map(|never| match never {});
    };
    match embed(libpython, version, &args.command) {
        Ok(code) => Ok(code),
        Err(error) => {
            let name = python.display();
            eprintln!("wsgi-fpm: libpython can't be embedded, {name} runs instead: {error:#}");
            exec(python, arguments).map(|never| match never {})
        }
    }
}

fn exec(python: &OsStr, arguments: &[OsString]) -> anyhow::Result<Infallible> {
    let error = Command::new(python).args(arguments).exec();
    if let Some(denied) = denied(Path::new(python), Wish::Run) {
        bail!("{denied}");
    }
    Err(error).with_context(|| format!("{} can't be run", python.display()))
}

/// `command`: as its interpreter would be called.
fn embed(libpython: &Path, version: &str, command: &[OsString]) -> anyhow::Result<ExitCode> {
    let path = libpython.display();
    // Everything that can fail comes before Python starts.
    // CPython finds the standard library and the virtual environment by argv[0].
    let arguments = command
        .iter()
        .map(|argument| CString::new(argument.as_bytes()).context("a path with a NUL byte"))
        .collect::<Result<Vec<_>, _>>()?;
    // SAFETY: initialisers of a library run, as they do when the interpreter's executable loads it; this process has
    // one thread and has loaded no other Python. RTLD_GLOBAL: extension modules take CPython's symbols from it.
    let library = unsafe { Library::open(Some(libpython), RTLD_NOW | RTLD_GLOBAL) }
        .with_context(|| format!("{path} can't be loaded"))?;
    // SAFETY: `const char *Py_GetVersion(void)` in every CPython.
    let py_get_version: Symbol<unsafe extern "C" fn() -> *const c_char> =
        unsafe { library.get(b"Py_GetVersion\0") }.with_context(|| format!("{path} is no libpython"))?;
    // SAFETY: may be called before initialisation and returns a NUL-terminated string that is never freed.
    let found = unsafe { CStr::from_ptr(py_get_version()) }.to_string_lossy();
    if found.split(' ').next() != Some(version) {
        bail!("{path} is of Python {found}, the interpreter is {version}");
    }
    // SAFETY: `int Py_BytesMain(int argc, char **argv)` in every CPython since 3.8.
    let py_bytes_main: Symbol<unsafe extern "C" fn(c_int, *mut *mut c_char) -> c_int> =
        unsafe { library.get(b"Py_BytesMain\0") }.with_context(|| format!("{path} is no libpython"))?;
    let mut argv: Vec<*mut c_char> = arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    let argc = argv.len() as c_int;
    argv.push(std::ptr::null_mut());
    // SAFETY: `argv` is an array of `argc` NUL-terminated strings and a null pointer; array, strings and library live
    // until the call returns. CPython decodes the strings and does not write to them.
    let code = unsafe { py_bytes_main(argc, argv.as_mut_ptr()) };
    // Threads that Python did not join may still run its code, so the library is never unloaded.
    std::mem::forget(library);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::Mark;

    fn interpreter(base: &Path) -> Interpreter {
        Interpreter {
            version: [3, 11, 7],
            full_version: "3.11.7 (main) [GCC]".into(),
            implementation: "cpython".into(),
            executable: base.join("bin/python3"),
            prefix: base.to_owned(),
            base_prefix: base.to_owned(),
            shared: true,
            libdir: Some("/install/lib".into()),
            multiarch: Some("x86_64-linux-gnu".into()),
            soname: Some("libpython3.11.so.1.0".into()),
            library: Some("libpython3.11.so".into()),
            gil_disabled: false,
            platform: "linux-x86_64".into(),
            path: Vec::new(),
            mark: Mark::default(),
        }
    }

    #[test]
    fn libpython_below_the_prefix_is_preferred() {
        let base = tempfile::tempdir().unwrap();
        let mut interpreter = interpreter(base.path());
        assert_eq!(libpython(&interpreter), None, "nothing is there yet");
        let libdir = base.path().join("elsewhere");
        let library = base.path().join("lib/x86_64-linux-gnu/libpython3.11.so.1.0");
        for place in [&library, &libdir.join("libpython3.11.so.1.0")] {
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, "").unwrap();
        }
        interpreter.libdir = Some(libdir);
        assert_eq!(libpython(&interpreter), Some(library));
    }

    #[test]
    fn static_library_is_not_embedded() {
        let base = tempfile::tempdir().unwrap();
        let mut interpreter = interpreter(base.path());
        interpreter.soname = Some("libpython3.11.a".into());
        interpreter.library = Some("libpython3.11.a".into());
        std::fs::create_dir_all(base.path().join("lib")).unwrap();
        std::fs::write(base.path().join("lib/libpython3.11.a"), "").unwrap();
        assert_eq!(libpython(&interpreter), None);
    }
}
