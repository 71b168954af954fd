//! A request's body on its way from the front server to the application: memory first, then an unlinked temporary
//! file (SPEC F10, F12).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use contract::limited;
use rustix::io::Errno;
use settings::values::SizeLimit;

/// What has arrived of one body and has not been read yet.
#[derive(Default)]
pub struct Body {
    memory: Vec<u8>,
    /// Bytes of `memory` that have been read. Invariant: `start <= memory.len()`.
    start: usize,
    /// What came while `memory` was full; it is newer than everything in `memory`.
    file: Option<Spool>,
    /// CONTENT_LENGTH; bytes beyond it are never shown (SPEC C44).
    pub expected: Option<u64>,
    /// Bytes that have arrived, those beyond `expected` and those thrown away included.
    pub received: u64,
    /// Bytes that have been read.
    read: u64,
    /// The stream has ended.
    pub ended: bool,
    /// More than the limit has arrived: the rest is thrown away and reading fails.
    pub too_large: bool,
    /// A part of it could not be kept: the rest is thrown away and reading fails.
    pub lost: Option<io::Error>,
    /// Nobody will read any more: what arrives is thrown away.
    pub discarding: bool,
}

/// All that has arrived of a body.
#[derive(Clone, Copy)]
pub struct Kept<'a> {
    pub memory: &'a [u8],
    /// What came behind that, so many bytes.
    pub spool: Option<(&'a File, u64)>,
}

/// A CONTENT_LENGTH that is no number of bytes (SPEC B7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("CONTENT_LENGTH is no number of bytes")]
pub struct NoLength;

/// What a request's CONTENT_LENGTH says; an empty one is as none (SPEC B6).
///
/// # Errors
/// It is neither empty nor digits that fit.
pub fn declared_length(value: &[u8]) -> Result<Option<u64>, NoLength> {
    if value.is_empty() {
        return Ok(None);
    }
    let digits = std::str::from_utf8(value)
        .ok()
        .filter(|_| value.iter().all(u8::is_ascii_digit));
    digits.and_then(|digits| digits.parse().ok()).map(Some).ok_or(NoLength)
}

struct Spool {
    file: File,
    written: u64,
    read: u64,
}

impl Body {
    /// Forgets everything, for the next request; returns the memory, empty.
    pub fn reset(&mut self) -> Vec<u8> {
        let Self { mut memory, .. } = std::mem::take(self);
        memory.clear();
        memory
    }

    /// What has arrived, where nothing of it was read, thrown away or lost.
    pub fn kept(&self) -> Option<Kept<'_>> {
        let is_whole = self.read == 0 && !self.discarding && !self.too_large && self.lost.is_none();
        let spool = self.file.as_ref().map(|spool| (&spool.file, spool.written));
        is_whole.then_some(Kept {
            memory: &self.memory,
            spool,
        })
    }

    /// Goes on from what another body had kept.
    pub fn resume(&mut self, memory: Vec<u8>, spool: Option<(File, u64)>) {
        self.received = memory.len() as u64 + spool.as_ref().map_or(0, |(_, written)| *written);
        self.memory = memory;
        self.file = spool.map(|(file, written)| Spool { file, written, read: 0 });
    }

    /// Bytes of memory that it has, used or not.
    pub fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    /// Whether memory that has been used before would be welcome.
    pub fn needs_memory(&self) -> bool {
        self.memory.capacity() == 0
    }

    pub fn give_memory(&mut self, memory: Vec<u8>) {
        debug_assert!(self.memory.is_empty() && memory.is_empty());
        self.memory = memory;
    }

    /// Takes what has arrived. At most `in_memory` bytes are kept in memory, and `max` in all. Where the temporary file
    /// takes no more, the body is lost: that is no failure of whoever has sent it, nor of the response.
    pub fn push(&mut self, data: &[u8], in_memory: usize, max: SizeLimit) {
        self.received += data.len() as u64;
        if max.is_exceeded_by(self.received) {
            self.too_large = true;
        }
        if self.discarding || self.too_large || self.lost.is_some() {
            return;
        }
        if let Err(error) = self.keep(data, in_memory) {
            self.lost = Some(error);
            // Others need the room.
            self.file = None;
        }
    }

    fn keep(&mut self, data: &[u8], in_memory: usize) -> io::Result<()> {
        if self.file.is_none() && self.memory.len() - self.start + data.len() <= in_memory {
            // Room for it by dropping what was read, not by growing.
            if self.start == self.memory.len() {
                self.memory.clear();
                self.start = 0;
            } else if self.memory.len() + data.len() > in_memory {
                self.memory.drain(..self.start);
                self.start = 0;
            }
            self.memory.extend_from_slice(data);
            return Ok(());
        }
        let spool = match &mut self.file {
            Some(spool) => spool,
            none => none.insert(Spool {
                file: temporary_file()?,
                written: 0,
                read: 0,
            }),
        };
        spool.file.write_all_at(data, spool.written)?;
        spool.written += data.len() as u64;
        Ok(())
    }

    /// Bytes that can be read without waiting.
    pub fn available(&self) -> u64 {
        let kept = (self.memory.len() - self.start) as u64;
        let kept = kept + self.file.as_ref().map_or(0, |spool| spool.written - spool.read);
        kept.min(
            self.expected
                .map_or(u64::MAX, |expected| expected.saturating_sub(self.read)),
        )
    }

    /// Whether nothing more will become available.
    pub fn complete(&self) -> bool {
        self.ended || self.expected.is_some_and(|expected| self.received >= expected)
    }

    /// More than CONTENT_LENGTH has arrived.
    pub fn surplus(&self) -> bool {
        self.expected.is_some_and(|expected| self.received > expected)
    }

    /// The stream has ended before CONTENT_LENGTH (SPEC C45).
    pub fn is_short(&self) -> bool {
        self.ended && self.expected.is_some_and(|expected| self.received < expected)
    }

    /// Moves what is available to `out`, as far as there is room.
    ///
    /// # Errors
    /// The temporary file's.
    pub fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let visible = (out.len() as u64).min(self.available()) as usize;
        let n = self.read_kept(&mut out[..visible])?;
        self.read += n as u64;
        Ok(n)
    }

    /// Hands over `length` bytes, if so many can be read and lie together in memory.
    pub fn read_together<R>(&mut self, length: usize, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        if length as u64 > self.available() {
            return None;
        }
        let taken = take(self.memory.get(self.start..self.start + length)?);
        self.start += length;
        self.read += length as u64;
        Some(taken)
    }

    fn read_kept(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = out.len().min(self.memory.len() - self.start);
        out[..n].copy_from_slice(&self.memory[self.start..self.start + n]);
        self.start += n;
        if n == out.len() {
            return Ok(n);
        }
        let Some(spool) = &mut self.file else { return Ok(n) };
        let wanted = (out.len() - n).min((spool.written - spool.read) as usize);
        spool.file.read_exact_at(&mut out[n..n + wanted], spool.read)?;
        spool.read += wanted as u64;
        if spool.read == spool.written {
            // Nothing of it is needed any more: what comes next fits into memory again.
            self.file = None;
            self.memory.clear();
            self.start = 0;
        }
        Ok(n + wanted)
    }

    /// Bytes up to and with the first newline among what is available, at most `limit`; `None` if neither is there.
    /// `searched`: so many bytes are known to have no newline.
    ///
    /// # Errors
    /// The temporary file's.
    pub fn line_length(&self, limit: usize, searched: usize) -> io::Result<Option<usize>> {
        let visible = self.available() as usize;
        let found = self.find_newline(limit.min(visible), searched)?;
        Ok(found.or_else(|| (visible >= limit).then_some(limit)))
    }

    /// The place behind the first newline in the first `limit` kept bytes, of which there are at least so many.
    fn find_newline(&self, limit: usize, searched: usize) -> io::Result<Option<usize>> {
        let memory = &self.memory[self.start..];
        let in_memory = memory.len().min(limit);
        let from = searched.min(in_memory);
        if let Some(position) = memory[from..in_memory].iter().position(|&byte| byte == b'\n') {
            return Ok(Some(from + position + 1));
        }
        let Some(spool) = &self.file else { return Ok(None) };
        let mut length = searched.max(in_memory);
        let mut chunk = [0; 8192];
        while length < limit {
            let n = chunk.len().min(limit - length);
            spool
                .file
                .read_exact_at(&mut chunk[..n], spool.read + (length - memory.len()) as u64)?;
            if let Some(position) = chunk[..n].iter().position(|&byte| byte == b'\n') {
                return Ok(Some(length + position + 1));
            }
            length += n;
        }
        Ok(None)
    }

    /// From now on everything is thrown away.
    pub fn discard(&mut self) {
        self.discarding = true;
        self.memory = Vec::new();
        self.start = 0;
        self.file = None;
    }
}

/// Whether there is no room for a temporary file, as opposed to something being wrong with its directory.
pub fn is_no_space(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    // The last one: the largest file that RLIMIT_FSIZE or the file system allows.
    matches!(errno, Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG))
}

/// What is said to the administrator of a body that could not be kept.
pub fn log_unkept(request: &str, error: &io::Error) {
    let advice = match is_no_space(error) {
        true => "make room there, or set TMPDIR to a directory that has more",
        false => "see what is wrong with that directory, or set TMPDIR to another",
    };
    limited!(
        "bodies that can't be kept",
        tracing::error!(request, directory = %directory().display(), %error, advice, "a request's body can't be kept")
    );
}

/// Where temporary files are.
pub fn directory() -> &'static Path {
    // Asked once: the application may change its environment while another thread reads it.
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(std::env::temp_dir)
}

/// A file without a name: nothing of it is left when the process ends, however it ends.
fn temporary_file() -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open, unlink};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let directory = directory();
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match open(directory, flags | OFlags::TMPFILE, mode) {
        Ok(fd) => Ok(fd.into()),
        // A file system without O_TMPFILE: a name for a moment.
        Err(_) => {
            let name = format!(
                "wsgi-fpm-body-{}-{}",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            );
            let path = directory.join(name);
            let fd = open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
            unlink(&path)?;
            Ok(fd.into())
        }
    }
}
