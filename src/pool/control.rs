//! The supervisor's end of a leader's control socket.

use std::io;
use std::os::unix::net::UnixStream as Socket;

use contract::control::{ToLeader, ToSupervisor, VERSION, send};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tracing::{debug, error};

/// Longest message: a traceback is far shorter.
const LONGEST: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub struct Control {
    /// Messages are shorter than an empty socket's buffer, so that sending never waits.
    sender: Socket,
    receiver: UnixStream,
    /// What came, up to where the last message ended.
    received: Vec<u8>,
    /// The leader is of this version.
    is_understood: bool,
    is_open: bool,
}

impl Control {
    /// # Errors
    /// No descriptor is left.
    pub fn new(socket: Socket) -> io::Result<Self> {
        Self::resume(socket, Vec::new(), VERSION)
    }

    /// One through which `received` has come already. A leader of another version is not listened to.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn resume(socket: Socket, received: Vec<u8>, version: u32) -> io::Result<Self> {
        let sender = socket.try_clone()?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            sender,
            receiver: UnixStream::from_std(socket)?,
            received,
            is_understood: version == VERSION,
            is_open: true,
        })
    }

    /// Whether there may be more to receive.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    pub fn socket(&self) -> &Socket {
        &self.sender
    }

    /// What has come and was no whole message.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// # Errors
    /// The socket's: the leader is gone, or does not read.
    pub fn send(&self, message: &ToLeader) -> io::Result<()> {
        send(&self.sender, message)
    }

    /// The leader's next message; `None` when there will be no more. Nothing is lost by not waiting to the end.
    pub async fn next(&mut self) -> Option<ToSupervisor> {
        let message = self.receive().await;
        self.is_open = message.is_some();
        message
    }

    async fn receive(&mut self) -> Option<ToSupervisor> {
        let mut seen = 0;
        let end = loop {
            if !self.is_understood {
                self.received.clear();
                seen = 0;
            }
            if let Some(end) = self.received[seen..].iter().position(|&byte| byte == b'\n') {
                break seen + end;
            }
            seen = self.received.len();
            if seen > LONGEST {
                error!("the leader sent what is no message: it has no end");
                return None;
            }
            match self.receiver.read_buf(&mut self.received).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    debug!(%error, "the control socket can't be read");
                    return None;
                }
            }
        };
        let line: Vec<u8> = self.received.drain(..=end).collect();
        match serde_json::from_slice(&line) {
            Ok(message) => Some(message),
            Err(error) => {
                error!(%error, "the leader sent what is no message; program and engine are of different versions");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn message_without_an_end_is_none() {
        let (ours, mut theirs) = Socket::pair().unwrap();
        let writing = std::thread::spawn(move || {
            let some = vec![b'x'; 1 << 20];
            while theirs.write_all(&some).is_ok() {}
        });
        let mut control = Control::new(ours).unwrap();
        assert!(control.next().await.is_none() && !control.is_open());
        // What is read at a time may be as much again, where the writer is quick.
        let length = control.received().len();
        assert!((LONGEST..=2 * LONGEST).contains(&length), "{length}");
        drop(control);
        writing.join().unwrap();
    }

    #[tokio::test]
    async fn messages_come_whole_however_they_are_cut() {
        let (ours, mut theirs) = Socket::pair().unwrap();
        let mut control = Control::new(ours).unwrap();
        let first = ToSupervisor::Ready { python: "3".into() };
        let second = ToSupervisor::NotPreloadable { reason: "no".into() };
        let lines = [&first, &second].map(|message| serde_json::to_string(message).unwrap() + "\n");
        let all = lines.concat();
        let (head, rest) = all.split_at(10);
        theirs.write_all(head.as_bytes()).unwrap();
        tokio::select! {
            biased;
            message = control.next() => panic!("{message:?} was not sent yet"),
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
        }
        theirs.write_all(rest.as_bytes()).unwrap();
        drop(theirs);
        assert_eq!(control.next().await, Some(first));
        assert_eq!(control.next().await, Some(second));
        assert_eq!(control.next().await, None);
        assert!(!control.is_open());
    }
}
