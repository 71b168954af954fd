//! What single params mean: which of them the gateway acts on, and how their values are read (SPEC B).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the environ builder does with a param.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Pass,
    Drop,
    /// Left out when empty (SPEC B6).
    PassNonEmpty,
    /// Two of them in one request: somebody forges it (SPEC F2).
    PassUnique,
    /// The parts of a list, joined in their order (RFC 9110 §5.3).
    PassJoined,
    Method,
    ScriptName,
    PathInfo,
    RequestUri,
    QueryString,
    ContentLength,
    Https,
    RequestScheme,
    ServerName,
    ServerAddr,
    ServerPort,
    ServerProtocol,
    HttpHost,
    RequestStart,
    Traceparent,
}

/// By its name.
pub fn role_of(name: &[u8]) -> Role {
    match name {
        b"" | b"PATH" | b"LD_LIBRARY_PATH" => Role::Drop,
        // What can't be a CGI variable, or would pass for the gateway's own key (SPEC B3).
        _ if name.starts_with(b"wsgi.") || name.starts_with(b"wsgi_fpm.") => Role::Drop,
        _ if name.iter().any(|&b| b == 0 || b == b'=' || !b.is_ascii()) => Role::Drop,
        // httpoxy (SPEC B10), and what speaks of the connection between client and front server (SPEC B5, B11).
        b"HTTP_PROXY" | b"HTTP_CONTENT_TYPE" | b"HTTP_CONTENT_LENGTH" => Role::Drop,
        b"HTTP_TRANSFER_ENCODING"
        | b"HTTP_CONNECTION"
        | b"HTTP_KEEP_ALIVE"
        | b"HTTP_TE"
        | b"HTTP_TRAILER"
        | b"HTTP_UPGRADE" => Role::Drop,
        b"CONTENT_TYPE" | b"AUTH_TYPE" | b"REMOTE_USER" | b"REMOTE_IDENT" | b"REMOTE_HOST" | b"PATH_TRANSLATED" => {
            Role::PassNonEmpty
        }
        b"REQUEST_METHOD" => Role::Method,
        b"SCRIPT_NAME" => Role::ScriptName,
        b"PATH_INFO" => Role::PathInfo,
        b"REQUEST_URI" => Role::RequestUri,
        b"QUERY_STRING" => Role::QueryString,
        b"CONTENT_LENGTH" => Role::ContentLength,
        b"HTTPS" => Role::Https,
        b"REQUEST_SCHEME" => Role::RequestScheme,
        b"SERVER_NAME" => Role::ServerName,
        b"SERVER_ADDR" => Role::ServerAddr,
        b"SERVER_PORT" => Role::ServerPort,
        b"SERVER_PROTOCOL" => Role::ServerProtocol,
        b"HTTP_HOST" => Role::HttpHost,
        b"REQUEST_START" => Role::RequestStart,
        b"HTTP_TRACEPARENT" => Role::Traceparent,
        b"HTTP_REMOTE_USER" | b"HTTP_AUTHORIZATION" | b"HTTP_X_REAL_IP" | b"HTTP_FORWARDED" => Role::PassUnique,
        b"HTTP_X_FORWARDED_FOR" => Role::PassJoined,
        _ if name.starts_with(b"HTTP_X_FORWARDED_") => Role::PassUnique,
        _ => Role::Pass,
    }
}

/// Seconds since the epoch: nginx's `$msec` has seconds, Apache's `%t` microseconds, other proxies milliseconds; `t=` may
/// stand before it.
pub fn parse_request_start(value: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(value.strip_prefix(b"t=").unwrap_or(value))
        .ok()?
        .parse()
        .ok()?;
    Some(match number {
        1e14.. => number / 1e6,
        1e11.. => number / 1e3,
        _ => number,
    })
}

/// Seconds that a request has waited for a thread since the front server took it, by its own clock, which is ours if it runs
/// on this machine. What is no time of the last day is nonsense, or another machine's idea of now. `arrival`, in which its
/// body was still on the way, is no wait: no thread could have begun.
pub fn waited(request_start: f64, arrival: Duration) -> Option<Duration> {
    const DAY: f64 = 86_400.0;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |now| now.as_secs_f64());
    let since = Some(now - request_start).filter(|since| (0.0..DAY).contains(since))?;
    Some(Duration::from_secs_f64(since).saturating_sub(arrival))
}

/// SPEC B12.
pub fn is_https(https: Option<&[u8]>, request_scheme: Option<&[u8]>) -> bool {
    match https.filter(|value| !value.is_empty()) {
        Some(value) => [&b"on"[..], b"1", b"yes", b"true"]
            .iter()
            .any(|yes| value.eq_ignore_ascii_case(yes)),
        None => request_scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https")),
    }
}

/// Host and port of a Host header; brackets of IPv6 stay.
pub fn split_host(host: &[u8]) -> (&[u8], Option<&[u8]>) {
    match host.iter().rposition(|&byte| byte == b':') {
        Some(colon) if !host[colon..].contains(&b']') => {
            let port = &host[colon + 1..];
            (
                &host[..colon],
                (!port.is_empty() && port.iter().all(u8::is_ascii_digit)).then_some(port),
            )
        }
        _ => (host, None),
    }
}

/// RFC 9110 §5.6.2.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
