//! Pages that a worker answers before it is ready (`warmup`): whatever an application does at its first request is done then, and a
//! version whose pages don't work never serves.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;

use contract::own::{Own, OwnFd};
use contract::settings::Settings;
use fastcgi::encode;
use fastcgi::record::{HEADER_LENGTH, Header, kind, role};
use pyo3::prelude::*;
use settings::values::Page;

use crate::process::thread::{Server, Shared};

/// The request's number on its connection, which brings no other.
const ID: u16 = 1;
/// The part of a response in which its status stands.
const HEAD: usize = 64;

/// Has `server` answer the pages, one after the other, in the calling thread and through a connection, as any request.
///
/// # Errors
/// What the log says of the first page that was not answered as it should be.
pub fn warm_up(py: Python<'_>, server: &mut Server, shared: &Shared) -> Result<(), String> {
    let warmup = &shared.settings.warmup;
    for page in warmup.iter() {
        let status = py
            .detach(|| connect(page))
            .and_then(|(ours, response)| {
                server.answer(py, ours);
                py.detach(|| response.join())
                    .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
            })
            .map_err(|error| format!("the page {page} can't be warmed up ({}): {error}", warmup.name()))?;
        if !is_success(&status) {
            return Err(explain(page, &status, &shared.settings));
        }
    }
    Ok(())
}

/// One word on what to do where the most usual mistake is the likely one.
fn explain(page: &Page, status: &str, settings: &Settings) -> String {
    let name = settings.warmup.name();
    let hint = match (status.get(..3), page.host()) {
        (Some("400" | "421"), None) => {
            "; if the application checks the host, write the whole URL, such as https://example.org/".to_owned()
        }
        (Some("404"), _) if settings.mount.as_ref().is_some_and(|mount| !mount.as_str().is_empty()) => {
            format!("; {} is part of the path", settings.mount.name())
        }
        _ => String::new(),
    };
    format!("{page} was answered with {status}, so this version does not serve ({name}){hint}")
}

fn is_success(status: &str) -> bool {
    status.starts_with(['2', '3'])
}

type Response = thread::JoinHandle<io::Result<String>>;

/// A connection with the request on it, and who reads its response.
fn connect(page: &Page) -> io::Result<(OwnFd, Response)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let (ours, theirs) = (Own::new(OwnedFd::from(ours)), Own::new(theirs));
    // An empty socket has room for it, and its other end is still open.
    (&*theirs).write_all(&request(page))?;
    let reader = thread::Builder::new()
        .name("warm-up".into())
        .spawn(move || read_status(&*theirs))?;
    Ok((ours, reader))
}

/// As a web server on this machine would send it.
fn request(page: &Page) -> Vec<u8> {
    let (path, query) = page.target().split_once('?').unwrap_or((page.target(), ""));
    let (scheme, port) = if page.is_https() {
        ("https", "443")
    } else {
        ("http", "80")
    };
    let host = page.host().unwrap_or("localhost");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let path = decoded(path);
    let mut pairs: Vec<(&[u8], &[u8])> = vec![
        (b"REQUEST_METHOD", b"GET"),
        (b"REQUEST_URI", page.target().as_bytes()),
        (b"QUERY_STRING", query.as_bytes()),
        (b"SERVER_PROTOCOL", b"HTTP/1.1"),
        (b"REQUEST_SCHEME", scheme.as_bytes()),
        (b"SCRIPT_NAME", b""),
        (b"PATH_INFO", &path),
        (b"DOCUMENT_URI", &path),
        (b"REMOTE_ADDR", b"127.0.0.1"),
        (b"REMOTE_PORT", b"0"),
        (b"SERVER_ADDR", b"127.0.0.1"),
        (b"SERVER_PORT", port.as_bytes()),
        (b"SERVER_NAME", name.as_bytes()),
        (b"GATEWAY_INTERFACE", b"CGI/1.1"),
        (b"HTTP_HOST", host.as_bytes()),
        (
            b"HTTP_USER_AGENT",
            concat!("wsgi-fpm-warm-up/", env!("CARGO_PKG_VERSION")).as_bytes(),
        ),
    ];
    if page.is_https() {
        pairs.push((b"HTTPS", b"on"));
    }
    let mut out = Vec::new();
    encode::begin_request(&mut out, ID, role::RESPONDER, 0);
    encode::params(&mut out, ID, &pairs);
    encode::end_stdin(&mut out, ID);
    out
}

/// What stands for `%XX`.
fn decoded(path: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match hex
            .filter(|_| first == b'%')
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        {
            Some(byte) => {
                out.push(byte);
                rest = &behind[2..];
            }
            None => {
                out.push(first);
                rest = behind;
            }
        }
    }
    out
}

/// Reads a response to its end; its status line.
fn read_status(mut connection: impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    loop {
        let mut header = [0; HEADER_LENGTH];
        connection.read_exact(&mut header)?;
        let header = Header::decode(&header);
        let length = u64::from(header.content_length) + u64::from(header.padding_length);
        let mut content = (&mut connection).take(length);
        if header.kind == kind::STDOUT && head.len() < HEAD {
            let wanted = (HEAD - head.len()).min(header.content_length.into());
            content.by_ref().take(wanted as u64).read_to_end(&mut head)?;
        }
        io::copy(&mut content, &mut io::sink())?;
        if content.limit() > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if header.kind == kind::END_REQUEST {
            break;
        }
    }
    let head = String::from_utf8_lossy(&head);
    let line = head.lines().next().unwrap_or_default();
    let status = line.strip_prefix("Status: ").unwrap_or_default();
    match status {
        "" => Err(io::Error::other("its response has no beginning")),
        status => Ok(status.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for part in parts {
            encode::stdout(&mut out, ID, part);
        }
        encode::end_stdout(&mut out, ID);
        encode::end_request(&mut out, ID, 0, fastcgi::record::ProtocolStatus::RequestComplete);
        out
    }

    #[test]
    fn status_is_read_however_the_response_is_cut() {
        let whole = response(&[b"Status: 204 No Content\r\n\r\n"]);
        let cut = response(&[b"Sta", b"tus: 204 No Con", b"tent\r\nX: ", &[b'x'; 100_000]]);
        for bytes in [whole, cut] {
            assert_eq!(read_status(&bytes[..]).unwrap(), "204 No Content");
        }
    }

    #[test]
    fn response_that_breaks_off_is_an_error() {
        let whole = response(&[b"Status: 200 OK\r\n\r\n"]);
        assert!(read_status(&whole[..whole.len() - 1]).is_err());
        assert!(read_status(&response(&[])[..]).is_err());
    }

    #[test]
    fn path_is_decoded_as_a_web_server_does() {
        assert_eq!(decoded("/caf%C3%A9/%/%zz%4"), b"/caf\xc3\xa9/%/%zz%4");
    }

    #[test]
    fn success_and_redirection_are_good_enough() {
        for (status, is_good) in [
            ("200 OK", true),
            ("302 Found", true),
            ("404 Not Found", false),
            ("500 x", false),
            ("", false),
        ] {
            assert_eq!(is_success(status), is_good, "{status}");
        }
    }
}
