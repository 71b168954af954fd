//! A FastCGI client that hides nothing: it sends any bytes and keeps every record that comes back.
//!
//! It writes its records itself. A client on the project's own encoder would agree with a decoder that errs alike.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::net::Address;
use super::wait::SOON;

pub const BEGIN_REQUEST: u8 = 1;
pub const ABORT_REQUEST: u8 = 2;
pub const END_REQUEST: u8 = 3;
pub const PARAMS: u8 = 4;
pub const STDIN: u8 = 5;
pub const STDOUT: u8 = 6;
pub const STDERR: u8 = 7;
pub const DATA: u8 = 8;
pub const GET_VALUES: u8 = 9;
pub const GET_VALUES_RESULT: u8 = 10;
pub const UNKNOWN_TYPE: u8 = 11;

pub const RESPONDER: u16 = 1;
pub const KEEP_CONN: u8 = 1;

/// One record without padding. `content` must fit into it.
pub fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    padded(kind, id, content, 0)
}

/// One record with `padding` bytes of 0xFF after its content.
pub fn padded(kind: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("content fits into one record");
    let mut bytes = vec![1, kind];
    bytes.extend(id.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend([padding, 0]);
    bytes.extend(content);
    bytes.resize(bytes.len() + usize::from(padding), 0xFF);
    bytes
}

/// A stream in records of at most `most` bytes, with the empty record that ends it.
pub fn stream(kind: u8, id: u16, content: &[u8], most: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + content.len() / most * 8 + 16);
    for chunk in content.chunks(most) {
        bytes.extend(record(kind, id, chunk));
    }
    bytes.extend(record(kind, id, b""));
    bytes
}

pub fn begin_request(id: u16, role: u16, flags: u8) -> Vec<u8> {
    let mut body = role.to_be_bytes().to_vec();
    body.extend([flags, 0, 0, 0, 0, 0]);
    record(BEGIN_REQUEST, id, &body)
}

/// One name-value pair. Lengths take one byte below 128, else four.
pub fn pair(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for length in [name.len(), value.len()] {
        match u8::try_from(length) {
            Ok(short @ 0..=127) => bytes.push(short),
            _ => bytes.extend((length as u32 | 0x8000_0000).to_be_bytes()),
        }
    }
    bytes.extend(name);
    bytes.extend(value);
    bytes
}

/// A request of the Responder role, with the params that a front server always sends.
#[derive(Debug, Clone)]
pub struct Request {
    pub id: u16,
    pub role: u16,
    pub flags: u8,
    pub params: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
    /// Content bytes of each STDIN record, at most.
    pub stdin_record: usize,
}

impl Request {
    /// `target` is a path as the application sees it (not escaped) with an optional query.
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Self {
            id: 1,
            role: RESPONDER,
            flags: 0,
            params: Vec::new(),
            body: Vec::new(),
            stdin_record: 65535,
        };
        request
            .param("REQUEST_METHOD", method)
            .param("SCRIPT_NAME", "")
            .param("PATH_INFO", path)
            .param("QUERY_STRING", query)
            .param("REQUEST_URI", target)
            .param("SERVER_NAME", "test.example")
            .param("SERVER_PORT", "80")
            .param("SERVER_PROTOCOL", "HTTP/1.1")
            .param("REMOTE_ADDR", "192.0.2.1")
            .param("HTTP_HOST", "test.example")
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST with its CONTENT_LENGTH.
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self::new("POST", target)
            .param("CONTENT_LENGTH", body.len().to_string())
            .body(body)
    }

    /// Sets a param, in place of one of the same name.
    pub fn param(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.params.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => self.params.push((name, value)),
        }
        self
    }

    /// Appends a param even if there is one of the same name.
    pub fn another_param(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.params.push((name.into(), value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.params.retain(|(known, _)| known != name.as_bytes());
        self
    }

    /// A header as a front server names it: `Content-Type` becomes HTTP_CONTENT_TYPE.
    pub fn header(self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        let name = format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_"));
        self.param(name, value)
    }

    /// What STDIN carries. Leaves CONTENT_LENGTH as it is.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn stdin_record(mut self, most: usize) -> Self {
        self.stdin_record = most;
        self
    }

    pub fn keep_conn(mut self) -> Self {
        self.flags |= KEEP_CONN;
        self
    }

    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    pub fn role(mut self, role: u16) -> Self {
        self.role = role;
        self
    }

    pub fn begin_bytes(&self) -> Vec<u8> {
        begin_request(self.id, self.role, self.flags)
    }

    /// The pairs alone, without records.
    pub fn pairs(&self) -> Vec<u8> {
        self.params.iter().flat_map(|(name, value)| pair(name, value)).collect()
    }

    /// The params stream with its end.
    pub fn params_bytes(&self) -> Vec<u8> {
        stream(PARAMS, self.id, &self.pairs(), 65535)
    }

    /// BEGIN_REQUEST and the whole params stream.
    pub fn head_bytes(&self) -> Vec<u8> {
        [self.begin_bytes(), self.params_bytes()].concat()
    }

    /// The stdin stream with its end.
    pub fn stdin_bytes(&self) -> Vec<u8> {
        stream(STDIN, self.id, &self.body, self.stdin_record)
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.head_bytes(), self.stdin_bytes()].concat()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub kind: u8,
    pub id: u16,
    pub content: Vec<u8>,
}

/// What came back for one request.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// All content of STDOUT records.
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// appStatus and protocolStatus of END_REQUEST.
    pub end: Option<(u32, u8)>,
    /// Every record, in order.
    pub records: Vec<Record>,
    /// What followed the last whole record of version 1 until the end of the connection: empty after a clean end,
    /// eight zero bytes when a response was cut on purpose.
    pub trailing: Vec<u8>,
    /// The connection has ended: `None` if reading stopped at END_REQUEST, else whether it ended without an error.
    pub closed: Option<bool>,
}

impl Response {
    /// STDOUT up to and with the empty line.
    pub fn head(&self) -> &[u8] {
        &self.stdout[..self.head_length()]
    }

    pub fn body(&self) -> &[u8] {
        &self.stdout[self.head_length()..]
    }

    fn head_length(&self) -> usize {
        self.stdout
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map_or(self.stdout.len(), |at| at + 4)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body()).into_owned()
    }

    /// `name: value` lines of the head, in order, Status included.
    pub fn headers(&self) -> Vec<(String, String)> {
        let head: String = self.head().iter().map(|&byte| char::from(byte)).collect();
        head.split("\r\n")
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// The value of the first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers()
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// "200 OK"; "" if there is no head.
    pub fn status(&self) -> String {
        self.header("Status").unwrap_or_default()
    }

    pub fn code(&self) -> u16 {
        self.status().get(..3).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// Asserts the status code and a normal end with appStatus 0; gives itself back.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!((self.code(), self.end), (200, Some((0, 0))), "{self}");
        self
    }

    /// Asserts the gateway's own error page: status, text/plain, normal end. A 500 is the application's fault and ends
    /// with appStatus 1 (SPEC E2, E16).
    #[track_caller]
    pub fn error_page(self, code: u16) -> Self {
        assert_eq!(self.code(), code, "{self}");
        assert!(
            self.header("Content-Type")
                .is_some_and(|kind| kind.starts_with("text/plain")),
            "{self}"
        );
        assert!(self.end.is_some(), "an error page ends with END_REQUEST: {self}");
        self
    }

    /// Asserts that the response was cut so that every front server notices (SPEC E8a): no END_REQUEST and a record
    /// of version 0 before the close.
    #[track_caller]
    pub fn cut(self) -> Self {
        assert_eq!(self.end, None, "a cut response has no END_REQUEST: {self}");
        assert!(
            self.records
                .iter()
                .all(|record| record.kind != STDOUT || !record.content.is_empty()),
            "a cut response has no end of STDOUT: {self}"
        );
        assert_eq!(self.trailing, [0; 8], "a zero record stands before the close: {self}");
        self
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<_> = self
            .records
            .iter()
            .take(20)
            .map(|record| (record.kind, record.id, record.content.len()))
            .collect();
        write!(
            f,
            "stdout {:?}, stderr {:?}, end {:?}, trailing {:?}, closed {:?}, first records (type, id, length) {kinds:?}",
            String::from_utf8_lossy(&self.stdout[..self.stdout.len().min(2000)]),
            String::from_utf8_lossy(&self.stderr[..self.stderr.len().min(500)]),
            self.end,
            self.trailing,
            self.closed,
        )
    }
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// One connection. Every read has a deadline.
#[derive(Debug)]
pub struct Raw {
    stream: Stream,
    /// Received and not yet taken apart.
    buffer: Vec<u8>,
    /// The peer has closed or reset the connection: whether without an error.
    closed: Option<bool>,
}

impl Raw {
    pub fn connect(address: &Address) -> io::Result<Self> {
        let stream = match address {
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
            Address::Tcp(address) => Stream::Tcp(TcpStream::connect(address)?),
        };
        match &stream {
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(SOON))?;
                stream.set_write_timeout(Some(SOON))?;
            }
            Stream::Tcp(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(SOON))?;
                stream.set_write_timeout(Some(SOON))?;
            }
        }
        Ok(Self {
            stream,
            buffer: Vec::new(),
            closed: None,
        })
    }

    /// A second handle, to write and read at the same time.
    pub fn try_clone(&self) -> io::Result<Self> {
        let stream = match &self.stream {
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
        };
        Ok(Self {
            stream,
            buffer: Vec::new(),
            closed: None,
        })
    }

    /// This end of a TCP connection.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Unix(_) => None,
            Stream::Tcp(stream) => stream.local_addr().ok(),
        }
    }

    pub fn set_read_timeout(&self, timeout: Duration) {
        match &self.stream {
            Stream::Unix(stream) => stream.set_read_timeout(Some(timeout)),
            Stream::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
        }
        .unwrap();
    }

    /// # Errors
    /// The socket's; a broken pipe is often what a test expects.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tcp(stream) => stream.write_all(bytes),
        }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.try_send(bytes) {
            panic!("sending {} bytes: {error}", bytes.len());
        }
    }

    /// Bytes that have arrived in the socket.
    pub fn unread(&self) -> u64 {
        match &self.stream {
            Stream::Unix(stream) => rustix::io::ioctl_fionread(stream),
            Stream::Tcp(stream) => rustix::io::ioctl_fionread(stream),
        }
        .unwrap()
    }

    /// Whether the peer has ended the connection and nothing is left to be read.
    pub fn has_ended(&self) -> bool {
        use rustix::net::RecvFlags;
        let mut byte = [0; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let looked = match &self.stream {
            Stream::Unix(stream) => rustix::net::recv(stream, &mut byte, flags),
            Stream::Tcp(stream) => rustix::net::recv(stream, &mut byte, flags),
        };
        self.closed.is_some() || !matches!(looked, Ok((1.., _)) | Err(rustix::io::Errno::AGAIN))
    }

    /// No more bytes will come from here.
    pub fn finish(&self) {
        let write = std::net::Shutdown::Write;
        match &self.stream {
            Stream::Unix(stream) => stream.shutdown(write),
            Stream::Tcp(stream) => stream.shutdown(write),
        }
        .unwrap();
    }

    /// Ends a TCP connection by a reset.
    pub fn reset(self) {
        if let Stream::Tcp(stream) = &self.stream {
            rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
        }
    }

    /// Receives more bytes; `false` at the end of the connection, be it orderly or a reset.
    #[track_caller]
    fn receive(&mut self) -> bool {
        if self.closed.is_some() {
            return false;
        }
        let mut chunk = [0; 64 * 1024];
        let received = match &mut self.stream {
            Stream::Unix(stream) => stream.read(&mut chunk),
            Stream::Tcp(stream) => stream.read(&mut chunk),
        };
        match received {
            Ok(0) => self.closed = Some(true),
            Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.closed = Some(false),
            Err(error) => panic!("reading a record: {error}; received {:?}", self.buffer),
        }
        self.closed.is_none()
    }

    /// Whether something (a byte or the end) arrives within `timeout`.
    pub fn readable_within(&mut self, timeout: Duration) -> bool {
        if !self.buffer.is_empty() || self.closed.is_some() {
            return true;
        }
        self.set_read_timeout(timeout);
        let mut chunk = [0; 1];
        let received = match &mut self.stream {
            Stream::Unix(stream) => stream.read(&mut chunk),
            Stream::Tcp(stream) => stream.read(&mut chunk),
        };
        self.set_read_timeout(SOON);
        match received {
            Ok(0) => self.closed = Some(true),
            Ok(_) => self.buffer.push(chunk[0]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return false,
            Err(_) => self.closed = Some(false),
        }
        true
    }

    /// The next record; `None` at the end of the connection or of what is FastCGI in it (see [`Response::trailing`]).
    #[track_caller]
    pub fn read_record(&mut self) -> Option<Record> {
        while self.buffer.len() < 8 {
            if !self.receive() {
                return None;
            }
        }
        if self.buffer[0] != 1 {
            while self.receive() {}
            return None;
        }
        let content = usize::from(u16::from_be_bytes([self.buffer[4], self.buffer[5]]));
        let length = 8 + content + usize::from(self.buffer[6]);
        while self.buffer.len() < length {
            if !self.receive() {
                return None;
            }
        }
        let record = Record {
            kind: self.buffer[1],
            id: u16::from_be_bytes([self.buffer[2], self.buffer[3]]),
            content: self.buffer[8..8 + content].to_vec(),
        };
        self.buffer.drain(..length);
        Some(record)
    }

    /// Reads the next record and expects one.
    #[track_caller]
    pub fn expect_record(&mut self) -> Record {
        match self.read_record() {
            Some(record) => record,
            None => panic!("a record is due, the connection ended with {:?}", self.buffer),
        }
    }

    /// Reads until END_REQUEST for `id` or the end of the connection.
    #[track_caller]
    pub fn read_response(&mut self, id: u16) -> Response {
        let mut response = Response::default();
        self.read_more(&mut response, id);
        response
    }

    /// Goes on reading into `response`, until END_REQUEST for `id` or the end of the connection.
    #[track_caller]
    pub fn read_more(&mut self, response: &mut Response, id: u16) {
        while let Some(record) = self.read_record() {
            if record.id == id {
                match record.kind {
                    STDOUT => response.stdout.extend_from_slice(&record.content),
                    STDERR => response.stderr.extend_from_slice(&record.content),
                    END_REQUEST => {
                        let body: [u8; 8] = record.content.as_slice().try_into().expect("END_REQUEST has 8 bytes");
                        let status = u32::from_be_bytes([body[0], body[1], body[2], body[3]]);
                        response.end = Some((status, body[4]));
                    }
                    _ => {}
                }
            }
            let ended = record.id == id && record.kind == END_REQUEST;
            response.records.push(record);
            if ended {
                return;
            }
        }
        response.trailing = std::mem::take(&mut self.buffer);
        response.closed = self.closed;
    }

    /// Reads STDOUT until `response` holds `part` in its body.
    #[track_caller]
    pub fn read_until_body_has(&mut self, response: &mut Response, part: &[u8]) {
        while !response.body().windows(part.len()).any(|window| window == part) {
            let record = self.expect_record();
            assert_eq!(record.kind, STDOUT, "{response}");
            response.stdout.extend_from_slice(&record.content);
            response.records.push(record);
        }
    }

    /// Sends a whole request and reads its response. Small requests go out in one write; for a big one a second thread
    /// writes, so that a gateway that answers early blocks nobody.
    #[track_caller]
    pub fn exchange(&mut self, request: &Request) -> Response {
        let bytes = request.bytes();
        if bytes.len() <= 64 * 1024 {
            // The peer may have answered and closed already: the response tells.
            let _ = self.try_send(&bytes);
            return self.read_response(request.id);
        }
        let mut writer = self.try_clone().unwrap();
        std::thread::scope(|scope| {
            // As above.
            scope.spawn(move || {
                let _ = writer.try_send(&bytes);
            });
            self.read_response(request.id)
        })
    }

    /// Everything until the end of the connection, taken apart as far as it is FastCGI.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Response {
        let mut response = Response::default();
        while let Some(record) = self.read_record() {
            response.records.push(record);
        }
        response.trailing = std::mem::take(&mut self.buffer);
        response.closed = self.closed;
        response
    }

    /// Asserts that the peer closes the connection and sends nothing more.
    #[track_caller]
    pub fn expect_close(&mut self) {
        let rest = self.read_to_end();
        // A zero record tells front servers that would keep the connection not to (found with nginx).
        let nothing_more = rest.trailing.is_empty() || rest.trailing == [0; 8];
        assert!(rest.records.is_empty() && nothing_more, "{rest}");
    }
}
