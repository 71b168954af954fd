//! HTTP for few and friendly clients, and what keeps others from costing anybody anything: so many connections, so long.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use contract::settings::ListenerKind;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::answers::Answers;
use crate::manager::doors::{Doors, Guest};

/// As many connections there are at a time; one more ends the oldest.
pub const MOST: usize = 64;
/// The head of a request is there by then, and the next one, too.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// A connection that is as old ends behind its next response.
const LIFE: Duration = Duration::from_secs(120);
/// And after this, whatever its client has not read.
const LAST: Duration = Duration::from_secs(5);
/// Who has connected and asked for nothing has as long when another program is about to take this one's place.
const FIRST: Duration = Duration::from_millis(250);
/// A head is no longer. Less than that hyper does not take.
const LONGEST_HEAD: usize = 8 * 1024;
/// Accepting goes on after this time where the system has run out of something.
const BACKOFF: Duration = Duration::from_millis(100);

/// A socket that listens.
#[derive(Debug)]
pub enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Socket {
    /// # Errors
    /// The event loop can't have it.
    pub fn new(socket: OwnedFd, kind: ListenerKind) -> io::Result<Self> {
        Ok(match kind {
            ListenerKind::Unix => Self::Unix(UnixListener::from_std(StdUnixListener::from(socket))?),
            ListenerKind::Tcp => Self::Tcp(TcpListener::from_std(std::net::TcpListener::from(socket))?),
        })
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(socket) => Box::new(socket.accept().await?.0),
            Self::Tcp(socket) => Box::new(socket.accept().await?.0),
        })
    }
}

/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {
    /// Ready when something has arrived.
    fn poll_arrival(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Stream for UnixStream {
    fn poll_arrival(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }
}

impl Stream for TcpStream {
    fn poll_arrival(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }
}

/// Serves until it is dropped. Nobody is let in while the doors are closed.
pub async fn serve(socket: Socket, answers: Arc<Answers>, doors: Doors) {
    let mut connections = JoinSet::new();
    let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        doors.are_open().await;
        let accepted = tokio::select! {
            biased;
            () = doors.are_closed() => continue,
            accepted = socket.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok(stream) => {
                let connection = connections.spawn(connection(stream, Arc::clone(&answers), doors.enter()));
                oldest.retain(|connection| !connection.is_finished());
                oldest.push_back(connection);
                if oldest.len() > MOST
                    && let Some(connection) = oldest.pop_front()
                {
                    connection.abort();
                }
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection that asks for the status");
                sleep(BACKOFF).await;
            }
        }
    }
}

async fn connection(stream: Box<dyn Stream>, answers: Arc<Answers>, guest: Guest) {
    let doors = guest.doors();
    let silent = async {
        tokio::select! {
            () = sleep(HEAD_WAIT) => {}
            () = doors.are_closed() => sleep(FIRST).await,
        }
    };
    tokio::select! {
        biased;
        arrived = poll_fn(|context| stream.poll_arrival(context)) => match arrived {
            Ok(()) => {}
            Err(_) => return,
        },
        () = silent => return,
    }
    let service = service_fn(|request| {
        let answers = Arc::clone(&answers);
        async move { Ok::<_, Infallible>(answers.answer(&request).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WAIT)
            .max_buf_size(LONGEST_HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    let last = async {
        tokio::select! {
            () = sleep(LIFE) => {}
            // What has arrived by then is answered.
            () = doors.are_closed() => yield_now().await,
        }
    };
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = last => {
            connection.as_mut().graceful_shutdown();
            match timeout(LAST, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection that asks for the status broken off");
    }
}
