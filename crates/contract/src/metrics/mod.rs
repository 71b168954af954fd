//! What an application counts (`wsgi_fpm.metrics`): shared memory of one pool, over workers, generations and upgrades.
//!
//! Counters and histograms are one value for the whole pool, which every process adds to: so nothing of them is lost with a worker.
//! Of a gauge each worker has a value of its own, which ends with it, but for one that is the latest that anybody has set.
//!
//! Nobody waits for anybody: memory is only ever added to ([`memory`]), by whoever is first, and a process that is killed at any
//! moment leaves nothing locked. Two processes that make the same series at the same time may both succeed; who reads takes
//! them together.

mod index;
mod memory;
mod reader;
mod writer;

use serde::{Deserialize, Serialize};

pub use memory::Memory;
pub use reader::{Family, Reader, Sample, Value};
pub use writer::{Gauge, Refused, Series, Writer};

/// Longest text of a series' label values, and of a metric's name, label names and bounds: bytes of JSON. A help is cut there.
pub const LONGEST: usize = 1024;
/// Memory for each series that there may be, in words of eight bytes. What is never used takes none.
const WORDS_PER_SERIES: usize = 64;

/// What is counted, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Only ever grows.
    Counter,
    Gauge(Merge),
    Histogram,
}

/// What the values that workers have come to together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    Sum,
    Max,
    Min,
    /// The one that was set last, by whomever: it outlives its worker.
    Latest,
}

/// A metric, as its application defines it. Two of one name that differ are two metrics, of which the one that was defined last
/// is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Definition {
    pub name: String,
    pub kind: Kind,
    pub labels: Vec<String>,
    /// Of a histogram: upper bounds of its buckets, ascending and finite, as the bits of their f64.
    pub bounds: Vec<u64>,
}

impl Definition {
    pub fn bounds(&self) -> impl Iterator<Item = f64> {
        self.bounds.iter().copied().map(f64::from_bits)
    }

    /// Words that a series of it has.
    fn cells(&self) -> usize {
        match self.kind {
            Kind::Counter => 1,
            // The value, and when it was set.
            Kind::Gauge(Merge::Latest) => 2,
            // Workers have them.
            Kind::Gauge(_) => 0,
            // One more for what is beyond all bounds, and the sum.
            Kind::Histogram => self.bounds.len() + 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(most: u64) -> (Memory, Writer, Reader) {
        let fd = Memory::create(most).unwrap();
        let memory = || Memory::map(&fd).unwrap();
        (memory(), Writer::new(memory()), Reader::new(memory()))
    }

    fn definition(name: &str, kind: Kind, labels: &[&str]) -> Definition {
        Definition {
            name: name.into(),
            kind,
            labels: labels.iter().map(|label| (*label).into()).collect(),
            bounds: match kind {
                Kind::Histogram => [0.1, 1.0].map(f64::to_bits).into(),
                _ => Vec::new(),
            },
        }
    }

    fn values(labels: &[&str]) -> Vec<String> {
        labels.iter().map(|label| (*label).to_owned()).collect()
    }

    fn number(family: &Family, labels: &[&str]) -> Option<f64> {
        let sample = family.samples.iter().find(|sample| sample.labels == labels)?;
        match sample.value {
            Value::Number(value) => Some(value),
            Value::Histogram { .. } => panic!("{sample:?}"),
        }
    }

    #[test]
    fn counter_of_several_processes_is_one_value_with_its_help_and_labels() {
        let fd = Memory::create(10).unwrap();
        let mut writers = [0, 1].map(|_| Writer::new(Memory::map(&fd).unwrap()));
        let mut reader = Reader::new(Memory::map(&fd).unwrap());
        assert!(reader.families().is_empty());
        let orders = definition("orders_total", Kind::Counter, &["shop"]);
        for (writer, amount) in writers.iter_mut().zip([1.5, 2.0]) {
            let series = writer.series(&orders, "Orders.", &values(&["a\n\"ü"])).unwrap();
            series.add(amount);
            writer.series(&orders, "Orders.", &values(&["b"])).unwrap().add(1.0);
        }
        let families = reader.families();
        assert_eq!(families.len(), 1);
        let family = &families[0];
        assert_eq!(
            (family.name.as_str(), family.help.as_str()),
            ("orders_total", "Orders.")
        );
        assert_eq!(
            (family.kind, family.labels.as_slice()),
            (Kind::Counter, &["shop".to_owned()][..])
        );
        assert_eq!(
            (number(family, &["a\n\"ü"]), number(family, &["b"])),
            (Some(3.5), Some(2.0))
        );
        assert_eq!(family.samples.len(), 2);
    }

    #[test]
    fn histogram_counts_each_observation_in_the_bucket_that_it_fits() {
        let (_, mut writer, mut reader) = metrics(10);
        let took = definition("took_seconds", Kind::Histogram, &[]);
        let series = writer.series(&took, "", &[]).unwrap();
        for seconds in [0.05, 0.1, 0.2, 1.0, 7.0, f64::NAN] {
            series.observe(seconds);
        }
        let families = reader.families();
        let Value::Histogram { bounds, counts, sum } = &families[0].samples[0].value else {
            panic!("{families:?}");
        };
        assert_eq!(
            (bounds.as_slice(), counts.as_slice()),
            (&[0.1, 1.0][..], &[2, 2, 1][..])
        );
        assert!((sum - 8.35).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn gauge_is_merged_over_the_workers_that_live() {
        let fd = Memory::create(10).unwrap();
        let memory = || Memory::map(&fd).unwrap();
        let mut reader = Reader::new(memory());
        let merges = [Merge::Sum, Merge::Max, Merge::Min, Merge::Latest];
        let named = |merge: Merge| definition(&format!("{merge:?}"), Kind::Gauge(merge), &[]);
        for (owner, value) in [(11, 3.0), (12, 5.0), (13, -1.0)] {
            let mut writer = Writer::new(memory());
            for merge in merges {
                let series = writer.series(&named(merge), "", &[]).unwrap();
                match merge {
                    Merge::Latest => series.set_latest(value),
                    _ => writer.gauge(&series, owner, value).unwrap().set(value).unwrap(),
                }
            }
        }
        let read = |reader: &mut Reader| {
            merges.map(|merge| {
                let families = reader.families();
                let family = families.iter().find(|family| family.name == format!("{merge:?}"));
                number(family.unwrap(), &[])
            })
        };
        assert_eq!(read(&mut reader), [Some(7.0), Some(5.0), Some(-1.0), Some(-1.0)]);
        memory().forget(12);
        assert_eq!(read(&mut reader), [Some(2.0), Some(3.0), Some(-1.0), Some(-1.0)]);
        memory().forget(11);
        memory().forget(13);
        assert_eq!(read(&mut reader), [None, None, None, Some(-1.0)]);
    }

    #[test]
    fn place_of_a_dead_worker_s_gauge_is_taken_by_the_next_and_who_has_lost_it_is_told() {
        let (memory, mut writer, mut reader) = metrics(10);
        let busy = definition("busy", Kind::Gauge(Merge::Sum), &[]);
        let series = writer.series(&busy, "", &[]).unwrap();
        let first = writer.gauge(&series, 11, 1.0).unwrap();
        let used = memory.used();
        memory.forget(11);
        assert!(first.set(2.0).is_none());
        for owner in 12..100 {
            let next = writer.gauge(&series, owner, 7.0).unwrap();
            assert_eq!(next.set(f64::from(owner)), Some(()));
            assert_eq!(number(&reader.families()[0], &[]), Some(f64::from(owner)));
            memory.forget(owner);
        }
        assert_eq!(memory.used(), used);
    }

    #[test]
    fn as_many_series_as_may_be_fit_and_one_more_is_refused_and_counted() {
        let (_, mut writer, mut reader) = metrics(3);
        let hits = definition("hits_total", Kind::Counter, &["page"]);
        for page in ["a", "b", "c", "a"] {
            writer.series(&hits, "", &values(&[page])).unwrap().add(1.0);
        }
        assert_eq!((reader.families()[0].samples.len(), reader.dropped()), (3, 0));
        for dropped in 1..3 {
            let refused = writer.series(&hits, "", &values(&["d"])).err();
            assert_eq!(refused, Some(Refused::TooMany));
            assert_eq!(reader.dropped(), dropped);
        }
        writer.series(&hits, "", &values(&["b"])).unwrap().add(1.0);
        assert_eq!(number(&reader.families()[0], &["b"]), Some(2.0));
    }

    #[test]
    fn labels_of_the_longest_length_fit_and_longer_ones_are_refused() {
        let (_, mut writer, mut reader) = metrics(10);
        let hits = definition("hits_total", Kind::Counter, &["page"]);
        // Brackets and quotes count, too.
        let longest = "x".repeat(LONGEST - 4);
        writer
            .series(&hits, "", std::slice::from_ref(&longest))
            .unwrap()
            .add(1.0);
        let refused = writer.series(&hits, "", &[longest.clone() + "x"]).err();
        assert_eq!((refused, reader.dropped()), (Some(Refused::TooLong), 1));
        assert_eq!(number(&reader.families()[0], &[&longest]), Some(1.0));
    }

    #[test]
    fn series_that_are_larger_than_their_share_fill_the_memory_and_smaller_ones_are_counted_still() {
        let (memory, mut writer, reader) = metrics(4);
        let hits = definition("hits_total", Kind::Counter, &["page"]);
        let refused = (0..4).find_map(|number| {
            let page = format!("{number}{}", "x".repeat(LONGEST - 10));
            writer.series(&hits, "", &[page]).err()
        });
        assert_eq!(refused, Some(Refused::TooLarge));
        assert!(memory.used() <= 4 * WORDS_PER_SERIES as u64);
        assert_eq!(reader.dropped(), 1);
        writer.series(&hits, "", &values(&["short"])).unwrap().add(1.0);
        let took = Definition {
            bounds: (0..200).map(|bound| f64::from(bound).to_bits()).collect(),
            ..definition("took_seconds", Kind::Histogram, &[])
        };
        assert_eq!(writer.series(&took, "", &[]).err(), Some(Refused::TooLarge));
        writer.series(&hits, "", &values(&["other"])).unwrap().add(1.0);
        assert_eq!(reader.dropped(), 2);
    }

    #[test]
    fn metric_that_is_defined_otherwise_is_another_one_and_the_last_definition_is_read() {
        let fd = Memory::create(10).unwrap();
        let (memory, hits) = (|| Memory::map(&fd).unwrap(), "hits_total");
        let (old, new) = (
            definition(hits, Kind::Counter, &[]),
            definition(hits, Kind::Counter, &["page"]),
        );
        let (mut before, mut after) = (Writer::new(memory()), Writer::new(memory()));
        let mut reader = Reader::new(memory());
        let series = before.series(&old, "Old.", &[]).unwrap();
        series.add(1.0);
        after.series(&new, "New.", &values(&["/"])).unwrap().add(2.0);
        // It still serves.
        series.add(1.0);
        let families = reader.families();
        assert_eq!((families.len(), families[0].help.as_str()), (1, "New."));
        assert_eq!(number(&families[0], &["/"]), Some(2.0));
        // Back to the old version: its counter goes on.
        let mut again = Writer::new(memory());
        again.series(&old, "Old.", &[]).unwrap().add(1.0);
        assert_eq!(number(&reader.families()[0], &[]), Some(3.0));
    }

    #[test]
    fn what_a_killed_process_has_begun_to_write_holds_up_nobody() {
        let (memory, mut writer, mut reader) = metrics(10);
        assert!(memory.claim(5).is_some(), "and never published");
        let hits = definition("hits_total", Kind::Counter, &[]);
        writer.series(&hits, "", &[]).unwrap().add(1.0);
        assert_eq!(number(&reader.families()[0], &[]), Some(1.0));
    }

    #[test]
    fn two_processes_that_make_the_same_series_at_once_are_read_as_one() {
        let fd = Memory::create(10).unwrap();
        let mut writers = [0, 1].map(|_| Writer::new(Memory::map(&fd).unwrap()));
        let mut reader = Reader::new(Memory::map(&fd).unwrap());
        let hits = definition("hits_total", Kind::Counter, &[]);
        let last = definition("last", Kind::Gauge(Merge::Latest), &[]);
        for (writer, amount) in writers.iter_mut().zip([1.0, 2.0]) {
            // As if neither had seen the other's.
            writer.make(&hits, &[]).unwrap().add(amount);
            writer.make(&last, &[]).unwrap().set_latest(amount);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let families = reader.families();
        assert_eq!(
            families.iter().map(|family| family.samples.len()).collect::<Vec<_>>(),
            [1, 1]
        );
        assert_eq!(
            (number(&families[0], &[]), number(&families[1], &[])),
            (Some(3.0), Some(2.0))
        );
    }

    #[test]
    fn memory_in_which_an_application_has_written_anything_is_read_without_harm() {
        let mut seed: u64 = 7;
        let mut random = move || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        for _ in 0..2000 {
            let (memory, mut writer, mut reader) = metrics(3);
            let kinds = [Kind::Counter, Kind::Histogram, Kind::Gauge(Merge::Sum)];
            for (kind, name) in kinds.into_iter().zip(["a", "b", "c"]) {
                let series = writer.series(&definition(name, kind, &[]), "Help.", &[]).unwrap();
                let _ = writer.gauge(&series, 11, 1.0);
            }
            for _ in 0..3 {
                let value = match random() % 3 {
                    0 => (random() << 33) | random(),
                    1 => random() % 100,
                    _ => ((random() % 100) << 32) | (random() % 6),
                };
                memory.spoil(random() as usize, value);
            }
            reader.families();
            reader.families();
            memory.forget(11);
            let _ = Writer::new(memory).series(&definition("d", Kind::Counter, &[]), "", &[]);
        }
    }

    #[test]
    fn memory_of_another_layout_is_refused() {
        let fd = Memory::create(1).unwrap();
        Memory::map(&fd).unwrap().set_layout(u64::MAX);
        let error = Memory::map(&fd).err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    }
}
