//! A response's head: status and headers, checked as they are stored (SPEC C8 to C14, C27, C35, F4).

use contract::settings::Settings;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use settings::Setting;
use settings::values::{AtLeastOne, Size};

use super::lenient::{Deviation, Deviations};
use super::params::is_token;
use super::type_name::type_name;
use crate::base::ffi;

/// A checked head, in wire form but for the empty line that ends it.
#[derive(Default)]
pub struct Head {
    /// `Status: 200 OK\r\nContent-Type: ...\r\n`
    pub bytes: Vec<u8>,
    pub status: u16,
    pub content_length: Option<u64>,
    has_location: bool,
    /// What is served although it is against PEP 3333.
    pub deviations: Deviations,
}

/// What a head may have.
#[derive(Debug)]
pub struct HeadRules {
    /// Bytes, at most.
    pub max_size: Setting<AtLeastOne<Size>>,
    /// Headers that make the front server send a file, or do other things that no application should decide, are left
    /// out (SPEC F5).
    pub strip_sendfile: Setting<bool>,
    /// Nothing that is against PEP 3333.
    pub strict: bool,
}

impl HeadRules {
    pub fn new(settings: &Settings) -> Self {
        Self {
            max_size: settings.limits.response_head.clone(),
            strip_sendfile: settings.front.strip_sendfile_headers.clone(),
            strict: settings.validate,
        }
    }
}

/// Begins of the names of such headers, in lower case: nginx's, Apache's and lighttpd's.
const SENDFILE: [&[u8]; 3] = [b"x-accel-", b"x-sendfile", b"x-lighttpd-send-"];

/// Apache's limit for a line of a script's head.
const MAX_LINE: usize = 8190;
/// From this size on nginx's default `fastcgi_buffer_size` (one page) is in danger.
pub const WARN_SIZE: usize = 4000;

/// Headers that speak of the connection, which is the front server's (PEP 3333, "Other HTTP Features"; RFC 9110 §7.6.1).
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// What a header means to the gateway.
enum Meaning {
    None,
    ContentLength,
    /// What the web server decides by itself.
    Connection,
}

impl Head {
    /// Checks and stores what the application gave to `start_response`. `buffer`: memory to use.
    ///
    /// # Errors
    /// TypeError, ValueError or UnicodeEncodeError, for the application.
    pub fn new(
        buffer: Vec<u8>,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        rules: &HeadRules,
    ) -> PyResult<Self> {
        let mut head = Self {
            bytes: buffer,
            ..Self::default()
        };
        head.bytes.clear();
        head.set_status(status, rules)?;
        if let Ok(headers) = headers.cast::<PyList>() {
            for index in 0..headers.len() {
                head.add(&headers.get_item(index)?, rules)?;
            }
        } else if let Ok(headers) = headers.cast::<PyTuple>() {
            head.deviate(Deviation::HeadersInTuple, rules)?;
            for header in headers {
                head.add(&header, rules)?;
            }
        } else {
            return Err(PyTypeError::new_err(format!(
                "headers must be a list of tuples, not {}",
                type_name(headers)
            )));
        }
        let max_size = rules.max_size.get().in_memory();
        if head.bytes.len() + 2 > max_size {
            let (size, name) = (head.bytes.len(), rules.max_size.name());
            return Err(PyValueError::new_err(format!(
                "the response's head has {size} bytes, more than {name} allows ({max_size})"
            )));
        }
        Ok(head)
    }

    /// # Errors
    /// It is not served.
    fn deviate(&mut self, deviation: Deviation, rules: &HeadRules) -> PyResult<()> {
        if rules.strict {
            return Err(deviation.error());
        }
        self.deviations.add(deviation);
        Ok(())
    }

    /// `Status: NNN reason` (SPEC C8).
    fn set_status(&mut self, status: &Bound<'_, PyAny>, rules: &HeadRules) -> PyResult<()> {
        let status = status
            .cast::<PyString>()
            .map_err(|_| PyTypeError::new_err(format!("status must be a str, not {}", type_name(status))))?;
        self.bytes.extend_from_slice(b"Status: ");
        let start = self.bytes.len();
        ffi::push_latin1(&mut self.bytes, status)?;
        let text = &self.bytes[start..];
        let has_reason = text.len() > 3;
        let valid = matches!(text, [b'2'..=b'9', tens, ones, rest @ ..]
            if tens.is_ascii_digit() && ones.is_ascii_digit()
                && (rest.is_empty() || rest[0] == b' ' && !rest.iter().any(u8::is_ascii_control)));
        if !valid {
            return Err(PyValueError::new_err(format!(
                "status must look like \"200 OK\" (200 to 599, without control characters), not {}",
                status.repr()?
            )));
        }
        self.status = text[..3]
            .iter()
            .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        if !has_reason {
            self.deviate(Deviation::StatusWithoutReason, rules)?;
            // RFC 3875 section 6.3.3 wants the space.
            self.bytes.push(b' ');
        }
        if self.status > 599 {
            self.deviate(Deviation::StatusOver599, rules)?;
        }
        self.bytes.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn add(&mut self, header: &Bound<'_, PyAny>, rules: &HeadRules) -> PyResult<()> {
        if let Ok(pair) = header.cast::<PyTuple>() {
            return self.add_pair(pair, rules);
        }
        let pair = header.cast::<PyList>().map_err(|_| not_a_pair())?;
        self.deviate(Deviation::HeaderInList, rules)?;
        self.add_pair(&pair.to_tuple(), rules)
    }

    fn add_pair(&mut self, pair: &Bound<'_, PyTuple>, rules: &HeadRules) -> PyResult<()> {
        if pair.len() != 2 {
            return Err(not_a_pair());
        }
        let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
        let name = name.cast::<PyString>().map_err(|_| not_a_pair())?;
        let value = value.cast::<PyString>().map_err(|_| not_a_pair())?;
        let start = self.bytes.len();
        ffi::push_latin1(&mut self.bytes, &name)?;
        let name_end = self.bytes.len();
        if !is_token(&self.bytes[start..name_end]) {
            return Err(PyValueError::new_err(format!(
                "header name {} is no token (RFC 9110)",
                name.repr()?
            )));
        }
        self.bytes.extend_from_slice(b": ");
        let value_start = self.bytes.len();
        ffi::push_latin1(&mut self.bytes, &value)?;
        if self.bytes[value_start..]
            .iter()
            .any(|&byte| byte.is_ascii_control() && byte != b'\t')
        {
            return Err(PyValueError::new_err(format!(
                "the value of header {} has control characters",
                name.repr()?
            )));
        }
        let trimmed = self.trim_value(value_start);
        if self.bytes.len() - start > MAX_LINE {
            return Err(PyValueError::new_err(format!(
                "header {} is longer than {MAX_LINE} bytes, which Apache refuses",
                name.repr()?
            )));
        }
        if *rules.strip_sendfile && is_sendfile(&self.bytes[start..name_end]) {
            let name = self.bytes[start..name_end].escape_ascii();
            tracing::debug!(%name, "a header was left out: {}", rules.strip_sendfile.name());
            self.bytes.truncate(start);
            return Ok(());
        }
        match self.inspect(start, name_end, value_start)? {
            Meaning::None => {}
            Meaning::ContentLength if trimmed => self.deviate(Deviation::LengthWithSpaces, rules)?,
            Meaning::ContentLength => {}
            Meaning::Connection => {
                self.deviate(Deviation::ConnectionHeader, rules)?;
                self.bytes.truncate(start);
                return Ok(());
            }
        }
        self.bytes.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Whether there was anything to trim.
    fn trim_value(&mut self, start: usize) -> bool {
        let value = &self.bytes[start..];
        let trimmed = value.trim_ascii();
        if trimmed.len() == value.len() {
            return false;
        }
        let from = start + value.len() - value.trim_ascii_start().len();
        let length = trimmed.len();
        self.bytes.copy_within(from..from + length, start);
        self.bytes.truncate(start + length);
        true
    }

    /// Headers with a meaning for the gateway, or none that it may have.
    fn inspect(&mut self, start: usize, name_end: usize, value_start: usize) -> PyResult<Meaning> {
        let name = &self.bytes[start..name_end];
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        // The first letter decides for most headers.
        match name[0] | 0x20 {
            b'c' if is("connection") && says_nothing_new(&self.bytes[value_start..]) => Ok(Meaning::Connection),
            b'c' | b'k' | b'p' | b't' | b'u' if HOP_BY_HOP.iter().any(|hop| is(hop)) => {
                Err(PyValueError::new_err(format!(
                    "header {} speaks of the connection, which is the web server's: leave it out (PEP 3333, hop-by-hop headers)",
                    name.escape_ascii()
                )))
            }
            b'c' if is("content-length") => {
                let value = &self.bytes[value_start..];
                let length = (!value.is_empty() && value.iter().all(u8::is_ascii_digit))
                    .then(|| std::str::from_utf8(value).ok()?.parse().ok())
                    .flatten()
                    .ok_or_else(|| PyValueError::new_err("Content-Length must be a number of bytes"))?;
                if self.content_length.is_some_and(|before| before != length) {
                    return Err(PyValueError::new_err("two different Content-Length headers"));
                }
                self.content_length = Some(length);
                Ok(Meaning::ContentLength)
            }
            b's' if is("status") => Err(PyValueError::new_err(
                "a header must not be named Status: give the status to start_response",
            )),
            b'l' if is("location") => {
                self.has_location = true;
                Ok(Meaning::None)
            }
            _ => Ok(Meaning::None),
        }
    }

    /// Whether a body may follow, but for HEAD (RFC 9110 §15).
    pub fn allows_body(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }

    /// Adds a Content-Length that the application left out.
    pub fn set_content_length(&mut self, length: u64) {
        use std::io::Write;
        self.content_length = Some(length);
        // Writing to a Vec can't fail.
        let _ = write!(self.bytes, "Content-Length: {length}\r\n");
    }

    /// Ends the head; then `bytes` can be sent. Oddities that front servers punish are logged.
    pub fn finish(&mut self, request: impl Fn() -> String) {
        self.bytes.extend_from_slice(b"\r\n");
        if self.bytes.len() > WARN_SIZE {
            tracing::warn!(
                request = %request(),
                bytes = self.bytes.len(),
                "the response's head is larger than nginx's default buffer: raise fastcgi_buffer_size there"
            );
        }
        if self.has_location && self.status == 200 {
            tracing::warn!(
                request = %request(),
                "Location with status 200: Apache makes a redirect of it"
            );
        }
    }
}

fn not_a_pair() -> PyErr {
    PyTypeError::new_err("a header must be a tuple of two str: (name, value)")
}

/// Whether the value of a Connection header only wishes what the web server decides by itself, and names no other header.
fn says_nothing_new(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').all(|option| {
        let option = option.trim_ascii();
        option.eq_ignore_ascii_case(b"close") || option.eq_ignore_ascii_case(b"keep-alive")
    })
}

fn is_sendfile(name: &[u8]) -> bool {
    let begins = |start: &[u8]| {
        name.get(..start.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    SENDFILE.iter().any(|start| begins(start))
}
