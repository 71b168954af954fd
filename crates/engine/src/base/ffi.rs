//! The only raw C-API calls: what the hot path needs and pyo3 has no safe function for.
//!
//! Everything here exists with the same signature in every CPython from 3.9 on, in the stable ABI or (named below)
//! exported by all of them.

use std::ffi::{c_char, c_int, c_ulong};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyString};

unsafe extern "C" {
    // Exported since 3.3; in the stable ABI only from 3.10 on, so pyo3 does not declare it for 3.9.
    fn PyUnicode_AsUTF8AndSize(unicode: *mut ffi::PyObject, size: *mut ffi::Py_ssize_t) -> *const c_char;
    // In the stable ABI; pyo3 does not declare it.
    fn PyThread_get_thread_ident() -> c_ulong;
}

/// `bytes` as a str by latin-1 (SPEC B2).
pub fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: attached; the pointer and the length are those of a live slice, and the function returns a new
    // reference to a str or null with an exception set.
    unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t, std::ptr::null());
        Ok(Bound::from_owned_ptr_or_err(py, text)?.cast_into_unchecked())
    }
}

/// Appends `text` by latin-1 to `out`.
///
/// # Errors
/// UnicodeEncodeError for a character beyond latin-1.
pub fn push_latin1(out: &mut Vec<u8>, text: &Bound<'_, PyString>) -> PyResult<()> {
    let mut length: ffi::Py_ssize_t = 0;
    // SAFETY: attached, and `text` is a str. The bytes that it returns live as long as `text`, which outlives this
    // function.
    let utf8 = unsafe {
        let start = PyUnicode_AsUTF8AndSize(text.as_ptr(), &mut length);
        (!start.is_null()).then(|| std::slice::from_raw_parts(start.cast::<u8>(), length as usize))
    };
    match utf8 {
        Some(bytes) if bytes.is_ascii() => out.extend_from_slice(bytes),
        found => {
            if found.is_none() {
                drop(PyErr::take(text.py())); // a lone surrogate: the encoding below says it better
            }
            // SAFETY: attached, `text` is a str; a new reference to bytes or null with an exception set.
            let encoded = unsafe {
                Bound::from_owned_ptr_or_err(text.py(), ffi::PyUnicode_AsLatin1String(text.as_ptr()))?
                    .cast_into_unchecked::<PyBytes>()
            };
            out.extend_from_slice(encoded.as_bytes());
        }
    }
    Ok(())
}

/// `function(first, second)` without a tuple for the arguments: CPython makes it a vectorcall.
pub fn call2<'py>(
    function: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: attached; three live references and the null that ends the list. A new reference or null with an
    // exception set.
    unsafe {
        let result = ffi::PyObject_CallFunctionObjArgs(
            function.as_ptr(),
            first.as_ptr(),
            second.as_ptr(),
            std::ptr::null_mut::<ffi::PyObject>(),
        );
        Bound::from_owned_ptr_or_err(function.py(), result)
    }
}

/// How many references there are to an object. A newer Python may keep flags beside the number: then it is larger.
pub fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: attached, a live reference.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// `len(object)` for objects that have one; `None` for all others, whatever they raise (SPEC C25).
pub fn length_hint(object: &Bound<'_, PyAny>) -> Option<usize> {
    // SAFETY: attached, a live reference; -1 comes with an exception set.
    let length = unsafe { ffi::PyObject_Size(object.as_ptr()) };
    if length < 0 {
        drop(PyErr::take(object.py()));
        return None;
    }
    Some(length as usize)
}

/// The next item of an iterator; `None` at its end.
pub fn next_item<'py>(iterator: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = iterator.py();
    // SAFETY: attached; the caller got the object from PyObject_GetIter, so it is an iterator. A new reference, or null
    // with or without an exception.
    unsafe {
        let item = ffi::PyIter_Next(iterator.as_ptr());
        if !item.is_null() {
            return Ok(Some(Bound::from_owned_ptr(py, item)));
        }
    }
    PyErr::take(py).map_or(Ok(None), Err)
}

/// New bytes of `length`, filled by `fill`, which returns how many it has filled.
pub fn bytes_filled<'py>(
    py: Python<'py>,
    length: usize,
    fill: impl FnOnce(&mut [u8]) -> PyResult<usize>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut filled = 0;
    let bytes = PyBytes::new_with(py, length, |space| {
        filled = fill(space)?;
        Ok(())
    })?;
    if filled == length {
        return Ok(bytes);
    }
    Ok(PyBytes::new(py, &bytes.as_bytes()[..filled]))
}

/// Raises `exception` in the thread `thread` (its `threading.get_ident()`) at its next bytecode; `None` takes back what
/// has not been raised yet.
pub fn raise_in_thread(_attached: Python<'_>, thread: u64, exception: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let exception = exception.map_or(std::ptr::null_mut(), |exception| exception.as_ptr());
    // SAFETY: attached; the function takes a new reference itself and only compares the thread's number.
    let threads: c_int = unsafe { ffi::PyThreadState_SetAsyncExc(thread as c_ulong as _, exception) };
    if threads > 1 {
        return Err(PySystemError::new_err("several threads have the same identifier"));
    }
    Ok(())
}

/// Python's number of the calling thread: `threading.get_ident()` as it is before gevent or eventlet replace it.
pub fn thread_ident() -> u64 {
    // SAFETY: it only asks for the thread's own number.
    unsafe { PyThread_get_thread_ident() }
}

/// Writes out what C code has printed and not flushed.
pub fn flush_c_streams() {
    // SAFETY: null means all streams, each of which has a lock.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// Forks as `os.fork()` does, with Python's hooks and the application's: the number of the child, 0 in it. `around` does the fork
/// itself, without them.
///
/// Only the warning of other threads is left out. There are none, but from 3.12 on Python finds some where the process has a
/// space in its name and is nice; and a warning may be an exception, by a filter or since `sys.stderr` is closed.
///
/// # Errors
/// The system's, or that of an audit hook that forbids it.
pub fn fork(py: Python<'_>, around: impl FnOnce(&dyn Fn() -> c_int) -> c_int) -> PyResult<c_int> {
    py.import("sys")?.call_method1("audit", ("os.fork",))?;
    // SAFETY: the GIL is held, the interpreter is the main one, and each side calls the hook that is its own.
    unsafe {
        ffi::PyOS_BeforeFork();
        let child = around(&|| libc::fork());
        let error = std::io::Error::last_os_error();
        if child == 0 {
            ffi::PyOS_AfterFork_Child();
        } else {
            ffi::PyOS_AfterFork_Parent();
        }
        if child < 0 { Err(error.into()) } else { Ok(child) }
    }
}

/// Forks a child that ends at once: what libraries do with their threads before a fork has happened then. Python and the
/// application don't hear of it.
///
/// # Errors
/// The system's.
pub fn fork_for_nothing() -> std::io::Result<()> {
    // SAFETY: the child calls nothing but _exit; the parent waits for it. The application may have reaped it before.
    unsafe {
        match libc::fork() {
            0 => libc::_exit(0),
            -1 => return Err(std::io::Error::last_os_error()),
            child => {
                while libc::waitpid(child, std::ptr::null_mut(), 0) < 0 && *libc::__errno_location() == libc::EINTR {}
            }
        }
    }
    Ok(())
}

/// A duplicate of the descriptor that Python code named.
///
/// # Errors
/// The system's, if there is no such descriptor.
pub fn duplicate_fd(number: RawFd) -> std::io::Result<OwnedFd> {
    if number < 0 {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number is only used for one system call, which fails if no descriptor has it; the caller holds the
    // GIL, so that no Python thread closes it meanwhile.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()
}

/// Ends the process without Python's or C's clean-up, which belongs to its parent.
pub fn exit_now(code: c_int) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}
