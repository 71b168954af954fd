//! Writes records: what an application answers, and what a client sends (relays and tests).
//!
//! Everything is appended to the caller's buffer; nothing is padded unless asked for.

use crate::pairs::Pairs;
use crate::record::{HEADER_LENGTH, Header, MAX_CONTENT, ProtocolStatus, VERSION, kind};

/// A record of a version that doesn't exist. Within a response it tells nginx, mod_proxy_fcgi and Caddy that it broke
/// off; lighttpd and mod_fcgid skip it and see the end of file (SPEC E8a). Behind END_REQUEST it keeps nginx, which
/// reuses a connection only if nothing is left unread on it, from sending a request into one that is being closed.
/// Nobody else gets it there: Apache would take it for the beginning of its next response.
pub const POISON: [u8; HEADER_LENGTH] = [0; HEADER_LENGTH];

/// The header of a STDOUT record whose content the caller writes from elsewhere.
#[inline]
pub fn stdout_header(id: u16, content_length: u16) -> [u8; HEADER_LENGTH] {
    header(kind::STDOUT, id, content_length, 0).encode()
}

/// Appends `content` as STDOUT records. Empty content gives no record, since an empty record ends the stream.
#[inline]
pub fn stdout(out: &mut Vec<u8>, id: u16, content: &[u8]) {
    stream(out, kind::STDOUT, id, content);
}

/// Ends the STDOUT stream.
#[inline]
pub fn end_stdout(out: &mut Vec<u8>, id: u16) {
    out.extend_from_slice(&stdout_header(id, 0));
}

/// Appends `content` as STDERR records. Empty content gives no record.
pub fn stderr(out: &mut Vec<u8>, id: u16, content: &[u8]) {
    stream(out, kind::STDERR, id, content);
}

/// Ends the STDERR stream; only due if it was used (§6.1).
pub fn end_stderr(out: &mut Vec<u8>, id: u16) {
    record(out, kind::STDERR, id, b"", 0);
}

/// Ends a request (§5.5).
#[inline]
pub fn end_request(out: &mut Vec<u8>, id: u16, app_status: u32, status: ProtocolStatus) {
    let [a3, a2, a1, a0] = app_status.to_be_bytes();
    record(out, kind::END_REQUEST, id, &[a3, a2, a1, a0, status as u8, 0, 0, 0], 0);
}

/// Answers a management record of a type that is not known here (§4.2).
pub fn unknown_type(out: &mut Vec<u8>, kind: u8) {
    record(out, kind::UNKNOWN_TYPE, 0, &[kind, 0, 0, 0, 0, 0, 0, 0], 0);
}

/// Answers `GET_VALUES` (§4.1): each name that was asked for and is known, once, in one record.
///
/// A query that is cut off is answered as far as it can be read. This side never multiplexes.
pub fn get_values_result(out: &mut Vec<u8>, query: &[u8], max_conns: usize, max_reqs: usize) {
    let mut known = [
        (&b"FCGI_MAX_CONNS"[..], Some(max_conns)),
        (b"FCGI_MAX_REQS", Some(max_reqs)),
        (b"FCGI_MPXS_CONNS", Some(0)),
    ];
    let mut content = Vec::new();
    for (asked, _) in Pairs::new(query).map_while(Result::ok) {
        // Taking the value makes a repeated name cost nothing: the answer fits into one record whatever is asked.
        let answer = known.iter_mut().find(|(name, _)| *name == asked);
        if let Some(value) = answer.and_then(|(_, value)| value.take()) {
            pair(&mut content, asked, value.to_string().as_bytes());
        }
    }
    record(out, kind::GET_VALUES_RESULT, 0, &content, 0);
}

/// Client's side: starts a request. Of the flags only [`KEEP_CONN`](crate::record::KEEP_CONN) has a meaning.
pub fn begin_request(out: &mut Vec<u8>, id: u16, role: u16, flags: u8) {
    let [role1, role0] = role.to_be_bytes();
    record(out, kind::BEGIN_REQUEST, id, &[role1, role0, flags, 0, 0, 0, 0, 0], 0);
}

/// Client's side: asks that a request be given up (§5.4).
pub fn abort_request(out: &mut Vec<u8>, id: u16) {
    record(out, kind::ABORT_REQUEST, id, b"", 0);
}

/// Client's side: the whole PARAMS stream of a request with its end, cut into records wherever they are full.
///
/// # Panics
/// If a name or a value is longer than 2³¹ − 1 bytes.
pub fn params(out: &mut Vec<u8>, id: u16, pairs: &[(&[u8], &[u8])]) {
    let mut content = Vec::new();
    for (name, value) in pairs {
        pair(&mut content, name, value);
    }
    stream(out, kind::PARAMS, id, &content);
    record(out, kind::PARAMS, id, b"", 0);
}

/// Client's side: a piece of the request's body. Empty content gives no record.
pub fn stdin(out: &mut Vec<u8>, id: u16, content: &[u8]) {
    stream(out, kind::STDIN, id, content);
}

/// Client's side: ends the request's body.
pub fn end_stdin(out: &mut Vec<u8>, id: u16) {
    record(out, kind::STDIN, id, b"", 0);
}

/// Appends one name-value pair (§3.4), without a record around it.
///
/// # Panics
/// If the name or the value is longer than 2³¹ − 1 bytes, which the encoding cannot express.
pub fn pair(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    length(out, name.len());
    length(out, value.len());
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

/// Appends one record of any kind, with `padding` zero bytes behind its content.
///
/// # Panics
/// If the content is longer than [`MAX_CONTENT`].
#[inline]
pub fn record(out: &mut Vec<u8>, kind: u8, id: u16, content: &[u8], padding: u8) {
    let content_length = u16::try_from(content.len()).expect("content of one record must fit into MAX_CONTENT");
    out.reserve(HEADER_LENGTH + content.len() + usize::from(padding));
    out.extend_from_slice(&header(kind, id, content_length, padding).encode());
    out.extend_from_slice(content);
    out.resize(out.len() + usize::from(padding), 0);
}

#[inline]
fn stream(out: &mut Vec<u8>, kind: u8, id: u16, content: &[u8]) {
    for chunk in content.chunks(MAX_CONTENT) {
        record(out, kind, id, chunk, 0);
    }
}

fn length(out: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let long = u32::try_from(length).ok().filter(|long| long >> 31 == 0);
            let long = long.expect("a name or value must be shorter than 2 GiB");
            out.extend_from_slice(&(long | 0x8000_0000).to_be_bytes());
        }
    }
}

#[inline]
fn header(kind: u8, request_id: u16, content_length: u16, padding_length: u8) -> Header {
    Header {
        version: VERSION,
        kind,
        request_id,
        content_length,
        padding_length,
    }
}
