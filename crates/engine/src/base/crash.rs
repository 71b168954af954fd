//! When a worker crashes (SPEC E6): the front servers of requests whose response has not begun get a 502 before the
//! process dies as it would have.
//!
//! The handler is async-signal-safe: it reads atomics, builds its answer on the stack and sends it, has the Python stacks
//! written, and goes on to whoever had the signal before. So an application may enable faulthandler for a file of its own
//! at any time, before this or afterwards: faulthandler does the same, and both have their say.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use fastcgi::encode;
use rustix::process::Signal;

use crate::base::forked;

/// Where a crash has to be answered: one entry a thread.
pub struct Answers(Vec<AtomicU64>);

static ANSWERS: OnceLock<Answers> = OnceLock::new();
/// What is sent, and to HEAD.
static PAGES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
/// This process is dying.
static CRASHED: AtomicBool = AtomicBool::new(false);
/// A listener that nobody else serves.
static LISTENER: AtomicI32 = AtomicI32::new(-1);
/// The process whose requests these are: children of the application inherit the handler, not the right to answer.
static OWNER: AtomicI32 = AtomicI32::new(0);
/// What the signals did before, in the order of [`SIGNALS`].
static BEFORE: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();
/// The file into which [`STACK_SIGNAL`] writes.
static STACKS: AtomicI32 = AtomicI32::new(-1);

/// The signals, and the first line that faulthandler writes for them.
const SIGNALS: [(c_int, &str); 5] = [
    (libc::SIGSEGV, "Fatal Python error: Segmentation fault"),
    (libc::SIGBUS, "Fatal Python error: Bus error"),
    (libc::SIGFPE, "Fatal Python error: Floating point exception"),
    (libc::SIGILL, "Fatal Python error: Illegal instruction"),
    (libc::SIGABRT, "Fatal Python error: Aborted"),
];
/// The first line for SIGABRT from whoever has started this process: nothing has crashed.
const TOO_LATE: &str = "wsgi-fpm ends this process, which was not ready in time. What Python was doing:";
/// Asks faulthandler for all threads' stacks. Linux itself never sends it, and applications don't know it.
pub const STACK_SIGNAL: Signal = Signal::STKFLT;
/// Bytes of a thread's stack for signal handlers: our handler's, and below it faulthandler's, which ours calls. Pages that
/// no handler touches take no memory.
const SIGNAL_STACK: usize = 256 * 1024;

/// An entry: descriptor and request id, whether the method is HEAD, and a bit so that it is never zero.
fn entry(fd: i32, id: u16, is_head: bool) -> u64 {
    1 << 63 | u64::from(is_head) << HEAD_BIT | (fd as u64) << 16 | u64::from(id)
}

const HEAD_BIT: u32 = 62;
/// How long front servers may take to read their answers and close: 250 ms for all together.
const DRAIN_TICK_MS: c_int = 5;
const DRAIN_TURNS: u32 = 50;

impl Answers {
    /// The response of the request `id` on `fd` has not begun.
    pub fn expect(&self, thread: usize, fd: i32, id: u16, is_head: bool) {
        self.0[thread].store(entry(fd, id, is_head), Ordering::Release);
    }

    /// It has, or the request is over.
    pub fn settle(&self, thread: usize) {
        self.0[thread].store(0, Ordering::Release);
    }

    /// For one thread whose crash somebody else answers: in CGI the web server sees it.
    pub fn unused() -> &'static Self {
        static UNUSED: OnceLock<Answers> = OnceLock::new();
        UNUSED.get_or_init(|| Self(vec![AtomicU64::new(0)]))
    }
}

/// Installs the handler for this process, once, and returns where its threads say what they are doing. `pages`: the
/// whole response, and that to HEAD.
pub fn install(threads: usize, pages: [Vec<u8>; 2]) -> &'static Answers {
    PAGES.get_or_init(|| pages);
    OWNER.store(std::process::id() as i32, Ordering::Release);
    let answers = ANSWERS.get_or_init(|| Answers((0..threads).map(|_| AtomicU64::new(0)).collect()));
    BEFORE.get_or_init(|| {
        // SAFETY: the structure is valid when zeroed: the default action.
        SIGNALS.map(|(signal, _)| unsafe {
            let default = std::mem::zeroed();
            forked::handles(signal, || handle(signal, default))
        })
    });
    answers
}

/// Has `on_crash` called for `signal`; gives what was done before, or `default`.
fn handle(signal: c_int, default: libc::sigaction) -> libc::sigaction {
    let mut before = default;
    // SAFETY: the structure is valid when zeroed, `on_crash` has the signature that SA_SIGINFO wants and is
    // async-signal-safe, and goes on to what was there before.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_crash as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        libc::sigaction(signal, &action, &raw mut before);
    }
    before
}

/// A crash has the Python stacks written to standard error: by faulthandler, which writes to `stacks` when it gets
/// [`STACK_SIGNAL`].
pub fn write_stacks_of(stacks: &std::fs::File) {
    STACKS.store(stacks.as_raw_fd(), Ordering::Release);
}

/// Gives the calling thread a stack for signal handlers: when its own has overflowed there is no room on that. For threads
/// that serve as long as the process lives.
pub fn prepare_thread() {
    let space: &'static mut [u8] = Box::leak(vec![0; SIGNAL_STACK].into_boxed_slice());
    let stack = libc::stack_t {
        ss_sp: space.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: space.len(),
    };
    // SAFETY: the space is nobody else's and is never freed.
    if unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) } != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, "a stack overflow of this thread will end without an answer");
    }
}

/// `listener` is this process's alone. mod_fcgid takes a process that has answered for an idle one: the next connection
/// has to be refused, so that it goes elsewhere, not lost with this process.
pub fn close_with(listener: impl AsFd) {
    LISTENER.store(listener.as_fd().as_raw_fd(), Ordering::Release);
}

/// Whether this process is dying, and waits only for its answers to be read: nothing new may be taken.
pub fn has_crashed() -> bool {
    CRASHED.load(Ordering::Relaxed)
}

/// Returns at once, but in a process that is dying: there it never does. What a connection brings from now on is left to whoever
/// has it afterwards.
#[inline]
pub fn hold_if_crashed() {
    while has_crashed() {
        std::thread::sleep(Duration::from_secs(1));
    }
}

extern "C" fn on_crash(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // First of all: what happens from here on is for whoever had the signal before.
    let known = SIGNALS.iter().position(|(known, _)| *known == signal);
    let before = BEFORE.get().zip(known).map(|(before, known)| before[known]);
    // SAFETY: sigaction and getpid are async-signal-safe; what is installed was installed before.
    let is_owner = unsafe {
        match before {
            Some(before) => drop(libc::sigaction(signal, &raw const before, std::ptr::null_mut())),
            None => drop(libc::signal(signal, libc::SIG_DFL)),
        }
        libc::getpid() == OWNER.load(Ordering::Acquire)
    };
    if let (true, Some(answers), Some(pages)) = (is_owner, ANSWERS.get(), PAGES.get()) {
        CRASHED.store(true, Ordering::Release);
        close_listener();
        let mut patience = DRAIN_TURNS;
        for answer in &answers.0 {
            let value = answer.swap(0, Ordering::AcqRel);
            if value != 0 {
                let (fd, is_head) = ((value >> 16) as u32 as i32, value >> HEAD_BIT & 1);
                send(fd, value as u16, &pages[is_head as usize]);
                drain(fd, &mut patience);
            }
        }
    }
    let title = match known {
        _ if signal == libc::SIGABRT && is_from_parent(info) => TOO_LATE,
        Some(known) => SIGNALS[known].1,
        None => "",
    };
    write_stacks(title);
    // SAFETY: signal and raise are async-signal-safe. Whoever had the signal before may come back, as Python's own handler
    // does; then the default action ends the process, now or when the faulting instruction runs again.
    unsafe {
        libc::raise(signal);
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Whether whoever has started this process has sent the signal, and not the process itself.
fn is_from_parent(info: *const libc::siginfo_t) -> bool {
    // SAFETY: the system has filled in what `info` points to, with the sender's pid where a process has sent the signal; getppid is
    // async-signal-safe.
    unsafe { !info.is_null() && (*info).si_code == libc::SI_USER && (*info).si_pid() == libc::getppid() }
}

/// Has faulthandler write what all threads do in Python to standard error, behind a line that says why.
/// Python takes its handler away when it ends, or has no memory of its threads any more.
fn write_stacks(what: &str) {
    let (stacks, signal) = (STACKS.load(Ordering::Acquire), STACK_SIGNAL.as_raw());
    // SAFETY: all of these are async-signal-safe and get this function's own variables. The process ends: whoever has the
    // number of the file of stacks now loses nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let asked = libc::sigaction(signal, std::ptr::null(), &raw mut action);
        let nobody = [libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction);
        if stacks < 0 || asked != 0 || nobody || libc::dup2(libc::STDERR_FILENO, stacks) < 0 {
            return;
        }
        for part in [what, "\n\n"] {
            libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len());
        }
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut mask, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const mask, std::ptr::null_mut());
        libc::raise(signal);
    }
}

/// Has faulthandler write what all threads do in Python to the file of [`write_stacks_of`], at once: in the calling thread, so that no
/// other one's system call is interrupted.
///
/// # Errors
/// Nobody would write anything: the application has taken faulthandler's handler away.
pub fn write_stacks_now() -> io::Result<()> {
    let signal = STACK_SIGNAL.as_raw();
    // SAFETY: the calls get this function's own variables, and `raise` returns when the handler has, which reads and writes memory that
    // is not this thread's alone as `write_stacks` says.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let asked = libc::sigaction(signal, std::ptr::null(), &raw mut action);
        if asked != 0 || [libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction) {
            return Err(io::Error::other("the application has unregistered the signal for it"));
        }
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut mask, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const mask, std::ptr::null_mut());
        libc::raise(signal);
    }
    Ok(())
}

fn close_listener() {
    let fd = LISTENER.swap(-1, Ordering::AcqRel);
    let mut listens: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: getsockopt and close are async-signal-safe, and the two variables are this function's own. A process that
    // is stopping has closed the listener, and its number may be another descriptor's: that one is left alone.
    unsafe {
        let value = (&raw mut listens).cast();
        if libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, value, &raw mut length) == 0 && listens != 0 {
            libc::close(fd);
        }
    }
}

/// The page, the end of the stream and END_REQUEST, without allocating.
fn send(fd: i32, id: u16, page: &[u8]) {
    let mut response = [0; 512];
    let header = encode::stdout_header(id, page.len() as u16);
    let end = encode::stdout_header(id, 0);
    let mut end_header = encode::stdout_header(id, 8);
    end_header[1] = fastcgi::record::kind::END_REQUEST;
    let parts: [&[u8]; 5] = [&header, page, &end, &end_header, &[0, 0, 0, 1, 0, 0, 0, 0]];
    let mut length = 0;
    for part in parts {
        let Some(space) = response.get_mut(length..length + part.len()) else {
            return;
        };
        space.copy_from_slice(part);
        length += part.len();
    }
    // SAFETY: send is async-signal-safe; the buffer has `length` bytes. The descriptor was this request's when the entry
    // was made and is closed only after the entry is cleared.
    unsafe {
        libc::send(
            fd,
            response.as_ptr().cast(),
            length,
            libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
        );
        libc::shutdown(fd, libc::SHUT_WR);
    }
}

/// Receives until the front server has closed the connection, or for as long as `patience` lasts. One that still sends
/// when this process ends would get an error before it reads the answer.
fn drain(fd: i32, patience: &mut u32) {
    let mut thrown_away = [0u8; 1024];
    while *patience > 0 {
        *patience -= 1;
        let mut ready = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: poll and recv are async-signal-safe and get this function's own variables.
        let received = unsafe {
            match libc::poll(&raw mut ready, 1, DRAIN_TICK_MS) {
                0 => continue,
                _ => libc::recv(
                    fd,
                    thrown_away.as_mut_ptr().cast(),
                    thrown_away.len(),
                    libc::MSG_DONTWAIT,
                ),
            }
        };
        if received <= 0 {
            return;
        }
    }
}
