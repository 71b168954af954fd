//! Whole conversations under one seed: a client that is busy, aborts, interleaves and trails records, an echoing
//! responder behind the codec, input cut anywhere. The client writes down the answer that it is owed as it goes.
//!
//! `SIM_SEED=` replays one conversation, `SIM_SEEDS=` says how many to play (default 400).

use std::env;

use fastcgi::record::{KEEP_CONN, ProtocolStatus, kind, role};
use fastcgi::{Connection, Event, Pairs, encode};

use crate::support::random::Random;

const MAX_PARAMS: usize = 2000;

#[test]
fn conversations_get_exactly_the_answers_they_are_owed() {
    let number = |name: &str| env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(400),
    };
    for seed in seeds {
        let mut random = Random::new(seed);
        let client = Client::play(&mut random);
        let mut server = Server::new();
        let mut rest = &client.sent[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.piece().min(rest.len()));
            server.read(piece);
            rest = after;
        }
        assert!(
            server.answer == client.owed,
            "SIM_SEED={seed}: the answer differs from what was owed"
        );
        assert!(
            server.unread.is_empty() && server.connection.between_records(),
            "SIM_SEED={seed}"
        );
        assert_eq!(server.connection.active(), None, "SIM_SEED={seed}");
    }
}

#[test]
fn conversations_that_break_off_anywhere_get_a_part_of_their_answer() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let client = Client::play(&mut random);
        let mut server = Server::new();
        server.read(&client.sent[..(random.next() as usize) % client.sent.len()]);
        assert!(
            client.owed.starts_with(&server.answer),
            "SIM_SEED={seed}: something was answered too early"
        );
    }
}

/// An echo: answers at the end of the body, or at once if the params say so.
struct Server {
    connection: Connection,
    unread: Vec<u8>,
    body: Vec<u8>,
    answer: Vec<u8>,
}

impl Server {
    fn new() -> Server {
        Server {
            connection: Connection::new(MAX_PARAMS),
            unread: Vec::new(),
            body: Vec::new(),
            answer: Vec::new(),
        }
    }

    fn read(&mut self, piece: &[u8]) {
        self.unread.extend_from_slice(piece);
        let input = std::mem::take(&mut self.unread);
        let mut taken = 0;
        loop {
            let (bytes, event) = self
                .connection
                .advance(&input[taken..])
                .expect("the client obeys the protocol");
            taken += bytes;
            let out = &mut self.answer;
            match event {
                None => break,
                Some(Event::Request { params_too_large, .. }) => {
                    self.body.clear();
                    let early = Pairs::new(self.connection.params()).any(|pair| pair == Ok((b"EARLY", b"1")));
                    if early || params_too_large {
                        self.finish(if params_too_large { b"too large" } else { b"early" });
                    }
                }
                Some(Event::Stdin(content)) => self.body.extend_from_slice(content),
                Some(Event::StdinEnd) => {
                    let body = std::mem::take(&mut self.body);
                    self.finish(&body);
                }
                Some(Event::Abort) => self.finish(b""),
                Some(Event::AbortedEarly(begin)) => {
                    encode::end_request(out, begin.id, 0, ProtocolStatus::RequestComplete);
                }
                Some(Event::SecondRequest { id }) => encode::end_request(out, id, 0, ProtocolStatus::CantMpxConn),
                Some(Event::GetValues(query)) => encode::get_values_result(out, query, 10, 1),
                Some(Event::UnknownType(kind)) => encode::unknown_type(out, kind),
                Some(Event::Ignored(_)) => {}
            }
        }
        self.unread = input[taken..].to_vec();
    }

    fn finish(&mut self, content: &[u8]) {
        let id = self.connection.active().expect("an active request").id;
        owe(&mut self.answer, id, content);
        self.connection.finish();
    }
}

fn owe(out: &mut Vec<u8>, id: u16, content: &[u8]) {
    encode::stdout(out, id, content);
    encode::end_stdout(out, id);
    encode::end_request(out, id, 0, ProtocolStatus::RequestComplete);
}

/// Writes a conversation and, next to it, what must be answered.
struct Client {
    sent: Vec<u8>,
    owed: Vec<u8>,
}

impl Client {
    fn play(random: &mut Random) -> Client {
        let mut client = Client {
            sent: Vec::new(),
            owed: Vec::new(),
        };
        for _ in 0..1 + random.next() % 6 {
            client.request(random);
        }
        client
    }

    fn request(&mut self, random: &mut Random) {
        let id = 1 + (random.next() % 3) as u16;
        let early = random.next().is_multiple_of(4);
        let too_large = random.next().is_multiple_of(8);
        let mut params = Vec::new();
        encode::pair(&mut params, b"EARLY", if early { b"1" } else { b"0" });
        let cookie = if too_large {
            MAX_PARAMS
        } else {
            (random.next() % 400) as usize
        };
        encode::pair(&mut params, b"HTTP_COOKIE", &vec![b'c'; cookie]);
        let body: Vec<u8> = (0..random.next() % 3000).map(|_| random.next() as u8).collect();

        self.noise(random, None);
        encode::begin_request(&mut self.sent, id, role::RESPONDER, KEEP_CONN);
        if random.next().is_multiple_of(8) {
            self.stream(random, kind::PARAMS, id, &params[..params.len() / 2], Some(id));
            encode::abort_request(&mut self.sent, id);
            encode::end_request(&mut self.owed, id, 0, ProtocolStatus::RequestComplete);
            return;
        }
        self.stream(random, kind::PARAMS, id, &params, Some(id));
        self.record(random, kind::PARAMS, id, b"");
        let answered = early || too_large;
        if answered {
            owe(&mut self.owed, id, if too_large { b"too large" } else { b"early" });
        }
        // Once it is answered, another request could begin: noise may do all but that.
        let active = Some(id).filter(|_| !answered);
        if random.next().is_multiple_of(6) {
            self.stream(random, kind::STDIN, id, &body[..body.len() / 2], active);
            encode::abort_request(&mut self.sent, id);
            if !answered {
                owe(&mut self.owed, id, b"");
            }
            return;
        }
        self.stream(random, kind::STDIN, id, &body, active);
        self.record(random, kind::STDIN, id, b"");
        if !answered {
            owe(&mut self.owed, id, &body);
        }
    }

    /// A stream without its end, in records of many sizes, with other things between them.
    fn stream(&mut self, random: &mut Random, kind: u8, id: u16, content: &[u8], active: Option<u16>) {
        let mut rest = content;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(random.piece().min(rest.len()));
            self.record(random, kind, id, chunk);
            self.noise(random, active);
            rest = after;
        }
    }

    fn record(&mut self, random: &mut Random, kind: u8, id: u16, content: &[u8]) {
        let padding = if random.next().is_multiple_of(2) {
            0
        } else {
            random.next() as u8
        };
        encode::record(&mut self.sent, kind, id, content, padding);
    }

    /// Records that must not touch the request that is `active`.
    fn noise(&mut self, random: &mut Random, active: Option<u16>) {
        let idle_id = 1000 + (random.next() % 5) as u16;
        match random.next() % 24 {
            0 => {
                self.record(random, 99, 0, b"management");
                encode::unknown_type(&mut self.owed, 99);
            }
            1 => {
                let mut query = Vec::new();
                encode::pair(&mut query, b"FCGI_MPXS_CONNS", b"");
                self.record(random, kind::GET_VALUES, 0, &query);
                encode::get_values_result(&mut self.owed, &query, 10, 1);
            }
            2 if active.is_some() => {
                encode::begin_request(&mut self.sent, idle_id, role::RESPONDER, 0);
                encode::end_request(&mut self.owed, idle_id, 0, ProtocolStatus::CantMpxConn);
            }
            3 => self.record(random, kind::PARAMS, idle_id, b"\x05\x01EARLY1"),
            4 => self.record(random, kind::STDIN, idle_id, b"late"),
            5 => self.record(random, kind::STDIN, idle_id, b""),
            6 => self.record(random, kind::ABORT_REQUEST, idle_id, b""),
            7 => self.record(random, 99, idle_id, b"of a request"),
            8 => self.record(random, kind::STDOUT, idle_id, b"of an application"),
            9 => self.record(random, kind::STDIN, 0, b"of nobody"),
            _ => {}
        }
    }
}
