//! The log of a gateway or a web server as a test sees it: lines of text, collected while the process runs, and the events
//! that they form: an event with a traceback has several lines, of which the first begins with the time.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex};
use std::thread;

use super::wait::{self, SOON};

#[derive(Debug, Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    ended: Arc<Mutex<bool>>,
}

impl Log {
    /// Collects `stream` in a thread until its end.
    pub fn collect(stream: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                writer.lines.lock().unwrap().push(text);
                line.clear();
            }
            *writer.ended.lock().unwrap() = true;
        });
        log
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Whether every process has closed the log.
    pub fn ended(&self) -> bool {
        *self.ended.lock().unwrap()
    }

    /// A place in the log: [`Log::since`] gives what came after it.
    pub fn mark(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    /// Events since `mark`.
    pub fn since(&self, mark: usize) -> Vec<String> {
        events(&self.lines.lock().unwrap()[mark..])
    }

    /// Events, each with all of its lines.
    pub fn events(&self) -> Vec<String> {
        events(&self.lines())
    }

    /// The first event for which `predicate` holds.
    pub fn find(&self, predicate: impl Fn(&str) -> bool) -> Option<String> {
        self.events().into_iter().find(|event| predicate(event))
    }

    /// The first line, not event, for which `predicate` holds.
    pub fn find_line(&self, predicate: impl Fn(&str) -> bool) -> Option<String> {
        self.lines().into_iter().find(|line| predicate(line))
    }

    /// How many lines, not events, there are for which `predicate` holds.
    pub fn count(&self, predicate: impl Fn(&str) -> bool) -> usize {
        self.lines().iter().filter(|line| predicate(line)).count()
    }

    /// The first event for which `predicate` holds.
    ///
    /// # Panics
    /// If none comes soon, with the whole log.
    #[track_caller]
    pub fn wait_for(&self, what: &str, predicate: impl Fn(&str) -> bool) -> String {
        let end = std::time::Instant::now() + SOON;
        loop {
            if let Some(line) = self.find(&predicate) {
                return line;
            }
            assert!(
                std::time::Instant::now() < end,
                "no log event {what}; the log:\n{}",
                self.text()
            );
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The first event that contains every one of `parts`.
    #[track_caller]
    pub fn wait_for_line(&self, parts: &[&str]) -> String {
        self.wait_for(&format!("with {parts:?}"), |line| {
            parts.iter().all(|part| line.contains(part))
        })
    }

    #[track_caller]
    pub fn wait_for_end(&self) {
        wait::until("the log is closed by every process", SOON, || self.ended());
    }
}

fn events(lines: &[String]) -> Vec<String> {
    let mut events: Vec<String> = Vec::new();
    for line in lines {
        match events.last_mut() {
            Some(event) if !begins_with_time(line) => {
                event.push('\n');
                event.push_str(line);
            }
            _ => events.push(line.clone()),
        }
    }
    events
}

/// The gateway's `2026-11-22T22:47:27.000735Z  INFO`, or what the web servers write: `2026/11/22 22:47:27`,
/// `[Sun Nov 22 22:47:27.000735 2026]`, `2026-11-22 22:47:27:`, `[NOTICE]`, `{"level":`.
fn begins_with_time(line: &str) -> bool {
    let bytes = line.as_bytes();
    let is_date = bytes.len() > 18
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && matches!(bytes[4], b'-' | b'/')
        && bytes[7] == bytes[4]
        && matches!(bytes[10], b'T' | b' ');
    is_date || line.starts_with('[') || line.starts_with("{\"level\"")
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The value of `name=value` in a line of the text format, without quotes.
pub fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let start = line
        .match_indices(name)
        .find(|(at, _)| line[at + name.len()..].starts_with('=') && (*at == 0 || !is_word(line.as_bytes()[at - 1])))?
        .0
        + name.len()
        + 1;
    let rest = &line[start..];
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split_whitespace().next(),
    }
}
