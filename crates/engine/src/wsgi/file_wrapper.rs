//! `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"; SPEC C53).

use std::fs::File;

use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::base::ffi;

/// Wraps a file for transmission; an ordinary iterable wherever it isn't returned itself.
#[pyclass(frozen, module = "wsgi_fpm")]
pub struct FileWrapper {
    #[pyo3(get)]
    filelike: Py<PyAny>,
    block_size: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, block_size=8192, /))]
    fn new(filelike: Py<PyAny>, block_size: isize) -> Self {
        Self {
            filelike,
            block_size: usize::try_from(block_size).unwrap_or(8192).max(1),
        }
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let block = self.filelike.bind(py).call_method1("read", (self.block_size,))?;
        if block.is_truthy()? {
            Ok(block)
        } else {
            Err(PyStopIteration::new_err(()))
        }
    }

    /// Closes the file, if it can be closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.filelike.bind(py).getattr_opt("close")? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.filelike)
    }
}

/// A regular file that can be sent without Python: from `offset` to its end.
pub struct PlainFile {
    pub file: File,
    pub offset: u64,
    pub length: u64,
}

impl FileWrapper {
    /// The file behind the object, if reading its descriptor gives the same bytes as its `read`: only what `open()`
    /// makes in binary mode. A GzipFile has a descriptor too, but of other bytes.
    pub fn plain_file(&self, py: Python<'_>) -> Option<PlainFile> {
        let filelike = self.filelike.bind(py);
        let raw = if is_exactly(filelike, "BufferedReader") || is_exactly(filelike, "BufferedRandom") {
            let raw = filelike.getattr("raw").ok()?;
            // What was written and not flushed isn't in the file yet.
            filelike.call_method0("flush").ok()?;
            raw
        } else {
            filelike.clone()
        };
        if !is_exactly(&raw, "FileIO") {
            return None;
        }
        let offset = filelike.call_method0("tell").ok()?.extract().ok()?;
        let number: i32 = raw.call_method0("fileno").ok()?.extract().ok()?;
        if number < 0 {
            return None;
        }
        let file = File::from(ffi::duplicate_fd(number).ok()?);
        let metadata = file.metadata().ok()?;
        let length = metadata.len().checked_sub(offset)?;
        // Files of /proc say that they are empty and aren't.
        (metadata.is_file() && length > 0).then_some(PlainFile { file, offset, length })
    }
}

fn is_exactly(object: &Bound<'_, PyAny>, class: &str) -> bool {
    static IO: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let py = object.py();
    let Ok(io) = IO.get_or_try_init(py, || py.import("io").map(Bound::unbind)) else {
        return false;
    };
    io.bind(py)
        .getattr(class)
        .is_ok_and(|class| object.get_type().is(&class))
}
