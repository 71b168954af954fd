//! One request through the application, whatever brought it: the environ's constant part, and the call.

use std::sync::Arc;

use contract::scoreboard::Scoreboard;
use contract::settings::{Entry, Settings};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::client_gone::ClientGone;
use super::errors::Errors;
use super::file_wrapper::FileWrapper;
use super::head::HeadRules;
use super::input::Input;
use super::lenient::Leniency;
use super::respond::{Answered, Responder};
use super::response::Response;
use super::start_response::StartResponse;
use crate::request::body;
use crate::request::exchange::Ticket;

/// The gateway's own keys, the same in every environ (PEP 3333, "environ Variables").
///
/// # Errors
/// Python's MemoryError.
pub fn constants<'py>(
    py: Python<'py>,
    settings: &Settings,
    errors: &Py<Errors>,
    client_gone: &Py<ClientGone>,
) -> PyResult<Bound<'py, PyDict>> {
    let constants = PyDict::new(py);
    constants.set_item("wsgi.version", PyTuple::new(py, [1, 0])?)?;
    constants.set_item("wsgi.errors", errors)?;
    // Replaced in each copy: its place in the dict is there already.
    constants.set_item("wsgi.input", py.None())?;
    constants.set_item(
        "wsgi.multithread",
        settings.entry != Entry::Cgi && settings.threads.get() > 1,
    )?;
    // A web server that starts processes itself may start several.
    let multiprocess = settings.entry != Entry::Pool || settings.size.limit() > 1;
    constants.set_item("wsgi.multiprocess", multiprocess)?;
    constants.set_item("wsgi.run_once", settings.entry == Entry::Cgi)?;
    constants.set_item("wsgi.input_terminated", true)?;
    constants.set_item("wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
    constants.set_item("wsgi_fpm.client_gone", client_gone)?;
    Ok(constants)
}

/// What calls of one thread have in common.
pub struct Caller {
    app: Py<PyAny>,
    input_key: Py<PyAny>,
    head_rules: Arc<HeadRules>,
    leniency: Leniency,
    /// The application's name, if tracebacks are shown to the client.
    debug: Option<String>,
    /// Memory for the next response's head.
    spare: Vec<u8>,
}

impl Caller {
    /// `board`: that of all threads that serve the application.
    pub fn new(py: Python<'_>, app: Py<PyAny>, settings: &Settings, board: Option<Arc<Scoreboard>>) -> Self {
        Self {
            app,
            input_key: PyString::intern(py, "wsgi.input").into_any().unbind(),
            head_rules: Arc::new(HeadRules::new(settings)),
            leniency: Leniency::new(settings.validate, board),
            debug: settings.debug.then(|| settings.app.clone()),
            spare: Vec::new(),
        }
    }

    /// Calls the application for the exchange that `ticket` stands for and sends its response. `request` names it in
    /// the log.
    ///
    /// # Errors
    /// Python's MemoryError, before the application was called.
    pub fn call(
        &mut self,
        environ: &Bound<'_, PyDict>,
        ticket: Ticket,
        is_head: bool,
        request: &dyn Fn() -> String,
    ) -> PyResult<Answered> {
        let py = environ.py();
        let input = Bound::new(py, Input::new(ticket.clone()))?;
        environ.set_item(&self.input_key, &input)?;
        let response = Response::new(is_head, std::mem::take(&mut self.spare));
        let start = Bound::new(py, StartResponse::new(ticket, response, Arc::clone(&self.head_rules)))?;
        let responder = Responder {
            app: &self.app,
            debug: self.debug.as_deref(),
            request,
            leniency: &self.leniency,
        };
        let outcome = responder.run(py, environ.as_any(), &start);
        let (status, bytes, untold, spare) = start.get().with(|response| {
            let untold = std::mem::take(&mut response.deviations);
            (response.status(), response.body_sent, untold, response.take_buffer())
        });
        if let Some(error) = input.get().unkept() {
            body::log_unkept(&request(), &error);
        }
        if !untold.is_empty() {
            self.leniency.tell(untold, request);
        }
        self.spare = spare;
        Ok(Answered { status, bytes, outcome })
    }
}
