//! One request over one FastCGI connection to the pool: sending and receiving go on at the same time.
//!
//! Responses are read by the crate fastcgi-client. Requests are written with the project's own encoder, for two reasons:
//! that crate's params are UTF-8 text, while paths and headers are bytes, and it reads nothing before the whole body is
//! sent, so that an early answer to a large upload would be lost.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use fastcgi::{encode, record};
use fastcgi_client::io::{AsyncRead, AsyncWrite};
use fastcgi_client::response::{Content, ResponseStream};
use fastcgi_client::{Client, ClientError, StreamExt};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::params::Params;

/// fastcgi-client takes nothing but this id.
const ID: u16 = 1;

/// What is read of a request's body after the response is complete, so that the browser gets to read the response
/// before its connection is closed: the same as the pool's own limits.
const DRAIN_BYTES: usize = 16 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Why a response has no proper end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the pool closed the connection before the end of the response")]
    Truncated,
    /// By an invalid record, which is how workers say so.
    #[error("the response was broken off after it had begun: the application failed, or took too long")]
    Cut,
    #[error("the response can't be read from the pool: {0}")]
    Socket(io::Error),
    #[error("the pool sent what is no response to the request")]
    Protocol,
    #[error("the browser broke the request's body off")]
    Request,
}

impl From<ClientError> for Broken {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::UnknownRequestType { .. } => Self::Cut,
            ClientError::Io(error) => Self::Socket(error),
            _ => Self::Protocol,
        }
    }
}

/// A request under way. Dropped before its end, it drops the connection, which tells the pool to give it up.
pub struct Exchange {
    response: ResponseStream<Receiving>,
    gate: Arc<Gate>,
    /// Told when the response is complete; dropped when nobody wants it any more.
    sending: Option<oneshot::Sender<()>>,
}

impl Exchange {
    /// Starts to send; the body follows as it arrives.
    ///
    /// # Errors
    /// Those of fastcgi-client, which has none for a request that goes nowhere.
    pub async fn start(socket: UnixStream, params: &Params, body: Incoming) -> Result<Self, Broken> {
        let socket = Arc::new(socket);
        let mut head = Vec::new();
        encode::begin_request(&mut head, ID, record::role::RESPONDER, 0);
        let pairs: Vec<_> = params
            .iter()
            .map(|(name, value)| (name.as_bytes(), &value[..]))
            .collect();
        encode::params(&mut head, ID, &pairs);
        let (sending, ended) = oneshot::channel();
        let gate = Arc::new(Gate::default());
        tokio::spawn(send(socket.clone(), gate.clone(), head, body, ended));
        // Only a client that has sent a request gives out the stream of a response: this one sends to nowhere.
        let nothing = fastcgi_client::Request::new(fastcgi_client::Params::default(), fastcgi_client::io::empty());
        let receiving = Receiving {
            socket,
            gate: gate.clone(),
        };
        let response = Client::new(receiving).execute_once_stream(nothing).await?;
        Ok(Self {
            response,
            gate,
            sending: Some(sending),
        })
    }

    /// The next piece of STDOUT; `None` after the end of the request. STDERR goes to the log.
    pub async fn stdout(&mut self) -> Option<Result<Bytes, Broken>> {
        std::future::poll_fn(|cx| self.poll_stdout(cx)).await
    }

    fn poll_stdout(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            // ResponseStream reads before it looks at what it has read: it is let at the socket only when it has no
            // whole record left, or it would collect a fast response in memory.
            self.gate.open.store(false, Relaxed);
            let mut content = self.response.poll_next_unpin(cx);
            if content.is_pending() {
                self.gate.open.store(true, Relaxed);
                content = self.response.poll_next_unpin(cx);
            }
            return Poll::Ready(match content {
                // The empty record that ends the stream; END_REQUEST follows.
                Poll::Ready(Some(Ok(Content::Stdout(piece)))) if piece.is_empty() => continue,
                Poll::Ready(Some(Ok(Content::Stdout(piece)))) => Some(Ok(piece)),
                Poll::Ready(Some(Ok(Content::Stderr(text)))) => {
                    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                        warn!(target: contract::log::APP, "{}", String::from_utf8_lossy(line).escape_debug());
                    }
                    continue;
                }
                // What the protocol status adds has been said in the response, as for nginx, which ignores it.
                Poll::Ready(
                    None
                    | Some(Err(
                        ClientError::EndRequestCantMpxConn { .. }
                        | ClientError::EndRequestOverloaded { .. }
                        | ClientError::EndRequestUnknownRole { .. },
                    )),
                ) => {
                    self.finish();
                    None
                }
                Poll::Ready(Some(Err(error))) => Some(Err(error.into())),
                Poll::Pending if self.gate.ended.load(Relaxed) => {
                    let given_up = self.gate.given_up.load(Relaxed);
                    Some(Err(if given_up { Broken::Request } else { Broken::Truncated }))
                }
                Poll::Pending => return Poll::Pending,
            });
        }
    }

    /// The response is complete: the rest of the request needs no reader in the pool.
    fn finish(&mut self) {
        if let Some(sending) = self.sending.take() {
            // Nobody listens if the whole request has been sent.
            let _ = sending.send(());
        }
    }
}

/// A response's body, record by record.
pub struct ResponseBody {
    exchange: Exchange,
    /// What came with the head.
    first: Bytes,
    /// What the head promised, less what has been passed on.
    remaining: Option<u64>,
    /// Why there is no more.
    broken: Option<Broken>,
}

impl ResponseBody {
    pub fn new(exchange: Exchange, first: Bytes, content_length: Option<u64>) -> Self {
        Self {
            exchange,
            first,
            remaining: content_length,
            broken: None,
        }
    }

    /// Reads to the end of the request without passing anything on.
    pub async fn discard(mut self) {
        while let Some(Ok(_)) = self.exchange.stdout().await {}
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        if let Some(broken) = this.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        let piece = if this.first.is_empty() {
            ready!(this.exchange.poll_stdout(cx))
        } else {
            Some(Ok(std::mem::take(&mut this.first)))
        };
        match piece {
            Some(Ok(piece)) => {
                if let Some(remaining) = &mut this.remaining {
                    *remaining = remaining.saturating_sub(piece.len() as u64);
                    // hyper drops the body here without asking for its end.
                    if *remaining == 0 {
                        this.exchange.finish();
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Some(Err(broken)) => {
                warn!(error = %broken, "response broken off");
                // hyper throws away what it has not written yet as soon as it gets an error: let it write first.
                this.broken = Some(broken);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        // hyper takes the length from the head, and chunks what has none.
        SizeHint::default()
    }
}

/// Sends a request, until `ended` says that its response is complete or that nobody waits for it.
async fn send(
    socket: Arc<UnixStream>,
    gate: Arc<Gate>,
    head: Vec<u8>,
    mut body: Incoming,
    mut ended: oneshot::Receiver<()>,
) {
    let sent = tokio::select! {
        sent = send_all(&socket, head, &mut body) => sent,
        complete = &mut ended => match complete {
            Ok(()) => Err(Unsent::Complete),
            Err(_) => return,
        },
    };
    match sent {
        Ok(()) => return,
        Err(Unsent::Body(error)) => {
            debug!(%error, "request body broken off");
            gate.given_up.store(true, Relaxed);
            // hyper goes on waiting for the response. The pool has to learn, and the end of the socket wakes the reader.
            if let Err(error) = rustix::net::shutdown(&*socket, rustix::net::Shutdown::Both) {
                debug!(%error, "pool has closed the connection before");
            }
            return;
        }
        // The pool has closed, and what it answered may still be waiting to be read.
        Err(Unsent::Socket(error)) => debug!(%error, "request not sent whole"),
        Err(Unsent::Complete) => {}
    }
    drop(socket);
    let drain = async {
        let mut read = 0;
        while read < DRAIN_BYTES {
            match body.frame().await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => return,
            }
        }
    };
    if tokio::time::timeout(DRAIN_TIME, drain).await.is_err() {
        debug!("request body not drained in time");
    }
}

enum Unsent {
    Body(hyper::Error),
    Socket(io::Error),
    Complete,
}

async fn send_all(socket: &UnixStream, head: Vec<u8>, body: &mut Incoming) -> Result<(), Unsent> {
    let mut records = head;
    if !body.is_end_stream() {
        // The application may answer before the first byte of the body has come.
        write_all(socket, &records).await.map_err(Unsent::Socket)?;
        records.clear();
    }
    while let Some(frame) = body.frame().await {
        // Trailers have no place in a FastCGI request.
        if let Ok(data) = frame.map_err(Unsent::Body)?.into_data() {
            encode::stdin(&mut records, ID, &data);
            write_all(socket, &records).await.map_err(Unsent::Socket)?;
            records.clear();
        }
    }
    encode::end_stdin(&mut records, ID);
    write_all(socket, &records).await.map_err(Unsent::Socket)
}

async fn write_all(socket: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        socket.writable().await?;
        match socket.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Between an [`Exchange`] and the reader that it gave away.
#[derive(Default)]
struct Gate {
    /// The reader may read from the socket.
    open: AtomicBool,
    /// The socket is at its end.
    ended: AtomicBool,
    /// The connection was shut down on this side, because the request will never be whole.
    given_up: AtomicBool,
}

/// What fastcgi-client reads from. Its own end says nothing to `ResponseStream`, which would take any end of the socket
/// for the end of the request: so the end is kept back, and shown to [`Exchange::poll_stdout`] by the gate.
struct Receiving {
    socket: Arc<UnixStream>,
    gate: Arc<Gate>,
}

impl AsyncRead for Receiving {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.gate.open.load(Relaxed) {
            return Poll::Pending;
        }
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read(buffer) {
                Ok(0) => {
                    self.gate.ended.store(true, Relaxed);
                    return Poll::Pending;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }
}

/// Sends to nowhere: [`send`] writes the request.
impl AsyncWrite for Receiving {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
