//! What the supervisor itself answers on a pool's connections: 502 for a request whose worker has died, 503 while nobody serves.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use contract::own::OwnFd;
use fastcgi::record::ProtocolStatus;
use fastcgi::{BeginRequest, Connection, Event, Pairs, encode};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use crate::readiness;

/// How long a request may take to arrive that is answered here, and a peer to read its answer and close.
const PATIENCE: Duration = Duration::from_secs(10);
const FAREWELL: Duration = Duration::from_secs(2);
/// Of a request's params so much is looked at.
const PARAMS: usize = 64 * 1024;
const CHUNK: usize = 16 * 1024;

/// A whole response with the end of its request.
pub fn response(id: u16, is_head: bool, status: &str, retry_after: u64, app_status: u32) -> Vec<u8> {
    let body = format!("{status}\n");
    let length = body.len();
    let mut page = format!(
        "Status: {status}\r\nContent-Type: text/plain; charset=utf-8\r\nRetry-After: {retry_after}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    if !is_head {
        page.push_str(&body);
    }
    let mut out = Vec::new();
    encode::stdout(&mut out, id, page.as_bytes());
    encode::end_stdout(&mut out, id);
    encode::end_request(&mut out, id, app_status, ProtocolStatus::RequestComplete);
    out
}

/// Sends it without waiting; whether all of it has left. A peer that does not take a few hundred bytes at once has stopped
/// reading.
pub fn send_at_once(connection: &OwnFd, bytes: &[u8]) -> bool {
    send(connection, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) == Ok(bytes.len())
}

/// Ends a response that has begun; `between_records`: so that every front server notices.
pub fn cut(connection: &OwnFd, between_records: bool) {
    if between_records {
        send_at_once(connection, &encode::POISON);
    }
    hang_up(connection);
}

/// Ends a connection that others may have open.
pub fn hang_up(connection: &OwnFd) {
    // An error means that it is over already.
    let _ = shutdown(connection, Shutdown::Both);
}

/// Ends a connection behind its last response, at once for who looks whether it has ended before he sends his next request
/// (Apache). What follows can wait: closing it while the peer still sends would make it lose the response.
pub fn take_leave(connection: Arc<OwnFd>) -> impl Future<Output = ()> + Send {
    let _ = shutdown(&connection, Shutdown::Write);
    async move {
        if let Ok(watched) = watched(&connection) {
            let mut chunk = vec![0; CHUNK];
            let _ = timeout(FAREWELL, async {
                while matches!(receive(&watched, &mut chunk).await, Ok(1..)) {}
            })
            .await;
        }
        hang_up(&connection);
    }
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It waits for its next request.
    Idle,
    Over,
}

/// Answers the request that arrives on a connection with 503. `keeps`: whether it may bring another one.
pub async fn refuse(connection: Arc<OwnFd>, retry_after: u64, keeps: bool) -> End {
    let end = match timeout(PATIENCE, answer(&connection, retry_after, keeps)).await {
        Ok(Ok(end)) => end,
        // It did not arrive, or made no sense.
        Ok(Err(_)) | Err(_) => {
            hang_up(&connection);
            return End::Over;
        }
    };
    if end == End::Over {
        take_leave(connection).await;
    }
    end
}

async fn answer(connection: &Arc<OwnFd>, retry_after: u64, keeps: bool) -> io::Result<End> {
    let watched = watched(connection)?;
    let mut codec = Connection::new(PARAMS);
    let mut chunk = vec![0; CHUNK];
    let mut unread = Vec::new();
    let begin = loop {
        match receive(&watched, &mut chunk).await? {
            // Whoever has only ended his side may have sent all of a request.
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            received => unread.extend_from_slice(&chunk[..received]),
        }
        if let Some(begin) = read(&mut codec, &mut unread, connection)? {
            break begin;
        }
    };
    let param = |wanted: &[u8]| {
        let pairs = Pairs::new(codec.params()).flatten();
        pairs
            .filter(|(name, _)| *name == wanted)
            .last()
            .map_or(&b""[..], |(_, value)| value)
    };
    let is_head = param(b"REQUEST_METHOD") == b"HEAD";
    let mut bytes = response(begin.id, is_head, "503 Service Unavailable", retry_after, 0);
    let stays = keeps && begin.keep_conn && codec.between_records() && unread.is_empty();
    if !stays && param(b"SERVER_SOFTWARE").starts_with(b"nginx") {
        bytes.extend_from_slice(&encode::POISON);
    }
    match send_at_once(connection, &bytes) {
        true if stays => Ok(End::Idle),
        true => Ok(End::Over),
        false => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// The request, once it is there to its end; its body is thrown away.
fn read(codec: &mut Connection, unread: &mut Vec<u8>, connection: &OwnFd) -> io::Result<Option<BeginRequest>> {
    loop {
        let (consumed, event) = codec.advance(unread).map_err(io::Error::other)?;
        let aborted = match &event {
            None => {
                unread.drain(..consumed);
                return Ok(None);
            }
            Some(Event::StdinEnd) => {
                unread.drain(..consumed);
                return Ok(codec.active());
            }
            Some(Event::Abort) => codec.active(),
            Some(Event::AbortedEarly(begin)) => Some(*begin),
            Some(_) => None,
        };
        unread.drain(..consumed);
        if let Some(begin) = aborted {
            let mut end = Vec::new();
            encode::end_request(&mut end, begin.id, 0, ProtocolStatus::RequestComplete);
            send_at_once(connection, &end);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    }
}

fn watched(connection: &OwnFd) -> io::Result<AsyncFd<OwnedFd>> {
    readiness::of_reading(connection.as_fd().try_clone_to_owned()?)
}

async fn receive(connection: &AsyncFd<OwnedFd>, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = connection.readable().await?;
        let received = ready.try_io(|fd| {
            loop {
                match recv(fd.get_ref(), &mut *chunk, RecvFlags::DONTWAIT) {
                    Ok((_, received)) => return Ok(received),
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        });
        if let Ok(received) = received {
            return received;
        }
    }
}
