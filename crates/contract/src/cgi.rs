//! What the environment of a CGI process says of its request, for those who have no Python yet (RFC 3875).

/// How long the body is that the web server sends; 0 where it does not say.
pub fn content_length() -> u64 {
    let value = std::env::var("CONTENT_LENGTH").ok();
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}
