//! What holds for any input, by random conversations.

use fastcgi::record::{HEADER_LENGTH, Header, MAX_CONTENT, VERSION, kind};
use fastcgi::{BeginRequest, Pairs, ProtocolError, encode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::feed::{Feed, Finish, Outcome, Seen};
use crate::support::oracle;

const MAX_PARAMS: usize = 120;

/// A record as a careless or hostile client may send it.
#[derive(Debug, Clone)]
struct Record {
    kind: u8,
    id: u16,
    content: Vec<u8>,
    padding: u8,
}

/// A request as a proper client sends it, in records of the given sizes.
#[derive(Debug, Clone)]
struct Request {
    begin: BeginRequest,
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    record_size: usize,
    padding: u8,
}

fn any_record() -> impl Strategy<Value = Record> {
    let begin = vec(any::<u8>(), 8).prop_map(|body| (kind::BEGIN_REQUEST, body));
    let end = select(vec![kind::PARAMS, kind::STDIN]).prop_map(|kind| (kind, Vec::new()));
    let other = (prop_oneof![4 => 0_u8..=12, 1 => any::<u8>()], vec(any::<u8>(), 0..60));
    // Few ids, so that they meet.
    (
        prop_oneof![begin, end, other],
        0_u16..4,
        prop_oneof![3 => Just(0_u8), 1 => any::<u8>()],
    )
        .prop_map(|((kind, content), id, padding)| Record {
            kind,
            id,
            content,
            padding,
        })
}

fn any_request() -> impl Strategy<Value = Request> {
    let begin = (1_u16.., any::<u16>(), any::<bool>());
    let pairs = vec((vec(any::<u8>(), 0..140), vec(any::<u8>(), 0..300)), 0..6);
    (
        begin,
        pairs,
        vec(any::<u8>(), 0..2000),
        prop_oneof![1..20_usize, 20..MAX_CONTENT],
        any::<u8>(),
    )
        .prop_map(|((id, role, keep_conn), pairs, body, record_size, padding)| Request {
            begin: BeginRequest { id, role, keep_conn },
            pairs,
            body,
            record_size,
            padding,
        })
}

fn finish() -> impl Strategy<Value = Finish> {
    select(vec![
        Finish::Never,
        Finish::AtRequest,
        Finish::AtStdinEnd,
        Finish::AtAbort,
    ])
}

fn write(records: &[Record], padded: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for Record {
        kind,
        id,
        content,
        padding,
    } in records
    {
        encode::record(&mut out, *kind, *id, content, if padded { *padding } else { 0 });
    }
    out
}

impl Request {
    fn params(&self) -> Vec<u8> {
        let mut params = Vec::new();
        for (name, value) in &self.pairs {
            encode::pair(&mut params, name, value);
        }
        params
    }

    fn write(&self, out: &mut Vec<u8>) {
        let BeginRequest { id, role, keep_conn } = self.begin;
        encode::begin_request(out, id, role, keep_conn.into());
        for (kind, content) in [(kind::PARAMS, &self.params()), (kind::STDIN, &self.body)] {
            for chunk in content.chunks(self.record_size).chain([&b""[..]]) {
                encode::record(out, kind, id, chunk, self.padding);
            }
        }
    }

    fn seen(&self) -> Vec<Seen> {
        let mut seen = vec![Seen::Request {
            begin: self.begin,
            params_too_large: false,
            params: self.params(),
        }];
        if !self.body.is_empty() {
            seen.push(Seen::Stdin(self.body.clone()));
        }
        seen.push(Seen::StdinEnd);
        seen
    }
}

/// Errors carry the padding length in their header, which is all that padding may change.
fn without_padding(mut outcome: Outcome) -> Outcome {
    if let Some(Seen::Failed(error)) = outcome.seen.last_mut() {
        match error {
            ProtocolError::Version { header }
            | ProtocolError::ShortBeginRequest { header }
            | ProtocolError::ActiveId { header }
            | ProtocolError::BeforeParamsEnd { header } => header[6] = 0,
            other => panic!("{other:?} is not known here"),
        }
    }
    outcome
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn header_survives_encoding(kind: u8, request_id: u16, content_length: u16, padding_length: u8) {
        let header = Header { version: VERSION, kind, request_id, content_length, padding_length };
        prop_assert_eq!(Header::decode(&header.encode()), header);
    }

    #[test]
    fn header_survives_decoding_but_for_its_reserved_byte(mut bytes: [u8; HEADER_LENGTH]) {
        let encoded = Header::decode(&bytes).encode();
        bytes[7] = 0;
        prop_assert_eq!(encoded, bytes);
    }

    #[test]
    fn pairs_survive_encoding(pairs in vec((vec(any::<u8>(), 0..200), vec(any::<u8>(), 0..200)), 0..20)) {
        let mut stream = Vec::new();
        for (name, value) in &pairs {
            encode::pair(&mut stream, name, value);
        }
        let read: Result<Vec<_>, _> =
            Pairs::new(&stream).map(|pair| pair.map(|(name, value)| (name.to_vec(), value.to_vec()))).collect();
        prop_assert_eq!(read, Ok(pairs));
    }

    #[test]
    fn pairs_of_any_bytes_are_read_within_bounds(stream in vec(prop_oneof![0_u8..6, any::<u8>()], 0..300)) {
        oracle::pairs(&stream);
    }

    #[test]
    fn requests_arrive_whole_whatever_their_records(requests in vec(any_request(), 1..4), cuts in vec(1..900_usize, 0..40)) {
        let mut input = Vec::new();
        for request in &requests {
            request.write(&mut input);
        }
        let outcome = Feed::new(64 * 1024, Finish::AtStdinEnd).in_pieces(&input, cuts);
        let expected: Vec<Seen> = requests.iter().flat_map(Request::seen).collect();
        prop_assert_eq!(outcome.seen, expected);
        prop_assert!(outcome.unread.is_empty() && outcome.between_records && outcome.active.is_none());
    }

    #[test]
    fn any_split_gives_the_same_events(
        records in vec(any_record(), 0..25),
        finish in finish(),
        cuts in vec(1..60_usize, 0..60),
        lost in 0..20_usize,
    ) {
        let mut input = write(&records, true);
        input.truncate(input.len().saturating_sub(lost));
        let whole = Feed::new(MAX_PARAMS, finish).in_pieces(&input, []);
        prop_assert_eq!(&Feed::new(MAX_PARAMS, finish).in_pieces(&input, cuts), &whole);
        prop_assert_eq!(&Feed::new(MAX_PARAMS, finish).in_pieces(&input, std::iter::repeat_n(1, input.len())), &whole);
    }

    #[test]
    fn any_split_exported_and_resumed_gives_the_same_events(
        records in vec(any_record(), 0..25),
        finish in finish(),
        cuts in vec(1..60_usize, 0..60),
    ) {
        let input = write(&records, true);
        let whole = Feed::new(MAX_PARAMS, finish).in_pieces(&input, []);
        let every_byte = std::iter::repeat_n(1, input.len());
        for resumed in [Feed::new(MAX_PARAMS, finish).in_turns(&input, cuts), Feed::new(MAX_PARAMS, finish).in_turns(&input, every_byte)] {
            // Of a request that is over, only whoever was there when it ran knows whether its body has ended.
            let stdin_ended = if whole.active.is_some() { resumed.stdin_ended } else { whole.stdin_ended };
            prop_assert_eq!(&Outcome { stdin_ended, ..resumed }, &whole);
        }
    }

    #[test]
    fn requests_exported_and_resumed_anywhere_arrive_whole(requests in vec(any_request(), 1..3), cuts in vec(1..40_000_usize, 0..40)) {
        let mut input = Vec::new();
        for request in &requests {
            request.write(&mut input);
        }
        let outcome = Feed::new(64 * 1024, Finish::AtStdinEnd).in_turns(&input, cuts);
        let expected: Vec<Seen> = requests.iter().flat_map(Request::seen).collect();
        prop_assert_eq!(outcome.seen, expected);
        prop_assert!(outcome.unread.is_empty() && outcome.between_records && outcome.active.is_none());
    }

    #[test]
    fn padding_never_changes_meaning(records in vec(any_record(), 0..25), finish in finish()) {
        let padded = Feed::new(MAX_PARAMS, finish).in_pieces(&write(&records, true), []);
        let plain = Feed::new(MAX_PARAMS, finish).in_pieces(&write(&records, false), []);
        prop_assert_eq!(without_padding(padded), without_padding(plain));
    }

    // The feeder checks at each step that neither params nor unread input exceed their limits.
    #[test]
    fn random_bytes_never_panic_and_never_fill_memory(input in vec(any::<u8>(), 0..600), cuts in vec(1..50_usize, 0..50)) {
        Feed::new(MAX_PARAMS, Finish::AtStdinEnd).in_pieces(&input, cuts);
    }

    #[test]
    fn random_heads_never_panic_and_never_fill_memory(bytes in vec(any::<u8>(), 0..600), finish in finish()) {
        // Mostly small numbers: versions that pass, known types, few ids, short lengths.
        let input: Vec<u8> = bytes.iter().map(|byte| if byte % 4 > 0 { byte >> 7 } else { byte >> 4 }).collect();
        Feed::new(MAX_PARAMS, finish).in_pieces(&input, []);
    }

    #[test]
    fn written_streams_are_read_back_whole(content in vec(any::<u8>(), 0..300), id: u16, times in 0..700_usize) {
        let content = content.repeat(times);
        let mut out = Vec::new();
        encode::stdout(&mut out, id, &content);
        let mut rest = &out[..];
        let mut read = Vec::new();
        while let Some((header, after)) = rest.split_first_chunk() {
            let header = Header::decode(header);
            prop_assert_eq!((header.version, header.kind, header.request_id, header.padding_length), (VERSION, kind::STDOUT, id, 0));
            prop_assert!(header.content_length > 0, "an empty record would end the stream");
            let (chunk, after) = after.split_at(header.content_length.into());
            read.extend_from_slice(chunk);
            rest = after;
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(read, content);
    }
}
