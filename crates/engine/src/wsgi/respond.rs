//! One call of the application, and what it returns, to the front server.

use contract::limited;
use contract::page::ErrorPage;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::file_wrapper::{FileWrapper, PlainFile};
use super::head::Head;
use super::lenient::{Deviation, Leniency};
use super::reject::{self, Page};
use super::start_response::StartResponse;
use super::traceback;
use super::type_name::type_name;
use crate::base::{ffi, forked};
use crate::request::carrier::{CarrierError, Ending, FilePart};
use crate::request::exchange::Failure;

pub use contract::scoreboard::Outcome;

/// What became of a request.
pub struct Answered {
    /// 0 if no head was sent.
    pub status: u16,
    /// Body bytes that were sent.
    pub bytes: u64,
    pub outcome: Outcome,
}

impl Answered {
    /// What the client has got: the watchdog's answer, if the time was over, instead of what the application meant to send.
    pub fn status_seen(&self) -> u16 {
        match self.outcome {
            Outcome::TimedOut => reject::code(reject::TIMED_OUT),
            _ => self.status,
        }
    }
}

const COMPLETE: Option<Ending> = Some(Ending::Complete { app_status: 0 });
const FAILED: Option<Ending> = Some(Ending::Complete { app_status: 1 });
/// Empty blocks that an application may give after its response is complete: more than any middleware adds.
const BLOCKS_AFTER_THE_END: usize = 100;

/// What stays the same from request to request.
pub struct Responder<'a> {
    pub app: &'a Py<PyAny>,
    /// The application's name, if tracebacks are shown to the client.
    pub debug: Option<&'a str>,
    /// Names the request in the log.
    pub request: &'a dyn Fn() -> String,
    pub leniency: &'a Leniency,
}

impl Responder<'_> {
    /// Calls the application and sends its response. Whatever it does, the response is complete or visibly broken
    /// afterwards, and `close()` was called once.
    pub fn run<'py>(
        &self,
        py: Python<'py>,
        environ: &Bound<'py, PyAny>,
        start_response: &Bound<'py, StartResponse>,
    ) -> Outcome {
        let start = start_response.get();
        let result = match ffi::call2(self.app.bind(py), environ, start_response.as_any()) {
            Ok(result) => result,
            Err(error) => return self.fail(py, start, Failure::App(error)),
        };
        if let Ok(list) = result.cast_exact::<PyList>() {
            let sent = self.send_items(py, start, list.len(), |index| list.get_item(index));
            return self.conclude(py, start, sent);
        }
        if let Ok(tuple) = result.cast_exact::<PyTuple>() {
            let sent = self.send_items(py, start, tuple.len(), |index| tuple.get_item(index));
            return self.conclude(py, start, sent);
        }
        if result.is_instance_of::<PyBytes>() {
            let outcome = self.conclude(py, start, self.send_alone(py, start, &result));
            self.close(py, &result);
            return outcome;
        }
        let plain = result
            .cast_exact::<FileWrapper>()
            .ok()
            .and_then(|wrapper| wrapper.get().plain_file(py));
        let sent = match plain {
            Some(file) => self.send_file(py, start, &file),
            None => self.send_iterable(py, start, &result),
        };
        let outcome = self.conclude(py, start, sent);
        self.close(py, &result);
        outcome
    }

    fn conclude(&self, py: Python<'_>, start: &StartResponse, sent: Result<(), Failure>) -> Outcome {
        match sent {
            Ok(()) => Outcome::Complete,
            Err(failure) => self.fail(py, start, failure),
        }
    }

    /// Bytes that are no block of anything.
    fn send_alone(&self, py: Python<'_>, start: &StartResponse, bytes: &Bound<'_, PyAny>) -> Result<(), Failure> {
        self.leniency.admit(Deviation::BytesAlone, self.request)?;
        self.send_items(py, start, 1, |_| Ok(bytes.clone()))
    }

    /// A built-in list or tuple: all of it at once.
    fn send_items<'py>(
        &self,
        py: Python<'py>,
        start: &StartResponse,
        length: usize,
        item: impl Fn(usize) -> PyResult<Bound<'py, PyAny>>,
    ) -> Result<(), Failure> {
        let mut items = Vec::with_capacity(length);
        for index in 0..length {
            items.push(self.checked(item(index)?)?);
        }
        let total: u64 = items.iter().map(|item| item.as_bytes().len() as u64).sum();
        let begun = start.with(|response| {
            let whole = !response.would_be_short(total);
            whole.then(|| response.begin_block(total, length == 1))
        });
        let begun = begun.ok_or_else(|| self.short(start, total))?;
        let (head, allowed) = begun.ok_or(CarrierError::Ended)?;
        self.check_started(start)?;
        self.warn_surplus(start, total, allowed);
        let head = self.finished(head);
        let mut slices = Vec::with_capacity(length + 1);
        slices.push(head.as_slice());
        let mut left = allowed as usize;
        for item in &items {
            let bytes = item.as_bytes();
            slices.push(&bytes[..bytes.len().min(left)]);
            left -= bytes.len().min(left);
        }
        if start.with(|response| response.is_short()) {
            start.ticket.send(py, &slices, None)?;
            return Err(self.sent_too_little(start));
        }
        start.ticket.send(py, &slices, COMPLETE)?;
        start.ticket.done();
        start.with(|response| response.recycle(head));
        Ok(())
    }

    /// Any other iterable: each block leaves before the next is asked for (PEP 3333, "Buffering and Streaming").
    fn send_iterable(&self, py: Python<'_>, start: &StartResponse, result: &Bound<'_, PyAny>) -> Result<(), Failure> {
        let iterator = result
            .try_iter()
            .map_err(|error| self.no_iterable(py, result, error))?
            .into_any();
        while let Some(item) = ffi::next_item(&iterator)? {
            let block = self.checked(item)?;
            let block = block.as_bytes();
            if block.is_empty() {
                // An application that waits for something this way must learn that nobody waits with it (SPEC C56).
                start.ticket.check_peer()?;
                continue;
            }
            self.check_started(start)?;
            let length = block.len() as u64;
            let only = start.with(|response| response.wants_length()) && ffi::length_hint(result) == Some(1);
            let begun = start.with(|response| response.begin_block(length, only));
            let (head, allowed) = begun.ok_or(CarrierError::Ended)?;
            let last = start.with(|response| !response.allows_body() || response.room() == 0);
            let sent = &block[..allowed as usize];
            self.warn_surplus(start, length, allowed);
            let head = self.finished(head);
            start.ticket.send(py, &[&head, sent], COMPLETE.filter(|_| last))?;
            if last {
                start.ticket.done();
                if allowed == length {
                    self.finish_iteration(py, &iterator);
                }
                return Ok(());
            }
            start.ticket.check_peer()?;
        }
        self.check_started(start)?;
        self.end(py, start)
    }

    /// Everything that Content-Length promised is sent and the response has ended. What the application has behind its
    /// last `yield` runs now.
    fn finish_iteration(&self, py: Python<'_>, iterator: &Bound<'_, PyAny>) {
        for _ in 0..BLOCKS_AFTER_THE_END {
            match ffi::next_item(iterator) {
                Ok(Some(item)) if ffi::length_hint(&item) == Some(0) => {}
                Ok(Some(_)) => return self.warn("the application returned more than Content-Length says: cut off"),
                Ok(None) => return,
                Err(error) => return self.log_exception(py, &error, "after the response was complete"),
            }
        }
        self.warn("the application goes on with empty blocks after its response was complete: not asked for more");
    }

    /// A regular file, by sendfile: measured, a fifth of the processor time of reading and sending it.
    fn send_file(&self, py: Python<'_>, start: &StartResponse, file: &PlainFile) -> Result<(), Failure> {
        self.check_started(start)?;
        let begun = start.with(|response| {
            if response.would_be_short(file.length) {
                return None;
            }
            let head = response.take_head();
            let allowed = if response.allows_body() {
                file.length.min(response.room())
            } else {
                0
            };
            let whole = !response.allows_body() || response.content_length().is_none_or(|length| length == allowed);
            Some((head, allowed, whole))
        });
        let (head, allowed, whole) = begun.ok_or_else(|| self.short(start, file.length))?;
        let head = self.finished(head);
        start.ticket.send(py, &[&head], None)?;
        let mut part = FilePart {
            file: &file.file,
            offset: file.offset,
            end: file.offset + allowed,
        };
        let sent = start.ticket.send_file(py, &mut part, COMPLETE.filter(|_| whole));
        start.with(|response| response.body_sent += part.offset - file.offset);
        sent?;
        if start.with(|response| response.is_short()) {
            return Err(self.sent_too_little(start));
        }
        start.ticket.done();
        Ok(())
    }

    /// After the last block.
    fn end(&self, py: Python<'_>, start: &StartResponse) -> Result<(), Failure> {
        if start.with(|response| response.would_be_short(0) || response.is_short()) {
            return Err(self.sent_too_little(start));
        }
        let head = start.with(|response| response.take_head());
        let head = self.finished(head);
        start.ticket.send(py, &[&head], COMPLETE)?;
        start.ticket.done();
        Ok(())
    }

    /// The request can't end as it should (SPEC E2, E3, E8, E13).
    fn fail(&self, py: Python<'_>, start: &StartResponse, failure: Failure) -> Outcome {
        // A child that the application has forked says nothing: the request is its parent's.
        match &failure {
            Failure::App(error) => forked::end_failed_child(py, error),
            Failure::Carrier(_) => forked::end_child(),
        }
        let error = match failure {
            Failure::App(error) => match start.ticket.lost() {
                // The exception is what we raised to tell the application so.
                Some(lost) if error.is_instance_of::<PyOSError>(py) => return self.abandon(py, start, &lost),
                _ => error,
            },
            Failure::Carrier(error) => return self.abandon(py, start, &error),
        };
        if !start.ticket.is_valid() {
            self.log_exception(py, &error, "after the request was given up");
            return Outcome::TimedOut;
        }
        let page = match self.debug {
            Some(app) => debug_page(py, app, &(self.request)(), &error),
            None => reject::page("500 Internal Server Error"),
        };
        // At once, and before any Python of this: another thread may be about to write.
        let begun = start.with(|response| {
            if response.head_sent() {
                return Some((response.body_sent, response.content_length()));
            }
            response.replace(500, page.body_length(response.is_head));
            None
        });
        if let Some((bytes, length)) = begun {
            let when = format!("after {bytes} bytes of {} were sent", expectation(length));
            self.log_exception(py, &error, &when);
            start.ticket.cut(py, start.with(|response| response.lack()));
            return Outcome::Failed;
        }
        self.log_exception(py, &error, "before the response began");
        let is_head = start.with(|response| response.is_head);
        match start.ticket.send(py, &[page.answer(is_head)], FAILED) {
            Ok(()) => start.ticket.done(),
            Err(Failure::Carrier(error)) => return self.abandon(py, start, &error),
            Err(Failure::App(error)) => {
                self.log_exception(py, &error, "in a signal handler, while its error page was sent");
                start.ticket.cut(py, start.with(|response| response.lack()));
            }
        }
        Outcome::Failed
    }

    /// The response can't be delivered any more.
    fn abandon(&self, py: Python<'_>, start: &StartResponse, error: &CarrierError) -> Outcome {
        let request = (self.request)();
        let outcome = match error {
            CarrierError::TimedOut => Outcome::TimedOut,
            CarrierError::File(_) | CarrierError::FileShrank => {
                tracing::error!(%request, %error, "the response was broken off");
                Outcome::Failed
            }
            CarrierError::Gone | CarrierError::Aborted | CarrierError::Ended | CarrierError::Protocol(_) => {
                limited!(
                    "requests whose front server was gone",
                    tracing::info!(%request, %error, "disconnected")
                );
                Outcome::Disconnected
            }
            _ => {
                limited!(
                    "responses that were broken off",
                    tracing::warn!(%request, %error, "the response was broken off")
                );
                Outcome::Disconnected
            }
        };
        start.ticket.cut(py, start.with(|response| response.lack()));
        outcome
    }

    /// `close()` of what the application returned, exactly once, whatever happened (SPEC C23, C24).
    fn close(&self, py: Python<'_>, result: &Bound<'_, PyAny>) {
        let closed = match result.getattr_opt("close") {
            Ok(Some(close)) => close.call0().map(drop),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        if let Err(error) = closed {
            self.log_exception(py, &error, "in close()");
        }
    }

    fn check_started(&self, start: &StartResponse) -> Result<(), PyErr> {
        if start.with(|response| response.started()) {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(
            if start.with(|response| response.start_called || response.start_refused) {
                "the application returned a response although start_response has failed"
            } else {
                "the application returned a response without calling start_response"
            },
        ))
    }

    fn no_iterable(&self, py: Python<'_>, result: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
        // What __iter__ itself raises is the application's own; no __iter__ at all deserves a better message.
        if error.is_instance_of::<PyTypeError>(py) && error.traceback(py).is_none() {
            return PyTypeError::new_err(format!(
                "the application must return an iterable of bytes, not {}",
                type_name(result)
            ));
        }
        error
    }

    fn sent_too_little(&self, start: &StartResponse) -> Failure {
        Failure::App(self.short(start, start.with(|response| response.body_sent)))
    }

    fn short(&self, start: &StartResponse, length: u64) -> PyErr {
        let promised = start.with(|response| response.promised_length());
        PyValueError::new_err(format!(
            "the body has {length} bytes, Content-Length says {}",
            promised.unwrap_or(0)
        ))
    }

    fn warn_surplus(&self, start: &StartResponse, length: u64, allowed: u64) {
        if allowed == length {
            return;
        }
        let (allows_body, is_head) = start.with(|response| (response.allows_body(), response.is_head));
        if allows_body {
            self.warn("the application returned more than Content-Length says: cut off");
        } else if !is_head {
            self.warn("the application returned a body for a status that has none: dropped");
        }
    }

    fn finished(&self, head: Option<Head>) -> Vec<u8> {
        head.map_or_else(Vec::new, |mut head| {
            head.finish(self.request);
            if !head.deviations.is_empty() {
                self.leniency.tell(head.deviations, self.request);
            }
            head.bytes
        })
    }

    /// An item that may be sent: bytes or a subclass, mostly (SPEC C20).
    fn checked<'py>(&self, item: Bound<'py, PyAny>) -> Result<Bound<'py, PyBytes>, PyErr> {
        item.cast_into::<PyBytes>()
            .or_else(|error| self.leniency.bytes_of(error.into_inner(), self.request))
    }

    fn warn(&self, what: &'static str) {
        tracing::warn!(request = %(self.request)(), "{what}");
    }

    fn log_exception(&self, py: Python<'_>, error: &PyErr, when: &str) {
        let exception = error
            .get_type(py)
            .name()
            .map_or_else(|_| String::new(), |name| name.to_string());
        let traceback = traceback::format(py, error);
        tracing::error!(
            request = %(self.request)(),
            exception,
            traceback = %contract::log::block(&traceback),
            "the application failed {when}"
        );
    }
}

fn expectation(length: Option<u64>) -> String {
    length.map_or_else(|| "a body without Content-Length".into(), |length| length.to_string())
}

/// A traceback for a developer's browser. The page reloads itself when a new version of the application is there, unless that
/// would send a form again.
fn debug_page(py: Python<'_>, app: &str, request: &str, error: &PyErr) -> Page {
    let is_get = request.split(' ').nth(1) == Some("GET");
    let html = ErrorPage {
        app,
        code: "500",
        what: error.to_string().lines().next().unwrap_or_default(),
        request: Some(request),
        traceback: &traceback::format(py, error),
        hint: if is_get {
            "This page reloads by itself when the application is loaded again."
        } else {
            ""
        },
        known: is_get.then_some(contract::page::READY),
    }
    .html();
    Page::new(
        "500 Internal Server Error",
        "text/html",
        "Cache-Control: no-store\r\n",
        &html,
    )
}
