//! What threads do in Python, read without Python: by faulthandler, which needs no GIL.
//!
//! Only while somebody holds that for long: faulthandler reads the frames of all threads as they lie in memory, and one that runs
//! meanwhile may free what it reads. Measured: that crashed the process in one of a hundred time-outs, with three busy threads
//! beside.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::base::crash;

/// For so long nothing is read anew.
const FRESH: Duration = Duration::from_millis(200);
/// Bytes of stacks that are looked at.
const MOST_TEXT: usize = 64 * 1024;

pub struct Stacks {
    /// Where faulthandler writes.
    file: File,
    last: Option<(Instant, String)>,
}

impl Stacks {
    pub fn new(file: File) -> Self {
        Self { file, last: None }
    }

    /// The stack of the thread with this `threading.get_ident()`; all of them, if it is not among them.
    ///
    /// # Errors
    /// The system's, or nobody writes them.
    pub fn of_thread(&mut self, ident: u64, now: Instant) -> io::Result<String> {
        let all = self.all(now)?;
        let mine = all.split("\n\n").find(|block| is_of(block) == Some(ident));
        Ok(mine.unwrap_or(all).to_owned())
    }

    /// Those of all threads, each with its `threading.get_ident()`, and without its first line, which says whose it is.
    ///
    /// # Errors
    /// As above.
    pub fn by_thread(&mut self, now: Instant) -> io::Result<Vec<(u64, String)>> {
        let all = self.all(now)?;
        let blocks = all.split("\n\n");
        // In Python's order, the innermost call last.
        let stack = |block: &str| {
            let frames: Vec<&str> = block.trim_end().lines().skip(1).collect();
            Some((
                is_of(block)?,
                frames
                    .into_iter()
                    .rev()
                    .fold(String::new(), |text, frame| text + frame + "\n"),
            ))
        };
        Ok(blocks.filter_map(stack).collect())
    }

    fn all(&mut self, now: Instant) -> io::Result<&str> {
        let last = match self.last.take().filter(|(at, _)| now.duration_since(*at) < FRESH) {
            Some(last) => last,
            None => {
                self.file.set_len(0)?;
                crash::write_stacks_now()?;
                let mut text = vec![0; MOST_TEXT];
                let length = self.file.read_at(&mut text, 0)?;
                (now, String::from_utf8_lossy(&text[..length]).into_owned())
            }
        };
        Ok(&self.last.insert(last).1)
    }
}

/// Whose block this is: `Thread 0x00007f1c2b3d4e5f (most recent call first):`
fn is_of(block: &str) -> Option<u64> {
    let (_, ident) = block.lines().next()?.split_once("hread 0x")?;
    let end = ident.find(|c: char| !c.is_ascii_hexdigit())?;
    u64::from_str_radix(&ident[..end], 16).ok()
}
