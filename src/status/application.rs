//! What applications count (`wsgi_fpm.metrics`), among the metrics. An application can write to the memory that it comes from: what no
//! name or value can be is left out, and what would contradict another pool's.

use std::collections::{BTreeMap, BTreeSet};
use std::ptr;

use contract::metrics::{self, Family, Sample, Value};

use super::exposition::{Kind, Page, number};
use super::snapshot::Pool;

/// The label by which pools are told apart, and what an application's own of that name is called, as Prometheus does it.
const POOL: &str = "pool";
const OTHER_POOL: &str = "exported_pool";
/// Names that begin so are this program's own.
const OWN: &str = "wsgi_fpm_";

/// All pools' families, those of one name together.
pub fn write(page: &mut Page, pools: &[Pool]) {
    let mut families: BTreeMap<&str, Vec<(&Pool, &Family)>> = BTreeMap::new();
    let mut left_out: BTreeMap<&str, usize> = BTreeMap::new();
    // The family of each name that samples have.
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for pool in pools {
        // They come by name: the first of two that collide is the same on each page.
        for family in &pool.application.families {
            let name = name_of(family);
            // Of one pool they are one, as `x` and `x_total` of a counter would not be.
            let last = families.get(name).and_then(|known| known.last());
            let is_alike = last.is_none_or(|(of, last)| kind_of(last) == kind_of(family) && !ptr::eq(*of, pool));
            let names = sample_names(family);
            let is_free = |sample: &String| owners.get(sample).is_none_or(|owner| *owner == name);
            if is_sound(family) && is_alike && names.iter().all(is_free) {
                owners.extend(names.into_iter().map(|sample| (sample, name)));
                families.entry(name).or_default().push((pool, family));
            } else {
                *left_out.entry(&pool.name).or_default() += family.samples.len();
            }
        }
    }
    for (name, members) in families {
        let Some((_, first)) = members.first() else { continue };
        page.family(name, kind_of(first), &first.help);
        for (pool, family) in members {
            for sample in &family.samples {
                if is_sound_value(family, sample) {
                    write_sample(page, pool, family, sample);
                } else {
                    *left_out.entry(&pool.name).or_default() += 1;
                }
            }
        }
    }
    page.counter(
        "wsgi_fpm_application_series_dropped",
        "Series of the application that are not counted since there is no room for them (metrics_series).",
        pools,
        |pool| pool.application.dropped,
    );
    page.gauge(
        "wsgi_fpm_application_series_left_out",
        "Series of the application that are not shown: their names are those of another metric's series, or names or values can't be.",
        pools,
        |pool| left_out.get(pool.name.as_str()).copied().unwrap_or(0) as f64,
    );
}

fn write_sample(page: &mut Page, pool: &Pool, family: &Family, sample: &Sample) {
    let mut labels = vec![(POOL, pool.name.as_str())];
    let names = family
        .labels
        .iter()
        .map(|name| if name == POOL { OTHER_POOL } else { name });
    labels.extend(names.zip(sample.labels.iter().map(String::as_str)));
    match &sample.value {
        Value::Number(value) => {
            let end = if family.kind == metrics::Kind::Counter {
                "_total"
            } else {
                ""
            };
            page.sample(end, &labels, *value);
        }
        Value::Histogram { bounds, counts, sum } => {
            let mut seen = 0;
            let ends = bounds.iter().map(|bound| number(*bound)).chain(["+Inf".to_owned()]);
            for (end, count) in ends.zip(counts) {
                seen = count.saturating_add(seen);
                page.sample("_bucket", &[&labels[..], &[("le", &end)]].concat(), seen as f64);
            }
            let can_fall = bounds.first().is_some_and(|bound| *bound < 0.0) || !is_growing(*sum);
            if !can_fall || page.takes_falling_sums() {
                page.sample("_sum", &labels, *sum);
                page.sample("_count", &labels, seen as f64);
            }
        }
    }
}

/// Without what a counter has at its end.
fn name_of(family: &Family) -> &str {
    match family.kind {
        metrics::Kind::Counter => family.name.strip_suffix("_total").unwrap_or(&family.name),
        _ => &family.name,
    }
}

/// The names that samples of it may have, in any format: what has them as well would be taken for a part of it.
fn sample_names(family: &Family) -> Vec<String> {
    let ends: &[&str] = match family.kind {
        metrics::Kind::Counter => &["", "_total", "_created"],
        metrics::Kind::Gauge(_) => &[""],
        metrics::Kind::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
    };
    let name = name_of(family);
    ends.iter().map(|end| format!("{name}{end}")).collect()
}

fn kind_of(family: &Family) -> Kind {
    match family.kind {
        metrics::Kind::Counter => Kind::Counter,
        metrics::Kind::Gauge(_) => Kind::Gauge,
        metrics::Kind::Histogram => Kind::Histogram,
    }
}

fn is_sound(family: &Family) -> bool {
    let mut names: BTreeSet<&str> = BTreeSet::from([OTHER_POOL, "le"]);
    let labels = family.labels.iter();
    let are_labels = labels.clone().all(|name| is_name(name, "_") && !name.starts_with("__"));
    are_labels
        && labels.clone().all(|name| names.insert(name))
        && is_name(name_of(family), "_:")
        && !family.name.starts_with(OWN)
        && family
            .samples
            .iter()
            .all(|sample| sample.labels.len() == family.labels.len())
}

fn is_sound_value(family: &Family, sample: &Sample) -> bool {
    match (&sample.value, family.kind) {
        (Value::Number(value), metrics::Kind::Counter) => is_growing(*value),
        (Value::Number(_), metrics::Kind::Gauge(_)) => true,
        (Value::Histogram { bounds, .. }, metrics::Kind::Histogram) => {
            bounds.iter().all(|bound| bound.is_finite()) && bounds.is_sorted_by(|low, high| low < high)
        }
        _ => false,
    }
}

/// Whether it can be what began at 0 and only ever grows.
fn is_growing(value: f64) -> bool {
    value >= 0.0
}

fn is_name(name: &str, more: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || more.contains(c);
    name.starts_with(is_first) && name.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use contract::metrics::Merge;

    use super::super::exposition::Format;
    use super::super::snapshot::tests::pool;
    use super::*;

    fn family(name: &str, kind: metrics::Kind, labels: &[&str], samples: &[(&[&str], Value)]) -> Family {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Family {
            name: name.to_owned(),
            help: "Help.".to_owned(),
            kind,
            labels: owned(labels),
            samples: samples
                .iter()
                .map(|(labels, value)| Sample {
                    labels: owned(labels),
                    value: value.clone(),
                })
                .collect(),
        }
    }

    fn one(name: &str, kind: metrics::Kind, labels: &[&str]) -> Family {
        let values = vec!["v"; labels.len()];
        family(name, kind, labels, &[(&values, Value::Number(1.0))])
    }

    fn written(pools: Vec<Vec<Family>>) -> String {
        let pools = ["a", "b"].into_iter().zip(pools).map(|(name, families)| {
            let mut pool = pool(name);
            pool.application.families = families;
            pool
        });
        let mut page = Page::new(Format::OpenMetrics);
        write(&mut page, &pools.collect::<Vec<_>>());
        page.end()
    }

    #[test]
    fn families_of_all_pools_are_together_with_the_pool_as_a_label() {
        let orders = |number| {
            family(
                "orders_total",
                metrics::Kind::Counter,
                &["pool"],
                &[(&["x\"\n"], Value::Number(number))],
            )
        };
        let text = written(vec![vec![orders(1.0)], vec![orders(2.5)]]);
        let expected = "# TYPE orders counter\n# HELP orders Help.\n\
                        orders_total{pool=\"a\",exported_pool=\"x\\\"\\n\"} 1\n\
                        orders_total{pool=\"b\",exported_pool=\"x\\\"\\n\"} 2.5\n";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn buckets_count_what_is_in_smaller_ones_too() {
        let value = Value::Histogram {
            bounds: vec![0.1, 1.0],
            counts: vec![1, 2, 4],
            sum: 9.5,
        };
        let text = written(vec![vec![family(
            "took_seconds",
            metrics::Kind::Histogram,
            &[],
            &[(&[], value)],
        )]]);
        let expected = "# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n# HELP took_seconds Help.\n\
                        took_seconds_bucket{pool=\"a\",le=\"0.1\"} 1\n\
                        took_seconds_bucket{pool=\"a\",le=\"1\"} 3\n\
                        took_seconds_bucket{pool=\"a\",le=\"+Inf\"} 7\n\
                        took_seconds_sum{pool=\"a\"} 9.5\n\
                        took_seconds_count{pool=\"a\"} 7\n";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn what_contradicts_or_can_not_be_is_left_out_and_counted() {
        let gauge = metrics::Kind::Gauge(Merge::Sum);
        let wrong = vec![
            // In OpenMetrics a counter's family has no `_total`.
            one("orders", gauge, &[]),
            one("wsgi_fpm_requests_total", metrics::Kind::Counter, &[]),
            one("a b", gauge, &[]),
            one("", gauge, &[]),
            one("", metrics::Kind::Counter, &[]),
            one("_total", metrics::Kind::Counter, &[]),
            one("1_total", metrics::Kind::Counter, &[]),
            one("x", gauge, &[""]),
            one("x", gauge, &["le"]),
            one("x", gauge, &["a", "a"]),
            one("x", gauge, &["exported_pool"]),
            one("x", gauge, &["a\"} 1\n"]),
        ];
        let text = written(vec![vec![one("orders_total", metrics::Kind::Counter, &[])], wrong]);
        let families: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        assert_eq!(families[0], "# TYPE orders counter");
        assert!(
            families[1..].iter().all(|line| line.contains("wsgi_fpm_application_")),
            "{text}"
        );
        assert!(
            text.contains("wsgi_fpm_application_series_left_out{pool=\"b\"} 12\n"),
            "{text}"
        );
    }

    #[test]
    fn values_that_can_not_be_are_left_out_and_counted() {
        let number = |value| (&[][..], Value::Number(value));
        let histogram = |bounds: &[f64], counts: &[u64], sum| {
            let (bounds, counts) = (bounds.to_vec(), counts.to_vec());
            (&[][..], Value::Histogram { bounds, counts, sum })
        };
        let counter = |name, value| family(name, metrics::Kind::Counter, &[], &[number(value)]);
        let took = |name, sample| family(name, metrics::Kind::Histogram, &[], &[sample]);
        let wrong = vec![
            counter("c", -1.0),
            counter("d", f64::NAN),
            took("h", histogram(&[1.0, 1.0], &[0, 0, 0], 0.0)),
            took("i", histogram(&[2.0, 1.0], &[0, 0, 0], 0.0)),
            took("j", histogram(&[f64::NAN], &[0, 0], 0.0)),
            took("k", histogram(&[f64::INFINITY], &[0, 0], 0.0)),
        ];
        let right = vec![
            counter("c", 0.0),
            counter("d", f64::INFINITY),
            took("h", histogram(&[1.0], &[u64::MAX, 2], 0.0)),
        ];
        let text = written(vec![wrong, right]);
        assert!(
            text.contains("wsgi_fpm_application_series_left_out{pool=\"a\"} 6\n"),
            "{text}"
        );
        assert!(
            text.contains("wsgi_fpm_application_series_left_out{pool=\"b\"} 0\n"),
            "{text}"
        );
        let samples = text
            .lines()
            .filter(|line| !line.contains('#') && !line.contains("wsgi_fpm_"));
        assert!(samples.clone().all(|line| line.contains("pool=\"b\"")), "{text}");
        assert_eq!(samples.count(), 2 + 4, "{text}");
    }

    #[test]
    fn sum_that_can_fall_is_in_the_text_format_alone() {
        let falling = |name: &str, bound, sum| {
            let (bounds, counts) = (vec![bound], vec![1, 0]);
            let value = Value::Histogram { bounds, counts, sum };
            family(name, metrics::Kind::Histogram, &[], &[(&[], value)])
        };
        for (format, has_sums) in [(Format::OpenMetrics, false), (Format::Text, true)] {
            let mut pool = pool("a");
            pool.application.families = vec![falling("below", -1.0, 4.0), falling("observed", 1.0, -4.0)];
            let mut page = Page::new(format);
            write(&mut page, &[pool]);
            let text = page.end();
            for name in ["below", "observed"] {
                for end in ["_sum{", "_count{"] {
                    assert_eq!(text.contains(&format!("{name}{end}")), has_sums, "{text}");
                }
                assert!(
                    text.contains(&format!("{name}_bucket{{pool=\"a\",le=\"+Inf\"}} 1\n")),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn of_metrics_whose_series_would_have_one_name_the_first_is_shown() {
        let gauge = metrics::Kind::Gauge(Merge::Sum);
        let value = Value::Histogram {
            bounds: vec![0.1],
            counts: vec![1, 2],
            sum: 9.5,
        };
        let histogram = |name: &str| family(name, metrics::Kind::Histogram, &[], &[(&[], value.clone())]);
        let first = vec![
            one("a_count", gauge, &[]),
            histogram("h"),
            one("h_bucket", gauge, &[]),
            one("h_sum", metrics::Kind::Counter, &[]),
            one("n", gauge, &[]),
            one("n_total", metrics::Kind::Counter, &[]),
            one("o", metrics::Kind::Counter, &[]),
            one("o_created", gauge, &[]),
            one("o_total", metrics::Kind::Counter, &[]),
        ];
        let second = vec![histogram("a"), histogram("h"), one("h_total", gauge, &[])];
        let text = written(vec![first, second]);
        let families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let families: Vec<_> = families.iter().filter(|line| !line.contains("wsgi_fpm_")).collect();
        assert_eq!(
            families,
            [
                &"a_count gauge",
                &"h histogram",
                &"h_total gauge",
                &"n gauge",
                &"o counter"
            ]
        );
        for left_out in ["{pool=\"a\"} 5\n", "{pool=\"b\"} 1\n"] {
            let line = format!("wsgi_fpm_application_series_left_out{left_out}");
            assert!(text.contains(&line), "{text}");
        }
        assert_eq!(text.matches("h_sum{").count(), 2, "{text}");
    }
}
