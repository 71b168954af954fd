//! `start_response` and the `write` that it returns (SPEC C2 to C16).

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyAssertionError, PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::head::{Head, HeadRules};
use super::lenient::Deviation;
use super::response::Response;
use super::type_name::type_name;
use crate::request::carrier::CarrierError;
use crate::request::exchange::{Failure, Ticket};

/// The callable that the application gets.
#[pyclass(frozen, module = "wsgi_fpm", freelist = 16)]
pub struct StartResponse {
    pub ticket: Ticket,
    pub response: Mutex<Response>,
    rules: Arc<HeadRules>,
}

/// The legacy `write` callable.
#[pyclass(frozen, module = "wsgi_fpm", freelist = 16)]
pub struct Write {
    start: Py<StartResponse>,
}

impl StartResponse {
    pub fn new(ticket: Ticket, response: Response, rules: Arc<HeadRules>) -> Self {
        Self {
            ticket,
            response: Mutex::new(response),
            rules,
        }
    }

    /// Works with the response's state. No Python code may run inside: nothing here waits for the lock for long.
    pub fn with<R>(&self, work: impl FnOnce(&mut Response) -> R) -> R {
        work(&mut self.response.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends the head, if it hasn't been, and `block` as far as Content-Length allows; whether some of it was too much.
    ///
    /// # Errors
    /// The response can't be completed, or the gateway has given it up for a page of its own.
    fn send_block(&self, py: Python<'_>, block: &[u8]) -> Result<bool, Failure> {
        let length = block.len() as u64;
        let begun = self.with(|response| {
            let (head, allowed) = response.begin_block(length, false)?;
            Some((head, allowed, response.allows_body()))
        });
        let (head, allowed, allows_body) = begun.ok_or(CarrierError::Ended)?;
        let head = head.map_or_else(Vec::new, |mut head| {
            head.finish(String::new);
            self.with(|response| response.deviations.join(head.deviations));
            head.bytes
        });
        self.ticket.send(py, &[&head, &block[..allowed as usize]], None)?;
        Ok(allows_body && allowed < length)
    }
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, response_headers, exc_info=None, /))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        response_headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Write>> {
        let py = slf.py();
        let this = slf.get();
        let (called, refused, sent) =
            this.with(|response| (response.start_called, response.start_refused, response.head_sent()));
        match exc_info {
            Some(exc_info) => {
                let exception = exception_of(exc_info)?;
                if sent {
                    // SPEC C6: the application's own exception, with its traceback; no reference stays here.
                    return Err(PyErr::from_value(exception));
                }
            }
            // A call that was refused does not count (SPEC C4), unless everything is to be refused.
            None if called || refused && this.rules.strict => {
                return Err(PyAssertionError::new_err(
                    "start_response was called a second time without exc_info",
                ));
            }
            None => {}
        }
        if !this.ticket.is_valid() {
            return Err(PyRuntimeError::new_err(
                "start_response was called after its request had ended",
            ));
        }
        let buffer = this.with(|response| {
            response.start_called = true;
            response.take_buffer()
        });
        let mut head = Head::new(buffer, status, response_headers, &this.rules).inspect_err(|_| {
            this.with(|response| (response.start_called, response.start_refused) = (called, true));
        })?;
        if refused && exc_info.is_none() {
            head.deviations.add(Deviation::StartedAgain);
        }
        this.with(|response| response.head = Some(head));
        Bound::new(
            py,
            Write {
                start: slf.clone().unbind(),
            },
        )
    }
}

#[pymethods]
impl Write {
    #[pyo3(signature = (data, /))]
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = data
            .cast::<PyBytes>()
            .map_err(|_| PyTypeError::new_err(format!("write() takes bytes, not {}", type_name(data))))?;
        let start = self.start.get();
        if !start.ticket.is_valid() {
            return Err(PyRuntimeError::new_err(
                "write() was called after its request had ended",
            ));
        }
        // This `write` is of an earlier call than the last one, which has raised and left no head to send.
        if !start.with(|response| response.started()) {
            return Err(PyRuntimeError::new_err(
                "write() was called although start_response has failed",
            ));
        }
        let block = data.as_bytes();
        if block.is_empty() {
            return Ok(());
        }
        start.with(|response| response.wrote = true);
        let over = start.send_block(py, block).map_err(carrier_error)?;
        if over {
            return Err(PyValueError::new_err("write() got more bytes than Content-Length says"));
        }
        Ok(())
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.start)
    }
}

/// `exc_info[1]` with its traceback.
fn exception_of<'py>(exc_info: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let wrong = || PyTypeError::new_err("exc_info must be what sys.exc_info() returns");
    let tuple = exc_info.cast::<PyTuple>().map_err(|_| wrong())?;
    if tuple.len() != 3 {
        return Err(wrong());
    }
    let exception = tuple.get_item(1)?;
    if !exception.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        return Err(wrong());
    }
    let traceback = tuple.get_item(2)?;
    if !traceback.is_none() {
        return exception.call_method1("with_traceback", (traceback,));
    }
    Ok(exception)
}

/// What the application sees of a failure below; what a signal handler of its own has raised, as it is.
pub fn carrier_error(failure: impl Into<Failure>) -> PyErr {
    match failure.into() {
        Failure::App(error) => error,
        Failure::Carrier(error) => PyOSError::new_err(error.to_string()),
    }
}
