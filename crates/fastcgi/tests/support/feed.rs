//! Feeds a `Connection` in pieces, as a socket would, and checks its promises at each step.

use fastcgi::connection::MAX_UNCONSUMED;
use fastcgi::{BeginRequest, Connection, Event, Ignored, ProtocolError};

/// An event that owns its bytes. Neighbouring pieces of a body are one, so that event lists do not depend on how the
/// input was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Request {
        begin: BeginRequest,
        params_too_large: bool,
        params: Vec<u8>,
    },
    Stdin(Vec<u8>),
    StdinEnd,
    Abort,
    AbortedEarly(BeginRequest),
    SecondRequest {
        id: u16,
    },
    GetValues(Vec<u8>),
    UnknownType(u8),
    Ignored(Ignored),
    Failed(ProtocolError),
}

/// When the driver behind the feeder answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    Never,
    AtRequest,
    /// The usual driver: at the end of the body, or when the request is aborted.
    AtStdinEnd,
    AtAbort,
}

pub struct Feed {
    connection: Connection,
    max_params: usize,
    finish: Finish,
    unread: Vec<u8>,
    seen: Vec<Seen>,
}

/// All that a conversation led to.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub seen: Vec<Seen>,
    pub unread: Vec<u8>,
    pub active: Option<BeginRequest>,
    pub between_records: bool,
    pub params_ended: bool,
    pub stdin_ended: bool,
}

impl Feed {
    pub fn new(max_params: usize, finish: Finish) -> Feed {
        Feed {
            connection: Connection::new(max_params),
            max_params,
            finish,
            unread: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Feeds everything in pieces of the given sizes, and what is left as the last piece.
    pub fn in_pieces(mut self, input: &[u8], sizes: impl IntoIterator<Item = usize>) -> Outcome {
        let mut rest = input;
        for size in sizes {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            self.feed(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        self.feed(rest);
        self.outcome()
    }

    /// The same in pieces, each of which a new connection goes on with, as far as the last one can be exported.
    pub fn in_turns(mut self, input: &[u8], sizes: impl IntoIterator<Item = usize>) -> Outcome {
        let mut rest = input;
        for size in sizes {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            self.feed(piece);
            self.resume();
            rest = after;
        }
        self.feed(rest);
        self.outcome()
    }

    /// Goes on with a new connection, which tells again what the last one has told of the active request.
    fn resume(&mut self) {
        let before = &self.connection;
        if !before.is_exportable() {
            return;
        }
        let mut exported = Vec::new();
        before.export(&mut exported);
        let mut connection = Connection::new(self.max_params);
        let (mut taken, mut told) = (0, Vec::new());
        while let (bytes, Some(event)) = connection.advance(&exported[taken..]).expect("valid records") {
            taken += bytes;
            told.push(own(event, &connection));
        }
        let mut expected = Vec::new();
        if let Some(begin) = before.active().filter(|_| before.params_ended()) {
            let params = before.params().to_vec();
            expected.push(Seen::Request {
                begin,
                params_too_large: false,
                params,
            });
            if self
                .seen
                .iter()
                .rfind(|seen| matches!(seen, Seen::Abort | Seen::Request { .. }))
                == Some(&Seen::Abort)
            {
                expected.push(Seen::Abort);
            }
            if before.stdin_ended() {
                expected.push(Seen::StdinEnd);
            }
        }
        assert_eq!(told, expected);
        assert_eq!(connection.between_records(), before.between_records());
        self.connection = connection;
    }

    pub fn feed(&mut self, piece: &[u8]) {
        self.unread.extend_from_slice(piece);
        let mut taken = 0;
        loop {
            let rest = &self.unread[taken..];
            match self.connection.advance(rest) {
                Ok((bytes, event)) => {
                    assert!(bytes <= rest.len(), "took {bytes} of {} bytes", rest.len());
                    taken += bytes;
                    let Some(event) = event else { break };
                    let seen = own(event, &self.connection);
                    self.push(seen);
                }
                Err(error) => {
                    assert_eq!(self.connection.advance(b""), Err(error), "an error is final");
                    if self.seen.last() != Some(&Seen::Failed(error)) {
                        self.seen.push(Seen::Failed(error));
                    }
                    taken = self.unread.len();
                    break;
                }
            }
            assert!(self.connection.params().len() <= self.max_params);
        }
        self.unread.drain(..taken);
        assert!(self.connection.params().len() <= self.max_params);
        assert!(
            self.unread.len() < MAX_UNCONSUMED,
            "{} bytes are unconsumed",
            self.unread.len()
        );
        if !matches!(self.seen.last(), Some(Seen::Failed(_))) {
            assert_eq!(
                self.connection.advance(&self.unread),
                Ok((0, None)),
                "no progress without more input"
            );
            assert!(
                self.unread.is_empty() || self.connection.between_records(),
                "only record heads are unconsumed"
            );
        }
    }

    fn push(&mut self, seen: Seen) {
        let finish = match seen {
            Seen::Request { .. } => self.finish == Finish::AtRequest,
            Seen::StdinEnd => self.finish == Finish::AtStdinEnd,
            Seen::Abort => matches!(self.finish, Finish::AtStdinEnd | Finish::AtAbort),
            _ => false,
        };
        if finish {
            assert!(self.connection.active().is_some(), "{seen:?} without an active request");
            self.connection.finish();
            assert_eq!(self.connection.active(), None);
        }
        match (self.seen.last_mut(), seen) {
            (Some(Seen::Stdin(body)), Seen::Stdin(more)) => body.extend_from_slice(&more),
            (_, seen) => self.seen.push(seen),
        }
    }

    pub fn outcome(self) -> Outcome {
        Outcome {
            seen: self.seen,
            unread: self.unread,
            active: self.connection.active(),
            between_records: self.connection.between_records(),
            params_ended: self.connection.params_ended(),
            stdin_ended: self.connection.stdin_ended(),
        }
    }
}

fn own(event: Event<'_>, connection: &Connection) -> Seen {
    match event {
        Event::Request {
            begin,
            params_too_large,
        } => {
            assert_eq!(connection.active(), Some(begin));
            assert!(connection.params_ended());
            Seen::Request {
                begin,
                params_too_large,
                params: connection.params().to_vec(),
            }
        }
        Event::Stdin(content) => {
            assert!(!content.is_empty());
            assert!(connection.active().is_some() && connection.params_ended() && !connection.stdin_ended());
            Seen::Stdin(content.to_vec())
        }
        Event::StdinEnd => {
            assert!(connection.stdin_ended());
            Seen::StdinEnd
        }
        Event::Abort => Seen::Abort,
        Event::AbortedEarly(begin) => {
            assert_eq!(connection.active(), None);
            Seen::AbortedEarly(begin)
        }
        Event::SecondRequest { id } => {
            assert!(connection.active().is_some_and(|active| active.id != id));
            Seen::SecondRequest { id }
        }
        Event::GetValues(query) => Seen::GetValues(query.to_vec()),
        Event::UnknownType(kind) => Seen::UnknownType(kind),
        Event::Ignored(ignored) => Seen::Ignored(ignored),
    }
}
