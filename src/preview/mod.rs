//! The HTTP preview of `wsgi-fpm dev`: hyper in front, the pool's own FastCGI socket behind.
//!
//! No second WSGI server: a request takes the path that it takes behind nginx. Knows no processes; the supervisor tells
//! by [`Status`] how the pool is. Meant for one developer: tracebacks are shown to whoever connects.

mod exchange;
pub mod kinds;
mod pages;
pub mod params;
pub mod response;
#[cfg(test)]
mod tests;
pub mod watch;

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch as channel;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use crate::hosts::Hosts;
use crate::pool::Status;
use exchange::{Broken, Exchange, ResponseBody};
use params::Ends;
use response::HeadReader;

/// How long a request waits for a pool that starts or can't be reached: most applications are imported by then.
const START_WAIT: Duration = Duration::from_secs(10);
/// Between two tries to connect to the pool.
const CONNECT_INTERVAL: Duration = Duration::from_millis(50);
/// A question for the status is answered after this time even if nothing has changed; the page asks again.
const STATUS_WAIT: Duration = Duration::from_secs(20);
/// Accepting goes on after this time where the system has run out of something.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// What running requests get of a shutdown: nobody wants to wait for the prompt.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(2);

pub struct Preview {
    pub listener: std::net::TcpListener,
    /// The pool's FastCGI socket.
    pub socket: PathBuf,
    /// The application as it was typed, for the pages.
    pub app: String,
    pub hosts: Hosts,
}

/// Serves HTTP until `shutdown`.
///
/// # Errors
/// If the listener is unusable. What happens to a connection or a request ends in the log.
pub async fn serve(
    preview: Preview,
    status: channel::Receiver<Status>,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let Preview {
        listener,
        socket,
        app,
        hosts,
    } = preview;
    listener
        .set_nonblocking(true)
        .context("cannot use the preview's listener")?;
    let listener = TcpListener::from_std(listener).context("cannot use the preview's listener")?;
    let backend = Arc::new(Backend {
        app,
        hosts,
        socket,
        status,
        has_refused: AtomicBool::new(false),
    });
    let (stop, stopped) = channel::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Reaps what has ended.
            Some(_) = connections.join_next() => continue,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, backend.clone(), stopped.clone()));
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection of the preview");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    drop(stop);
    let finished = timeout(SHUTDOWN_WAIT, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    if finished.is_err() {
        warn!(
            connections = connections.len(),
            "cutting connections of the preview that are still busy"
        );
    }
    Ok(())
}

/// Serves one browser's connection until it ends or `stopped` has lost its sender.
async fn connection(stream: TcpStream, backend: Arc<Backend>, mut stopped: channel::Receiver<()>) {
    let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) else {
        // The browser is gone already.
        return;
    };
    // Small pieces of a streamed response are to leave at once.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let service = service_fn(move |request| {
        let backend = backend.clone();
        async move { Ok::<_, Infallible>(backend.respond(request, Ends { local, remote }).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, %remote, "connection of the preview broken off");
    }
}

type Reply = Response<Either<Full<Bytes>, ResponseBody>>;

struct Backend {
    app: String,
    hosts: Hosts,
    /// A host was refused, which the log has said.
    has_refused: AtomicBool,
    socket: PathBuf,
    status: channel::Receiver<Status>,
}

impl Backend {
    async fn respond(&self, request: Request<Incoming>, ends: Ends) -> Reply {
        let line = format!("{} {}", request.method(), request.uri().path());
        let refusal = match self.refuse_host(&request) {
            Some(refusal) => refusal,
            None => {
                if let Some(known) = request.headers().get(pages::STATUS_HEADER) {
                    return self.status_after(known.as_bytes()).await.map(Either::Left);
                }
                match self.exchange(request, ends).await {
                    Ok(reply) => return reply,
                    Err(refusal) => refusal,
                }
            }
        };
        let page = match refusal {
            Refusal::Page(page) => page,
            Refusal::Plain(status, what, hint) => pages::plain(status, &self.app, &what, &line, &hint),
            Refusal::BadGateway(error) => {
                warn!(request = line, error, "no usable response from the pool");
                let hint = "The log of wsgi-fpm says more.";
                pages::plain(StatusCode::BAD_GATEWAY, &self.app, &error, &line, hint)
            }
        };
        page.map(Either::Left)
    }

    /// Turns away a request for a host that is not this preview. What names none comes from no browser.
    fn refuse_host(&self, request: &Request<Incoming>) -> Option<Refusal> {
        let named = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        let named = named.or_else(|| request.headers().get(HOST).map(HeaderValue::as_bytes))?;
        let host = String::from_utf8_lossy(named);
        if self.hosts.allow(&host) {
            return None;
        }
        if !self.has_refused.swap(true, Relaxed) {
            warn!(
                host = %host.escape_debug(),
                "refused with 403: the preview answers to names of this machine; --allow-host allows others"
            );
        }
        Some(Refusal::Plain(
            StatusCode::FORBIDDEN,
            format!("Host {host} is not allowed"),
            "The preview answers to localhost, names below it and this machine's addresses, so that no other site can read \
             it through this browser. wsgi-fpm dev --allow-host NAME allows another name."
                .to_owned(),
        ))
    }

    /// Passes `request` to the pool and reads the head of the response.
    async fn exchange(&self, request: Request<Incoming>, ends: Ends) -> Result<Reply, Refusal> {
        let method = request.method().clone();
        if method == Method::CONNECT {
            return Err(Refusal::plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "CONNECT has no meaning here",
            ));
        }
        let params = match params::params(&request, ends) {
            Ok(params) => params,
            Err(error) => return Err(Refusal::plain(StatusCode::BAD_REQUEST, error)),
        };
        let socket = self.connect().await?;
        let mut exchange = Exchange::start(socket, &params, request.into_body())
            .await
            .map_err(Refusal::bad)?;
        let mut reader = HeadReader::default();
        let (head, first) = loop {
            let Some(output) = exchange.stdout().await else {
                return Err(Refusal::bad("the response ended before its head was complete"));
            };
            let output = match output {
                Ok(output) => output,
                Err(error @ Broken::Request) => return Err(Refusal::plain(StatusCode::BAD_REQUEST, error)),
                Err(error) => return Err(Refusal::bad(error)),
            };
            if let Some(complete) = reader.push(&output).map_err(Refusal::bad)? {
                break complete;
            }
        };
        let body = ResponseBody::new(exchange, first, head.content_length);
        if head.has_body(&method) {
            return Ok(head.into_response(Either::Right(body)));
        }
        // hyper drops the body of such a response unread. For the pool that would be a browser that went away.
        tokio::spawn(body.discard());
        Ok(head.into_response(Either::Left(Full::default())))
    }

    /// Connects to the pool, waiting for it while it starts.
    async fn connect(&self) -> Result<UnixStream, Refusal> {
        let deadline = Instant::now() + START_WAIT;
        let mut changes = self.status.clone();
        loop {
            let status = changes.borrow_and_update().clone();
            let (wait, what) = match &status {
                Status::Failed { reason, detail } => {
                    return Err(Refusal::Page(pages::failed(&self.app, &status, reason, detail)));
                }
                Status::Starting => (deadline, "the application is still starting".to_owned()),
                Status::Ready => match UnixStream::connect(&self.socket).await {
                    Ok(socket) => return Ok(socket),
                    Err(error) => {
                        let next = deadline.min(Instant::now() + CONNECT_INTERVAL);
                        (next, format!("cannot connect to the pool: {error}"))
                    }
                },
            };
            // Without a sender nothing can change any more.
            let changed = timeout_at(wait, changes.changed()).await;
            if Instant::now() >= deadline || matches!(changed, Ok(Err(_))) {
                warn!(error = what, socket = %self.socket.display(), "pool not available to the preview");
                return Err(Refusal::Page(pages::unavailable(&self.app, &status, &what)));
            }
        }
    }

    /// Answers with the status as soon as it is not what the page knows.
    async fn status_after(&self, known: &[u8]) -> Response<Full<Bytes>> {
        let mut changes = self.status.clone();
        let differs = |status: &Status| pages::token(status).as_bytes() != known;
        let status = match timeout(STATUS_WAIT, changes.wait_for(differs)).await {
            Ok(Ok(status)) => status.clone(),
            Ok(Err(_)) | Err(_) => self.status.borrow().clone(),
        };
        pages::status(&status)
    }
}

/// Why a request gets an answer of the preview's own.
enum Refusal {
    Page(Response<Full<Bytes>>),
    /// What is wrong, and what to do about it.
    Plain(StatusCode, String, String),
    BadGateway(String),
}

impl Refusal {
    fn plain(status: StatusCode, what: impl ToString) -> Self {
        Self::Plain(status, what.to_string(), String::new())
    }

    fn bad(error: impl ToString) -> Self {
        Self::BadGateway(error.to_string())
    }
}
