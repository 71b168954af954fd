//! The head of a CGI response (RFC 3875 §6): bytes in, status and headers out.
//!
//! Knows no sockets and no FastCGI. What it refuses, nginx refuses with 502 too.

use bytes::{Bytes, BytesMut};
use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::{Method, Response, StatusCode};

/// The largest head that is read: the default of the pool's own limit.
pub const MAX_HEAD: usize = 64 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    pub status: StatusCode,
    pub reason: Option<ReasonPhrase>,
    pub headers: HeaderMap,
    pub content_length: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    #[error("the head of the response is over {MAX_HEAD} bytes")]
    TooLarge,
    #[error("the response has a malformed status: {0:?}")]
    Status(String),
    #[error("the response has a malformed header line: {0:?}")]
    Line(String),
    #[error("the response has a malformed or second Content-Length")]
    ContentLength,
}

/// Collects output until the head is complete.
#[derive(Debug, Default)]
pub struct HeadReader {
    buffer: BytesMut,
}

impl HeadReader {
    /// Takes a piece of output. The head and the first bytes of the body, as soon as the head is complete.
    ///
    /// # Errors
    /// [`BadHead`], if the output is no CGI response.
    pub fn push(&mut self, output: &[u8]) -> Result<Option<(Head, Bytes)>, BadHead> {
        // The end of the head may begin in what came before.
        let searched = self.buffer.len().saturating_sub(2);
        self.buffer.extend_from_slice(output);
        let Some(end) = head_end(&self.buffer, searched) else {
            return if self.buffer.len() > MAX_HEAD {
                Err(BadHead::TooLarge)
            } else {
                Ok(None)
            };
        };
        if end > MAX_HEAD {
            return Err(BadHead::TooLarge);
        }
        let head = parse(&self.buffer.split_to(end))?;
        Ok(Some((head, self.buffer.split().freeze())))
    }

    /// Whether nothing of a head is there.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

impl Head {
    /// Whether a response to `method` with this head has a body.
    pub fn has_body(&self, method: &Method) -> bool {
        method != Method::HEAD && self.status != StatusCode::NO_CONTENT && self.status != StatusCode::NOT_MODIFIED
    }

    pub fn into_response<B>(self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if let Some(reason) = self.reason {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

/// Where the empty line ends, looking from `from` on. Lines end in CRLF or LF.
fn head_end(output: &[u8], from: usize) -> Option<usize> {
    let newlines = (from..output.len()).filter(|&at| output[at] == b'\n');
    for at in newlines {
        match &output[at + 1..] {
            [b'\n', ..] => return Some(at + 2),
            [b'\r', b'\n', ..] => return Some(at + 3),
            _ => {}
        }
    }
    None
}

fn parse(head: &[u8]) -> Result<Head, BadHead> {
    let mut status = None;
    let mut reason = None;
    let mut headers = HeaderMap::new();
    for line in head.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let bad = || BadHead::Line(shown(line));
        let colon = line.iter().position(|&byte| byte == b':').ok_or_else(bad)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"status") {
            let (code, phrase) = parse_status(value).ok_or_else(|| BadHead::Status(shown(value)))?;
            status = Some(code);
            reason = Some(phrase);
            continue;
        }
        let name = HeaderName::from_bytes(name).map_err(|_| bad())?;
        let value = HeaderValue::from_bytes(value).map_err(|_| bad())?;
        // The framing of the HTTP connection is hyper's alone.
        if !matches!(
            name.as_str(),
            "connection" | "keep-alive" | "transfer-encoding" | "upgrade" | "trailer"
        ) {
            headers.append(name, value);
        }
    }
    // RFC 3875 §6.2: a bare Location is a redirect, anything else without a status is a success.
    let implied = if headers.contains_key(LOCATION) {
        StatusCode::FOUND
    } else {
        StatusCode::OK
    };
    Ok(Head {
        status: status.unwrap_or(implied),
        reason,
        content_length: content_length(&headers)?,
        headers,
    })
}

fn parse_status(value: &[u8]) -> Option<(StatusCode, ReasonPhrase)> {
    let (code, phrase) = value.split_at_checked(3)?;
    let status = StatusCode::from_bytes(code).ok()?;
    // An interim response can't be the answer; above 599 no class is defined (RFC 9110 §15).
    if !(200..600).contains(&status.as_u16()) || !matches!(phrase.first(), None | Some(b' ')) {
        return None;
    }
    Some((status, ReasonPhrase::try_from(phrase.trim_ascii()).ok()?))
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, BadHead> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(None),
        (Some(length), None) if length.as_bytes().iter().all(u8::is_ascii_digit) => {
            let length = length.to_str().ok().and_then(|digits| digits.parse().ok());
            length.map(Some).ok_or(BadHead::ContentLength)
        }
        _ => Err(BadHead::ContentLength),
    }
}

/// Bytes as a log can take them.
fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(100)];
    String::from_utf8_lossy(cut).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &[u8]) -> Result<Option<(Head, Bytes)>, BadHead> {
        HeadReader::default().push(output)
    }

    fn headers(head: &Head) -> Vec<(&str, &[u8])> {
        head.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect()
    }

    #[test]
    fn head_is_the_same_however_the_output_is_split() {
        let output = b"Status: 404 Nicht gefunden\r\nSet-Cookie: a=1\r\nX-Name:  caf\xe9 \r\nSet-Cookie: b=2\r\n\r\nbody\r\n\r\n";
        for split in 0..=output.len() {
            let mut reader = HeadReader::default();
            let mut found = reader.push(&output[..split]).unwrap();
            let mut rest = &output[split..];
            if found.is_none() {
                found = reader.push(rest).unwrap();
                rest = b"";
            }
            let (head, body) = found.unwrap();
            assert_eq!(head.status, StatusCode::NOT_FOUND);
            assert_eq!(head.reason.as_ref().unwrap().as_bytes(), b"Nicht gefunden");
            let expected: [(&str, &[u8]); 3] = [("set-cookie", b"a=1"), ("set-cookie", b"b=2"), ("x-name", b"caf\xe9")];
            assert_eq!(headers(&head), expected);
            assert_eq!([&body[..], rest].concat(), b"body\r\n\r\n", "split at {split}");
        }
    }

    #[test]
    fn bare_newlines_end_lines_too() {
        let (head, body) = read(b"Status: 200 OK\nContent-Length: 2\n\nhi").unwrap().unwrap();
        assert_eq!(
            (head.status, head.content_length, &body[..]),
            (StatusCode::OK, Some(2), &b"hi"[..])
        );
    }

    #[test]
    fn status_is_implied_where_it_is_missing() {
        let (head, _) = read(b"Content-Type: text/plain\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.status, head.reason), (StatusCode::OK, None));
        let (head, _) = read(b"Location: /x\r\n\r\n").unwrap().unwrap();
        assert_eq!(head.status, StatusCode::FOUND);
    }

    #[test]
    fn framing_headers_are_left_to_the_http_connection() {
        let (head, _) = read(b"Transfer-Encoding: chunked\r\nConnection: close\r\nX: y\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(headers(&head), [("x", &b"y"[..])]);
    }

    #[test]
    fn malformed_heads_are_refused() {
        let status = |text: &str| BadHead::Status(text.to_owned());
        for (output, error) in [
            (&b"Status: abc\r\n\r\n"[..], status("abc")),
            (b"Status: 2000\r\n\r\n", status("2000")),
            (b"Status: 100 Continue\r\n\r\n", status("100 Continue")),
            (b"Status: 999 x\r\n\r\n", status("999 x")),
            (b"HTTP/1.1 200 OK\r\n\r\n", BadHead::Line("HTTP/1.1 200 OK".to_owned())),
            (b"X Y: z\r\n\r\n", BadHead::Line("X Y: z".to_owned())),
            (b"X: \x00\r\n\r\n", BadHead::Line("X: \0".to_owned())),
            (b"Content-Length: -1\r\n\r\n", BadHead::ContentLength),
            (b"Content-Length: \r\n\r\n", BadHead::ContentLength),
            (
                b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
                BadHead::ContentLength,
            ),
        ] {
            assert_eq!(read(output).unwrap_err(), error);
        }
    }

    #[test]
    fn head_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
        let head = |length: usize| [&b"X: "[..], &vec![b'y'; length - 7], b"\r\n\r\n"].concat();
        assert!(read(&head(MAX_HEAD)).unwrap().is_some());
        assert_eq!(read(&head(MAX_HEAD + 1)).unwrap_err(), BadHead::TooLarge);
        assert_eq!(read(&vec![b'y'; MAX_HEAD + 1]).unwrap_err(), BadHead::TooLarge);
    }

    #[test]
    fn head_204_and_304_have_no_body() {
        let has_body = |method: Method, status: &str| {
            let output = format!("Status: {status}\r\n\r\n");
            read(output.as_bytes()).unwrap().unwrap().0.has_body(&method)
        };
        assert!(has_body(Method::GET, "200 OK"));
        assert!(!has_body(Method::HEAD, "200 OK"));
        assert!(!has_body(Method::GET, "204 No Content"));
        assert!(!has_body(Method::POST, "304 Not Modified"));
    }
}
