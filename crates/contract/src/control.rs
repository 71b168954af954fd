//! Messages between the supervisor and a leader: JSON objects, one a line, over a unix stream socket pair.
//!
//! The supervisor starts a leader with that socket as its standard input. The first line is [`ToLeader::Settings`]; the
//! descriptors of [`LEADER_FDS`] come with its first byte (SCM_RIGHTS). End of file on either side means that the other
//! process is gone.

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::own::{Own, OwnFd};
use crate::settings::Settings;

/// Of these messages, of the handover's, and of whatever else processes of one pool share over generations. A supervisor may have
/// leaders of an older version, for it can take another one's place. Those of another number are only told [`ToLeader::Stop`] or
/// [`ToLeader::Quit`], which stay as they are for ever, as the log's channel does; what they say is not listened to, and the
/// next generation gets a handover of its own. To be raised when an older process would not understand a newer one, or the other way
/// round.
pub const VERSION: u32 = 1;

/// Most descriptors that one message carries: those of [`LEADER_FDS`]. Linux allows 253.
pub const MAX_FDS: usize = 68;

/// Those that come before the listeners.
pub const OWN_FDS: usize = 8;

/// Descriptors beside [`ToLeader::Settings`], in this order: the log (where events are sent, see [`crate::log::channel`]), the scoreboard's
/// memory, both ends of the handover, the memory of the keeper's table, the workers' end of the keeper's channel, the memory of the application's metrics, the file for what is imported ([`IMPORT_SIGNAL`]), then one listener for each entry of `Settings::listeners`.
pub const LEADER_FDS: &str = "log, scoreboard, handover (2), keeper (2), metrics, imports, listeners...";

/// Has a process that imports the application write the stack of the thread that does so to the file that came with the settings.
/// Linux itself sends it to the first process of a machine alone, and applications don't know it.
pub const IMPORT_SIGNAL: Signal = Signal::POWER;

/// Supervisor to leader.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToLeader {
    Settings(Box<Settings>),
    /// One worker more.
    More,
    /// One worker less.
    Fewer,
    /// So many workers from now on, within the room that there is (`Size::limit`).
    Size {
        least: u32,
        most: u32,
    },
    /// Replace every worker, one after the other.
    Recycle,
    /// Take connections: the generation is ready, and the supervisor has heard so.
    Serve,
    /// Give connections to the next generation, finish running requests within `Limits::stop_timeout`, then exit with 0.
    Retire,
    /// Close idle connections, finish running requests within `Limits::stop_timeout`, then exit with 0.
    Stop,
    /// Exit at once, cutting running requests.
    Quit,
}

/// Leader to supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToSupervisor {
    /// All workers have imported the application and can serve.
    Ready { python: String },
    /// The generation can't start. `reason` is one line for the administrator, `detail` the traceback if there is one.
    Failed { reason: String, detail: String },
    /// The application was loaded but can't be shared with forked workers, for this reason. The leader ends; another one
    /// must leave the loading to the workers.
    NotPreloadable { reason: String },
    /// So many workers serve from now on, or will as soon as they have loaded the application.
    Workers { size: u32 },
    /// No request has come for as long as the last worker waits for one: the generation may go.
    Idle,
    /// A worker ended without being asked to. It will be replaced after `backoff_ms`.
    WorkerDied {
        pid: i32,
        how: String,
        backoff_ms: u64,
        /// It was not ready yet.
        #[serde(default)]
        not_started: Option<NotStarted>,
    },
}

/// Why something can't start: one line for the administrator, and the traceback if there is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotStarted {
    pub reason: String,
    pub detail: String,
}

/// Sends `message` as one line together with `fds`.
///
/// # Errors
/// The socket's own, and `InvalidInput` for more than [`MAX_FDS`] descriptors.
pub fn send_with_fds(socket: &UnixStream, message: &ToLeader, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.len() > MAX_FDS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("more than {MAX_FDS} descriptors"),
        ));
    }
    let line = line_of(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptors don't fit"));
    }
    let sent = sendmsg(socket, &[IoSlice::new(&line)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut socket = socket;
    socket.write_all(&line[sent..])
}

/// Sends `message` as one line.
///
/// # Errors
/// The socket's own.
pub fn send<T: Serialize>(mut socket: &UnixStream, message: &T) -> io::Result<()> {
    socket.write_all(&line_of(message)?)
}

fn line_of<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Receives the first line with its descriptors.
///
/// # Errors
/// The socket's own; `UnexpectedEof` if the supervisor is gone; `InvalidData` for anything but a message.
pub fn receive_with_fds(socket: &UnixStream) -> io::Result<(ToLeader, Vec<OwnFd>)> {
    let mut fds = Vec::new();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        // Reading in chunks swallows nothing: the supervisor sends no second line before the leader has answered.
        let mut chunk = [0; 16 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut chunk)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )?
        .bytes;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received.map(Own::new));
            }
        }
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.extend_from_slice(&chunk[..received]);
    }
    Ok((serde_json::from_slice(&line)?, fds))
}

/// Reads further messages, one a line.
pub struct Messages<R> {
    reader: BufReader<R>,
}

impl<R: Read> Messages<R> {
    pub fn new(socket: R) -> Self {
        Self {
            reader: BufReader::new(socket),
        }
    }

    /// The next message; `None` when the other process is gone.
    ///
    /// # Errors
    /// The socket's own; `InvalidData` for anything but a message.
    pub fn receive<T: for<'de> Deserialize<'de>>(&mut self) -> io::Result<Option<T>> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&line)?))
    }

    /// Whether a message may have been read from the socket already: poll would not show it.
    pub fn has_buffered(&self) -> bool {
        !self.reader.buffer().is_empty()
    }
}

impl<R: AsFd> AsFd for Messages<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::fd::OwnedFd;
    use std::thread;
    use std::time::Duration;

    use ::settings::sections::{Front, Limits, Recycle};
    use ::settings::values::{Format, Level};
    use ::settings::{Entries, Layers, Setting};
    use rustix::event::PollFlags;

    use super::*;
    use crate::log::LogSettings;
    use crate::settings::{Entry, ListenerKind, Size};
    use crate::wait::is_ready;

    fn settings(app: String) -> ToLeader {
        let layers = &mut Layers::new(Entries::SERVE);
        ToLeader::Settings(Box::new(Settings {
            name: "blog".into(),
            entry: Entry::Pool,
            app,
            chdir: Setting::new("/srv/blog".into(), "--chdir"),
            pythonpath: vec!["/srv/lib".into()],
            size: Size::fixed(2),
            threads: Setting::new("4".parse().unwrap(), "--threads"),
            preload: true,
            status_path: Setting::new(Some("/fpm-status".parse().unwrap()), "--status-path"),
            ping_path: Setting::new(None, "--ping-path"),
            warmup: Setting::new(vec!["/".parse().unwrap()], "--warmup"),
            listeners: vec![ListenerKind::Unix, ListenerKind::Tcp],
            inherited_listeners: vec![1],
            mount: Setting::new(Some("/blog".parse().unwrap()), "--mount"),
            as_sent: false,
            front: Front::take(layers),
            debug: false,
            validate: false,
            allowed_peers: Some(vec!["127.0.0.1".parse().unwrap()]),
            cgi_variables: vec!["SSL_*".into()],
            limits: Limits::take(layers),
            recycle: Recycle::take(layers),
            log: LogSettings {
                level: Level::Debug,
                format: Format::Json,
                access: true,
                pool: Some("blog".into()),
                ..LogSettings::default()
            },
        }))
    }

    /// So many pipes: what is sent, and what must arrive.
    fn pipes(number: usize) -> (Vec<std::io::PipeReader>, Vec<OwnedFd>) {
        (0..number)
            .map(|_| std::io::pipe().unwrap())
            .map(|(reader, writer)| (reader, writer.into()))
            .unzip()
    }

    #[test]
    fn settings_of_any_length_arrive_with_as_many_descriptors_as_a_message_may_have_in_their_order() {
        for (length, number) in [(1, 0), (20_000, OWN_FDS), (1_000_000, MAX_FDS)] {
            let (supervisor, leader) = UnixStream::pair().unwrap();
            leader.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let (readers, writers) = pipes(number);
            let sent = settings("x".repeat(length));
            let (received, fds) = thread::scope(|scope| {
                scope.spawn(|| {
                    let fds: Vec<_> = writers.iter().map(AsFd::as_fd).collect();
                    send_with_fds(&supervisor, &sent, &fds).unwrap();
                });
                receive_with_fds(&leader).unwrap()
            });
            assert_eq!(received, sent);
            assert_eq!(fds.len(), number);
            drop(writers);
            for (mut reader, fd) in readers.into_iter().zip(fds) {
                assert!(!is_ready(&reader, PollFlags::IN), "the leader has the writing end");
                rustix::io::write(&fd, b"x").unwrap();
                drop(fd);
                let mut read = Vec::new();
                reader.read_to_end(&mut read).unwrap();
                assert_eq!(read, b"x");
            }
        }
    }

    #[test]
    fn one_descriptor_too_many_is_refused_and_nothing_is_sent() {
        let (supervisor, leader) = UnixStream::pair().unwrap();
        let (_readers, writers) = pipes(MAX_FDS + 1);
        let fds: Vec<_> = writers.iter().map(AsFd::as_fd).collect();
        let error = send_with_fds(&supervisor, &ToLeader::Stop, &fds).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::InvalidInput, "more than 68 descriptors")
        );
        assert!(!is_ready(&leader, PollFlags::IN));
    }

    #[test]
    fn first_line_that_never_ends_or_is_no_message_is_an_error() {
        for (sent, kind) in [
            (&b""[..], ErrorKind::UnexpectedEof),
            (b"\"stop\"", ErrorKind::UnexpectedEof),
            (b"hello\n", ErrorKind::InvalidData),
        ] {
            let (mut supervisor, leader) = UnixStream::pair().unwrap();
            supervisor.write_all(sent).unwrap();
            drop(supervisor);
            assert_eq!(receive_with_fds(&leader).unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn messages_come_one_by_one_until_the_other_process_is_gone() {
        let (supervisor, leader) = UnixStream::pair().unwrap();
        let sent = [
            ToSupervisor::Ready {
                python: "3.11\n\"x\"".into(),
            },
            ToSupervisor::Failed {
                reason: "no".into(),
                detail: "a\nb".into(),
            },
            ToSupervisor::NotPreloadable {
                reason: "it has started threads".into(),
            },
            ToSupervisor::WorkerDied {
                pid: 42,
                how: "killed".into(),
                backoff_ms: 100,
                not_started: Some(NotStarted {
                    reason: "no".into(),
                    detail: String::new(),
                }),
            },
        ];
        sent.iter().for_each(|message| send(&leader, message).unwrap());
        drop(leader);
        let mut messages = Messages::new(supervisor);
        assert!(is_ready(&messages, PollFlags::IN) && !messages.has_buffered());
        for (number, message) in sent.iter().enumerate() {
            assert_eq!(messages.receive::<ToSupervisor>().unwrap().as_ref(), Some(message));
            assert_eq!(
                messages.has_buffered(),
                number < 3,
                "poll does not show what was read already"
            );
        }
        assert_eq!(messages.receive::<ToSupervisor>().unwrap(), None);
    }

    #[test]
    fn line_that_is_no_message_is_an_error() {
        let (supervisor, mut leader) = UnixStream::pair().unwrap();
        leader.write_all(b"{}\n").unwrap();
        let error = Messages::new(supervisor).receive::<ToSupervisor>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
