//! Started by a web server instead of by an administrator: a script is named by its `#!` line, and the process's own state
//! says how requests come (SPEC A30, D). What the web server has put on the command line is never an option (SPEC D3).
//!
//! There is no supervisor here and no asking what the Python is: all of this counts for each CGI request. The process becomes the
//! script's Python.

mod block;
mod refusal;

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use contract::memory;
use contract::settings::{Entry, ListenerKind};
use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, SocketAddrAny, getsockname, sockopt};
use settings::{Entries, Layers, Origin, Said};

use crate::cli::Cli;
use crate::config::{self, ConfigError, Pool};
use crate::engine::Engine;
use crate::host;
use crate::python::Wanted;
pub use block::BlockError;

/// Names of scripts that would send the status line themselves (RFC 3875 section 5).
const NPH: &str = "nph-";

/// What CGI makes of a client's header `Proxy`, and HTTP clients take for the proxy that they are to use (httpoxy).
const HTTP_PROXY: &str = "HTTP_PROXY";

/// How a web server has started this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    FastCgi(ListenerKind),
    Cgi,
}

impl Start {
    /// What the process was given; `None` if no web server has started it.
    fn detect() -> Option<Self> {
        if let Some(kind) = listener_on_stdin() {
            return Some(Self::FastCgi(kind));
        }
        let is_set = |name| std::env::var_os(name).is_some();
        (is_set("GATEWAY_INTERFACE") || is_set("REQUEST_METHOD")).then_some(Self::Cgi)
    }

    fn entry(self) -> Entries {
        match self {
            Self::FastCgi(_) => Entries::FASTCGI,
            Self::Cgi => Entries::CGI,
        }
    }

    fn listener(self) -> Option<ListenerKind> {
        match self {
            Self::FastCgi(kind) => Some(kind),
            Self::Cgi => None,
        }
    }
}

/// The kind of the listening socket on descriptor 0, if there is one.
fn listener_on_stdin() -> Option<ListenerKind> {
    let stdin = io::stdin();
    if !sockopt::socket_acceptconn(&stdin).unwrap_or(false) {
        return None;
    }
    let address: SocketAddrAny = getsockname(&stdin).ok()?;
    Some(match address.address_family() {
        AddressFamily::UNIX => ListenerKind::Unix,
        _ => ListenerKind::Tcp,
    })
}

/// The script that the kernel has named for its `#!` line: no subcommand, but a file.
pub fn named() -> Option<PathBuf> {
    let first = std::env::args_os().nth(1)?;
    let path = PathBuf::from(first);
    let text = path.to_string_lossy();
    // A web server names a script by its path; asking clap for its commands takes a while.
    let is_command =
        || !text.contains('/') && (text.starts_with('-') || Cli::command().find_subcommand(&*text).is_some());
    (path.is_file() && !is_command()).then_some(path)
}

/// Runs the script as what it was started for.
pub fn run(script: &Path) -> ExitCode {
    let Some(start) = Start::detect() else {
        let script = script.display();
        eprintln!(
            "wsgi-fpm: {script} is a script for a web server, which has not started it: there is neither a listening \
             socket on standard input nor a CGI request in the environment.\n\
             To try it: wsgi-fpm dev {script}\n\
             To serve it: wsgi-fpm serve {script} --listen /path/to.sock"
        );
        return ExitCode::from(crate::EXIT_USAGE);
    };
    let is_nph = script
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(NPH));
    if start == Start::Cgi && is_nph {
        eprintln!(
            "wsgi-fpm: error: {}: scripts named {NPH}... are not supported: rename it",
            script.display()
        );
        refusal::answer_nph();
        return ExitCode::FAILURE;
    }
    finish(start, become_python(script, start))
}

/// `wsgi-fpm cgi APP`, `wsgi-fpm fastcgi APP`: the same for those who have no script.
pub fn run_explicit(typed: Vec<Said>, entry: Entry) -> anyhow::Result<ExitCode> {
    let start = match (entry, listener_on_stdin()) {
        (Entry::Cgi, _) => Start::Cgi,
        (_, Some(kind)) => Start::FastCgi(kind),
        (_, None) => return Err(ConfigError::NoListenerOnStdin.into()),
    };
    if start == Start::Cgi && std::env::var_os("REQUEST_METHOD").is_none() && io::IsTerminal::is_terminal(&io::stdin())
    {
        return Err(ConfigError::NoCgiRequest.into());
    }
    let mut layers = Layers::new(start.entry());
    layers.put(typed);
    Ok(finish(start, exec(layers, start)))
}

/// Says why the process has not become Python, to the log and to the client.
fn finish(start: Start, failure: anyhow::Result<Infallible>) -> ExitCode {
    let Err(error) = failure;
    eprintln!("wsgi-fpm: error: {error:#}");
    if start == Start::Cgi {
        refusal::answer();
    }
    ExitCode::FAILURE
}

fn become_python(script: &Path, start: Start) -> anyhow::Result<Infallible> {
    let script = std::path::absolute(script).context("the current directory is unknown")?;
    let mut layers = Layers::at(
        start.entry(),
        Origin::Script {
            file: script.as_path().into(),
        },
    );
    layers.put(block::read(&script)?);
    layers.assume("app", script);
    exec(layers, start)
}

/// Becomes the Python that runs what the layers say.
fn exec(layers: Layers, start: Start) -> anyhow::Result<Infallible> {
    let pool = Pool::for_script(layers, start.listener())?;
    let wanted = Wanted::from_environment(pool.python.clone(), &pool.settings.chdir, &pool.identity);
    let python = wanted.executable()?;
    let engine = Engine::choose()?
        .hand_over()
        .context("the engine can't be handed over")?;
    let settings = inherited_file(&serde_json::to_vec(&pool.settings)?).context("the settings can't be handed over")?;
    let mut command = host::exec_command(&python, &engine);
    command.arg(settings.as_raw_fd().to_string());
    // A client's header `Proxy` under the name of a setting: not even children of the application may see it (SPEC F1).
    // What the administrator sets stays, even under that name.
    let without: &[&str] = if start == Start::Cgi { &[HTTP_PROXY] } else { &[] };
    command.env_clear().envs(pool.environment.variables(without)?);
    let error = command.exec();
    Err(error).with_context(|| format!("{} can't be run", python.display()))
}

/// A file in memory that the next program finds open under the same number, at its beginning.
fn inherited_file(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memory::file("wsgi-fpm-settings", MemfdFlags::empty())?);
    file.write_all(content)?;
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

/// The options that the application's file says itself; none if it is no script. `typed`: what somebody has said of it.
///
/// # Errors
/// Its block can't be understood.
pub fn options_of(typed: &mut [Said]) -> anyhow::Result<Vec<Said>> {
    let value = |key: &str| {
        let said = typed.iter().find(|said| said.option.key == key)?;
        said.values.first().cloned()
    };
    let Some(app) = value("app").and_then(|app| app.into_string().ok()) else {
        return Ok(Vec::new());
    };
    let file = config::file_part(&app);
    let typed_directory = value("chdir").map(PathBuf::from);
    let script = typed_directory.as_deref().unwrap_or(Path::new("")).join(file);
    if !script.is_file() {
        return Ok(Vec::new());
    }
    let script = std::path::absolute(script).context("the current directory is unknown")?;
    let block = block::read(&script)?;
    // What it says of the directory must not change which file was meant.
    if typed_directory.is_none() && block.iter().any(|said| said.option.key == "chdir") {
        let absolute = format!("{}{}", script.display(), &app[file.len()..]);
        for said in typed.iter_mut().filter(|said| said.option.key == "app") {
            said.values = vec![absolute.clone().into()];
        }
    }
    Ok(block)
}
