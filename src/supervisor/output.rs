//! What a leader and its workers print becomes events of the log, a line each.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tracing::{debug, info};

/// SPEC F9. A longer line becomes several events.
const LONGEST_LINE: usize = 8 * 1024;

/// Logs what comes from `pipe` until its last writer is gone.
pub async fn log_lines(pipe: impl AsyncRead + Unpin, generation: u64) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        let bytes = match pipe.fill_buf().await {
            Ok(bytes) => bytes,
            Err(error) => {
                debug!(generation, %error, "the leader's output can't be read");
                break;
            }
        };
        if bytes.is_empty() {
            break;
        }
        let room = LONGEST_LINE - line.len();
        let window = &bytes[..bytes.len().min(room)];
        let end = window.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&window[..end.unwrap_or(window.len())]);
        let used = end.map_or(window.len(), |end| end + 1);
        pipe.consume(used);
        if end.is_some() || line.len() == LONGEST_LINE {
            log_line(&line, generation);
            line.clear();
        }
    }
    if !line.is_empty() {
        log_line(&line, generation);
    }
}

fn log_line(line: &[u8], generation: u64) {
    let text = printable(line);
    if !text.is_empty() {
        info!(target: pool::log::APP, process = "leader", generation, "{text}");
    }
}

/// Text without control characters: they could forge lines or drive the administrator's terminal.
fn printable(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let mut text = String::with_capacity(line.len());
    for c in line.trim_end().chars() {
        if c.is_control() && c != '\t' {
            text.extend(c.escape_unicode());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable(b"a\tb\x1b[31mred\rx\r\n"), "a\tb\\u{1b}[31mred\\u{d}x");
        assert_eq!(printable("caf\u{e9} \u{9b}2J".as_bytes()), "caf\u{e9} \\u{9b}2J");
        assert_eq!(printable(b"\xff"), "\u{fffd}");
    }
}
