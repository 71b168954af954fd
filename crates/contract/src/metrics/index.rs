//! What one process has seen of the memory, so that it reads each record once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::Definition;
use super::memory::{Memory, Record, Tag, text};

/// Records that are being written are looked at again; of more than these nobody waits for the end.
const MOST_PENDING: usize = 256;

#[derive(Default)]
pub struct Index {
    /// Where the first record is that was not looked at.
    next: usize,
    pending: Vec<usize>,
    definitions: HashMap<usize, Arc<Definition>>,
    pub metrics: HashMap<Arc<Definition>, Metric>,
    /// By name.
    pub helps: HashMap<String, String>,
    /// By a series' record: those of workers that have, or had, a value of it.
    pub gauges: HashMap<usize, Vec<usize>>,
}

/// All series of one definition.
#[derive(Default)]
pub struct Metric {
    /// Its records: several, if several processes have made one at once.
    pub families: Vec<usize>,
    /// By their label values.
    pub series: BTreeMap<Vec<String>, Vec<Place>>,
}

/// Where a series is.
pub struct Place {
    pub record: usize,
    pub cells: usize,
}

impl Index {
    /// Looks at what has been added.
    pub fn update(&mut self, memory: &Memory) {
        for at in std::mem::take(&mut self.pending) {
            if let Some(record) = memory.record(at) {
                self.note(memory, record);
            }
        }
        for record in memory.records(self.next) {
            self.next = record.at + record.words;
            self.note(memory, record);
        }
    }

    fn note(&mut self, memory: &Memory, record: Record) {
        let Some(tag) = record.tag else {
            if self.pending.len() < MOST_PENDING {
                self.pending.push(record.at);
            }
            return;
        };
        // What makes no sense is left out: any process of the application can have written it.
        let _ = match tag {
            Tag::Family => self.note_family(memory, record),
            Tag::Help => self.note_help(memory.body(record)),
            Tag::Series => self.note_series(memory, record),
            Tag::Gauge => self.note_gauge(memory, record),
        };
    }

    fn note_family(&mut self, memory: &Memory, record: Record) -> Option<()> {
        let (_, words) = memory.body(record).split_first()?;
        let definition: Arc<Definition> = Arc::new(serde_json::from_str(&text(words)?.0).ok()?);
        self.definitions.insert(record.at, Arc::clone(&definition));
        self.metrics.entry(definition).or_default().families.push(record.at);
        Some(())
    }

    fn note_help(&mut self, words: &[AtomicU64]) -> Option<()> {
        let (name, words) = text(words)?;
        self.helps.insert(name, text(words)?.0);
        Some(())
    }

    fn note_series(&mut self, memory: &Memory, record: Record) -> Option<()> {
        let words = memory.body(record);
        let (family, words) = words.split_first()?;
        let definition = self.definition(memory, family.load(Relaxed) as usize)?;
        let (labels, cells) = text(words)?;
        let labels: Vec<String> = serde_json::from_str(&labels).ok()?;
        if labels.len() != definition.labels.len() || cells.len() != definition.cells() {
            return None;
        }
        let place = Place {
            record: record.at,
            cells: record.at + record.words - cells.len(),
        };
        let metric = self.metrics.get_mut(&definition)?;
        metric.series.entry(labels).or_default().push(place);
        Some(())
    }

    /// The definition at a place, which may not have been there when that was looked at.
    fn definition(&mut self, memory: &Memory, at: usize) -> Option<Arc<Definition>> {
        if !self.definitions.contains_key(&at) {
            let record = memory.record(at).filter(|record| record.tag == Some(Tag::Family))?;
            self.pending.retain(|pending| *pending != at);
            self.note_family(memory, record)?;
        }
        self.definitions.get(&at).cloned()
    }

    fn note_gauge(&mut self, memory: &Memory, record: Record) -> Option<()> {
        let [series, _, _] = memory.body(record) else {
            return None;
        };
        let series = series.load(Relaxed) as usize;
        self.gauges.entry(series).or_default().push(record.at);
        Some(())
    }

    /// Where a series is that was seen.
    pub fn places(&self, definition: &Definition, labels: &[String]) -> Option<&[Place]> {
        Some(self.metrics.get(definition)?.series.get(labels)?)
    }
}
