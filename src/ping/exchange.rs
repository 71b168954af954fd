//! What a responder sends: records in, an answer or the reason why it is none.

use fastcgi::record::{HEADER_LENGTH, Header, MAX_CONTENT, VERSION, kind};
use fastcgi::{Pairs, encode};
use hyper::Method;
use hyper::header::LOCATION;

use super::peer::{Peer, STUCK};
use super::{Failure, printable, request};
use crate::cli::PingArgs;
use crate::preview::response::{BadHead, Head, HeadReader};

/// Of what the responder says on STDERR this much is printed.
const STDERR_MOST: usize = 16 * 1024;

/// The values that FastCGI knows (section 4.1).
const VALUES: [&str; 3] = ["FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"];

/// The response to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub reason: String,
    pub location: Option<String>,
    /// A line for each header, then an empty one.
    pub head: String,
    /// Empty unless it was wanted.
    pub body: Vec<u8>,
    /// Bytes of the body that were read.
    pub length: u64,
    /// The body is longer than was read.
    pub has_more: bool,
}

/// Asks for a page. `tell` gets each line that the responder says on STDERR.
///
/// # Errors
/// There is no whole answer.
pub fn page(peer: Peer, records: &[u8], args: &PingArgs, tell: impl FnMut(&str)) -> Result<Answer, Failure> {
    peer.send(records)?;
    let mut incoming = Incoming::new(peer);
    let mut response = Response {
        args,
        tell,
        told: 0,
        reader: HeadReader::default(),
        head: None,
        body: Vec::new(),
        length: 0,
    };
    loop {
        let record = match incoming.next() {
            Ok(record) => record,
            Err(missing) => return Err(response.failure(missing, &incoming.peer)),
        };
        if record.id != request::ID {
            continue;
        }
        match record.kind {
            kind::STDOUT => {
                response.stdout(record.content)?;
                if args.body_max.is_exceeded_by(response.length) {
                    return response.finish(true);
                }
            }
            kind::STDERR => response.stderr(record.content),
            kind::END_REQUEST => {
                let status = record.content.get(4).copied().unwrap_or(0);
                return response.end(status);
            }
            _ => {}
        }
    }
}

/// Asks for the responder's values: those that it knows, in the order of its answer.
///
/// # Errors
/// There is no answer.
pub fn values(peer: Peer) -> Result<Vec<(String, String)>, Failure> {
    let (mut question, mut query) = (Vec::new(), Vec::new());
    for name in VALUES {
        encode::pair(&mut query, name.as_bytes(), b"");
    }
    encode::record(&mut question, kind::GET_VALUES, 0, &query, 0);
    peer.send(&question)?;
    let mut incoming = Incoming::new(peer);
    loop {
        let record = match incoming.next() {
            Ok(record) => record,
            Err(Missing::Time) => {
                return Err(incoming.peer.missed(
                    "connected, but no answer to GET_VALUES",
                    ": it is busy or hangs, or is of those that never answer it (uWSGI): then name a PATH",
                ));
            }
            Err(Missing::End { .. }) => {
                return Err(Failure::Broken(
                    "it closed the connection without an answer to GET_VALUES: name a PATH, if it knows none"
                        .to_owned(),
                ));
            }
            Err(Missing::Version(header)) => return Err(not_fastcgi(&header)),
        };
        return match (record.kind, record.id) {
            (kind::GET_VALUES_RESULT, _) => {
                let pairs: Result<Vec<_>, _> = Pairs::new(record.content).collect();
                let pairs = pairs.map_err(|error| Failure::Broken(format!("its answer to GET_VALUES: {error}")))?;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                Ok(pairs
                    .into_iter()
                    .map(|(name, value)| (text(name), text(value)))
                    .collect())
            }
            // It speaks FastCGI, and that is what it does not know.
            (kind::UNKNOWN_TYPE, _) => Ok(Vec::new()),
            _ => continue,
        };
    }
}

/// A response as far as it has come.
struct Response<'a, T> {
    args: &'a PingArgs,
    tell: T,
    /// Bytes of STDERR that were told.
    told: usize,
    reader: HeadReader,
    head: Option<Head>,
    body: Vec<u8>,
    length: u64,
}

impl<T: FnMut(&str)> Response<'_, T> {
    fn stdout(&mut self, content: &[u8]) -> Result<(), Failure> {
        if self.head.is_some() {
            self.more(content);
            return Ok(());
        }
        let complete = self.reader.push(content).map_err(|error| {
            let is_http = matches!(&error, BadHead::Line(line) if line.starts_with("HTTP/"));
            let advice = if is_http {
                ": a CGI response begins with a header, and Status: names the status"
            } else {
                ""
            };
            Failure::Broken(format!("{error}{advice}; a web server would answer 502"))
        })?;
        if let Some((head, first)) = complete {
            self.head = Some(head);
            self.more(&first);
        }
        Ok(())
    }

    fn more(&mut self, content: &[u8]) {
        if self.args.body {
            let room = self
                .args
                .body_max
                .bytes()
                .map_or(u64::MAX, |most| most.saturating_sub(self.length));
            let taken = usize::try_from(room).unwrap_or(usize::MAX).min(content.len());
            self.body.extend_from_slice(&content[..taken]);
        }
        self.length += content.len() as u64;
    }

    fn stderr(&mut self, content: &[u8]) {
        let taken = content.len().min(STDERR_MOST - self.told);
        self.told += taken;
        for line in content[..taken]
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line = printable(&String::from_utf8_lossy(line));
            (self.tell)(&format!("the responder says: {line}"));
        }
    }

    /// `protocol`: how the request ended, as FastCGI sees it (section 5.5). Web servers go by the response, if there is one.
    fn end(self, protocol: u8) -> Result<Answer, Failure> {
        if self.head.is_none() {
            let why = match (protocol, self.reader.is_empty()) {
                (1, _) => "it takes one request at a time on a connection, and took none of this one (CANT_MPX_CONN)",
                (2, _) => "it is overloaded, and took no request (OVERLOADED)",
                (3, _) => "it is no responder: it knows another role of FastCGI (UNKNOWN_ROLE)",
                (_, true) => {
                    "it ended the request without a response; php-fpm does so without --script-filename, others if they fail: \
                     its log says why"
                }
                (_, false) => "it ended the request inside the head of the response; its log says why",
            };
            return Err(Failure::Broken(why.to_owned()));
        }
        self.finish(false)
    }

    fn finish(self, has_more: bool) -> Result<Answer, Failure> {
        let Some(head) = self.head else {
            return Err(Failure::Broken("no response".to_owned()));
        };
        let method = Method::from_bytes(self.args.method.as_bytes()).unwrap_or_default();
        match head.content_length {
            Some(promised) if !has_more && head.has_body(&method) && self.length < promised => {
                return Err(Failure::Broken(format!(
                    "the response broke off: {} of {promised} bytes of its body came (status {}); its log says why",
                    self.length,
                    head.status.as_u16()
                )));
            }
            _ => {}
        }
        let status = head.status.as_u16();
        let said = head
            .reason
            .as_ref()
            .map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
        let reason = said.filter(|said| !said.is_empty());
        let reason = reason.unwrap_or_else(|| head.status.canonical_reason().unwrap_or_default().to_owned());
        let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut lines = format!("{status} {reason}\n");
        for (name, value) in &head.headers {
            lines.push_str(&format!("{name}: {}\n", text(value)));
        }
        lines.push('\n');
        let limit = self.args.body_max.bytes().filter(|_| has_more);
        Ok(Answer {
            status,
            reason,
            location: head.headers.get(LOCATION).map(text),
            head: lines,
            body: self.body,
            length: limit.unwrap_or(self.length),
            has_more,
        })
    }

    fn failure(&self, missing: Missing, peer: &Peer) -> Failure {
        let status = self.head.as_ref().map(|head| head.status.as_u16());
        let so_far = status.map(|status| format!("status {status}, {} bytes of its body", self.length));
        match (missing, so_far) {
            (Missing::Time, None) => peer.missed("connected, but no answer", STUCK),
            (Missing::Time, Some(so_far)) => peer.missed(
                format!("the response began, but has no end ({so_far})"),
                ": the application is slow, or never ends",
            ),
            (Missing::End { inside: false }, None) if self.reader.is_empty() => Failure::Broken(
                "it closed the connection without an answer; its log says why: its process died, it speaks no FastCGI, or it \
                 takes requests from others alone (FCGI_WEB_SERVER_ADDRS, listen.allowed_clients)"
                    .to_owned(),
            ),
            (Missing::End { .. }, None) => {
                Failure::Broken("it closed the connection inside the head of the response; its log says why".to_owned())
            }
            (Missing::End { .. }, Some(so_far)) => Failure::Broken(format!(
                "it closed the connection before the end of the response ({so_far}); its log says why"
            )),
            // How workers of ours break a response off.
            (Missing::Version(_), Some(so_far)) => Failure::Broken(format!(
                "the response was broken off after it had begun ({so_far}): the application failed; its log says why"
            )),
            (Missing::Version(header), None) => not_fastcgi(&header),
        }
    }
}

/// What answers with these bytes.
fn not_fastcgi(header: &[u8; HEADER_LENGTH]) -> Failure {
    let guess = match header {
        [b'H', b'T', b'T', b'P', b'/', ..] => "but HTTP: ask it with curl".to_owned(),
        [b'S', b'S', b'H', b'-', ..] => "but SSH".to_owned(),
        [0x15 | 0x16, 3, ..] => "but TLS, and FastCGI has none".to_owned(),
        _ => format!("its first bytes are {}", header.escape_ascii()),
    };
    Failure::Broken(format!("what listens there does not speak FastCGI, {guess}"))
}

/// Why there is no further record.
#[derive(Debug)]
enum Missing {
    Time,
    /// The connection is at its end, inside a record or between two.
    End {
        inside: bool,
    },
    Version([u8; HEADER_LENGTH]),
}

#[derive(Debug)]
struct Record<'a> {
    kind: u8,
    id: u16,
    content: &'a [u8],
}

/// Cuts what comes into records.
struct Incoming {
    peer: Peer,
    /// Room for the longest record.
    buffer: Box<[u8]>,
    /// What of it has come and is not used yet.
    begin: usize,
    end: usize,
}

impl Incoming {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            buffer: vec![0; HEADER_LENGTH + MAX_CONTENT + usize::from(u8::MAX)].into(),
            begin: 0,
            end: 0,
        }
    }

    fn next(&mut self) -> Result<Record<'_>, Missing> {
        let bytes: [u8; HEADER_LENGTH] = {
            self.fill(HEADER_LENGTH)?;
            self.buffer[self.begin..][..HEADER_LENGTH]
                .try_into()
                .unwrap_or_default()
        };
        let header = Header::decode(&bytes);
        if header.version != VERSION {
            return Err(Missing::Version(bytes));
        }
        let content = usize::from(header.content_length);
        self.fill(HEADER_LENGTH + content + usize::from(header.padding_length))?;
        let begin = self.begin + HEADER_LENGTH;
        self.begin = begin + content + usize::from(header.padding_length);
        Ok(Record {
            kind: header.kind,
            id: header.request_id,
            content: &self.buffer[begin..begin + content],
        })
    }

    /// Waits until `length` bytes are there; the buffer has room for them.
    fn fill(&mut self, length: usize) -> Result<(), Missing> {
        while self.end - self.begin < length {
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
            match self.peer.receive(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(self.ended()),
                Ok(received) => self.end += received,
                Err(_) => return Err(Missing::Time),
            }
        }
        Ok(())
    }

    /// Whoever closes after less than a header may still have said what he speaks.
    fn ended(&self) -> Missing {
        let rest = &self.buffer[self.begin..self.end];
        match rest.first() {
            Some(&version) if version != VERSION => {
                let mut header = [0; HEADER_LENGTH];
                header[..rest.len()].copy_from_slice(rest);
                Missing::Version(header)
            }
            first => Missing::End {
                inside: first.is_some(),
            },
        }
    }
}
