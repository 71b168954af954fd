//! The supervisor's side: all series as plain values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::index::{Index, Metric, Place};
use super::memory::Memory;
use super::writer::gauge_value;
use super::{Definition, Kind, Merge};

/// A metric with all of its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    pub name: String,
    pub help: String,
    pub kind: Kind,
    pub labels: Vec<String>,
    /// In the order of their label values.
    pub samples: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// One for each label of its family.
    pub labels: Vec<String>,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number(f64),
    Histogram {
        /// Upper bounds, ascending and finite.
        bounds: Vec<f64>,
        /// How many were in each bucket alone, and at the end beyond all bounds.
        counts: Vec<u64>,
        sum: f64,
    },
}

pub struct Reader {
    memory: Memory,
    index: Index,
}

impl Reader {
    pub fn new(memory: Memory) -> Self {
        Self {
            memory,
            index: Index::default(),
        }
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// How often a series did not fit.
    pub fn dropped(&self) -> u64 {
        self.memory.dropped()
    }

    /// Everything, by name.
    pub fn families(&mut self) -> Vec<Family> {
        self.index.update(&self.memory);
        let mut latest: BTreeMap<&str, (u64, &Arc<Definition>, &Metric)> = BTreeMap::new();
        for (definition, metric) in &self.index.metrics {
            let words = metric.families.iter().filter_map(|at| self.memory.word(at + 1));
            let defined = words.map(|word| word.load(Relaxed)).max().unwrap_or(0);
            let known = latest.entry(&definition.name).or_insert((defined, definition, metric));
            if known.0 < defined {
                *known = (defined, definition, metric);
            }
        }
        let families = latest.into_values();
        families
            .map(|(_, definition, metric)| Family {
                name: definition.name.clone(),
                help: self.index.helps.get(&definition.name).cloned().unwrap_or_default(),
                kind: definition.kind,
                labels: definition.labels.clone(),
                samples: metric
                    .series
                    .iter()
                    .filter_map(|(labels, places)| {
                        Some(Sample {
                            labels: labels.clone(),
                            value: self.value(definition, places)?,
                        })
                    })
                    .collect(),
            })
            .collect()
    }

    /// `None` for a gauge that no worker has a value of.
    fn value(&self, definition: &Definition, places: &[Place]) -> Option<Value> {
        let cell = |place: &Place, number: usize| {
            let word = self.memory.word(place.cells + number);
            word.map_or(0, |word| word.load(Relaxed))
        };
        let sum = |number: usize| places.iter().map(|place| f64::from_bits(cell(place, number))).sum();
        let gauges = places.iter().filter_map(|place| self.index.gauges.get(&place.record));
        let gauges = gauges.flatten().filter_map(|record| gauge_value(&self.memory, *record));
        Some(match definition.kind {
            Kind::Counter => Value::Number(sum(0)),
            Kind::Gauge(Merge::Latest) => {
                let last = places.iter().max_by_key(|place| cell(place, 1))?;
                Value::Number(f64::from_bits(cell(last, 0)))
            }
            Kind::Gauge(Merge::Sum) => Value::Number(gauges.reduce(|a, b| a + b)?),
            Kind::Gauge(Merge::Max) => Value::Number(gauges.reduce(f64::max)?),
            Kind::Gauge(Merge::Min) => Value::Number(gauges.reduce(f64::min)?),
            Kind::Histogram => {
                let buckets = definition.bounds.len() + 1;
                let count = |number: usize| {
                    places
                        .iter()
                        .map(|place| cell(place, number))
                        .fold(0, u64::wrapping_add)
                };
                Value::Histogram {
                    bounds: definition.bounds().collect(),
                    counts: (0..buckets).map(count).collect(),
                    sum: sum(buckets),
                }
            }
        })
    }
}
