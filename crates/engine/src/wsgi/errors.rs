//! `wsgi.errors`: whole lines into the log, with the request that wrote them (SPEC C49, C50).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::log::{MAX_LINE, TRACEBACK, traced};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyString};

use crate::base::forked;
use crate::base::request_id::RequestId;

/// Belongs to one request, whichever thread writes to it, and for as long as somebody has it. Once nobody has, it may
/// be lent to the next request of its thread.
#[pyclass(frozen, module = "wsgi_fpm")]
pub struct Errors {
    request: Arc<RequestId>,
    /// Number of its request.
    serial: AtomicU64,
    /// The beginning of a line, or of a traceback.
    partial: Mutex<String>,
    /// There is something in it. Most requests write nothing, and need not lock it to know that.
    has_partial: AtomicBool,
    /// Of a thread's standard stream: empty lines say nothing.
    is_printed: bool,
}

/// An event is not longer than this, unless a line is.
const MAX_EVENT: usize = 16 * 1024;

/// Longest traceback that is waited for.
const MAX_TRACEBACK: usize = 64 * 1024;

/// Where a traceback begins that has no end yet: lines of it may come one by one.
fn open_traceback(lines: &str) -> Option<usize> {
    let start = lines.rfind(TRACEBACK)?;
    let begins_line = start == 0 || lines.as_bytes()[start - 1] == b'\n';
    let mut more = lines[start..].lines().skip(1);
    (begins_line && lines.len() - start < MAX_TRACEBACK && more.all(|line| line.starts_with(' '))).then_some(start)
}

/// Where the last line that ends within `most` bytes ends, or the first, if none does.
fn end_of_lines(lines: &str, most: usize) -> Option<usize> {
    let bytes = lines.as_bytes();
    let within = bytes[..most].iter().rposition(|&byte| byte == b'\n');
    within.or_else(|| bytes.iter().position(|&byte| byte == b'\n'))
}

impl Errors {
    pub fn new(request: Arc<RequestId>) -> Self {
        Self {
            request,
            serial: AtomicU64::new(0),
            partial: Mutex::default(),
            has_partial: AtomicBool::new(false),
            is_printed: false,
        }
    }

    /// What one thread prints.
    pub fn of_printed(request: Arc<RequestId>) -> Self {
        let mut stream = Self::new(request);
        stream.is_printed = true;
        stream
    }

    /// Whether it is that of a request.
    pub fn is_lent(&self) -> bool {
        self.serial.load(Ordering::Relaxed) != 0
    }

    /// From now on it is that of the request with this number.
    pub fn lend(&self, serial: u64) {
        self.serial.store(serial, Ordering::Relaxed);
    }

    /// Its request is over: nobody's from now on, and what has no newline is a line, too.
    pub fn take_back(&self) {
        self.flush_partial();
        self.lend(0);
    }

    /// Logs what has no newline yet.
    pub fn flush_partial(&self) {
        if !self.has_partial.load(Ordering::Acquire) {
            return;
        }
        let rest = {
            let mut partial = self.lock();
            self.has_partial.store(false, Ordering::Relaxed);
            std::mem::take(&mut *partial)
        };
        if !rest.is_empty() {
            self.log(rest.trim_end_matches('\n'));
        }
    }

    /// One event for the lines that were written together, such as a traceback, with the request once. What is longer than
    /// an event should be becomes several.
    fn log(&self, mut lines: &str) {
        if self.is_printed && lines.trim().is_empty() {
            return;
        }
        loop {
            let fits = lines.len() <= MAX_EVENT;
            // Whole lines, but for one that is longer itself.
            let end = if fits { None } else { end_of_lines(lines, MAX_EVENT) };
            let (now, later) = end.map_or((lines, None), |end| (&lines[..end], Some(&lines[end + 1..])));
            self.log_event(now);
            match later {
                Some(later) => lines = later,
                None => return,
            }
        }
    }

    fn log_event(&self, lines: &str) {
        let (first, more) = lines.split_once('\n').unwrap_or((lines, ""));
        let first = contract::log::escape(first);
        if forked::is_child() {
            return forked::error_line(&format!("{first}{}", contract::log::block(more)));
        }
        if !contract::log::application_may() {
            return;
        }
        let serial = self.serial.load(Ordering::Relaxed);
        let request = self.request.name(serial);
        let more = (!more.is_empty()).then(|| tracing::field::display(contract::log::block(more)));
        let worker = self.is_printed.then(std::process::id);
        // Another thread may write, and the request may be over.
        let trace = self.request.trace().filter(|_| self.request.running() == Some(serial));
        traced(
            trace,
            || tracing::info!(target: contract::log::APP, worker, %request, more, "{first}"),
        );
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.partial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Python is let go for the log alone: getting it back may take long, and most of what is written is a part of a line.
    pub fn append(&self, py: Python<'_>, text: &str) {
        if let Some(lines) = self.take_lines(text) {
            py.detach(|| self.log(&lines));
        }
    }

    /// What is to be logged, now that `text` was written. Nobody waits for anything with the lock held.
    fn take_lines(&self, text: &str) -> Option<String> {
        let mut partial = self.lock();
        self.has_partial.store(true, Ordering::Release);
        let Some((lines, rest)) = text.rsplit_once('\n') else {
            partial.push_str(text);
            // A line without an end must not eat the memory: it is logged in pieces.
            let is_too_long = partial.len() > MAX_LINE && open_traceback(&partial).is_none();
            return is_too_long.then(|| std::mem::take(&mut *partial));
        };
        let mut lines = std::mem::take(&mut *partial) + lines;
        let open = open_traceback(&lines);
        if let Some(start) = open {
            partial.push_str(&lines[start..]);
            partial.push('\n');
            lines.truncate(start);
        }
        partial.push_str(rest);
        lines.truncate(lines.trim_end_matches('\n').len());
        (open.is_none() || !lines.is_empty()).then_some(lines)
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        self.flush_partial();
    }
}

#[pymethods]
impl Errors {
    #[pyo3(signature = (text, /))]
    fn write(&self, text: &Bound<'_, PyString>) -> PyResult<usize> {
        self.append(text.py(), &text.to_string_lossy());
        text.len()
    }

    fn writelines(&self, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.append(lines.py(), &line?.cast::<PyString>()?.to_string_lossy());
        }
        Ok(())
    }

    pub fn flush(&self, py: Python<'_>) {
        if self.has_partial.load(Ordering::Acquire) {
            py.detach(|| self.flush_partial());
        }
    }

    /// The stream is the server's: closing it has no effect.
    fn close(&self) {}

    // What else loggers and `io` ask a text stream for.

    #[getter]
    fn closed(&self) -> bool {
        false
    }

    #[getter]
    fn encoding(&self) -> &'static str {
        "utf-8"
    }

    #[getter]
    fn name(&self) -> &'static str {
        "<wsgi.errors>"
    }

    #[getter]
    fn buffer(slf: Py<Self>) -> ErrorsBuffer {
        ErrorsBuffer { errors: slf }
    }

    fn isatty(&self) -> bool {
        false
    }

    fn readable(&self) -> bool {
        false
    }

    fn writable(&self) -> bool {
        true
    }

    fn seekable(&self) -> bool {
        false
    }
}

/// The same stream for those who write bytes: UTF-8, what is none replaced.
#[pyclass(frozen, module = "wsgi_fpm")]
struct ErrorsBuffer {
    errors: Py<Errors>,
}

#[pymethods]
impl ErrorsBuffer {
    #[pyo3(signature = (data, /))]
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        let bytes = PyMemoryView::from(data)?
            .call_method0("tobytes")?
            .cast_into::<PyBytes>()?;
        let text = String::from_utf8_lossy(bytes.as_bytes());
        self.errors.get().append(data.py(), &text);
        Ok(bytes.as_bytes().len())
    }

    fn flush(&self, py: Python<'_>) {
        self.errors.get().flush(py);
    }

    fn close(&self) {}

    #[getter]
    fn closed(&self) -> bool {
        false
    }

    #[getter]
    fn name(&self) -> &'static str {
        "<wsgi.errors>"
    }

    fn isatty(&self) -> bool {
        false
    }

    fn readable(&self) -> bool {
        false
    }

    fn writable(&self) -> bool {
        true
    }

    fn seekable(&self) -> bool {
        false
    }
}
