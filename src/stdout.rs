//! What a command prints.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// As a shell calls the end by SIGPIPE (128 and its number), which programs written in Rust don't get.
const UNREAD: i32 = 141;

/// Writes all of it at once: somebody may wait for it. Does not come back if whoever reads has had enough, as `head` has.
///
/// # Errors
/// Standard output can't be written.
pub fn write(text: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(UNREAD),
        written => written.context("standard output can't be written"),
    }
}

/// The same for a line, whose end is added.
///
/// # Errors
/// As of [`write`].
pub fn line(text: &str) -> anyhow::Result<()> {
    write(format!("{text}\n").as_bytes())
}
