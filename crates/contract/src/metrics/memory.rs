//! Records, one behind the other, in memory that any process of a pool adds to and none takes from.
//!
//! A record begins with a word: its length and what it is. Whoever changes that word from 0 to the record's length has the place;
//! what it is follows once the rest is written. So a process that dies in between leaves a record that nobody reads, and no gap
//! that nobody could step over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use rustix::process::{Resource, getrlimit};

use super::WORDS_PER_SERIES;
use crate::shared::{Mapping, shared};

/// Raised when the records of an older program can't be read: then a pool begins with new memory, and with zeros.
const LAYOUT: u64 = 1;

shared! {
    struct Front {
        layout: AtomicU64,
        /// Series that there may be.
        most: AtomicU64,
        /// Words that are taken.
        used: AtomicU64,
        /// Series that there are.
        series: AtomicU64,
        /// Series that there was no room for, as often as somebody wanted them.
        dropped: AtomicU64,
        /// Definitions so far.
        defined: AtomicU64,
    }
}

/// What a record is; 0 while it is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// When it was defined last, and a [`super::Definition`].
    Family = 1,
    /// A name, and its help.
    Help = 2,
    /// Where its family is, the label values, its cells.
    Series = 3,
    /// A worker's value of a gauge: where its series is, whose it is, the value.
    Gauge = 4,
}

impl Tag {
    fn of(header: u64) -> Option<Self> {
        [Self::Family, Self::Help, Self::Series, Self::Gauge]
            .into_iter()
            .find(|tag| *tag as u8 == header as u8)
    }
}

/// A record, by the place of its first word.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub at: usize,
    /// Of all of it.
    pub words: usize,
    /// `None`: it is being written, or never will be.
    pub tag: Option<Tag>,
}

/// The mapping of one pool's metrics.
pub struct Memory(Mapping<Front, AtomicU64>);

impl Memory {
    /// Makes the memory for so many series, or as large as a file may be (`ulimit -f`); the descriptor is for [`Memory::map`] and for leaders.
    ///
    /// # Errors
    /// The system's, if it has no memory or no memfd.
    pub fn create(most: u64) -> io::Result<OwnedFd> {
        let longest = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        let possible = longest.saturating_sub(Mapping::<Front, AtomicU64>::length(0) as u64) / 8;
        let words = most.saturating_mul(WORDS_PER_SERIES as u64).min(possible);
        let fd = Mapping::<Front, AtomicU64>::create("wsgi-fpm-metrics", words as usize)?;
        let memory = Self(Mapping::map(&fd)?);
        memory.front().most.store(most, Relaxed);
        memory.front().layout.store(LAYOUT, Release);
        Ok(fd)
    }

    /// Maps what [`Memory::create`] made. The mapping outlives `fd` and is inherited by forks.
    ///
    /// # Errors
    /// The system's, if `fd` can't be mapped; `InvalidData` for that of a program of another layout.
    pub fn map(fd: impl AsFd) -> io::Result<Self> {
        let memory = Self(Mapping::map(fd)?);
        match memory.front().layout.load(Acquire) {
            LAYOUT => Ok(memory),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn front(&self) -> &Front {
        self.0.front()
    }

    fn words(&self) -> &[AtomicU64] {
        self.0.slots()
    }

    /// Series that there may be.
    pub fn most(&self) -> u64 {
        self.front().most.load(Relaxed)
    }

    /// Room for one series more, unless there are as many as there may be.
    pub fn take_series(&self) -> bool {
        let series = &self.front().series;
        let taken = series.fetch_update(Relaxed, Relaxed, |series| (series < self.most()).then_some(series + 1));
        taken.is_ok()
    }

    /// There was no memory for it.
    pub fn give_series_back(&self) {
        self.front().series.fetch_sub(1, Relaxed);
    }

    pub fn drop_one(&self) {
        self.front().dropped.fetch_add(1, Relaxed);
    }

    pub fn dropped(&self) -> u64 {
        self.front().dropped.load(Relaxed)
    }

    /// A number for a definition, higher than all before.
    pub fn define(&self) -> u64 {
        self.front().defined.fetch_add(1, Relaxed) + 1
    }

    /// The word at a place that somebody may have spoilt.
    pub fn word(&self, at: usize) -> Option<&AtomicU64> {
        self.words().get(at)
    }

    /// The words of a record behind its first.
    pub fn body(&self, record: Record) -> &[AtomicU64] {
        &self.words()[record.at + 1..record.at + record.words]
    }

    /// The record at a place that somebody may have spoilt; `None` behind the last one.
    pub fn record(&self, at: usize) -> Option<Record> {
        let header = self.word(at)?.load(Acquire);
        let words = (header >> 32) as usize;
        let fits = words > 0 && words <= self.words().len() - at;
        fits.then(|| Record {
            at,
            words,
            tag: Tag::of(header),
        })
    }

    /// All records from a place on.
    pub fn records(&self, from: usize) -> impl Iterator<Item = Record> {
        std::iter::successors(self.record(from), |record| self.record(record.at + record.words))
    }

    /// Adds a record, which is seen by others with all of its `body`; where it is. `None`: there is no room.
    pub fn add(&self, tag: Tag, body: &[u64]) -> Option<usize> {
        let at = self.claim(body.len())?;
        let words = &self.words()[at..=at + body.len()];
        for (word, value) in words[1..].iter().zip(body) {
            word.store(*value, Relaxed);
        }
        words[0].fetch_or(tag as u64, Release);
        Some(at)
    }

    /// A place for a record with so many words behind its first.
    pub(super) fn claim(&self, body: usize) -> Option<usize> {
        let used = &self.front().used;
        let header = (body as u64 + 1) << 32;
        loop {
            let at = used.load(Acquire);
            let place = usize::try_from(at).ok()?;
            let first = self.word(place)?;
            if body >= self.words().len() - place {
                return None;
            }
            let claimed = first.compare_exchange(0, header, AcqRel, Acquire);
            // Whoever sees it taken moves on, be it that its owner is dead.
            let taken = claimed.err().unwrap_or(header) >> 32;
            if taken == 0 {
                return None;
            }
            let _ = used.compare_exchange(at, at + taken, AcqRel, Acquire);
            if claimed.is_ok() {
                return Some(place);
            }
        }
    }

    /// The worker `pid` is dead, or begins: its gauges are nobody's.
    pub fn forget(&self, pid: i32) {
        for record in self.records(0).filter(|record| record.tag == Some(Tag::Gauge)) {
            if let [_, owner, _] = self.body(record)
                && owner.load(Relaxed) as u32 == pid as u32
            {
                owner.store(0, Release);
            }
        }
    }
}

/// A text as words: its length, then its bytes.
pub fn push_text(words: &mut Vec<u64>, text: &str) {
    words.push(text.len() as u64);
    words.extend(text.as_bytes().chunks(8).map(|chunk| {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(bytes)
    }));
}

/// The text at the beginning of `words`, and what stands behind it; `None` if there is none.
pub fn text(words: &[AtomicU64]) -> Option<(String, &[AtomicU64])> {
    let (length, words) = words.split_first()?;
    let length = usize::try_from(length.load(Relaxed)).ok()?;
    let (text, rest) = words.split_at_checked(length.div_ceil(8))?;
    let mut bytes: Vec<u8> = text.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
    bytes.truncate(length);
    Some((String::from_utf8(bytes).ok()?, rest))
}

#[cfg(test)]
impl Memory {
    pub fn used(&self) -> u64 {
        self.front().used.load(Relaxed)
    }

    pub fn set_layout(&self, layout: u64) {
        self.front().layout.store(layout, Relaxed);
    }

    /// As an application could that writes anywhere.
    pub fn spoil(&self, at: usize, value: u64) {
        self.words()[at % self.words().len()].store(value, Relaxed);
    }
}
