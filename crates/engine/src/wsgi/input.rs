//! `wsgi.input`: the complete file-like object of PEP 3333 (SPEC C41 to C48).

use std::io;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;

use libc::EIO;
use pyo3::exceptions::{PyOSError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PySlice};

use super::start_response::carrier_error;
use super::type_name::type_name;
use crate::base::ffi;
use crate::request::body::{self, Body};
use crate::request::carrier::CarrierError;
use crate::request::exchange::{Failure, Ticket};

/// The body of one request.
#[pyclass(frozen, module = "wsgi_fpm", freelist = 16)]
pub struct Input {
    ticket: Ticket,
    /// The body could not be kept, and the application has learnt it: the system's number for why.
    unkept: AtomicI32,
}

/// Up to this size the result's memory is taken at once; larger ones grow with what arrives, never by what was
/// declared (SPEC A17).
const AT_ONCE: usize = 1024 * 1024;
/// What `read1` gives at most, unless it is told.
const READ1: u64 = 64 * 1024;

impl Input {
    pub fn new(ticket: Ticket) -> Self {
        Self {
            ticket,
            unkept: AtomicI32::new(0),
        }
    }

    /// Why reading has failed, if that was no fault of whoever has sent the body.
    pub fn unkept(&self) -> Option<io::Error> {
        match self.unkept.load(Relaxed) {
            0 => None,
            number => Some(io::Error::from_raw_os_error(number)),
        }
    }

    /// What the application sees of a failure below.
    fn failed(&self, failure: impl Into<Failure>) -> PyErr {
        match failure.into() {
            Failure::Carrier(CarrierError::Spool(error)) => self.cannot_keep(error.raw_os_error().unwrap_or(EIO)),
            failure => carrier_error(failure),
        }
    }

    fn cannot_keep(&self, number: i32) -> PyErr {
        self.unkept.store(number, Relaxed);
        let directory = body::directory().display();
        PyOSError::new_err((number, format!("the request body can't be kept in {directory}")))
    }

    /// Bytes available now, and whether no more will come.
    ///
    /// # Errors
    /// OSError: fewer than `wanted` are there and the rest is lost.
    fn look(&self, wanted: u64) -> PyResult<(u64, bool)> {
        let state = |body: &mut Body| {
            let unkept = body.lost.as_ref().map(|error| error.raw_os_error().unwrap_or(EIO));
            let lost = body.too_large || (body.is_short() && body.available() < wanted);
            let expected = body.expected.unwrap_or(0);
            Ok((
                body.available(),
                body.complete(),
                unkept,
                lost,
                body.too_large,
                body.received,
                expected,
            ))
        };
        let (available, complete, unkept, lost, too_large, received, expected) =
            self.ticket.body(state).map_err(carrier_error)?;
        if let Some(number) = unkept {
            return Err(self.cannot_keep(number));
        }
        if too_large {
            let limit = self.ticket.exchange.body_max.name();
            return Err(PyOSError::new_err(format!(
                "the request body is larger than {limit} allows"
            )));
        }
        if lost {
            return Err(PyOSError::new_err(format!(
                "the request body ended after {received} of {expected} bytes"
            )));
        }
        Ok((available, complete))
    }

    fn take<'py>(&self, py: Python<'py>, length: usize) -> PyResult<Bound<'py, PyBytes>> {
        // Making bytes runs no Python code, as making containers may: it is safe under the exchange's lock.
        let together = |body: &mut Body| Ok(body.read_together(length, |bytes| PyBytes::new(py, bytes)));
        if let Some(bytes) = self.ticket.body(together).map_err(|error| self.failed(error))? {
            return Ok(bytes);
        }
        ffi::bytes_filled(py, length, |space| {
            self.ticket
                .body(|body| body.read(space))
                .map_err(|error| self.failed(error))
        })
    }

    fn read_up_to<'py>(&self, py: Python<'py>, wanted: u64) -> PyResult<Bound<'py, PyBytes>> {
        let mut parts: Vec<u8> = Vec::new();
        loop {
            let left = wanted - parts.len() as u64;
            // The rest is lost if the stream is short: asking for one byte more than is there finds out.
            let (available, complete) = self.look(left.min(u64::MAX - 1))?;
            let enough = available >= left || complete;
            if enough && parts.is_empty() {
                return self.take(py, left.min(available) as usize);
            }
            if enough || available >= AT_ONCE as u64 {
                let start = parts.len();
                parts.resize(start + left.min(available) as usize, 0);
                let read = self
                    .ticket
                    .body(|body| body.read(&mut parts[start..]))
                    .map_err(|error| self.failed(error))?;
                parts.truncate(start + read);
                if enough {
                    return Ok(PyBytes::new(py, &parts));
                }
                continue;
            }
            self.ticket.receive(py).map_err(|error| self.failed(error))?;
        }
    }

    /// What is there now, at most `most` bytes; waits only if nothing is.
    fn read_some<'py>(&self, py: Python<'py>, most: u64) -> PyResult<Bound<'py, PyBytes>> {
        loop {
            let (available, complete) = self.look(most.min(1))?;
            if available > 0 || complete || most == 0 {
                return self.take(py, most.min(available) as usize);
            }
            self.ticket.receive(py).map_err(|error| self.failed(error))?;
        }
    }

    fn read_line<'py>(&self, py: Python<'py>, limit: u64) -> PyResult<Bound<'py, PyBytes>> {
        if limit == 0 {
            return Ok(PyBytes::new(py, b""));
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut searched = 0;
        loop {
            // Together: what arrives in between must be searched, too.
            let (found, available) = self
                .ticket
                .body(|body| Ok((body.line_length(limit, searched)?, body.available() as usize)))
                .map_err(|error| self.failed(error))?;
            if let Some(length) = found {
                return self.take(py, length);
            }
            let (still_available, complete) = self.look(u64::MAX - 1)?;
            if complete && still_available as usize == available {
                return self.take(py, available);
            }
            searched = available;
            if !complete {
                self.ticket.receive(py).map_err(|error| self.failed(error))?;
            }
        }
    }
}

/// A size argument: none, `None` or a negative number mean everything.
fn size_of(size: Option<&Bound<'_, PyAny>>) -> PyResult<u64> {
    let Some(size) = size.filter(|size| !size.is_none()) else {
        return Ok(u64::MAX);
    };
    let number: i128 = size
        .extract()
        .map_err(|_| PyTypeError::new_err(format!("size must be an int, not {}", type_name(size))))?;
    Ok(u64::try_from(number).unwrap_or(u64::MAX))
}

#[pymethods]
impl Input {
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyBytes>> {
        match size_of(size)? {
            0 => Ok(PyBytes::new(py, b"")),
            wanted => self.read_up_to(py, wanted),
        }
    }

    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyBytes>> {
        self.read_line(py, size_of(size)?)
    }

    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyList>> {
        let hint = match size_of(hint)? {
            0 => u64::MAX,
            hint => hint,
        };
        let lines = PyList::empty(py);
        let mut total = 0;
        while total < hint {
            let line = self.read_line(py, u64::MAX)?;
            if line.as_bytes().is_empty() {
                break;
            }
            total += line.as_bytes().len() as u64;
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.read_line(py, u64::MAX)?;
        Ok((!line.as_bytes().is_empty()).then_some(line))
    }

    /// The stream is the server's: closing it has no effect (SPEC C48).
    fn close(&self) {}

    // What `io.BufferedReader` and `io.TextIOWrapper` ask for, that they may be put around it.

    #[pyo3(signature = (size=None, /))]
    fn read1<'py>(&self, py: Python<'py>, size: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyBytes>> {
        let most = match size_of(size)? {
            u64::MAX => READ1,
            most => most,
        };
        self.read_some(py, most)
    }

    #[pyo3(signature = (buffer, /))]
    fn readinto(&self, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = buffer.py();
        let space = PyMemoryView::from(buffer)?.call_method1("cast", ("B",))?;
        let data = self.read_some(py, space.len()? as u64)?;
        let length = data.as_bytes().len();
        space.set_item(PySlice::new(py, 0, length as isize, 1), &data)?;
        // A bytearray can't grow again before.
        space.call_method0("release")?;
        Ok(length)
    }

    fn readinto1(&self, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.readinto(buffer)
    }

    /// Before they close what they were put around.
    fn flush(&self) {}

    #[getter]
    fn closed(&self) -> bool {
        false
    }

    fn readable(&self) -> bool {
        true
    }

    fn writable(&self) -> bool {
        false
    }

    fn seekable(&self) -> bool {
        false
    }

    fn isatty(&self) -> bool {
        false
    }
}
