//! Requests that never reach the application, and the pages that the gateway sends itself (SPEC E).

use std::io;

use contract::limited;
use contract::scoreboard::Refusal;
use contract::settings::Settings;
use pyo3::PyErr;
use settings::Setting;

use crate::request::body;

/// What the watchdog answers for a request that runs too long (SPEC E4).
pub const TIMED_OUT: &str = "504 Gateway Timeout";
/// What is answered when this side fails.
pub const FAILED: &str = "500 Internal Server Error";

/// Why a request isn't given to the application.
#[derive(Debug)]
pub enum Rejection {
    BadRequest(String),
    ParamsTooLarge(String),
    BodyTooLarge,
    BodyTimeout,
    /// The temporary file for its body takes no more.
    BodyUnkept(io::Error),
    NotFound,
    Overloaded,
    UnknownRole(u16),
    /// Python itself failed: out of memory.
    Internal(PyErr),
}

impl Rejection {
    pub fn bad_request(reason: impl Into<String>) -> Self {
        Self::BadRequest(reason.into())
    }

    /// `what` is longer or more than `limit` allows.
    pub fn params_too_large<T>(what: &str, limit: &Setting<T>) -> Self {
        Self::ParamsTooLarge(format!("{what} {} allows", limit.name()))
    }

    pub fn status(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "400 Bad Request",
            Self::ParamsTooLarge(_) => "431 Request Header Fields Too Large",
            Self::BodyTooLarge => "413 Content Too Large",
            Self::BodyTimeout => "408 Request Timeout",
            Self::BodyUnkept(error) if body::is_no_space(error) => "507 Insufficient Storage",
            Self::NotFound => "404 Not Found",
            Self::Overloaded => "503 Service Unavailable",
            Self::UnknownRole(_) | Self::BodyUnkept(_) | Self::Internal(_) => FAILED,
        }
    }

    /// As it is counted.
    pub fn kind(&self) -> Refusal {
        match self {
            Self::BadRequest(_) => Refusal::BadRequest,
            Self::ParamsTooLarge(_) => Refusal::ParamsTooLarge,
            Self::BodyTooLarge => Refusal::BodyTooLarge,
            Self::BodyTimeout => Refusal::BodyTimeout,
            Self::BodyUnkept(_) => Refusal::BodyUnkept,
            Self::NotFound => Refusal::NotFound,
            Self::Overloaded => Refusal::Overloaded,
            Self::UnknownRole(_) => Refusal::UnknownRole,
            Self::Internal(_) => Refusal::Internal,
        }
    }

    /// Whether the connection can't be trusted or isn't worth keeping afterwards (SPEC E9).
    pub fn closes(&self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::ParamsTooLarge(_)
                | Self::BodyTooLarge
                | Self::BodyTimeout
                | Self::BodyUnkept(_)
        )
    }

    /// Clients can cause most of them at will, and overload is the worst time for a line for each request.
    pub fn log(&self, request: &str, settings: &Settings) {
        let limits = &settings.limits;
        match self {
            Self::BadRequest(reason) => limited!(
                "refusals with 400",
                tracing::warn!(%request, reason, "refused with 400")
            ),
            Self::ParamsTooLarge(reason) => limited!(
                "refusals with 431",
                tracing::warn!(%request, reason, "refused with 431")
            ),
            Self::BodyTooLarge => limited!(
                "refusals with 413",
                tracing::warn!(
                    %request,
                    reason = format!("the body is larger than {} allows", limits.body_max.name()),
                    "refused with 413"
                )
            ),
            Self::BodyTimeout => limited!(
                "refusals with 408",
                tracing::info!(
                    %request,
                    reason = format!("the body stopped coming ({})", limits.body_timeout.name()),
                    "refused with 408"
                )
            ),
            Self::BodyUnkept(error) => body::log_unkept(request, error),
            Self::NotFound => limited!(
                "refusals with 404",
                tracing::info!(
                    %request,
                    reason = format!("not below the mount ({})", settings.mount.name()),
                    "refused with 404"
                )
            ),
            Self::Overloaded => limited!(
                "requests that waited too long",
                tracing::warn!(
                    %request,
                    reason = format!("it waited longer than {} allows", limits.queue_timeout.name()),
                    "refused with 503"
                )
            ),
            Self::UnknownRole(role) => limited!(
                "requests for another role",
                tracing::error!(%request, role, "refused: only responders are served")
            ),
            Self::Internal(error) => limited!(
                "refusals with 500",
                tracing::error!(%request, %error, "refused with 500")
            ),
        }
    }
}

impl From<PyErr> for Rejection {
    fn from(error: PyErr) -> Self {
        Self::Internal(error)
    }
}

/// The number in a status.
pub fn code(status: &str) -> u16 {
    status.get(..3).and_then(|code| code.parse().ok()).unwrap_or(500)
}

/// A whole response of the gateway's own.
pub struct Page {
    bytes: Vec<u8>,
    head_length: usize,
}

impl Page {
    /// `headers` end with CRLF each.
    pub fn new(status: &str, content_type: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let mut bytes = format!(
            "Status: {status}\r\nContent-Type: {content_type}; charset=utf-8\r\n{headers}Content-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        let head_length = bytes.len();
        bytes.extend_from_slice(body.as_bytes());
        Self { bytes, head_length }
    }

    /// What is sent: to HEAD the same without the body (SPEC C30).
    pub fn answer(&self, is_head: bool) -> &[u8] {
        if is_head {
            &self.bytes[..self.head_length]
        } else {
            &self.bytes
        }
    }

    /// Bytes of the body in that.
    pub fn body_length(&self, is_head: bool) -> u64 {
        (self.answer(is_head).len() - self.head_length) as u64
    }
}

/// A page in plain text: nothing of the request and nothing of the failure stands in it (SPEC F4, F6).
pub fn page(status: &str) -> Page {
    let retry = if status.starts_with("503") {
        "Retry-After: 1\r\n"
    } else {
        ""
    };
    Page::new(status, "text/plain", retry, &format!("{status}\n"))
}
