//! A worker: loads the application, serves with its threads, and ends when the leader says so.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use contract::control::IMPORT_SIGNAL;
use contract::handover::Handover;
use contract::keeper::Link;
use contract::log::escape;
use contract::memory;
use contract::own::{Own, OwnFd};
use contract::scoreboard::Scoreboard;
use contract::settings::{Entry, Settings};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use rustix::fs::MemfdFlags;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::base::bell::Bell;
use crate::base::crash::{Answers, STACK_SIGNAL};
use crate::base::request_id::RequestId;
use crate::base::{crash, defect, ffi, forked, metrics, printing};
use crate::connection::Hub;
use crate::process::asked::Questions;
use crate::process::quota::Quota;
use crate::process::receiver::Receiver;
use crate::process::status::StatusPage;
use crate::process::thread::{Server, Shared, Station, thread_name};
use crate::process::warmup::warm_up;
use crate::process::watchdog::{FromWorker, Watchdog};
use crate::process::{giver, preload};
use crate::reactor::Reactor;
use crate::request::exchange::Exchange;
use crate::wsgi::lookup::{self, Looked};
use crate::wsgi::{app, printed, reject, traceback};

/// What a worker is born with.
pub struct Birth {
    pub settings: Settings,
    pub listeners: Vec<OwnFd>,
    /// Without a leader there is nobody to give connections to.
    pub handover: Option<Handover>,
    /// Nor anybody who keeps them: the memory of the keeper's table, and the channel to it.
    pub keeper: Option<[OwnFd; 2]>,
    /// What is imported is written there on demand.
    pub imports: Option<OwnFd>,
    pub scoreboard: Scoreboard,
    /// Number of the worker in its pool, from 0.
    pub index: usize,
    pub link: Own<UnixStream>,
    /// Loaded by the leader; `None`: to be loaded here.
    pub application: Option<Py<PyAny>>,
}

/// Ends a process that was forked for a worker and can't become one. The leader it must not remain.
pub fn stillborn(error: &dyn Display) -> ! {
    forked::error_line(&format!("wsgi-fpm: a worker can't start: {error}"));
    ffi::exit_now(1)
}

/// Runs the worker in the process that was forked for it; returns its exit code.
pub fn run(py: Python<'_>, birth: Birth) -> i32 {
    let number = birth.index + 1;
    contract::title::set(&format!("wsgi-fpm: pool {}, worker {number}", birth.settings.name));
    let link = match birth.link.try_clone() {
        Ok(link) => link,
        Err(error) => {
            tracing::error!(%error, "a worker can't start");
            return 1;
        }
    };
    let failure = match start(py, birth) {
        Ok(code) => return code,
        Err(failure) => failure,
    };
    // The leader may be gone; then its end of file has been noticed elsewhere.
    let _ = contract::control::send(&link, &failure);
    1
}

/// Serves until the worker has drained; the exit code.
///
/// # Errors
/// What it died of, before it was ready.
pub fn start(py: Python<'_>, birth: Birth) -> Result<i32, FromWorker> {
    let Birth {
        settings,
        listeners,
        handover,
        keeper,
        imports,
        scoreboard,
        index,
        link,
        application,
    } = birth;
    let threads = settings.threads.get() as usize;
    metrics::begin_worker();
    let prepared = prepare_crashes(py, &settings);
    let (answers, stacks) = prepared.map_err(|error| failed(py, "Python can't be prepared", &error))?;
    if let Some(imports) = imports {
        show_imports(py, &imports).map_err(|error| failed(py, "Python can't be prepared", &error))?;
        // faulthandler has its number from now on.
        std::mem::forget(imports);
    }
    if let (Entry::FastCgi, [listener]) = (settings.entry, listeners.as_slice()) {
        crash::close_with(listener);
    }
    let application = match application {
        Some(application) => {
            preload::reseed(py).map_err(|error| failed(py, "numpy can't be seeded", &error))?;
            application
        }
        None => {
            let application = load(py, &settings).map_err(|(reason, detail)| FromWorker::Failed { reason, detail })?;
            preload::freeze(py).map_err(|error| failed(py, "the application can't be frozen", &error))?;
            application
        }
    };
    let system = |error: std::io::Error| FromWorker::Failed {
        reason: format!("a worker can't start: {error}"),
        detail: String::new(),
    };
    let keeper = keeper.map(|[table, channel]| Link::new(table, channel)).transpose();
    let (keeper, asked) = keeper.map_err(system)?.unzip();
    let handover = match &keeper {
        Some(keeper) => handover.map(|handover| handover.refusing_to(keeper)),
        None => handover,
    };
    let is_alone = settings.size.limit() == 1;
    let max_open = settings.limits.connections.clone().map(|most| most.get() as usize);
    let reactor = Reactor::new(listeners, handover, threads, max_open, is_alone).map_err(system)?;
    let hub = Arc::new(Hub::new(
        reactor,
        settings.limits.clone(),
        keeper,
        settings.size.most as usize,
        threads,
    ));
    let stations = (0..threads)
        .map(|thread| {
            let slot = index * threads + thread;
            scoreboard.slots()[slot].assign(std::process::id() as i32);
            Station {
                exchange: Exchange::new(&settings.limits, thread, answers),
                request: Arc::new(RequestId::new(thread)),
                slot,
                ident: Default::default(),
                interrupted: Default::default(),
            }
        })
        .collect();
    let bell = Bell::new().map_err(system)?;
    let quota = Quota::new(&settings.recycle, std::process::id());
    let shared = Arc::new(Shared {
        status: StatusPage::of(&settings),
        settings,
        hub,
        scoreboard: Arc::new(scoreboard),
        stations,
        quota,
        bell,
    });
    let receiver = Receiver::start(&shared).map_err(system)?;
    let noting = Arc::clone(&shared);
    giver::start(&shared.hub, move |waiting| noting.note_waiting(waiting)).map_err(system)?;
    let questions = Questions::new(&shared, asked);
    let eyes = Watchdog::new(&shared, link.try_clone().map_err(system)?, stacks, receiver, questions);
    defect::start_thread("watchdog", move || eyes.run()).map_err(system)?;
    if shared.settings.entry == Entry::Pool {
        // The watchdog notices the leader's end, and ends the application's children too. If somebody has stopped this
        // process, it has to go on for that.
        set_parent_process_death_signal(Some(Signal::CONT)).map_err(|error| system(error.into()))?;
    }
    let server = || Server::new(py, &shared, 0, application.clone_ref(py));
    let mut server = server().map_err(|error| failed(py, "a worker can't start", &error))?;
    crash::prepare_thread();
    warm_up(py, &mut server, &shared).map_err(|reason| FromWorker::Failed {
        reason,
        detail: String::new(),
    })?;
    serve(py, &shared, server, application, &link).map_err(|error| failed(py, "a worker can't start", &error))?;
    Ok(0)
}

/// Starts the other threads and serves in this one, Python's main thread, by `first`, until the worker has drained.
fn serve(
    py: Python<'_>,
    shared: &Arc<Shared>,
    mut first: Server,
    application: Py<PyAny>,
    link: &UnixStream,
) -> PyResult<()> {
    let thread_class = py.import("threading")?.getattr("Thread")?;
    let with_room = with_room(py)?;
    let mut threads = Vec::new();
    for index in 1..shared.stations.len() {
        let server = Mutex::new(Server::new(py, shared, index, application.clone_ref(py))?);
        let target = PyCFunction::new_closure(
            py,
            None,
            None,
            move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                crash::prepare_thread();
                server.lock().unwrap_or_else(PoisonError::into_inner).run(args.py());
            },
        )?;
        let options = PyDict::new(py);
        options.set_item("target", &with_room)?;
        options.set_item("args", (target,))?;
        options.set_item("name", thread_name(index))?;
        options.set_item("daemon", true)?;
        let thread = thread_class.call((), Some(&options))?;
        thread.call_method0("start")?;
        threads.push(thread);
    }
    match shared.settings.entry {
        // It says when to begin.
        Entry::Pool => contract::control::send(link, &FromWorker::Ready)?,
        Entry::FastCgi | Entry::Cgi => shared.hub.reactor.begin(),
    }
    first.run(py);
    for thread in threads {
        thread.call_method0("join")?;
    }
    for station in &shared.stations {
        shared.slot(station).assign(0);
    }
    Ok(())
}

/// A function that calls another one, in a frame with room for all that this calls in turn. The bootstrap has one for the
/// main thread, and says why.
fn with_room(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let names = PyDict::new(py);
    let source = c"def serve(run):\n    run()\n\n\nserve.__code__ = serve.__code__.replace(co_stacksize=16384)\n";
    py.run(source, Some(&names), None)?;
    names.as_any().get_item("serve")
}

/// From here on a crash of this process is answered, and says what Python did; the latter is written to the file on demand.
///
/// # Errors
/// Python's.
pub fn prepare_crashes(py: Python<'_>, settings: &Settings) -> PyResult<(&'static Answers, File)> {
    let page = reject::page("502 Bad Gateway");
    let pages = [false, true].map(|is_head| page.answer(is_head).to_vec());
    let answers = crash::install(settings.threads.get() as usize, pages);
    let stacks = File::from(memory::file("wsgi-fpm-stacks", MemfdFlags::CLOEXEC)?);
    // faulthandler appends to where the file stands; O_APPEND makes that its end after it was emptied.
    rustix::fs::fcntl_setfl(&stacks, rustix::fs::OFlags::APPEND).map_err(std::io::Error::from)?;
    // Not `faulthandler.enable()`, of which there is one: the application may want it for a file of its own.
    let options = PyDict::new(py);
    options.set_item("file", std::os::fd::AsRawFd::as_raw_fd(&stacks))?;
    options.set_item("all_threads", true)?;
    let signal = STACK_SIGNAL.as_raw();
    forked::handles(signal, || {
        py.import("faulthandler")?
            .call_method("register", (signal,), Some(&options))
    })?;
    crash::write_stacks_of(&stacks);
    Ok((answers, stacks))
}

/// From here on [`IMPORT_SIGNAL`] has the main thread's stack written to `imports`, and no other's: those may run, and faulthandler reads
/// frames as they lie in memory. It stays so for good, since whoever sends the signal may be late, and its default is the end.
///
/// # Errors
/// Python's.
pub fn show_imports(py: Python<'_>, imports: &OwnFd) -> PyResult<()> {
    let options = PyDict::new(py);
    options.set_item("file", std::os::fd::AsRawFd::as_raw_fd(&**imports))?;
    options.set_item("all_threads", false)?;
    let signal = IMPORT_SIGNAL.as_raw();
    forked::handles(signal, || {
        py.import("faulthandler")?
            .call_method("register", (signal,), Some(&options))
    })?;
    Ok(())
}

/// Working directory and `sys.path`.
///
/// # Errors
/// The directory can't be entered.
pub fn prepare_paths(py: Python<'_>, settings: &Settings) -> io::Result<()> {
    std::env::set_current_dir(&*settings.chdir)?;
    for directory in settings.pythonpath.iter().rev().chain([&*settings.chdir]) {
        app::prepend_path(py, directory)?;
    }
    Ok(())
}

/// Loads the application as the settings say.
///
/// # Errors
/// One line for the administrator, and the traceback.
pub fn load(py: Python<'_>, settings: &Settings) -> Result<Py<PyAny>, (String, String)> {
    let unprepared = |error: PyErr| (escape(&format!("Python can't be prepared: {error}")), String::new());
    printing::by_lines(py).map_err(unprepared)?;
    if settings.entry == Entry::Pool {
        printed::install(py).map_err(unprepared)?;
    }
    let explain = |what: &str, error: &PyErr| (escape(&format!("{what}: {error}")), traceback::format(py, error));
    let loaded = app::load(py, &settings.app);
    // A child that was forked in the import has come back from it.
    if let Err(error) = &loaded {
        forked::end_failed_child(py, error);
    }
    forked::end_child();
    let application = loaded.map_err(|error| {
        let (mut reason, mut detail) = explain(&format!("application {} can't be loaded", settings.app), &error);
        if let Some(Looked { hint, places }) = lookup::looked_in(py, &error, settings) {
            if let Some(hint) = hint {
                reason.push_str(&escape(&format!("; {hint}")));
            }
            detail = format!("{}\n{}\n", detail.trim_end(), escape(&places));
        }
        (reason, detail)
    })?;
    if settings.threads.get() > 1
        && let Some(library) = replaced_locks(py)
    {
        let reason = format!(
            "{library} has replaced Python's locks, and its own hang where several threads want one: use {} 1 and more \
             workers, or leave the locks as they are ({library}'s monkey patching with thread=False)",
            settings.threads.name()
        );
        return Err((reason, String::new()));
    }
    if settings.validate {
        let validated = app::validated(&application);
        return validated
            .map(Bound::unbind)
            .map_err(|error| explain("wsgiref.validate can't be used", &error));
    }
    Ok(application.unbind())
}

/// Who has replaced Python's locks by such as know one thread only. Measured: of four threads that contend for one, gevent's
/// lose a wake-up within a hundred turns, and eventlet's switch to the greenlet of another thread at once.
fn replaced_locks(py: Python<'_>) -> Option<&'static str> {
    let modules = py.import("sys").and_then(|sys| sys.getattr("modules")).ok()?;
    let asks = [
        ("gevent", "gevent.monkey", "is_module_patched", "threading"),
        ("eventlet", "eventlet.patcher", "is_monkey_patched", "thread"),
    ];
    let has_replaced = |(_, module, ask, what): &(&str, &str, &str, &str)| {
        let answer = modules
            .get_item(module)
            .and_then(|module| module.call_method1(*ask, (*what,)));
        answer.and_then(|answer| answer.is_truthy()).unwrap_or(false)
    };
    asks.into_iter().find(has_replaced).map(|(library, ..)| library)
}

fn failed(py: Python<'_>, what: &str, error: &PyErr) -> FromWorker {
    FromWorker::Failed {
        reason: escape(&format!("{what}: {error}")),
        detail: traceback::format(py, error),
    }
}
