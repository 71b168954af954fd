//! The pages that the preview itself answers with: the application did not start, is not there yet, or broke off.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::Status;

/// A request with this header asks for the pool's status instead of a page. Its value is the status that the page
/// knows; the answer comes once there is another. A header, since a path would be taken away from the application.
pub const STATUS_HEADER: &str = "x-wsgi-fpm-status";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2430;--dim:#5c6675;--line:#d9dee6;--paper:#fff;--code:#f5f7fa;--mark:#b3261e}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--dim:#9aa4b2;--line:#333b47;--paper:#161a20;--code:#1e242c;--mark:#ff8a80}}\
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
main{max-width:60rem;margin:0 auto;padding:3rem 1.5rem}\
p.app{margin:0;color:var(--dim)}h1{margin:.2rem 0 1rem;font-size:1.5rem;color:var(--mark);overflow-wrap:anywhere}\
pre{padding:1rem;overflow-x:auto;background:var(--code);border:1px solid var(--line);border-radius:6px;\
font:13px/1.5 ui-monospace,monospace}footer{margin-top:2rem;color:var(--dim);font-size:.875rem}";

/// The application can't start: what is wrong and the traceback. The page reloads itself when that changes.
pub fn failed(app: &str, status: &Status, reason: &str, detail: &str) -> Response<Full<Bytes>> {
    let traceback = match detail.trim_end() {
        "" => String::new(),
        detail => format!("<pre>{}</pre>", escape(detail)),
    };
    let content = format!("{traceback}<footer>This page reloads by itself when a file changes.</footer>");
    let mut page = page(StatusCode::INTERNAL_SERVER_ERROR, app, reason, &content, Some(status));
    page.headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}

/// The application is still being imported, or nobody answers at the pool's socket.
pub fn unavailable(app: &str, status: &Status, what: &str) -> Response<Full<Bytes>> {
    // A socket that nobody answers at is no status: nothing would tell this page when to reload.
    let starting = matches!(status, Status::Starting).then_some(status);
    let content = match starting {
        Some(_) => "<p>This page reloads by itself when the application is ready.</p>",
        None => "<p>The log of wsgi-fpm says more.</p>",
    };
    let mut page = page(StatusCode::SERVICE_UNAVAILABLE, app, what, content, starting);
    page.headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    page
}

/// Any other answer of the preview's own.
pub fn plain(status: StatusCode, app: &str, what: &str) -> Response<Full<Bytes>> {
    page(status, app, what, "", None)
}

/// The answer to a request with [`STATUS_HEADER`].
pub fn status(status: &Status) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(token(status)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Short text that is another one for each status, whose details may be long.
pub fn token(status: &Status) -> String {
    match status {
        Status::Starting => "starting".to_owned(),
        Status::Ready => "ready".to_owned(),
        Status::Failed { reason, detail } => {
            // FNV-1a: pages compare tokens of one process with each other, nothing more.
            let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            let text = reason.bytes().chain([0]).chain(detail.bytes());
            format!("failed-{:016x}", text.fold(0xcbf2_9ce4_8422_2325, hash))
        }
    }
}

fn page(status: StatusCode, app: &str, what: &str, content: &str, known: Option<&Status>) -> Response<Full<Bytes>> {
    let script = known.map(watching).unwrap_or_default();
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{code} {app}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style>\
         <main><p class=\"app\">{app} · wsgi-fpm dev</p><h1>{what}</h1>{content}</main>{script}\n",
        code = status.as_str(),
        app = escape(app),
        what = escape(what),
    );
    let mut response = Response::new(Full::from(html));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// Reloads the page when the status is not `known` any more. The token needs no escaping: letters, digits, hyphens.
fn watching(known: &Status) -> String {
    format!(
        "<script>(async known=>{{for(;;){{try{{\
         const answer=await fetch(location.href,{{headers:{{'{STATUS_HEADER}':known}},cache:'no-store'}});\
         if(await answer.text()!==known)return location.reload()\
         }}catch{{await new Promise(wake=>setTimeout(wake,1000))}}}}}})('{}')</script>",
        token(known)
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_of_an_error_message_is_escaped() {
        assert_eq!(
            escape("<a href=\"x\">'&'</a>"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;"
        );
    }

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
