//! Tracebacks and stacks as text.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// What Python would print for `error`, with its causes.
pub fn format(py: Python<'_>, error: &PyErr) -> String {
    try_format(py, error).unwrap_or_else(|_| error.to_string())
}

fn try_format(py: Python<'_>, error: &PyErr) -> PyResult<String> {
    static FORMAT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let format = FORMAT.import(py, "traceback", "format_exception")?;
    join(&format.call1((error.get_type(py), error.value(py), error.traceback(py)))?)
}

/// What the thread with this `threading.get_ident()` is doing in Python; empty if it is doing nothing there.
///
/// # Errors
/// Python's.
pub fn of_thread(py: Python<'_>, ident: u64) -> PyResult<String> {
    static FORMAT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let frames = py.import("sys")?.call_method0("_current_frames")?;
    let frame = frames.call_method1("get", (ident,))?;
    if frame.is_none() {
        return Ok(String::new());
    }
    join(&FORMAT.import(py, "traceback", "format_stack")?.call1((frame,))?)
}

fn join(lines: &Bound<'_, PyAny>) -> PyResult<String> {
    let mut text = String::new();
    for line in lines.try_iter()? {
        text.push_str(&line?.str()?.to_string_lossy());
    }
    Ok(text)
}
