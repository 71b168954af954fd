//! Which variables of the process's environment belong to the request (RFC 3875 section 4.1; SPEC D1, D2).

use std::os::unix::ffi::OsStringExt;

/// Meta-variables of RFC 3875, and what web servers document beside them.
const KNOWN: [&[u8]; 44] = [
    b"AUTH_TYPE",
    b"CONTENT_LENGTH",
    b"CONTENT_TYPE",
    b"GATEWAY_INTERFACE",
    b"PATH_INFO",
    b"PATH_TRANSLATED",
    b"QUERY_STRING",
    b"REMOTE_ADDR",
    b"REMOTE_HOST",
    b"REMOTE_IDENT",
    b"REMOTE_USER",
    b"REQUEST_METHOD",
    b"SCRIPT_NAME",
    b"SERVER_NAME",
    b"SERVER_PORT",
    b"SERVER_PROTOCOL",
    b"SERVER_SOFTWARE",
    // Apache
    b"CONTEXT_DOCUMENT_ROOT",
    b"CONTEXT_PREFIX",
    b"HTTPS",
    b"REMOTE_PORT",
    b"REQUEST_SCHEME",
    b"REQUEST_URI",
    b"SCRIPT_FILENAME",
    b"SCRIPT_URI",
    b"SCRIPT_URL",
    b"SERVER_ADDR",
    b"SERVER_ADMIN",
    b"SERVER_SIGNATURE",
    b"DOCUMENT_ROOT",
    b"UNIQUE_ID",
    b"H2PUSH",
    b"H2_PUSH",
    b"H2_PUSHED",
    b"H2_PUSHED_ON",
    b"H2_STREAM_ID",
    b"H2_STREAM_TAG",
    b"HTTP2",
    // FcgidPassHeader and rewrite rules
    b"Authorization",
    // nginx and fcgiwrap, lighttpd
    b"DOCUMENT_URI",
    b"FCGI_ROLE",
    b"REDIRECT_STATUS",
    b"REDIRECT_URI",
    b"REQUEST_START",
];
const PREFIXES: [&[u8]; 4] = [b"HTTP_", b"SSL_", b"REDIRECT_", b"GEOIP_"];
/// What OpenSSL reads of its process's environment, which fcgiwrap passes on.
const NOT_OF_REQUESTS: [&[u8]; 2] = [b"SSL_CERT_DIR", b"SSL_CERT_FILE"];

/// Names and values, as bytes.
pub type Variables = Vec<(Vec<u8>, Vec<u8>)>;

/// The request's variables; everything else in the environment is the process's own. `more`: names that the
/// administrator adds, such as those of Apache's SetEnv; a `*` at the end stands for anything.
pub fn request(more: &[String]) -> Variables {
    std::env::vars_os()
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .filter(|(name, _)| is_request(name, more))
        .collect()
}

fn is_request(name: &[u8], more: &[String]) -> bool {
    let is_named = |wanted: &String| match wanted.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix.as_bytes()),
        None => name == wanted.as_bytes(),
    };
    let has_prefix = || PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !NOT_OF_REQUESTS.contains(&name);
    KNOWN.contains(&name) || has_prefix() || more.iter().any(is_named)
}

/// The body has no length but an end (SPEC D4).
pub fn is_chunked(variables: &Variables) -> bool {
    let has = |wanted: &[u8], accept: fn(&[u8]) -> bool| {
        variables
            .iter()
            .any(|(name, value)| name == wanted && accept(value.as_slice()))
    };
    has(b"HTTP_TRANSFER_ENCODING", |value| {
        value.eq_ignore_ascii_case(b"chunked")
    }) && !has(b"CONTENT_LENGTH", |value| !value.is_empty())
}
