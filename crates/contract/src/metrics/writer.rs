//! One process's side: it makes series, and counts.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::index::Index;
use super::memory::{Memory, Tag, push_text};
use super::{Definition, LONGEST, WORDS_PER_SERIES};
use crate::scoreboard::now_ms;

/// Why a series is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    #[error("there are as many as there may be")]
    TooMany,
    #[error("its labels are longer than {LONGEST} bytes together")]
    TooLong,
    #[error("it needs more memory than is left")]
    TooLarge,
}

impl Refused {
    /// There is no memory for a record with so many words behind its first: for whoever takes more than his share that need not be
    /// so for others.
    fn without_room(words: usize) -> Self {
        if words < WORDS_PER_SERIES {
            Self::TooMany
        } else {
            Self::TooLarge
        }
    }
}

pub struct Writer {
    memory: Arc<Memory>,
    index: Index,
    /// What this process has defined.
    defined: HashSet<Definition>,
}

/// A series that can be counted in.
#[derive(Clone)]
pub struct Series {
    memory: Arc<Memory>,
    record: usize,
    cells: usize,
    definition: Arc<Definition>,
}

/// A worker's value of a gauge.
pub struct Gauge {
    memory: Arc<Memory>,
    record: usize,
    owner: u64,
}

/// Beside the pid of the worker that has a value: it is one.
const IS_SET: u64 = 1 << 32;

impl Writer {
    pub fn new(memory: Memory) -> Self {
        Self {
            memory: Arc::new(memory),
            index: Index::default(),
            defined: HashSet::new(),
        }
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The series of `definition` with these label values, one for each of its labels; it is made if there is none.
    ///
    /// # Errors
    /// It does not fit, which is counted ([`super::Reader::dropped`]).
    pub fn series(&mut self, definition: &Definition, help: &str, labels: &[String]) -> Result<Series, Refused> {
        let series = self.find_or_make(definition, help, labels);
        if series.is_err() {
            self.memory.drop_one();
        }
        series
    }

    fn find_or_make(&mut self, definition: &Definition, help: &str, labels: &[String]) -> Result<Series, Refused> {
        self.define(definition, help)?;
        if let Some(series) = self.find(definition, labels) {
            return Ok(series);
        }
        // Somebody else may have made it.
        self.index.update(&self.memory);
        match self.find(definition, labels) {
            Some(series) => Ok(series),
            None => self.make(definition, labels),
        }
    }

    fn find(&self, definition: &Definition, labels: &[String]) -> Option<Series> {
        let place = self.index.places(definition, labels)?.first()?;
        let (definition, _) = self.index.metrics.get_key_value(definition)?;
        Some(Series {
            memory: Arc::clone(&self.memory),
            record: place.record,
            cells: place.cells,
            definition: Arc::clone(definition),
        })
    }

    /// Says, once in this process, that this definition holds from now on.
    fn define(&mut self, definition: &Definition, help: &str) -> Result<(), Refused> {
        if self.defined.contains(definition) {
            return Ok(());
        }
        self.index.update(&self.memory);
        self.note_help(&definition.name, help);
        let number = self.memory.define();
        match self.index.metrics.get(definition) {
            Some(metric) => {
                let families = metric.families.iter().filter_map(|at| self.memory.word(at + 1));
                families.for_each(|defined| _ = defined.fetch_max(number, Relaxed));
            }
            None => {
                let mut words = vec![number];
                let text = serde_json::to_string(definition).map_err(|_| Refused::TooLong)?;
                push_text(&mut words, &text);
                let record = self.memory.add(Tag::Family, &words);
                record.ok_or(Refused::without_room(words.len()))?;
                self.index.update(&self.memory);
            }
        }
        self.defined.insert(definition.clone());
        Ok(())
    }

    /// Where there is no room for it there is none for a series either, and that is said.
    fn note_help(&mut self, name: &str, help: &str) {
        let mut end = help.len().min(LONGEST);
        while !help.is_char_boundary(end) {
            end -= 1;
        }
        let help = &help[..end];
        let known = self.index.helps.get(name).map_or("", String::as_str);
        if known != help {
            let mut words = Vec::new();
            push_text(&mut words, name);
            push_text(&mut words, help);
            self.memory.add(Tag::Help, &words);
        }
    }

    /// Makes a series of what is defined.
    pub(super) fn make(&mut self, definition: &Definition, labels: &[String]) -> Result<Series, Refused> {
        self.define(definition, "")?;
        let text = serde_json::to_string(labels).map_err(|_| Refused::TooLong)?;
        if text.len() > LONGEST {
            return Err(Refused::TooLong);
        }
        let metric = self.index.metrics.get_key_value(definition);
        let (definition, family) = metric
            .and_then(|(definition, metric)| Some((Arc::clone(definition), *metric.families.first()?)))
            .ok_or(Refused::TooMany)?;
        if !self.memory.take_series() {
            return Err(Refused::TooMany);
        }
        let mut words = vec![family as u64];
        push_text(&mut words, &text);
        let cells = words.len() + 1;
        words.resize(words.len() + definition.cells(), 0);
        let Some(record) = self.memory.add(Tag::Series, &words) else {
            self.memory.give_series_back();
            return Err(Refused::without_room(words.len()));
        };
        Ok(Series {
            memory: Arc::clone(&self.memory),
            record,
            cells: record + cells,
            definition,
        })
    }

    /// A value of `series` for the worker `owner`, its pid, to begin with; `None` if there is no room, which is counted.
    pub fn gauge(&mut self, series: &Series, owner: i32, value: f64) -> Option<Gauge> {
        self.index.update(&self.memory);
        let mut known = self.index.gauges.get(&series.record).into_iter().flatten();
        let owner = u64::from(owner as u32);
        let is_free = |record: &&usize| {
            let word = self.memory.word(**record + 2);
            word.is_some_and(|word| word.compare_exchange(0, owner, AcqRel, Relaxed).is_ok())
        };
        let record = known
            .find(is_free)
            .copied()
            .or_else(|| self.memory.add(Tag::Gauge, &[series.record as u64, owner, 0]));
        let Some(record) = record else {
            self.memory.drop_one();
            return None;
        };
        self.memory.word(record + 3)?.store(value.to_bits(), Relaxed);
        self.memory.word(record + 2)?.store(owner | IS_SET, Release);
        Some(Gauge {
            memory: Arc::clone(&self.memory),
            record,
            owner: owner | IS_SET,
        })
    }
}

impl Series {
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    fn cell(&self, number: usize) -> Option<&AtomicU64> {
        self.memory.word(self.cells + number)
    }

    /// Of a counter.
    pub fn add(&self, amount: f64) {
        if let Some(cell) = self.cell(0) {
            add(cell, amount);
        }
    }

    /// Of a histogram. What is no number is in no bucket.
    pub fn observe(&self, value: f64) {
        let bounds = &self.definition.bounds;
        if value.is_nan() {
            return;
        }
        let bucket = bounds.partition_point(|bound| f64::from_bits(*bound) < value);
        self.cell(bucket).map(|cell| cell.fetch_add(1, Relaxed));
        if let Some(cell) = self.cell(bounds.len() + 1) {
            add(cell, value);
        }
    }

    /// Of a gauge that is the latest.
    pub fn set_latest(&self, value: f64) {
        if let (Some(cell), Some(at)) = (self.cell(0), self.cell(1)) {
            cell.store(value.to_bits(), Relaxed);
            at.store(now_ms(), Relaxed);
        }
    }

    /// The same, by so much more.
    pub fn add_latest(&self, amount: f64) {
        if let (Some(cell), Some(at)) = (self.cell(0), self.cell(1)) {
            add(cell, amount);
            at.store(now_ms(), Relaxed);
        }
    }
}

impl Gauge {
    /// `None`: it is not this worker's any more.
    pub fn set(&self, value: f64) -> Option<()> {
        let owner = self.memory.word(self.record + 2)?;
        if owner.load(Relaxed) != self.owner {
            return None;
        }
        self.memory.word(self.record + 3)?.store(value.to_bits(), Relaxed);
        Some(())
    }
}

/// The worker's value in the record, if it is one.
pub(super) fn gauge_value(memory: &Memory, record: usize) -> Option<f64> {
    let is_set = memory.word(record + 2)?.load(Acquire) & IS_SET != 0;
    let value = memory.word(record + 3)?.load(Relaxed);
    is_set.then(|| f64::from_bits(value))
}

fn add(cell: &AtomicU64, amount: f64) {
    let added = |bits| Some((f64::from_bits(bits) + amount).to_bits());
    // It is never refused.
    let _ = cell.fetch_update(Relaxed, Relaxed, added);
}
