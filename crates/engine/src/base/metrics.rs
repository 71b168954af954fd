//! `wsgi_fpm.metrics` in this process: what its Python part counts in the pool's shared memory (`contract::metrics`).
//!
//! The memory is there before the application is loaded, in the leader too, and forks have it. A gauge has a value of its own in
//! each worker, which begins with what was set before the fork.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use contract::log::escape;
use contract::metrics::{self, Definition, Kind, Memory, Merge, Refused, Series, Writer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use settings::Setting;
use settings::values::UpTo;

use crate::base::forked;

struct Metrics {
    writer: Writer,
    /// For a log line: how the limit is called.
    limit: String,
    /// By their definitions and label values.
    gauges: HashMap<(Definition, Vec<String>), Arc<Gauge>>,
    /// What is in the log.
    told: HashSet<(String, Refused)>,
}

/// So many metrics are named in the log.
const MOST_TOLD: usize = 100;

/// `None`: nobody would read them. Python's lock is held wherever this one is, so that a fork never copies it taken; and no Python
/// runs under it, so that nobody waits for it with Python's.
static METRICS: OnceLock<Mutex<Metrics>> = OnceLock::new();
/// The worker that this process is, by its pid; 0: none yet.
static WORKER: AtomicI32 = AtomicI32::new(0);

/// From now on the application's metrics are counted in `memory`, whose size `limit` has set.
pub fn count_in(memory: Memory, limit: &Setting<UpTo<1_000_000>>) {
    let metrics = Metrics {
        writer: Writer::new(memory),
        limit: limit.to_string(),
        gauges: HashMap::new(),
        told: HashSet::new(),
    };
    let _ = METRICS.set(Mutex::new(metrics));
}

/// This process is a worker: its gauges are shown.
pub fn begin_worker() {
    let Some(mut metrics) = metrics() else { return };
    let pid = std::process::id() as i32;
    WORKER.store(pid, Relaxed);
    // Of another process that had this number, and whose end nobody has noted.
    metrics.writer.memory().forget(pid);
    let gauges: Vec<_> = metrics.gauges.values().cloned().collect();
    for gauge in gauges {
        gauge.show(&mut metrics);
    }
}

/// The worker `pid`, a child of this process, is dead: nobody sees its gauges any more.
pub fn forget(pid: i32) {
    if let Some(metrics) = metrics() {
        metrics.writer.memory().forget(pid);
    }
}

fn metrics() -> Option<MutexGuard<'static, Metrics>> {
    Some(METRICS.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}

/// For `wsgi_fpm.metrics`, which has checked all of it: the series with these label values. None where nothing is counted, or it does not fit.
#[pyfunction]
pub fn series<'py>(
    py: Python<'py>,
    kind: &str,
    name: &str,
    help: &Bound<'py, PyString>,
    labels: Vec<String>,
    bounds: Vec<f64>,
    values: Vec<Bound<'py, PyString>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if METRICS.get().is_none() {
        return Ok(None);
    }
    let definition = Definition {
        name: name.to_owned(),
        kind: match kind {
            "counter" => Kind::Counter,
            "histogram" => Kind::Histogram,
            "max" => Kind::Gauge(Merge::Max),
            "min" => Kind::Gauge(Merge::Min),
            "latest" => Kind::Gauge(Merge::Latest),
            _ => Kind::Gauge(Merge::Sum),
        },
        labels,
        bounds: bounds.into_iter().map(f64::to_bits).collect(),
    };
    // Lone surrogates are no text that could be shown.
    let text = |text: &Bound<'_, PyString>| text.to_string_lossy().into_owned();
    let help = text(help);
    let values: Vec<String> = values.iter().map(text).collect();
    let counted = metrics().and_then(|mut metrics| metrics.series(definition, &help, values));
    Ok(match counted {
        None => None,
        Some(Counted::Counter(series)) => Some(Bound::new(py, CounterSeries(series))?.into_any()),
        Some(Counted::Histogram(series)) => Some(Bound::new(py, HistogramSeries(series))?.into_any()),
        Some(Counted::Gauge(gauge)) => Some(Bound::new(py, GaugeSeries(gauge))?.into_any()),
    })
}

/// What is counted in, before it is an object.
enum Counted {
    Counter(Series),
    Histogram(Series),
    Gauge(Arc<Gauge>),
}

impl Metrics {
    /// `None`: it does not fit.
    fn series(&mut self, definition: Definition, help: &str, values: Vec<String>) -> Option<Counted> {
        let key = (definition, values);
        // A second one would show a value that nobody sets.
        if let Some(known) = self.gauges.get(&key) {
            return Some(Counted::Gauge(Arc::clone(known)));
        }
        let (definition, values) = &key;
        let series = match self.writer.series(definition, help, values) {
            Ok(series) => series,
            Err(refused) => {
                self.log(&definition.name, refused);
                return None;
            }
        };
        Some(match definition.kind {
            Kind::Counter => Counted::Counter(series),
            Kind::Histogram => Counted::Histogram(series),
            Kind::Gauge(_) => {
                let gauge = Arc::new(Gauge::new(series));
                gauge.show(self);
                self.gauges.insert(key, Arc::clone(&gauge));
                Counted::Gauge(gauge)
            }
        })
    }

    /// Once for a metric and a process: labels that take ever new values do so for ever. How many there were stands in `/metrics`.
    fn log(&mut self, metric: &str, refused: Refused) {
        if self.told.len() >= MOST_TOLD || !self.told.insert((metric.to_owned(), refused)) {
            return;
        }
        let metric = escape(metric);
        match refused {
            Refused::TooMany => tracing::warn!(
                metric,
                "a series of wsgi_fpm.metrics is not counted, nor are further ones: the pool has as many as {} allows; look for \
                 labels that take ever new values, such as a path or a user",
                self.limit
            ),
            Refused::TooLarge => tracing::warn!(
                metric,
                "a series of wsgi_fpm.metrics is not counted: for as many buckets, or label values as long, there is not enough left \
                 of the memory that {} gives (512 bytes for each series); smaller ones are counted",
                self.limit
            ),
            Refused::TooLong => tracing::warn!(metric, "a series of wsgi_fpm.metrics is not counted: {refused}"),
        }
    }
}

#[pyclass(frozen)]
struct CounterSeries(Series);

#[pymethods]
impl CounterSeries {
    #[pyo3(signature = (amount = 1.0))]
    fn inc(&self, amount: f64) -> PyResult<()> {
        if amount >= 0.0 {
            self.0.add(amount);
            return Ok(());
        }
        Err(PyValueError::new_err("a counter only grows"))
    }
}

#[pyclass(frozen)]
struct HistogramSeries(Series);

#[pymethods]
impl HistogramSeries {
    fn observe(&self, amount: f64) {
        self.0.observe(amount);
    }
}

#[pyclass(frozen)]
struct GaugeSeries(Arc<Gauge>);

#[pymethods]
impl GaugeSeries {
    #[pyo3(signature = (amount = 1.0))]
    fn inc(&self, amount: f64) {
        self.0.add(amount);
    }

    #[pyo3(signature = (amount = 1.0))]
    fn dec(&self, amount: f64) {
        self.0.add(-amount);
    }

    fn set(&self, value: f64) {
        self.0.set(value);
    }
}

/// A gauge in this process. Python's lock is held where it is changed.
struct Gauge {
    series: Series,
    /// The bits of an f64.
    value: AtomicU64,
    /// Where others see it, in a worker.
    shown: Mutex<Option<metrics::Gauge>>,
}

impl Gauge {
    fn new(series: Series) -> Self {
        Self {
            series,
            value: AtomicU64::new(0.0f64.to_bits()),
            shown: Mutex::new(None),
        }
    }

    fn is_latest(&self) -> bool {
        self.series.definition().kind == Kind::Gauge(Merge::Latest)
    }

    fn add(&self, amount: f64) {
        if self.is_latest() {
            return self.series.add_latest(amount);
        }
        self.set(f64::from_bits(self.value.load(Relaxed)) + amount);
    }

    fn set(&self, value: f64) {
        if self.is_latest() {
            return self.series.set_latest(value);
        }
        self.value.store(value.to_bits(), Relaxed);
        // A child of the application is no worker, and has copies of one's gauges.
        if forked::is_child() {
            return;
        }
        let is_set = matches!(&*self.shown(), Some(shown) if shown.set(value).is_some());
        if !is_set && let Some(mut metrics) = metrics() {
            self.show(&mut metrics);
        }
    }

    fn shown(&self) -> MutexGuard<'_, Option<metrics::Gauge>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has others see what it is in this worker.
    fn show(&self, metrics: &mut Metrics) {
        let worker = WORKER.load(Relaxed);
        if worker == 0 || self.is_latest() || forked::is_child() {
            return;
        }
        let value = f64::from_bits(self.value.load(Relaxed));
        let shown = metrics.writer.gauge(&self.series, worker, value);
        if shown.is_none() {
            metrics.log(&self.series.definition().name, Refused::TooMany);
        }
        *self.shown() = shown;
    }
}
