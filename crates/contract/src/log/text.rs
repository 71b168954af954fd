//! Somebody else's text as a part of the log: on one line, without control characters, and not longer than a log wants it
//! (SPEC F9). What is cut off is counted.

use std::fmt::Write;

/// Longest line that somebody else's text makes in the log, in bytes.
pub const MAX_LINE: usize = 8 * 1024;

/// Longest block of lines: the beginning and the end of a traceback have room for 64 KiB each.
const MAX_BLOCK: usize = 128 * 1024;

/// `text` as a part of a line. What is longer than [`MAX_LINE`] ends in `...(+N_bytes)`: one word, so that it can stand
/// in a field.
pub fn escape(text: &str) -> String {
    escape_cut(text, 0)
}

/// The same for a text that was cut before: `missing` bytes more followed it.
fn escape_cut(text: &str, missing: usize) -> String {
    let pieces = text.char_indices().map(|(start, character)| {
        let is_plain = !character.is_control() || character == '\t';
        (start, Piece(character, is_plain))
    });
    joined(pieces, text.len(), missing)
}

/// The same for bytes that need not be text: all but printable ASCII characters are escaped.
pub fn escape_bytes(bytes: &[u8]) -> String {
    if let Some(plain) = plain(bytes, b' ') {
        return plain.to_owned();
    }
    let pieces = bytes.iter().map(|byte| byte.escape_ascii());
    joined(pieces.enumerate(), bytes.len(), 0)
}

/// The text that these bytes are, if nothing of it is to be escaped or cut, as of nearly every path. `first`: the first of the
/// printable characters that need no escape, which is the space or the one behind it.
fn plain(bytes: &[u8], first: u8) -> Option<&str> {
    let is_plain = |byte: u8| (first..=b'~').contains(&byte) & (byte != b'\\') & (byte != b'\'') & (byte != b'"');
    // To the end in any case: so it is done for many bytes at once.
    let are_plain = |bytes: &[u8]| bytes.iter().fold(true, |all, &byte| all & is_plain(byte));
    let text = (bytes.len() <= MAX_LINE && are_plain(bytes)).then_some(bytes);
    text.and_then(|text| std::str::from_utf8(text).ok())
}

/// Bytes as one word: spaces are escaped as well; nothing is `-`.
pub fn word(bytes: &[u8]) -> String {
    let mut word = String::new();
    set_word(&mut word, bytes);
    word
}

/// The same in the place of what `out` has.
pub fn set_word(out: &mut String, bytes: &[u8]) {
    out.clear();
    match plain(bytes, b'!') {
        Some("") => out.push('-'),
        Some(plain) => out.push_str(plain),
        // The cut comes first, so that its mark stays as it is.
        _ => *out = escape_bytes(bytes).replace(' ', "\\x20"),
    }
}

struct Piece(char, bool);

impl std::fmt::Display for Piece {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self(character, true) => formatter.write_char(*character),
            Self(character, false) => character.escape_default().fmt(formatter),
        }
    }
}

/// The one place that cuts: escaped pieces, each with where it began in the original of `length` bytes.
fn joined(pieces: impl Iterator<Item = (usize, impl std::fmt::Display)>, length: usize, missing: usize) -> String {
    let mut line = String::with_capacity(length.min(MAX_LINE));
    let mut end = length;
    for (start, piece) in pieces {
        if line.len() >= MAX_LINE {
            end = start;
            break;
        }
        // Writing to a String can't fail.
        let _ = write!(line, "{piece}");
    }
    let missing = length - end + missing;
    if missing > 0 {
        let _ = write!(line, "...(+{missing}_bytes)");
    }
    line
}

/// Several lines, such as a traceback, to stand behind an event's message: indented, so that none can be taken for an
/// event of its own. Of a very long one the middle is left out: a traceback says at its end what has happened.
pub fn block(text: &str) -> String {
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return String::new();
    }
    let mut lines = text.split('\n');
    let mut block = String::with_capacity(text.len().min(MAX_BLOCK));
    while block.len() < MAX_BLOCK / 2 {
        let Some(line) = lines.next() else { return block };
        indent(&mut block, &escape(line));
    }
    let (mut end, mut length) = (Vec::new(), 0);
    while length < MAX_BLOCK / 2 {
        let Some(line) = lines.next_back() else { break };
        let line = escape(line);
        length += line.len();
        end.push(line);
    }
    let missing: usize = lines.map(|line| line.len() + 1).sum();
    if missing > 0 {
        let _ = write!(block, "\n  ...(+{missing}_bytes)");
    }
    end.iter().rev().for_each(|line| indent(&mut block, line));
    block
}

fn indent(block: &mut String, line: &str) {
    block.push_str("\n  ");
    block.push_str(line);
}

/// Puts together lines that arrive in any pieces, for the log. Of a line it keeps as much as the log will show, so that one
/// without an end does not eat the memory.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    /// Bytes of the line behind `partial`.
    missing: usize,
}

impl Lines {
    /// Calls `log` for each line that is complete with `data`.
    pub fn take(&mut self, data: &[u8], mut log: impl FnMut(&str)) {
        let mut rest = data;
        while let Some(length) = rest.iter().position(|&byte| byte == b'\n') {
            self.keep(&rest[..length]);
            log(&self.line());
            rest = &rest[length + 1..];
        }
        self.keep(rest);
    }

    /// There will be no more: calls `log` for what has no end.
    pub fn end(&mut self, log: impl FnOnce(&str)) {
        if !self.partial.is_empty() {
            log(&self.line());
        }
    }

    fn keep(&mut self, data: &[u8]) {
        let kept = data.len().min(MAX_LINE - self.partial.len());
        self.partial.extend_from_slice(&data[..kept]);
        self.missing += data.len() - kept;
    }

    fn line(&mut self) -> String {
        let missing = std::mem::take(&mut self.missing);
        let line = std::mem::take(&mut self.partial);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        escape_cut(&String::from_utf8_lossy(line), missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_of_several_lines_can_forge_no_event() {
        assert_eq!(block("one\ntwo\x1b[31m\r\n"), "\n  one\n  two\\u{1b}[31m\\r");
    }

    #[test]
    fn line_over_the_limit_is_cut_with_the_number_of_missing_bytes() {
        let whole = "x".repeat(8192);
        assert_eq!(escape(&whole), whole);
        assert_eq!(escape(&format!("{whole}x")), format!("{whole}...(+1_bytes)"));
        assert_eq!(escape(&format!("{whole}\u{e9}!")), format!("{whole}...(+3_bytes)"));
        assert_eq!(escape_bytes(whole.as_bytes()), whole);
        assert_eq!(escape_bytes(&[b'x'; MAX_LINE + 1]), format!("{whole}...(+1_bytes)"));
        assert_eq!(
            escape_bytes(&[b'x'; 10 * MAX_LINE]),
            format!("{whole}...(+{}_bytes)", 9 * MAX_LINE)
        );
    }

    #[test]
    fn escapes_count_as_what_they_are_in_the_log() {
        let escaped = escape(&"\x1b".repeat(MAX_LINE));
        assert!(escaped.len() < MAX_LINE + 30, "{}", escaped.len());
        let shown = escaped.matches("\\u{1b}").count();
        assert!(
            escaped.ends_with(&format!("...(+{}_bytes)", MAX_LINE - shown)),
            "{escaped}"
        );
    }

    #[test]
    fn bytes_are_escaped() {
        assert_eq!(escape_bytes(b"/caf\xc3\xa9\n\x1b[31m"), r"/caf\xc3\xa9\n\x1b[31m");
    }

    #[test]
    fn word_has_no_end_within() {
        assert_eq!(word(b"/a b\tc status=200\n"), r"/a\x20b\tc\x20status=200\n");
        assert_eq!(word(b""), "-");
        let long = word(&[b'x'; MAX_LINE + 7]);
        assert!(long.ends_with("x...(+7_bytes)"), "{long}");
    }

    #[test]
    fn long_block_loses_its_middle() {
        let line = "0123456789abcde\n";
        let text = line.repeat(MAX_BLOCK / 16 + 10) + "ValueError: the end";
        let block = block(&text);
        assert!(block.len() < 2 * MAX_BLOCK, "{}", block.len());
        assert!(block.starts_with("\n  0123456789abcde\n  0"));
        assert!(block.ends_with("\n  ValueError: the end"));
        let shown = block.matches("0123456789abcde").count();
        let missing = text.matches("0123456789abcde").count() - shown;
        assert!(missing > 0 && block.contains(&format!("\n  ...(+{}_bytes)\n", missing * line.len())));
        let most = line.repeat(MAX_BLOCK / 32);
        assert!(!super::block(&most).contains("_bytes"));
    }

    #[test]
    fn block_of_control_characters_stays_within_one_message() {
        let block = block(&format!("{}\n", "\x1b".repeat(2000)).repeat(10_000));
        assert!(block.len() < 10 * MAX_BLOCK / 8, "{}", block.len());
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let text = format!("first\r\n\n{}\nlast", "x".repeat(MAX_LINE + 5));
        for size in [1, 7, 4096, text.len()] {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                lines.take(piece, |line| seen.push(line.to_owned()));
            }
            lines.end(|line| seen.push(line.to_owned()));
            lines.end(|_| panic!("it has ended"));
            let long = "x".repeat(MAX_LINE) + "...(+5_bytes)";
            assert_eq!(seen, ["first", "", &long, "last"], "in pieces of {size}");
        }
    }

    #[test]
    fn line_without_an_end_takes_no_more_memory_than_the_log_shows() {
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.take(&[b'x'; 4096], |_| panic!("it has no end"));
        }
        assert!(lines.partial.capacity() <= 2 * MAX_LINE);
        lines.end(|line| assert!(line.ends_with(&format!("...(+{}_bytes)", 1000 * 4096 - MAX_LINE))));
    }
}
