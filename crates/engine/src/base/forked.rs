//! Children that the application forks (os.fork, multiprocessing, C's fork): they have nothing of ours.
//!
//! Such a child has copies of everything. In it, before anything else runs, /dev/null takes the place of our descriptors
//! (so that their numbers stay taken) and the signals that we handle get back what they had before. When it comes back
//! from the application it must not answer a second time: it ends.
//!
//! The handlers of pthread_atfork are called in a child of many threads, of which it has one: atomics and system calls only.

use std::cell::Cell;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};

use contract::own;
use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::ffi;

/// This process is such a child.
static FORKED: AtomicBool = AtomicBool::new(false);
/// The process has forked, or is about to, and not for a worker.
static EVER: AtomicBool = AtomicBool::new(false);
/// The fork that is under way is a worker's, who gets all that we have.
static OWN: AtomicBool = AtomicBool::new(false);
/// Signals (by bit) whose handler in Python is ours: it does nothing.
static IDLE: AtomicU32 = AtomicU32::new(0);

/// Signals that a supervisor's word replaces (`bootstrap.py`).
const REPLACED: [c_int; 5] = [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGHUP, libc::SIGUSR2];
const SIGNALS: usize = 65;

/// What we have done to a signal; zeros: nothing.
struct Handler {
    ours: AtomicUsize,
    before: AtomicUsize,
    flags_before: AtomicI32,
}

static HANDLERS: [Handler; SIGNALS] = [const {
    Handler {
        ours: AtomicUsize::new(0),
        before: AtomicUsize::new(0),
        flags_before: AtomicI32::new(0),
    }
}; SIGNALS];

thread_local! {
    /// What a thread that forks has blocked itself.
    static MASK: Cell<libc::sigset_t> = const {
        // SAFETY: a set is plain data, and zeroed it is empty.
        Cell::new(unsafe { MaybeUninit::zeroed().assume_init() })
    };
}

/// From now on children have nothing of ours. `idle`: the handler in Python that does nothing, if signals have one.
///
/// # Errors
/// Python's.
pub fn watch(py: Python<'_>, idle: Option<Py<PyAny>>) -> PyResult<()> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the three functions live as long as this library, which is never unloaded, and do nothing that a forked
        // process of many threads must not do.
        let refused = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
        if refused != 0 {
            // No memory for three pointers.
            eprintln!("wsgi-fpm: children of the application can't be told from workers");
        }
    });
    let Some(idle) = idle else { return Ok(()) };
    let signals = py.import("_signal")?;
    note_idle(&signals, &idle)?;
    let hooks = PyDict::new(py);
    let noting = idle.clone_ref(py);
    let before = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        note_idle(args.py().import("_signal")?.as_any(), &noting)
    };
    let in_child = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        if is_child() {
            forget_idle(args.py().import("_signal")?.as_any(), &idle)?;
        }
        PyResult::Ok(())
    };
    hooks.set_item("before", PyCFunction::new_closure(py, None, None, before)?)?;
    hooks.set_item("after_in_child", PyCFunction::new_closure(py, None, None, in_child)?)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&hooks))?;
    Ok(())
}

/// The application may have handlers of its own by now.
fn note_idle(signals: &Bound<'_, PyAny>, idle: &Py<PyAny>) -> PyResult<()> {
    let mut found = 0;
    for number in REPLACED {
        if signals.call_method1("getsignal", (number,))?.is(idle) {
            found |= 1 << number;
        }
    }
    IDLE.store(found, Ordering::SeqCst);
    Ok(())
}

/// In the child: what Python would have without us.
fn forget_idle(signals: &Bound<'_, PyAny>, idle: &Py<PyAny>) -> PyResult<()> {
    for number in REPLACED {
        if signals.call_method1("getsignal", (number,))?.is(idle) {
            let default = match number {
                libc::SIGINT => "default_int_handler",
                _ => "SIG_DFL",
            };
            signals.call_method1("signal", (number, signals.getattr(default)?))?;
        }
    }
    Ok(())
}

/// Runs `install`, which sets a handler of ours for `signal`: children get what was there before.
pub fn handles<R>(signal: c_int, install: impl FnOnce() -> R) -> R {
    let before = disposition(signal);
    let installed = install();
    let (Some(before), Some(now), Some(handler)) = (before, disposition(signal), HANDLERS.get(signal as usize)) else {
        return installed;
    };
    if handler.ours.load(Ordering::Relaxed) != before.sa_sigaction {
        handler.before.store(before.sa_sigaction, Ordering::Relaxed);
        handler.flags_before.store(before.sa_flags, Ordering::Relaxed);
    }
    handler.ours.store(now.sa_sigaction, Ordering::Release);
    installed
}

/// Forks by `fork`, for a worker.
pub fn own_fork<R>(fork: impl FnOnce() -> R) -> R {
    OWN.store(true, Ordering::SeqCst);
    let forked = fork();
    OWN.store(false, Ordering::SeqCst);
    forked
}

/// Whether this process is a child of the application.
pub fn is_child() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Whether somebody else may have copies of what this process opens: closing alone would not end a connection.
pub fn may_share() -> bool {
    EVER.load(Ordering::Relaxed)
}

/// Ends the process if it is such a child: called where it would touch a connection.
pub fn end_child() {
    if is_child() {
        end(0);
    }
}

/// The same where the application has raised `error`: as Python ends by it.
pub fn end_failed_child(py: Python<'_>, error: &PyErr) {
    if !is_child() {
        return;
    }
    if !error.is_instance_of::<PySystemExit>(py) {
        error.print(py);
        end(1);
    }
    let code = error.value(py).getattr("code");
    match code.and_then(|code| if code.is_none() { Ok(0) } else { code.extract::<c_int>() }) {
        Ok(code) => end(code),
        // A message for standard error, and 1 (sys.exit).
        Err(_) => {
            error_line(&error.value(py).to_string());
            end(1);
        }
    }
}

/// A line of such a child: the log is its parent's. Where nobody reads that, lines are lost, after a moment's wait for the first.
/// It takes no descriptor, since there may be none left.
pub fn error_line(line: &str) {
    /// What a pipe that is ready takes without a wait.
    const AT_ONCE: usize = 4096;
    static IS_STUCK: AtomicBool = AtomicBool::new(false);
    let stderr = rustix::stdio::stderr();
    for piece in format!("{line}\n").as_bytes().chunks(AT_ONCE) {
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: if IS_STUCK.load(Ordering::Relaxed) {
                0
            } else {
                100_000_000
            },
        };
        // It fails, too, where not even one descriptor is allowed.
        let ready = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&patience));
        let written = ready != Ok(0) && rustix::io::write(stderr, piece).is_ok();
        IS_STUCK.store(!written, Ordering::Relaxed);
        if !written {
            return;
        }
    }
}

fn end(code: c_int) -> ! {
    Python::attach(|py| {
        for stream in ["stdout", "stderr"] {
            // It may be closed, or another object.
            let _ = py
                .import("sys")
                .and_then(|sys| sys.getattr(stream))
                .and_then(|stream| stream.call_method0("flush"));
        }
    });
    ffi::exit_now(code)
}

/// What happens by a signal, to be restored in another process.
pub struct Disposition(c_int, libc::sigaction);

impl Disposition {
    pub fn restore(&self) {
        dispose(self.0, self.1.sa_sigaction, self.1.sa_flags);
    }
}

/// From now on `signal` does what it does by default, whoever wants something else of it; what that was.
pub fn by_default(signal: c_int) -> Option<Disposition> {
    let before = disposition(signal)?;
    dispose(signal, libc::SIG_DFL, 0);
    Some(Disposition(signal, before))
}

fn disposition(signal: c_int) -> Option<libc::sigaction> {
    // SAFETY: the structure is plain data and valid when zeroed; the call only writes to it.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        (libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0).then_some(action)
    }
}

fn dispose(signal: c_int, handler: usize, flags: c_int) {
    // SAFETY: as above; `handler` and `flags` come from a disposition that was valid in this process, or are the default.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

/// Signals wait until the child has its own dispositions: one that is sent to it at once must not reach our handlers.
extern "C" fn before() {
    own::before_fork();
    if !OWN.load(Ordering::Relaxed) {
        EVER.store(true, Ordering::Relaxed);
    }
    // SAFETY: the sets are this function's own, and the calls only write to them.
    unsafe {
        let mut all = MaybeUninit::zeroed().assume_init();
        let mut mask = MaybeUninit::zeroed().assume_init();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut mask);
        MASK.set(mask);
    }
}

fn unblock() {
    let mask = MASK.get();
    // SAFETY: a set that this thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut()) };
}

extern "C" fn in_parent() {
    own::after_fork();
    unblock();
}

extern "C" fn in_child() {
    own::after_fork_in_child();
    if !OWN.load(Ordering::Relaxed) {
        FORKED.store(true, Ordering::Relaxed);
        give_up_descriptors();
        give_up_signals();
    }
    unblock();
}

fn give_up_descriptors() {
    // SAFETY: open, dup3 and close are async-signal-safe. The numbers are of descriptors that this process had registered as
    // its own and has not closed; nothing in the child uses them but to close them.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        own::take_all(|number| {
            if null < 0 || libc::dup3(null, number, libc::O_CLOEXEC) < 0 {
                libc::close(number);
            }
        });
        if null >= 0 {
            libc::close(null);
        }
    }
}

fn give_up_signals() {
    let idle = IDLE.load(Ordering::Relaxed);
    for (signal, handler) in (0..).zip(&HANDLERS) {
        let ours = handler.ours.load(Ordering::Acquire);
        if ours != 0 && disposition(signal).is_some_and(|now| now.sa_sigaction == ours) {
            let flags = handler.flags_before.load(Ordering::Relaxed);
            dispose(signal, handler.before.load(Ordering::Relaxed), flags);
        }
    }
    for signal in REPLACED {
        // Python keeps its own handler for SIGINT, and gets it back by its own hook.
        if idle & 1 << signal != 0 && signal != libc::SIGINT {
            dispose(signal, libc::SIG_DFL, 0);
        }
    }
}
