//! FastCGI on standard input: one process that a web server has started (mod_fcgid, lighttpd's `bin-path`, spawn-fcgi;
//! SPEC A30). The web server is its supervisor: no leader, no fork, and it never retires by itself.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use contract::log::Direct;
use contract::own::{self, Own, OwnFd};
use contract::scoreboard::Scoreboard;
use contract::settings::Settings;
use pyo3::prelude::*;
use signal_hook::consts::SIGTERM;

use crate::base::forked;
use crate::process::watchdog::FromWorker;
use crate::process::worker::{self, Birth};

/// Serves until SIGTERM; the exit code.
pub fn run(py: Python<'_>, settings: Settings) -> i32 {
    let listener = match take_listener() {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("wsgi-fpm: standard input can't be served: {error}");
            return 1;
        }
    };
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(log) => contract::log::start(&settings.log, Direct::new(Own::new(log), settings.log.format)),
        Err(error) => eprintln!("wsgi-fpm: there is no log: {error}"),
    }
    let version = py.version_info();
    if let Some(text) = contract::pythons::untested([version.major.into(), version.minor.into()]) {
        tracing::info!("{text}");
    }
    // A name for ps and top; nothing depends on it.
    let _ = rustix::thread::set_name(c"wsgi-fpm");
    let file = Path::new(&settings.app).file_name();
    let app = file.map_or(settings.app.as_str().into(), |file| file.to_string_lossy());
    contract::title::set(&format!("wsgi-fpm: {app}"));
    match serve(py, settings, listener) {
        Ok(code) => code,
        Err((reason, detail)) => {
            tracing::error!(traceback = %contract::log::block(&detail), "{reason}");
            1
        }
    }
}

/// # Errors
/// One line for the administrator, and a traceback if there is one.
fn serve(py: Python<'_>, settings: Settings, listener: OwnFd) -> Result<i32, (String, String)> {
    let system = |error: io::Error| (format!("the application can't be served: {error}"), String::new());
    worker::prepare_paths(py, &settings).map_err(system)?;
    let application = worker::load(py, &settings)?;
    let board = Scoreboard::create(settings.threads.get() as usize).map_err(system)?;
    let scoreboard = Scoreboard::map(&board).map_err(system)?;
    let (link, signals) = UnixStream::pair().map_err(system)?;
    // Behind the import: an application that sets a handler of its own gets its calls, too. A byte on the link means
    // stop, as from a leader.
    own::keep(&signals);
    let registered = forked::handles(SIGTERM, || signal_hook::low_level::pipe::register(SIGTERM, signals));
    registered.map_err(system)?;
    tracing::debug!(app = settings.app, pid = std::process::id(), "ready");
    let birth = Birth {
        settings,
        listeners: vec![listener],
        handover: None,
        keeper: None,
        imports: None,
        scoreboard,
        index: 0,
        link: Own::new(link),
        application: Some(application),
    };
    worker::start(py, birth).map_err(|failure| match failure {
        FromWorker::Failed { reason, detail } => (reason, detail),
        FromWorker::Ready | FromWorker::Spent | FromWorker::Full => {
            ("the application can't be served".to_owned(), String::new())
        }
    })
}

/// Takes the listener from descriptor 0, so that no child of the application inherits it. What is written to standard
/// output goes to the web server's log: with mod_fcgid both are the same.
fn take_listener() -> io::Result<OwnFd> {
    let listener = Own::new(io::stdin().as_fd().try_clone_to_owned()?);
    // Other processes may take the connection that woke this one.
    rustix::io::ioctl_fionbio(&listener, true)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok(listener)
}
