//! What the application prints: in the log at once, and once, however many workers share what it has printed.

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Has each line leave when it is whole. For the streams that the interpreter has made, before the application is imported:
/// what that puts in their place is its own affair, and need not have a descriptor.
///
/// # Errors
/// Python's, if it has no module `sys` any more.
pub fn by_lines(py: Python<'_>) -> PyResult<()> {
    let options = PyDict::new(py);
    options.set_item("line_buffering", true)?;
    let sys = py.import("sys")?;
    for stream in ["__stdout__", "__stderr__"] {
        // None, where its descriptor was closed; and what is closed or detached can't be set.
        let set = sys
            .getattr(stream)
            .and_then(|stream| stream.call_method("reconfigure", (), Some(&options)));
        if let Err(error) = set {
            tracing::debug!(%error, "sys.{stream} is left as it is");
        }
    }
    Ok(())
}

/// Empties all buffers before a fork, or each child would print what is in them, too.
///
/// # Errors
/// Python's, if it has no module `sys` any more.
pub fn flush(py: Python<'_>) -> PyResult<()> {
    let sys = py.import("sys")?;
    for stream in ["stdout", "stderr", "__stdout__", "__stderr__"] {
        // The application's own may be anything, or nothing.
        if let Err(error) = sys.getattr(stream).and_then(|stream| stream.call_method0("flush")) {
            tracing::debug!(%error, "sys.{stream} can't be flushed");
        }
    }
    crate::base::ffi::flush_c_streams();
    Ok(())
}
