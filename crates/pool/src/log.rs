//! The log's form, the same in every process: tracing-subscriber writes one event with one `write` call.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

/// Target of the access log's events: switched on and off apart from the level.
pub const ACCESS: &str = "access";
/// Target of lines that the application wrote: to `wsgi.errors`, standard output or standard error.
pub const APP: &str = "app";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    pub level: Level,
    pub format: Format,
    /// One line a request.
    pub access: bool,
    /// Colours, for a terminal.
    pub ansi: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Text,
    Json,
}

/// Starts logging to `output` for the whole process. A second call changes nothing.
pub fn start(settings: &LogSettings, output: OwnedFd) {
    let level = match settings.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let access = if settings.access {
        LevelFilter::INFO
    } else {
        LevelFilter::OFF
    };
    // What the application writes is the administrator's business at every level.
    let filter = Targets::new()
        .with_default(level)
        .with_target(ACCESS, access)
        .with_target(APP, LevelFilter::INFO);
    let writer = Output(Arc::new(File::from(output)));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(settings.ansi);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match settings.format {
        Format::Text => registry.with(layer).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging has been started before");
    }
}

/// The log's descriptor. The format layer hands over each event whole: in a file, events of several processes never
/// mix; in a pipe those up to PIPE_BUF (4 KiB) don't, which a long traceback exceeds.
#[derive(Clone)]
struct Output(Arc<File>);

impl Write for Output {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        (&*self.0).write(event)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Output;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

/// Longest line that somebody else's text makes in the log (SPEC F9).
const MAX_LINE: usize = 8 * 1024;

/// `text` as a part of a line: without control characters, and not longer than a log wants it.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len().min(MAX_LINE));
    for character in text.chars() {
        if escaped.len() >= MAX_LINE {
            escaped.push_str("...");
            break;
        }
        if character.is_control() && character != '\t' {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// The same for bytes that need not be text.
pub fn escape_bytes(bytes: &[u8]) -> String {
    // One more than there is room for: the cut gets its mark.
    escape(&bytes[..bytes.len().min(MAX_LINE + 1)].escape_ascii().to_string())
}

/// Several lines, such as a traceback, to stand behind an event's message: indented, so that none can be taken for an
/// event of its own.
pub fn block(text: &str) -> String {
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return String::new();
    }
    text.split('\n').map(|line| format!("\n  {}", escape(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_of_several_lines_can_forge_no_event() {
        assert_eq!(block("one\ntwo\x1b[31m\r\n"), "\n  one\n  two\\u{1b}[31m\\r");
    }

    #[test]
    fn line_over_the_limit_is_cut() {
        assert_eq!(escape(&"x".repeat(MAX_LINE)).len(), MAX_LINE);
        assert_eq!(escape(&"x".repeat(MAX_LINE + 1)).len(), MAX_LINE + 3);
        assert_eq!(escape_bytes(&[b'x'; MAX_LINE]), "x".repeat(MAX_LINE));
        assert_eq!(escape_bytes(&[b'x'; MAX_LINE + 1]), "x".repeat(MAX_LINE) + "...");
        assert_eq!(escape_bytes(&[b'x'; 10 * MAX_LINE]), "x".repeat(MAX_LINE) + "...");
    }

    #[test]
    fn bytes_are_escaped() {
        assert_eq!(escape_bytes(b"/caf\xc3\xa9\n\x1b[31m"), r"/caf\xc3\xa9\n\x1b[31m");
    }
}
