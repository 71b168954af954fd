//! What admits a request, whatever has brought it: it goes to the application, or is answered with a page of the gateway's
//! own (SPEC E).

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use contract::log::Trace;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use settings::sections::Limits;

use super::environ::EnvironBuilder;
use super::params::waited;
use super::reject::{self, Rejection};
use super::respond::{Answered, Outcome};
use crate::request::body::Body;

/// What a carrier knows of a request that is to be taken up.
pub struct Arrived {
    /// More bytes of params than allowed have come: none were kept.
    pub params_too_large: bool,
    /// The role that it asks for, if that is another than ours.
    pub other_role: Option<u16>,
    /// Where requests may have to wait for a thread: how long its body was on the way meanwhile.
    pub queued: Option<Duration>,
    /// Of a body that is complete.
    pub body_length: Option<u64>,
    /// Why the application can't have the body.
    pub body_fault: Option<Rejection>,
}

/// What is known of a request as soon as its environ is there, whether it is admitted or not.
pub struct Known<'a, 'py> {
    pub environ: &'a Bound<'py, PyDict>,
    pub method: &'a [u8],
    /// SCRIPT_NAME with PATH_INFO.
    pub path: Cow<'a, [u8]>,
    /// How long it has waited, if the front server says when it has come.
    pub queued: Option<Duration>,
    /// That it belongs to.
    pub trace: Option<Trace>,
}

/// A request that may run.
pub struct Admitted<'py> {
    pub environ: Bound<'py, PyDict>,
    /// The response is to have no body.
    pub is_head: bool,
    pub content_length: Option<u64>,
}

impl Arrived {
    /// With what there is of its body: what makes that unreadable is taken from it.
    pub fn with(body: &mut Body) -> Self {
        let lost = body.lost.take().map(Rejection::BodyUnkept);
        Self {
            params_too_large: false,
            other_role: None,
            queued: None,
            body_length: body.ended.then_some(body.received),
            body_fault: if body.too_large {
                Some(Rejection::BodyTooLarge)
            } else {
                lost
            },
        }
    }
}

/// Builds the environ of a request with the params `pairs`, and says whether it may run. `tell` gets what is known of it, unless
/// its params are refused.
///
/// # Errors
/// It may not, or Python's MemoryError.
pub fn admit<'py, 'a, E: Display>(
    py: Python<'py>,
    environs: &mut EnvironBuilder,
    pairs: impl Iterator<Item = Result<(&'a [u8], &'a [u8]), E>>,
    arrived: Arrived,
    limits: &Limits,
    tell: impl FnOnce(Known<'_, 'py>),
) -> Result<Admitted<'py>, Rejection> {
    if arrived.params_too_large {
        return Err(Rejection::params_too_large(
            "more bytes of params than",
            &limits.params_bytes,
        ));
    }
    let (environ, facts) = environs.build(py, pairs, arrived.body_length)?;
    let (script_name, path_info) = environs.path();
    let arrival = arrived.queued.unwrap_or_default();
    let queued = facts.request_start.and_then(|start| waited(start, arrival));
    tell(Known {
        environ: &environ,
        method: facts.method,
        path: match script_name {
            b"" => Cow::Borrowed(path_info),
            _ => Cow::Owned([script_name, path_info].concat()),
        },
        queued,
        trace: facts.trace,
    });
    if let Some(role) = arrived.other_role {
        return Err(Rejection::UnknownRole(role));
    }
    let content_length = facts.content_length;
    if content_length.is_some_and(|length| limits.body_max.is_exceeded_by(length)) {
        return Err(Rejection::BodyTooLarge);
    }
    if let Some(fault) = arrived.body_fault {
        return Err(fault);
    }
    // SPEC E5.
    let longest = arrived.queued.and_then(|_| limits.queue_timeout.duration());
    if longest.is_some_and(|longest| queued.is_some_and(|queued| queued > longest)) {
        return Err(Rejection::Overloaded);
    }
    Ok(Admitted {
        environ,
        is_head: facts.method == b"HEAD",
        content_length,
    })
}

/// Answers instead of the application. `send` takes the whole response, and says whether it has left.
pub fn refuse(rejection: &Rejection, is_head: bool, send: impl FnOnce(&[u8]) -> bool) -> Answered {
    let outcome = match rejection {
        // It is this side that fails.
        Rejection::Internal(_) | Rejection::BodyUnkept(_) => Outcome::Failed,
        _ => Outcome::Refused,
    };
    answer(rejection.status(), outcome, is_head, send)
}

/// The same for a failure of the gateway, which is in the log.
pub fn fail(is_head: bool, send: impl FnOnce(&[u8]) -> bool) -> Answered {
    answer(reject::FAILED, Outcome::Failed, is_head, send)
}

fn answer(status: &str, outcome: Outcome, is_head: bool, send: impl FnOnce(&[u8]) -> bool) -> Answered {
    let page = reject::page(status);
    let has_left = send(page.answer(is_head));
    Answered {
        status: reject::code(status),
        bytes: if has_left { page.body_length(is_head) } else { 0 },
        outcome,
    }
}
