//! An HTTP/1.1 client that sees how a response ends, and that can be slow, stop half-way or vanish.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use super::wait::SOON;

/// How long a body may still be under way after its response.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// What is sent after a request's head.
#[derive(Debug, Clone)]
enum Body {
    None,
    Bytes(Vec<u8>),
    /// The first so many bytes of [`pattern`], made while they are sent.
    Pattern(u64),
    /// Each in a chunk of its own.
    Chunks(Vec<Vec<u8>>),
}

#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: Vec<u8>,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Request {
    pub fn new(method: &str, target: impl Into<Vec<u8>>) -> Self {
        Self {
            method: method.to_owned(),
            target: target.into(),
            headers: Vec::new(),
            body: Body::None,
        }
    }

    pub fn get(target: impl Into<Vec<u8>>) -> Self {
        Self::new("GET", target)
    }

    pub fn post(target: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same request for what is below `prefix`.
    pub fn below(mut self, prefix: &str) -> Self {
        self.target.splice(0..0, prefix.bytes());
        self
    }

    /// The virtual host: instead of the address.
    pub fn host(self, host: &str) -> Self {
        self.header("Host", host)
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Bytes(body.into());
        self
    }

    pub fn pattern(mut self, length: u64) -> Self {
        self.body = Body::Pattern(length);
        self
    }

    pub fn chunks(mut self, chunks: &[&[u8]]) -> Self {
        self.body = Body::Chunks(chunks.iter().map(|chunk| chunk.to_vec()).collect());
        self
    }

    /// A form as browsers send one with a file in it.
    pub fn multipart(self, fields: &[(&str, &str)], file: Option<(&str, &str, &[u8])>) -> Self {
        const BOUNDARY: &str = "----tests-of-wsgi-fpm";
        let mut body = Vec::new();
        for (name, value) in fields {
            let part = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(part.as_bytes());
        }
        if let Some((name, file_name, content)) = file {
            let part = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            );
            body.extend_from_slice(part.as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.header("Content-Type", &format!("multipart/form-data; boundary={BOUNDARY}"))
            .body(body)
    }

    /// `application/x-www-form-urlencoded`.
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let escape = |text: &str| -> String {
            let escaped = text.bytes().map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            });
            escaped.collect()
        };
        let pairs: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
            .collect();
        self.header("Content-Type", "application/x-www-form-urlencoded")
            .body(pairs.join("&"))
    }

    /// Whether it has such a header.
    pub fn has(&self, wanted: &str) -> bool {
        self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted))
    }

    fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The bytes of the head. Content-Length is there for every body of known length.
    pub fn head(&self, address: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} ", self.method).into_bytes();
        head.extend_from_slice(&self.target);
        head.extend_from_slice(b" HTTP/1.1\r\n");
        let mut line = |name: &str, value: &str| head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        let given = |wanted: &str| self.has(wanted);
        if !given("Host") {
            line("Host", &address.to_string());
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        match &self.body {
            _ if given("Content-Length") => {}
            Body::None => {}
            Body::Bytes(bytes) => line("Content-Length", &bytes.len().to_string()),
            Body::Pattern(length) => line("Content-Length", &length.to_string()),
            Body::Chunks(_) => line("Transfer-Encoding", "chunked"),
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    fn send_body(&self, to: &mut impl Write) -> io::Result<()> {
        match &self.body {
            Body::None => Ok(()),
            Body::Bytes(bytes) => to.write_all(bytes),
            Body::Pattern(length) => {
                let mut sent = 0;
                while sent < *length {
                    let block = pattern(sent, (*length - sent).min(64 * 1024) as usize);
                    to.write_all(&block)?;
                    sent += block.len() as u64;
                }
                Ok(())
            }
            Body::Chunks(chunks) => {
                for chunk in chunks {
                    to.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
                    to.write_all(chunk)?;
                    to.write_all(b"\r\n")?;
                }
                to.write_all(b"0\r\n\r\n")
            }
        }
    }
}

/// Bytes `from..from + length` of test data that never ends and shows every shift: the same as `pattern` in apps/pages.py.
pub fn pattern(from: u64, length: usize) -> Vec<u8> {
    let shift = (from % 251) as usize;
    let period: Vec<u8> = (0..251).collect();
    let mut bytes = period[shift..].to_vec();
    while bytes.len() < length {
        bytes.extend_from_slice(&period);
    }
    bytes.truncate(length);
    bytes
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body came as whole as it had been announced.
    pub complete: bool,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, wanted: &str) -> Option<&str> {
        self.all(wanted).first().copied()
    }

    pub fn all(&self, wanted: &str) -> Vec<&str> {
        let same = self
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        same.map(|(_, value)| value.as_str()).collect()
    }

    /// Itself, if the request was answered as it should be.
    ///
    /// # Panics
    /// If the status is another one or the body broke off.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        assert!(self.complete, "the body broke off after {} bytes", self.body.len());
        self
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        self.expect(200)
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    reader: BufReader<TcpStream>,
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::new(address, TcpStream::connect(address).unwrap())
    }

    /// As somebody whose address is `source`: one of this machine, such as 127.0.0.2.
    #[track_caller]
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let stream = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&stream, &SocketAddr::new(source, 0)).unwrap();
        connect(&stream, &address).unwrap();
        Self::new(address, TcpStream::from(stream))
    }

    #[track_caller]
    fn new(address: SocketAddr, stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            address,
            reader: BufReader::new(stream),
        }
    }

    /// Sends any bytes: half a request, for one.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    /// Sends the head of `request` alone.
    #[track_caller]
    pub fn send_head(&mut self, request: &Request) {
        self.send(&request.head(self.address));
    }

    /// Sends `request` while the response is read: whoever answers early need not read on.
    ///
    /// # Panics
    /// If there is no response.
    #[track_caller]
    pub fn exchange(&mut self, request: &Request) -> Response {
        self.try_exchange(request)
            .unwrap_or_else(|error| panic!("no head of a response: {error}"))
    }

    /// As [`Client::exchange`].
    ///
    /// # Errors
    /// The connection ended before the response's head did.
    pub fn try_exchange(&mut self, request: &Request) -> io::Result<Response> {
        self.reader.get_mut().write_all(&request.head(self.address))?;
        if let Body::None = request.body {
            return self.try_read_response(request.is_head());
        }
        let mut writer = self.reader.get_ref().try_clone()?;
        let body = request.clone();
        let sending = thread::spawn(move || body.send_body(&mut writer));
        let response = self.try_read_response(request.is_head());
        let end = Instant::now() + LAST_BYTES;
        while !sending.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        if !sending.is_finished() {
            // The server has answered and reads no more; the thread need not wait for it.
            self.reader.get_ref().shutdown(Shutdown::Both)?;
        }
        // A body that was refused fails to be sent; the response tells.
        drop(sending.join().expect("sending does not panic"));
        response
    }

    /// Status and headers; the body stays unread.
    #[track_caller]
    pub fn read_head(&mut self) -> Response {
        self.try_read_head()
            .unwrap_or_else(|error| panic!("no head of a response: {error}"))
    }

    fn try_read_head(&mut self) -> io::Result<Response> {
        let line = self.line()?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| line.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status line: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
            headers.push((name.to_owned(), value.to_owned()));
        }
        Ok(Response {
            status,
            headers,
            body: Vec::new(),
            complete: false,
        })
    }

    #[track_caller]
    pub fn read_response(&mut self, is_head: bool) -> Response {
        self.try_read_response(is_head)
            .unwrap_or_else(|error| panic!("no head of a response: {error}"))
    }

    fn try_read_response(&mut self, is_head: bool) -> io::Result<Response> {
        let mut response = self.try_read_head()?;
        if response.status == 100 {
            response = self.try_read_head()?;
        }
        if is_head || matches!(response.status, 204 | 304) {
            response.complete = true;
        } else if response.header("Transfer-Encoding") == Some("chunked") {
            while let Ok(Some(chunk)) = self.chunk() {
                response.complete = chunk.is_empty();
                response.body.extend_from_slice(&chunk);
                if chunk.is_empty() {
                    break;
                }
            }
        } else if let Some(length) = response.header("Content-Length") {
            let length: u64 = length.parse().map_err(io::Error::other)?;
            // Whatever ends the reading, the length tells.
            drop(self.reader.by_ref().take(length).read_to_end(&mut response.body));
            response.complete = response.body.len() as u64 == length;
        } else {
            response.complete = self.reader.read_to_end(&mut response.body).is_ok();
        }
        Ok(response)
    }

    /// The next chunk of a chunked body, empty for the last one; nothing if the connection has ended.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.line()?;
        let Ok(size) = usize::from_str_radix(&size, 16) else {
            return Ok(None);
        };
        let mut chunk = vec![0; size + 2];
        let mut read = 0;
        while read < chunk.len() {
            match self.reader.read(&mut chunk[read..])? {
                // What came of a chunk that broke off is of no use to a browser either.
                0 => return Ok(None),
                some => read += some,
            }
        }
        chunk.truncate(size);
        Ok(Some(chunk))
    }

    /// A line without its end.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        let line = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(line.iter().map(|&byte| char::from(byte)).collect())
    }
}

/// Sends `request` on a connection of its own.
#[track_caller]
pub fn fetch(address: SocketAddr, request: &Request) -> Response {
    Client::connect(address).exchange(request)
}

/// A browser without a screen: it keeps cookies and follows redirects when it is told to.
#[derive(Debug)]
pub struct Browser {
    address: SocketAddr,
    pub cookies: BTreeMap<String, String>,
}

impl Browser {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            cookies: BTreeMap::new(),
        }
    }

    #[track_caller]
    pub fn send(&mut self, request: Request) -> Response {
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = match cookies.is_empty() {
            true => request,
            false => request.header("Cookie", &cookies.join("; ")),
        };
        let response = fetch(self.address, &request);
        for cookie in response.all("Set-Cookie") {
            let pair = cookie.split(';').next().unwrap_or(cookie);
            let (name, value) = pair.split_once('=').unwrap();
            if cookie.contains("Max-Age=0") || value.trim_matches('"').is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        response
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.send(Request::get(path))
    }

    /// Follows a redirect, which must stay on this site.
    #[track_caller]
    pub fn follow(&mut self, response: &Response) -> Response {
        assert!(
            (301..=308).contains(&response.status),
            "{}: {}",
            response.status,
            response.text()
        );
        let location = response.header("Location").unwrap();
        let path = location
            .strip_prefix(&format!("http://{}", self.address))
            .unwrap_or(location)
            .to_owned();
        self.get(&path)
    }
}
