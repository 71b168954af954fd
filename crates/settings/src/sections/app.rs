//! What is run: the application, its Python and its surroundings.

use std::path::PathBuf;

use crate::declaration::{Entries, PathForm, section};
use crate::values::{AppName, Mount, PoolName, Preload, Variable};

section! {
    /// The application and what it finds when it is loaded.
    App = "Application";

    /// The application: module:callable, module, path/to/file.py[:callable] or module:factory()
    app: Option<AppName> {
        when: "always: it must be given",
        otherwise: "none, must be given",
    }

    /// Python to use: a virtual environment, an installation's directory or an executable
    ///
    /// A bare name is a command on PATH. CPython 3.9 or newer
    python: Option<PathBuf> {
        value: "DIR_OR_EXE",
        otherwise: "the virtual environment in whose `bin` the program was called, else `$VIRTUAL_ENV`, else the one in \
                    whose `bin` it is on PATH, else `.venv` in the working directory, else `python3` on PATH",
        when: "always in production: a service has no active virtual environment",
        path: PathForm::PathOrCommand,
    }

    /// Working directory of the application, and first entry of sys.path
    chdir: Option<PathBuf> {
        value: "DIR",
        otherwise: "the current directory; where a web server starts the process, that of the script; for a pool of the \
                    file, that of the application's file, else `/`",
        when: "always in production",
        path: PathForm::Path,
    }

    /// Environment variable for the application; can be repeated
    ///
    /// What is typed stands in the shell's history, and until the supervisor runs in the list of processes: secrets belong in
    /// `env_file`
    env: Vec<Variable> {
        when: "for `DJANGO_SETTINGS_MODULE` and the like",
    }

    /// File with further variables, KEY=VALUE, a line each
    ///
    /// Empty lines and lines that begin with `#` are left out, and quotes around a value taken off. It is read, at each
    /// start of a generation, by whoever has started the program, so that nobody else need be able to. `env` counts
    /// more than it
    env_file: Option<PathBuf> {
        value: "FILE",
        when: "passwords and keys, which neither a list of processes nor a configuration file should show",
        path: PathForm::Path,
    }

    /// Variable of the program's own environment that the application gets; PREFIX* for all that begin so; can be
    /// repeated
    ///
    /// A pool of the configuration file gets no others but `PATH`, `LANG`, `LC_*`, `TZ` and, from its user, `HOME`, `USER`,
    /// `LOGNAME` and `SHELL`
    keep_env: Vec<String> {
        value: "NAME",
        entries: Entries::POOL,
        when: "the service manager sets variables that the application reads",
    }


    /// Further entry of sys.path, after the working directory; can be repeated
    pythonpath: Vec<PathBuf> {
        value: "DIR",
        when: "the application imports from more than one directory",
        path: PathForm::Path,
    }

    /// URL prefix under which the application lives, such as /app
    ///
    /// It becomes `SCRIPT_NAME`, the rest `PATH_INFO`; a request outside of it is answered with 404
    mount: Option<Mount> {
        otherwise: "the whole site; where a web server starts the process, as it splits the path",
        when: "the web server passes `/app` alone, or splits the path at the wrong place",
        excludes: &["strip_script"],
    }

    /// Under CGI: environment variable that belongs to the request, such as one of Apache's SetEnv; PREFIX* for all that
    /// begin so; can be repeated
    cgi_variable: Vec<String> {
        value: "NAME",
        entries: Entries::SCRIPTS,
        when: "the application looks for it in the environ",
    }

    /// Name of the pool in logs and process titles
    name: Option<PoolName> {
        otherwise: "from APP: `mysite` for `mysite.wsgi:application`",
        entries: Entries::SERVE.or(Entries::SCRIPTS).or(Entries::DEV),
        when: "two pools run the same application",
    }

    /// Check every request and response with wsgiref.validate
    ///
    /// It fails requests that break PEP 3333 on either side
    validate: bool {
        default: Some("false"),
        when: "to look for errors of the application or of middleware; costs time in each request",
    }

    /// Load the application once and share it with all workers by forking, where it allows that
    ///
    /// Less memory, and a crashed worker is replaced in milliseconds. If importing it starts threads or processes, sets timers, or
    /// opens sockets or files (other than logs opened for appending), none of which a fork would carry over, the log names them
    /// and each worker imports it itself, and so has its own. Threads that a library ends before each fork by itself, as
    /// OpenBLAS of numpy and scipy does, are no hindrance. Random
    /// generators of the application's own: [below](#random-numbers)
    preload: Preload {
        default: Some("auto"),
        entries: Entries::SERVED.or(Entries::DEV),
        when: "`off` for an application that must not be forked for another reason, such as a library with state of its \
               own in native code",
    }
}
