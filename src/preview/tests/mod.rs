//! Drives [`serve`] over real sockets against a pool made of a few scripted answers.

mod exchange;
mod status;

use std::collections::BTreeMap;

use fastcgi::Pairs;
use fastcgi::encode;
use fastcgi::record::{HEADER_LENGTH, Header, ProtocolStatus, kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

/// A running preview with the pool's side of its socket.
struct Setup {
    port: u16,
    pool: UnixListener,
    status: channel::Sender<Status>,
    shutdown: Option<oneshot::Sender<()>>,
    serving: JoinHandle<anyhow::Result<()>>,
    _directory: tempfile::TempDir,
}

impl Setup {
    fn new(status: Status) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("pool.sock");
        let pool = UnixListener::bind(&socket).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (status, statuses) = channel::channel(status);
        let (shutdown, stopped) = oneshot::channel::<()>();
        let app = "blog.wsgi:app".to_owned();
        let hosts = Hosts {
            bound: "127.0.0.1".parse().unwrap(),
            names: vec!["blog.test".to_owned()],
        };
        let serving = tokio::spawn(serve(
            Preview {
                listener,
                socket,
                app,
                hosts,
            },
            statuses,
            async {
                let _ = stopped.await;
            },
        ));
        Self {
            port,
            pool,
            status,
            shutdown: Some(shutdown),
            serving,
            _directory: directory,
        }
    }

    async fn browser(&self, request: &str) -> TcpStream {
        let mut browser = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        browser.write_all(request.as_bytes()).await.unwrap();
        browser
    }

    /// Sends `request`, lets the pool answer with `records` once it has the whole of it, reads to the end.
    async fn exchange(&self, request: &str, records: &[u8]) -> (PoolSide, String) {
        let mut browser = self.browser(request).await;
        let mut pool = PoolSide::accept(&self.pool).await;
        pool.read_request().await;
        pool.socket.write_all(records).await.unwrap();
        pool.socket.shutdown().await.unwrap();
        (pool, read_to_end(&mut browser).await)
    }
}

/// One accepted connection and what has been read from it.
struct PoolSide {
    socket: UnixStream,
    params: BTreeMap<Vec<u8>, Vec<u8>>,
    body: Vec<u8>,
}

impl PoolSide {
    async fn accept(pool: &UnixListener) -> Self {
        let (socket, _) = timeout(DEADLINE, pool.accept()).await.expect("no connection").unwrap();
        Self {
            socket,
            params: BTreeMap::new(),
            body: Vec::new(),
        }
    }

    async fn read_record(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; HEADER_LENGTH];
        timeout(DEADLINE, self.socket.read_exact(&mut header))
            .await
            .expect("no record")
            .ok()?;
        let header = Header::decode(&header);
        let mut content = vec![0; usize::from(header.content_length) + usize::from(header.padding_length)];
        self.socket.read_exact(&mut content).await.ok()?;
        content.truncate(header.content_length.into());
        Some((header.kind, content))
    }

    async fn read_params(&mut self) {
        let mut stream = Vec::new();
        loop {
            match self.read_record().await.expect("params end") {
                (kind::PARAMS, content) if content.is_empty() => break,
                (kind::PARAMS, content) => stream.extend(content),
                (other, _) => assert_eq!(other, kind::BEGIN_REQUEST),
            }
        }
        let pairs = Pairs::new(&stream).map(Result::unwrap);
        self.params = pairs.map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    }

    async fn read_request(&mut self) {
        self.read_params().await;
        loop {
            match self.read_record().await.expect("stdin ends") {
                (kind::STDIN, content) if content.is_empty() => return,
                (kind::STDIN, content) => self.body.extend(content),
                (other, _) => panic!("record of type {other} inside the body"),
            }
        }
    }

    fn param(&self, name: &str) -> Option<&[u8]> {
        self.params.get(name.as_bytes()).map(|value| &value[..])
    }
}

async fn read_to_end(browser: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    timeout(DEADLINE, browser.read_to_end(&mut answer))
        .await
        .expect("no end of the answer")
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn read_until(browser: &mut TcpStream, end: &str) -> String {
    let mut answer = String::new();
    while !answer.contains(end) {
        let mut buffer = [0; 4096];
        let read = timeout(DEADLINE, browser.read(&mut buffer))
            .await
            .expect("no more output")
            .unwrap();
        assert_ne!(read, 0, "connection ended after {answer:?}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    answer
}

fn output(text: &str) -> Vec<u8> {
    let mut records = Vec::new();
    encode::stdout(&mut records, 1, text.as_bytes());
    records
}

fn complete(text: &str) -> Vec<u8> {
    let mut records = output(text);
    encode::end_stdout(&mut records, 1);
    encode::end_request(&mut records, 1, 0, ProtocolStatus::RequestComplete);
    records
}

const GET: &str = "GET /a%20b?q HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const PLAIN_PAGE: &str = "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nhello";
const PLAIN: &str = "Status: 200 OK\r\nContent-Type: text/plain\r\n";
