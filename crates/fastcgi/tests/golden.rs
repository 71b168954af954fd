//! Conversations in `golden/`: NNN-name.hex is what the web server sends, NNN-name.events what must come of it.
//!
//! Hex files allow comments (`#`), `xx*N` for a byte N times, and two directives: `#!finish` says when the driver
//! answers (request, stdin-end, abort, never; default stdin-end), `#!max-params` limits the params.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use fastcgi::record::Header;
use fastcgi::{BeginRequest, Ignored, Pairs};

use crate::support::feed::{Feed, Finish, Outcome, Seen};
use crate::support::random::{Random, seed};

/// As SPEC F10 has it by default.
const MAX_PARAMS: usize = 256 * 1024;

struct Vector {
    name: String,
    input: Vec<u8>,
    finish: Finish,
    max_params: usize,
    events: String,
}

impl Vector {
    fn feed(&self, sizes: impl IntoIterator<Item = usize>) -> Outcome {
        Feed::new(self.max_params, self.finish).in_pieces(&self.input, sizes)
    }

    fn check(&self, how: &str, outcome: &Outcome) {
        let events = render(outcome);
        assert!(
            events == self.events,
            "{} fed {how}\n--- expected\n{}--- got\n{events}--- input\n{}",
            self.name,
            self.events,
            hex(&self.input)
        );
    }
}

#[test]
fn vectors_give_their_events_when_fed_whole() {
    for vector in vectors() {
        vector.check("whole", &vector.feed([]));
    }
}

#[test]
fn vectors_give_their_events_when_fed_record_by_record() {
    for vector in vectors() {
        vector.check("record by record", &vector.feed(records(&vector.input)));
    }
}

#[test]
fn vectors_give_their_events_when_fed_byte_by_byte() {
    for vector in vectors() {
        vector.check("byte by byte", &vector.feed(std::iter::repeat_n(1, vector.input.len())));
    }
}

#[test]
fn vectors_give_their_events_when_fed_in_random_pieces() {
    let seed = seed();
    let mut random = Random::new(seed);
    for vector in vectors() {
        for round in 0..16 {
            let outcome = vector.feed(std::iter::from_fn(|| Some(random.piece())));
            vector.check(
                &format!("in random pieces, round {round} of FASTCGI_SEED={seed}"),
                &outcome,
            );
        }
    }
}

#[test]
fn vectors_give_their_events_when_cut_anywhere_in_two() {
    for vector in vectors().iter().filter(|vector| vector.input.len() <= 4096) {
        for cut in 1..vector.input.len() {
            vector.check(&format!("cut at {cut}"), &vector.feed([cut]));
        }
    }
}

fn vectors() -> Vec<Vector> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = fs::read_dir(&directory).expect("tests/golden is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    let (hex, events): (Vec<PathBuf>, Vec<PathBuf>) = paths
        .into_iter()
        .partition(|path| path.extension().is_some_and(|extension| extension == "hex"));
    assert!(hex.len() >= 25, "only {} vectors", hex.len());
    let expected: Vec<PathBuf> = hex.iter().map(|path| path.with_extension("events")).collect();
    assert_eq!(expected, events, "each vector has its events");
    hex.iter().map(|path| load(path)).collect()
}

fn load(path: &Path) -> Vector {
    let text = fs::read_to_string(path).expect("a readable vector");
    let events = fs::read_to_string(path.with_extension("events")).expect("readable events");
    let mut vector = Vector {
        name: path.file_stem().expect("a named file").to_string_lossy().into_owned(),
        input: Vec::new(),
        finish: Finish::AtStdinEnd,
        max_params: MAX_PARAMS,
        events,
    };
    for line in text.lines() {
        if let Some(directive) = line.strip_prefix("#!") {
            match directive.split_once(' ') {
                Some(("finish", "request")) => vector.finish = Finish::AtRequest,
                Some(("finish", "abort")) => vector.finish = Finish::AtAbort,
                Some(("finish", "never")) => vector.finish = Finish::Never,
                Some(("max-params", limit)) => vector.max_params = limit.parse().expect("a number"),
                _ => panic!("{}: unknown directive {directive}", vector.name),
            }
            continue;
        }
        let code = line.split('#').next().unwrap_or_default();
        for token in code.split_whitespace() {
            let (digits, times) = token.split_once('*').unwrap_or((token, "1"));
            let bytes = digits.as_bytes().chunks(2).map(|byte| {
                let byte = std::str::from_utf8(byte).expect("hex is ASCII");
                u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{}: {token} is no hex", vector.name))
            });
            vector
                .input
                .extend(bytes.collect::<Vec<u8>>().repeat(times.parse().expect("a number")));
        }
    }
    vector
}

/// The sizes of the records that the input seems to consist of.
fn records(input: &[u8]) -> Vec<usize> {
    let mut sizes = Vec::new();
    let mut rest = input;
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let header = Header::decode(header);
        let body = usize::from(header.content_length) + usize::from(header.padding_length);
        sizes.push(8 + body);
        rest = &after[body.min(after.len())..];
    }
    sizes
}

fn render(outcome: &Outcome) -> String {
    let mut out = String::new();
    for seen in &outcome.seen {
        let line = match seen {
            Seen::Request {
                begin,
                params_too_large,
                params,
            } => {
                let too_large = if *params_too_large { " params_too_large" } else { "" };
                format!("request {}{too_large}{}", request(begin), pairs(params))
            }
            Seen::Stdin(body) => format!("stdin {}", show(body)),
            Seen::StdinEnd => "stdin-end".to_owned(),
            Seen::Abort => "abort".to_owned(),
            Seen::AbortedEarly(begin) => format!("aborted-early {}", request(begin)),
            Seen::SecondRequest { id } => format!("second-request id={id}"),
            Seen::GetValues(query) => format!("get-values{}", pairs(query)),
            Seen::UnknownType(kind) => format!("unknown-type {kind}"),
            Seen::Ignored(ignored) => format!("ignored {}", reason(ignored)),
            Seen::Failed(error) => format!("error {error}"),
        };
        out.push_str(&line);
        out.push('\n');
    }
    let failed = matches!(outcome.seen.last(), Some(Seen::Failed(_)));
    if let Some(active) = outcome.active.filter(|_| !failed) {
        writeln!(out, "active id={}", active.id).expect("a String takes everything");
    }
    if !outcome.between_records {
        out.push_str("inside a record\n");
    }
    if !outcome.unread.is_empty() {
        writeln!(out, "unread {}", outcome.unread.len()).expect("a String takes everything");
    }
    out
}

fn request(begin: &BeginRequest) -> String {
    format!("id={} role={} keep_conn={}", begin.id, begin.role, begin.keep_conn)
}

fn pairs(stream: &[u8]) -> String {
    let lines = Pairs::new(stream).map(|pair| match pair {
        Ok((name, value)) => format!("\n  \"{}\" = {}", name.escape_ascii(), show(value)),
        Err(error) => format!("\n  error: {error}"),
    });
    lines.collect()
}

fn reason(ignored: &Ignored) -> String {
    match ignored {
        Ignored::ApplicationToServer { kind, id } => format!("application-to-server kind={kind} id={id}"),
        Ignored::UnknownType { kind, id } => format!("unknown-type kind={kind} id={id}"),
        Ignored::NullId { kind } => format!("null-id kind={kind}"),
        Ignored::ManagementWithId { kind, id } => format!("management-with-id kind={kind} id={id}"),
        Ignored::AfterStreamEnd { kind, id } => format!("after-stream-end kind={kind} id={id}"),
        other => panic!("{other:?} has no form in the vectors yet"),
    }
}

/// Long values by length and FNV-1a hash, which keeps the files readable.
fn show(bytes: &[u8]) -> String {
    if bytes.len() <= 200 {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{} bytes, fnv1a {hash:016x}", bytes.len())
}

fn hex(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(2048)];
    let lines = shown
        .chunks(32)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
    lines.collect()
}
