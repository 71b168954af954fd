//! Drives [`serve`] over real sockets against a pool made of a few scripted answers.

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

#[tokio::test]
async fn request_and_response_pass_through() {
    let setup = Setup::new(Status::Ready);
    let request = "POST /caf%E9 HTTP/1.1\r\nHost: localhost\r\nX-Name: caf\u{e9}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody";
    let records = complete("Status: 201 Angelegt\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nhi");
    let (pool, answer) = setup.exchange(request, &records).await;
    assert_eq!(pool.param("PATH_INFO"), Some(&b"/caf\xe9"[..]));
    assert_eq!(pool.param("REQUEST_URI"), Some(&b"/caf%E9"[..]));
    assert_eq!(pool.param("HTTP_X_NAME"), Some("caf\u{e9}".as_bytes()));
    assert_eq!(pool.param("SERVER_PORT"), Some(setup.port.to_string().as_bytes()));
    assert_eq!(pool.param("CONTENT_LENGTH"), Some(&b"4"[..]));
    assert_eq!(pool.body, b"body");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let lines: Vec<_> = head.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "HTTP/1.1 201 Angelegt",
            "set-cookie: a=1",
            "set-cookie: b=2",
            "content-length: 2"
        ]
    );
    assert!(head.contains("\r\ndate: "));
    assert_eq!(body, "hi");
}

#[tokio::test]
async fn chunked_request_is_streamed_without_a_length() {
    let setup = Setup::new(Status::Ready);
    let head =
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nfirst\r\n";
    let mut browser = setup.browser(head).await;
    let mut pool = PoolSide::accept(&setup.pool).await;
    pool.read_params().await;
    assert_eq!(pool.param("CONTENT_LENGTH"), None);
    assert_eq!(pool.param("HTTP_TRANSFER_ENCODING"), Some(&b"chunked"[..]));
    assert_eq!(pool.read_record().await, Some((kind::STDIN, b"first".to_vec())));
    // The response streams too, while the request is still under way.
    pool.socket
        .write_all(&output(&format!("{PLAIN}\r\nearly")))
        .await
        .unwrap();
    assert!(
        read_until(&mut browser, "early")
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
    browser.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(pool.read_record().await, Some((kind::STDIN, b"second".to_vec())));
    assert_eq!(pool.read_record().await, Some((kind::STDIN, Vec::new())));
    pool.socket.write_all(&complete("late")).await.unwrap();
    assert_eq!(read_to_end(&mut browser).await, "4\r\nlate\r\n0\r\n\r\n");
}

#[tokio::test]
async fn truncated_response_is_a_broken_transfer() {
    let mut zero_record = output(&format!("{PLAIN}\r\npart"));
    zero_record.extend([0; 8]);
    let mut inside_a_record = output(&format!("{PLAIN}\r\npart"));
    inside_a_record.extend(&output("more")[..10]);
    let only_stdout_ended = [output(&format!("{PLAIN}\r\npart")), output("")].concat();
    for records in [
        output(&format!("{PLAIN}\r\npart")),
        zero_record,
        inside_a_record,
        only_stdout_ended,
    ] {
        let setup = Setup::new(Status::Ready);
        let (_, answer) = setup.exchange(GET, &records).await;
        assert!(
            answer.ends_with("\r\n\r\n4\r\npart\r\n"),
            "no last chunk may follow: {answer:?}"
        );
    }
}

#[tokio::test]
async fn response_without_a_usable_head_is_a_bad_gateway() {
    for (records, reason) in [
        (
            Vec::new(),
            "the pool closed the connection before the end of the response",
        ),
        (complete(""), "the response ended before its head was complete"),
        (complete("nonsense\r\n\r\n"), "the response has a malformed header line"),
        (
            complete(&"x".repeat(70_000)),
            "the head of the response is over 65536 bytes",
        ),
    ] {
        let setup = Setup::new(Status::Ready);
        let (_, answer) = setup.exchange(GET, &records).await;
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
        assert!(answer.contains(reason), "{answer}");
    }
}

#[tokio::test]
async fn response_that_is_no_fastcgi_is_said_in_our_words() {
    let cut = [[0u8; 8].as_slice(), &output("late")].concat();
    let head_and_cut = [output("Status: 200 OK\r\n"), cut.clone()].concat();
    for records in [cut, head_and_cut] {
        let setup = Setup::new(Status::Ready);
        let (_, answer) = setup.exchange(GET, &records).await;
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
        let said = "the response was broken off after it had begun: the application failed, or took too long";
        for text in [said, "GET /a%20b", "The log of wsgi-fpm says more."] {
            assert!(answer.contains(text), "{answer}");
        }
    }
}

#[tokio::test]
async fn host_that_is_not_this_machine_is_refused_without_the_pool() {
    let setup = Setup::new(Status::Ready);
    for head in [
        "GET / HTTP/1.1\r\nHost: evil.example:8000",
        "GET / HTTP/1.1\r\nHost: <b>evil.example</b>",
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost",
        "GET / HTTP/1.1\r\nX-WSGI-FPM-Status: x\r\nHost: evil.example",
        "GET / HTTP/1.1\r\nHost: \u{e9}",
    ] {
        let mut browser = setup.browser(&format!("{head}\r\nConnection: close\r\n\r\n")).await;
        let answer = read_to_end(&mut browser).await;
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
        assert!(answer.contains("--allow-host") && !answer.contains("<b>"), "{answer}");
    }
    // HTTP/1.0 need not name any, and no browser speaks it.
    for head in [
        "GET / HTTP/1.1\r\nHost: blog.test:81\r\nConnection: close",
        "GET / HTTP/1.0",
    ] {
        let (_, answer) = setup.exchange(&format!("{head}\r\n\r\n"), &complete(PLAIN_PAGE)).await;
        assert!(answer.contains(" 200 OK\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn many_small_records_keep_their_order() {
    let setup = Setup::new(Status::Ready);
    let numbers: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let mut records = output(&format!("{PLAIN}Content-Length: {}\r\n\r\n", numbers.concat().len()));
    for number in &numbers {
        encode::stdout(&mut records, 1, number.as_bytes());
        encode::stderr(&mut records, 1, b"a line for the log\n");
    }
    encode::end_stdout(&mut records, 1);
    encode::end_request(&mut records, 1, 0, ProtocolStatus::RequestComplete);
    let (_, answer) = setup.exchange(GET, &records).await;
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, numbers.concat());
}

#[tokio::test]
async fn head_request_keeps_the_connection_and_sends_no_body() {
    let setup = Setup::new(Status::Ready);
    let mut browser = setup.browser("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut pool = PoolSide::accept(&setup.pool).await;
    pool.read_request().await;
    pool.socket
        .write_all(&complete(&format!("{PLAIN}Content-Length: 7\r\n\r\n")))
        .await
        .unwrap();
    let head = read_until(&mut browser, "\r\n\r\n").await;
    assert!(
        head.contains("content-length: 7\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    // Without a length of its own, the response gets none: it is not known to be empty.
    browser
        .write_all(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut pool = PoolSide::accept(&setup.pool).await;
    pool.read_request().await;
    pool.socket.write_all(&complete(&format!("{PLAIN}\r\n"))).await.unwrap();
    let head = read_to_end(&mut browser).await;
    assert!(!head.contains("content-length"), "{head}");
}

#[tokio::test]
async fn early_response_reaches_a_browser_that_still_uploads() {
    let setup = Setup::new(Status::Ready);
    let size = 4 * 1024 * 1024;
    let request = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
    let mut browser = setup.browser(&request).await;
    let mut pool = PoolSide::accept(&setup.pool).await;
    pool.read_params().await;
    pool.socket
        .write_all(&complete("Status: 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"))
        .await
        .unwrap();
    drop(pool);
    timeout(DEADLINE, browser.write_all(&vec![b'x'; size]))
        .await
        .unwrap()
        .unwrap();
    let answer = read_to_end(&mut browser).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 Too Large\r\n") && answer.ends_with("\r\n\r\nbig"),
        "{answer}"
    );
}

#[tokio::test]
async fn browser_that_goes_away_closes_the_connection_to_the_pool() {
    let setup = Setup::new(Status::Ready);
    // Before the head, after it, and inside the request's body.
    let upload = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf";
    for (request, answer) in [
        (GET, None),
        (GET, Some(output(&format!("{PLAIN}\r\npart")))),
        (upload, None),
    ] {
        let mut browser = setup.browser(request).await;
        let mut pool = PoolSide::accept(&setup.pool).await;
        pool.read_params().await;
        if let Some(answer) = answer {
            pool.socket.write_all(&answer).await.unwrap();
            read_until(&mut browser, "part").await;
        }
        drop(browser);
        let mut rest = Vec::new();
        timeout(DEADLINE, pool.socket.read_to_end(&mut rest))
            .await
            .expect("connection stays open")
            .unwrap();
    }
}

#[tokio::test]
async fn request_waits_while_the_application_starts() {
    let setup = Setup::new(Status::Starting);
    let mut browser = setup.browser(GET).await;
    let accepted = timeout(Duration::from_millis(100), setup.pool.accept()).await;
    assert!(accepted.is_err(), "connected before the pool was ready");
    setup.status.send(Status::Ready).unwrap();
    let mut pool = PoolSide::accept(&setup.pool).await;
    pool.read_request().await;
    pool.socket
        .write_all(&complete(&format!("{PLAIN}\r\nhello")))
        .await
        .unwrap();
    assert!(read_to_end(&mut browser).await.contains("hello"));
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_service_unavailable() {
    let mut setup = Setup::new(Status::Starting);
    let mut browser = setup.browser(GET).await;
    let answer = read_unavailable(&mut browser).await;
    assert!(answer.contains("still starting"), "{answer}");
    // Ready, but nobody listens.
    setup.status.send(Status::Ready).unwrap();
    let path = setup.pool.local_addr().unwrap().as_pathname().unwrap().to_owned();
    std::fs::remove_file(path).unwrap();
    let mut browser = setup.browser(GET).await;
    let answer = read_unavailable(&mut browser).await;
    assert!(answer.contains("cannot connect to the pool"), "{answer}");
    setup.shutdown.take();
    setup.serving.await.unwrap().unwrap();
}

/// Without a deadline: the paused clock would run to it.
async fn read_unavailable(browser: &mut TcpStream) -> String {
    let mut answer = String::new();
    browser.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    answer
}

#[tokio::test]
async fn failure_is_shown_escaped_until_the_status_changes() {
    let failed = Status::Failed {
        reason: "blog.wsgi:app cannot be imported".to_owned(),
        detail: "  File \"<string>\"\nSyntaxError: a & b".to_owned(),
    };
    let setup = Setup::new(failed.clone());
    let mut browser = setup.browser(GET).await;
    let answer = read_to_end(&mut browser).await;
    assert!(answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{answer}");
    assert!(
        answer.contains("  File &quot;&lt;string&gt;&quot;\nSyntaxError: a &amp; b"),
        "{answer}"
    );
    let token = pages::token(&failed);
    assert!(answer.contains(&token));

    let question =
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-WSGI-FPM-Status: {token}\r\nConnection: close\r\n\r\n");
    let mut script = setup.browser(&question).await;
    let early = timeout(Duration::from_millis(100), script.read_u8()).await;
    assert!(early.is_err(), "answered before the status changed");
    setup.status.send(Status::Starting).unwrap();
    assert!(read_to_end(&mut script).await.ends_with("\r\n\r\nstarting"));
}

#[tokio::test]
async fn bad_targets_are_refused_without_the_pool() {
    let setup = Setup::new(Status::Ready);
    for (target, status) in [
        ("GET /%zz", "400 Bad Request"),
        ("CONNECT localhost:80", "405 Method Not Allowed"),
    ] {
        let mut browser = setup
            .browser(&format!(
                "{target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            ))
            .await;
        let answer = read_to_end(&mut browser).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
    }
}

#[tokio::test]
async fn shutdown_finishes_running_requests_and_closes_idle_connections() {
    let mut setup = Setup::new(Status::Ready);
    let mut idle = TcpStream::connect(("127.0.0.1", setup.port)).await.unwrap();
    let mut browser = setup.browser(GET).await;
    let mut pool = PoolSide::accept(&setup.pool).await;
    pool.read_request().await;
    setup.shutdown.take();
    assert_eq!(read_to_end(&mut idle).await, "");
    pool.socket
        .write_all(&complete(&format!("{PLAIN}\r\nhello")))
        .await
        .unwrap();
    assert!(read_to_end(&mut browser).await.contains("hello"));
    timeout(DEADLINE, setup.serving)
        .await
        .expect("serve goes on")
        .unwrap()
        .unwrap();
}
