//! Tracebacks as text.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// What Python would print for `error`, with its causes.
pub fn format(py: Python<'_>, error: &PyErr) -> String {
    try_format(py, error).unwrap_or_else(|_| error.to_string())
}

fn try_format(py: Python<'_>, error: &PyErr) -> PyResult<String> {
    static FORMAT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let format = FORMAT.import(py, "traceback", "format_exception")?;
    let lines = format.call1((error.get_type(py), error.value(py), error.traceback(py)))?;
    let mut text = String::new();
    for line in lines.try_iter()? {
        text.push_str(&line?.str()?.to_string_lossy());
    }
    Ok(text)
}
