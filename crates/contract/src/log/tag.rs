//! What the supervisor has to know of an event before it is written: for which log it is, how important it is, and of whom. It
//! stands in front of each event on its way there. What has none is a line of the log, as it is, and of nobody in particular.
//!
//! The beginning is a byte that no event has, since what is between is escaped; the lines of an event behind its first are indented.

use super::MAX_LINE;

const BEGIN: u8 = 1;
const END: u8 = 2;
const SEPARATOR: char = '\x1f';

/// Which log an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    Log,
    Access,
    Slow,
}

/// How important an event is, as syslog counts (RFC 5424, section 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error = 3,
    Warning = 4,
    Info = 6,
    Debug = 7,
}

/// What stands in front of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag<'a> {
    pub stream: Stream,
    pub severity: Severity,
    /// Empty: of the supervisor.
    pub pool: &'a str,
    /// Its number, where it is about one.
    pub request: &'a str,
}

/// An event, or several without a tag.
#[derive(Debug, PartialEq, Eq)]
pub struct Tagged<'a> {
    pub tag: Option<Tag<'a>>,
    /// Lines, with their newlines.
    pub lines: &'a [u8],
    /// The same with the tag.
    pub whole: &'a [u8],
}

impl Stream {
    const ALL: [Self; 3] = [Self::Log, Self::Access, Self::Slow];

    fn letter(self) -> char {
        match self {
            Self::Log => 'l',
            Self::Access => 'a',
            Self::Slow => 's',
        }
    }
}

impl Severity {
    const ALL: [Self; 4] = [Self::Error, Self::Warning, Self::Info, Self::Debug];

    pub fn number(self) -> u8 {
        self as u8
    }

    pub fn of(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warning,
            tracing::Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

impl Tag<'_> {
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn std::fmt::Write) -> std::fmt::Result {
        // Piece by piece: each line of the access log has one, and formatting would cost it more than all the rest here.
        out.write_char(BEGIN.into())?;
        out.write_char(self.stream.letter())?;
        out.write_char((b'0' + self.severity.number()).into())?;
        out.write_str(self.pool)?;
        out.write_char(SEPARATOR)?;
        out.write_str(self.request)?;
        out.write_char(END.into())
    }
}

impl<'a> Tag<'a> {
    /// What stands between the beginning and the end.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut characters = text.chars();
        let (letter, number) = (characters.next()?, characters.next()?);
        let (pool, request) = characters.as_str().split_once(SEPARATOR)?;
        Some(Self {
            stream: Stream::ALL.into_iter().find(|stream| stream.letter() == letter)?,
            severity: Severity::ALL
                .into_iter()
                .find(|severity| (b'0' + severity.number()) as char == number)?,
            pool,
            request,
        })
    }
}

/// Length of the tag that an event begins with; 0: it has none.
fn tag_length(event: &[u8]) -> usize {
    if event.first() != Some(&BEGIN) {
        return 0;
    }
    // Names of pools are short: what is longer is none of ours.
    let end = event.iter().take(MAX_LINE).position(|&byte| byte == END);
    end.map_or(0, |end| end + 1)
}

/// Divides what has come into events with a tag, and what is between them.
pub fn split(mut events: &[u8]) -> impl Iterator<Item = Tagged<'_>> {
    std::iter::from_fn(move || {
        if events.is_empty() {
            return None;
        }
        let head = tag_length(events);
        let tag = head.checked_sub(1).and_then(|end| Tag::read(&events[1..end]));
        let length = match tag {
            Some(_) => head + event_length(&events[head..]),
            None => untagged_length(events),
        };
        let (whole, rest) = events.split_at(length);
        events = rest;
        let lines = if tag.is_some() { &whole[head..] } else { whole };
        Some(Tagged { tag, lines, whole })
    })
}

/// Events one by one, of lines without a tag.
pub fn events(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if lines.is_empty() {
            return None;
        }
        let (event, rest) = lines.split_at(event_length(lines));
        lines = rest;
        Some(event)
    })
}

/// Up to the first line that is not indented.
fn event_length(lines: &[u8]) -> usize {
    let ends = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let mut ends = ends.map(|(at, _)| at + 1);
    let end = ends.find(|&end| lines.get(end) != Some(&b' '));
    end.unwrap_or(lines.len())
}

/// Up to the next tag.
fn untagged_length(events: &[u8]) -> usize {
    // The first byte is none of a tag that can be read.
    let found = events.windows(2).position(|two| two == [b'\n', BEGIN]);
    found.map_or(events.len(), |at| at + 1)
}

/// Makes an event of what may be none: lines behind the first are indented, and control characters are escaped, but for those of colours.
pub(super) fn sanitized(event: &[u8], ansi: bool) -> Option<Vec<u8>> {
    let start = tag_length(event);
    let body = &event[start..];
    let last = body.len().saturating_sub(1);
    let is_wrong = |at: usize, byte: u8| match byte {
        b'\n' => at != last && body.get(at + 1) != Some(&b' '),
        b'\t' => false,
        0x1b => !ansi,
        _ => byte < b' ' || byte == 0x7f,
    };
    body.iter().enumerate().find(|(at, byte)| is_wrong(*at, **byte))?;
    let mut right = event[..start].to_vec();
    for (at, &byte) in body.iter().enumerate() {
        match (is_wrong(at, byte), byte) {
            (false, _) => right.push(byte),
            (true, b'\n') => right.extend(b"\n  "),
            (true, _) => right.extend(byte.escape_ascii()),
        }
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(tag: &Tag<'_>) -> String {
        let mut text = String::new();
        tag.write(&mut text).unwrap();
        text
    }

    #[test]
    fn tags_of_events_are_read_and_other_lines_stay_together() {
        let of_access = Tag {
            stream: Stream::Access,
            severity: Severity::Info,
            pool: "blog",
            request: "1-2-3",
        };
        let of_log = Tag {
            stream: Stream::Log,
            severity: Severity::Error,
            pool: "",
            request: "",
        };
        let [access, log] = [&of_access, &of_log].map(tag);
        let sent = format!("plain\nplain\n{access}GET /\n{log}failed\n  Traceback\n    x\nplain\n  more\n");
        let seen: Vec<_> = split(sent.as_bytes())
            .map(|event| (event.tag, std::str::from_utf8(event.lines).unwrap()))
            .collect();
        assert_eq!(
            seen,
            [
                (None, "plain\nplain\n"),
                (Some(of_access), "GET /\n"),
                (Some(of_log), "failed\n  Traceback\n    x\n"),
                (None, "plain\n  more\n"),
            ]
        );
        let whole: Vec<u8> = split(sent.as_bytes()).flat_map(|event| event.whole.to_vec()).collect();
        assert_eq!(whole, sent.as_bytes());
    }

    #[test]
    fn what_only_begins_like_a_tag_is_a_line() {
        for sent in [
            "\x01\n",
            "\x01a9\x1f\x02x\n",
            "\x01z6\x1f\x02x\n",
            "\x01a6\x02x\n",
            "\x01a6blog",
            "\x01\x02\n",
        ] {
            let seen: Vec<_> = split(sent.as_bytes()).map(|event| (event.tag, event.lines)).collect();
            assert_eq!(seen, [(None, sent.as_bytes())], "{sent:?}");
        }
    }

    #[test]
    fn lines_behind_the_first_belong_to_its_event() {
        let seen: Vec<_> = events(b"one\n  more\n  and more\ntwo\nthree").collect();
        assert_eq!(seen, [&b"one\n  more\n  and more\n"[..], b"two\n", b"three"]);
    }

    #[test]
    fn event_that_could_be_taken_for_two_is_mended() {
        let mended =
            |event: &str, ansi| sanitized(event.as_bytes(), ansi).map(|event| String::from_utf8(event).unwrap());
        assert_eq!(mended("as it should be\n  more\tof it\n", false), None);
        assert_eq!(mended("one\n2026 forged\n", false).unwrap(), "one\n  2026 forged\n");
        assert_eq!(
            mended("one\x1b[31m\x01\x7f\n", false).unwrap(),
            "one\\x1b[31m\\x01\\x7f\n"
        );
        assert_eq!(mended("\x1b[2mone\x1b[0m\n", true), None);
        assert_eq!(
            mended("\x01l6\x1f\x02one\ntwo\n", false).unwrap(),
            "\x01l6\x1f\x02one\n  two\n"
        );
    }
}
