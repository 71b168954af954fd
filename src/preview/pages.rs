//! The pages that the preview itself answers with: the application did not start, is not there yet, or broke off.

use bytes::Bytes;
use contract::page::{ErrorPage, READY};
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use crate::pool::Status;
pub use contract::page::STATUS_HEADER;

/// The application can't start: what is wrong and the traceback. The page reloads itself when that changes.
pub fn failed(app: &str, status: &Status, reason: &str, detail: &str) -> Response<Full<Bytes>> {
    uncached(page(
        StatusCode::INTERNAL_SERVER_ERROR,
        ErrorPage {
            app,
            what: reason,
            traceback: detail,
            hint: "This page reloads by itself when the application is loaded again.",
            known: Some(&token(status)),
            ..ErrorPage::default()
        },
    ))
}

/// The application is still being imported, or nobody answers at the pool's socket.
pub fn unavailable(app: &str, status: &Status, what: &str) -> Response<Full<Bytes>> {
    // A socket that nobody answers at is no status: nothing would tell this page when to reload.
    let starting = matches!(status, Status::Starting).then(|| token(status));
    let hint = match starting {
        Some(_) => "This page reloads by itself when the application is ready.",
        None => "The log of wsgi-fpm says more.",
    };
    let known = starting.as_deref();
    let page = page(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorPage {
            app,
            what,
            hint,
            known,
            ..ErrorPage::default()
        },
    );
    let mut page = uncached(page);
    page.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    page
}

/// Any other answer of the preview's own to the request `method path`, with what to do about it.
pub fn plain(status: StatusCode, app: &str, what: &str, request: &str, hint: &str) -> Response<Full<Bytes>> {
    let request = Some(request);
    page(
        status,
        ErrorPage {
            app,
            what,
            request,
            hint,
            ..ErrorPage::default()
        },
    )
}

/// The answer to a request with [`STATUS_HEADER`].
pub fn status(status: &Status) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(token(status)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    uncached(response)
}

/// Short text that is another one for each status, whose details may be long.
pub fn token(status: &Status) -> String {
    match status {
        Status::Starting => "starting".to_owned(),
        Status::Ready => READY.to_owned(),
        Status::Failed { reason, detail } => {
            // FNV-1a: pages compare tokens of one process with each other, nothing more.
            let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            let text = reason.bytes().chain([0]).chain(detail.bytes());
            format!("failed-{:016x}", text.fold(0xcbf2_9ce4_8422_2325, hash))
        }
    }
}

fn page(status: StatusCode, page: ErrorPage<'_>) -> Response<Full<Bytes>> {
    let code = status.as_str();
    let mut response = Response::new(Full::from(ErrorPage { code, ..page }.html()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

fn uncached<B>(mut response: Response<B>) -> Response<B> {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_differs_for_each_failure() {
        let failed = |reason: &str, detail: &str| {
            token(&Status::Failed {
                reason: reason.to_owned(),
                detail: detail.to_owned(),
            })
        };
        assert_eq!(failed("a", "b"), failed("a", "b"));
        assert_ne!(failed("a", "b"), failed("ab", ""));
        assert_ne!(failed("a", "b"), failed("a", "c"));
    }
}
