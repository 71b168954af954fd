//! What a thread prints while it runs a request: lines of the log with the request's number, whole, whatever other threads print
//! meanwhile. What it prints at other times, and what is written past Python's streams, goes its usual way to the leader, who knows the
//! worker alone.

use std::cell::RefCell;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyString, PyTuple};

use super::errors::Errors;
use crate::base::forked;
use crate::base::request_id::RequestId;

/// Streams, by their numbers for Python.
const STREAMS: [&str; 2] = ["__stdout__", "__stderr__"];

/// A stream of the usual type, so that everything else of it is as it was.
const SOURCE: &std::ffi::CStr = c"
import io

class Stream(io.TextIOWrapper):
    def write(self, text, /):
        if isinstance(text, str) and take(self._number, text):
            return len(text)
        return super().write(text)

    def flush(self):
        take(self._number, None)
        super().flush()
";

/// What one thread prints, a stream each; lent while a request runs in it.
pub type Printed = Arc<[Errors; 2]>;

thread_local! {
    static PRINTED: RefCell<Option<Printed>> = const { RefCell::new(None) };
}

/// What a thread prints in its requests, which have their numbers from `request`.
pub fn streams(request: &Arc<RequestId>) -> Printed {
    Arc::new([(), ()].map(|()| Errors::of_printed(Arc::clone(request))))
}

/// The calling thread prints there.
pub fn belongs_to(streams: &Printed) {
    PRINTED.set(Some(Arc::clone(streams)));
}

/// Whether the log has it. `None`: whatever has been begun is to be there.
fn take(py: Python<'_>, number: usize, text: Option<&Bound<'_, PyString>>) -> bool {
    if forked::is_child() {
        return false;
    }
    // Not held meanwhile: a log line may take Python, which may print.
    let streams = PRINTED.with_borrow(Clone::clone);
    let stream = streams.as_ref().and_then(|streams| streams.get(number));
    let Some(stream) = stream.filter(|stream| stream.is_lent()) else {
        return false;
    };
    match text {
        Some(text) => stream.append(py, &text.to_string_lossy()),
        None => stream.flush(py),
    }
    true
}

/// Puts such streams in the places of those that the interpreter has made, before the application is imported: what that puts in their
/// place is its own affair.
///
/// # Errors
/// Python's.
pub fn install(py: Python<'_>) -> PyResult<()> {
    let sys = py.import("sys")?;
    let namespace = PyDict::new(py);
    let taking = |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| -> PyResult<bool> {
        let number = args.get_item(0)?.extract()?;
        let text = args.get_item(1)?;
        Ok(take(args.py(), number, text.cast::<PyString>().ok()))
    };
    namespace.set_item("take", PyCFunction::new_closure(py, None, None, taking)?)?;
    py.run(SOURCE, Some(&namespace), None)?;
    let Some(class) = namespace.get_item("Stream")? else {
        return Ok(());
    };
    for (number, name) in STREAMS.into_iter().enumerate() {
        let old = sys.getattr(name)?;
        // None, where its descriptor was closed; something else, where somebody was here before.
        if !old.get_type().is(&py.import("io")?.getattr("TextIOWrapper")?) {
            continue;
        }
        let options = PyDict::new(py);
        for (option, attribute) in [
            ("encoding", "encoding"),
            ("errors", "errors"),
            ("line_buffering", "line_buffering"),
        ] {
            options.set_item(option, old.getattr(attribute)?)?;
        }
        let new = class.call((old.getattr("buffer")?,), Some(&options))?;
        new.setattr("_number", number)?;
        new.setattr("mode", "w")?;
        // It would close what both write to.
        new.setattr("_before", &old)?;
        let short = name.trim_matches('_');
        if sys.getattr(short)?.is(&old) {
            sys.setattr(short, &new)?;
        }
        sys.setattr(name, new)?;
    }
    Ok(())
}
