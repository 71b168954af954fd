//! Tracebacks and stacks as text.

use std::collections::BTreeMap;

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
    let frames = py.import("sys")?.call_method0("_current_frames")?;
    let frame = frames.call_method1("get", (ident,))?;
    if frame.is_none() {
        return Ok(String::new());
    }
    join(&format_stack(&frame)?)
}

/// What all threads are doing in Python, each by its `threading.get_ident()`, in no order.
///
/// # Errors
/// Python's.
pub fn of_all(py: Python<'_>) -> PyResult<Vec<(u64, String)>> {
    let frames = py.import("sys")?.call_method0("_current_frames")?;
    let frames: Vec<(u64, Bound<'_, PyAny>)> = frames
        .call_method0("items")?
        .try_iter()?
        .map(|item| item?.extract())
        .collect::<PyResult<_>>()?;
    let format = |(ident, frame): (u64, Bound<'_, PyAny>)| Ok((ident, join(&format_stack(&frame)?)?));
    frames.into_iter().map(format).collect()
}

/// The names of threads, by the same.
///
/// # Errors
/// Python's.
pub fn thread_names(py: Python<'_>) -> PyResult<BTreeMap<u64, String>> {
    let mut names = BTreeMap::new();
    for thread in py.import("threading")?.call_method0("enumerate")?.try_iter()? {
        let thread = thread?;
        // One that is being started has no number.
        if let Ok(ident) = thread.getattr("ident")?.extract() {
            names.insert(ident, thread.getattr("name")?.str()?.to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

fn format_stack<'py>(frame: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static FORMAT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    FORMAT.import(frame.py(), "traceback", "format_stack")?.call1((frame,))
}

fn join(lines: &Bound<'_, PyAny>) -> PyResult<String> {
    let mut text = String::new();
    for line in lines.try_iter()? {
        text.push_str(&line?.str()?.to_string_lossy());
    }
    Ok(text)
}
