//! The log: its form, the same in every process, and its ways out. tracing-subscriber hands over each event whole.

pub mod channel;
mod direct;
mod limit;
mod printed;
mod text;

use std::fmt;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};
use settings::values::{Format, Level};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

use crate::wait::timespec;

pub use direct::{Direct, last_line};
pub use limit::{Limit, is_owing, report};
pub use printed::{Printed, Printer};
use text::Lines;
pub use text::{MAX_LINE, block, escape, escape_bytes, word};

/// Target of the access log's events: switched on and off apart from the level.
pub const ACCESS: &str = "access";
/// Target of lines that the application wrote: to `wsgi.errors`, standard output or standard error.
pub const APP: &str = "app";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    pub level: Level,
    pub format: Format,
    /// One line a request.
    pub access: bool,
    /// Colours, for a terminal.
    pub ansi: bool,
    /// The pool whose name stands in each line, where there may be several.
    pub pool: Option<String>,
}

/// A way out of this process for events.
pub trait Sink: Send + Sync + 'static {
    /// Takes one event with all of its lines, the last newline included. Never waits for long, whoever reads the log: what
    /// does not get through is lost, and counted.
    fn write(&self, event: &[u8]);
}

/// Starts logging to `sink` for the whole process. A second call changes nothing.
pub fn start(settings: &LogSettings, sink: impl Sink) {
    let level = match settings.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let access = if settings.access {
        LevelFilter::INFO
    } else {
        LevelFilter::OFF
    };
    // What the application writes is the administrator's business at every level.
    let filter = Targets::new()
        .with_default(level)
        .with_target(ACCESS, access)
        .with_target(APP, LevelFilter::INFO);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(Output(Arc::new(sink)))
        .with_ansi(settings.ansi)
        // It would be told on standard error, by one who does not mind waiting.
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter);
    let pool = settings.pool.clone();
    let started = match (settings.format, pool) {
        (Format::Text, None) => registry.with(layer).try_init(),
        (Format::Text, Some(pool)) => registry.with(layer.fmt_fields(OfPool(pool))).try_init(),
        (Format::Json, None) => registry.with(layer.json().flatten_event(true)).try_init(),
        (Format::Json, Some(pool)) => {
            let json = format::format().json().flatten_event(true);
            let layer = layer.json().event_format(JsonOfPool { pool, json });
            registry.with(layer).try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("logging has been started before");
    }
}

/// Lines of one pool among several: its name comes first, as a field.
struct OfPool(String);

impl<'writer> FormatFields<'writer> for OfPool {
    fn format_fields<R: RecordFields>(&self, mut writer: format::Writer<'writer>, fields: R) -> fmt::Result {
        write!(writer, "pool={:?} ", self.0)?;
        format::DefaultFields::new().format_fields(writer, fields)
    }
}

/// The same as JSON.
struct JsonOfPool {
    pool: String,
    json: format::Format<format::Json>,
}

impl<S> FormatEvent<S, format::JsonFields> for JsonOfPool
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, format::JsonFields>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut object = String::new();
        self.json
            .format_event(context, format::Writer::new(&mut object), event)?;
        let rest = object.strip_prefix('{').unwrap_or(&object);
        write!(writer, "{{\"pool\":{},{rest}", serde_json::json!(self.pool))
    }
}

struct Output<S>(Arc<S>);

impl<S: Sink> Write for Output<S> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write(event);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a, S: Sink> MakeWriter<'a> for Output<S> {
    type Writer = Output<S>;

    fn make_writer(&'a self) -> Self::Writer {
        Output(Arc::clone(&self.0))
    }
}

/// One event of the log's own, for those who write it where tracing can't be asked.
pub fn notice(format: Format, message: &str) -> String {
    let mut time = String::new();
    // It can only fail if the clock is before 1970.
    let _ = SystemTime.format_time(&mut format::Writer::new(&mut time));
    match format {
        Format::Text => format!("{time}  WARN {}: {message}\n", module_path!()),
        Format::Json => {
            let target = module_path!();
            let event = serde_json::json!({ "timestamp": time, "level": "WARN", "message": message, "target": target });
            format!("{event}\n")
        }
    }
}

/// What a log says of events that nobody read in time.
pub fn lost(format: Format, events: u64) -> String {
    notice(
        format,
        &format!("{events} lines of the log were lost since nobody read it"),
    )
}

/// Waits for one of `events` on `fd`; false if the time is over.
pub(crate) fn wait_for(fd: BorrowedFd<'_>, events: PollFlags, until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match poll(&mut [PollFd::new(&fd, events)], Some(&timespec(left))) {
            Ok(0) => return false,
            Ok(_) => return true,
            // EINTR. Whoever has a timer of his own that is quicker must not keep us here for ever.
            Err(_) if left.is_zero() => return false,
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::tests::{in_a_process, is_in_a_process};

    static KEPT: Mutex<String> = Mutex::new(String::new());

    struct Kept;

    impl Sink for Kept {
        fn write(&self, event: &[u8]) {
            KEPT.lock().unwrap().push_str(std::str::from_utf8(event).unwrap());
        }
    }

    /// What is logged in a process of a test from now on, in the form of `settings`, is kept for [`kept`].
    pub fn keep(settings: &LogSettings) {
        start(settings, Kept);
    }

    pub fn kept() -> String {
        std::mem::take(&mut *KEPT.lock().unwrap())
    }

    /// The usual log of one pool.
    pub fn usual() -> LogSettings {
        LogSettings {
            level: Level::Info,
            format: Format::Text,
            access: false,
            ansi: false,
            pool: None,
        }
    }

    #[test]
    fn event_is_a_line_in_its_form_with_its_pool_in_front() {
        if !is_in_a_process() {
            for (form, pool) in [("text", ""), ("text", "blog"), ("json", ""), ("json", "blog")] {
                let environment = [("FORM", form), ("POOL", pool)];
                let this = "log::tests::event_is_a_line_in_its_form_with_its_pool_in_front";
                in_a_process(this, &environment);
            }
            return;
        }
        let said = |name| std::env::var(name).unwrap();
        let (format, pool) = (
            said("FORM").parse().unwrap(),
            Some(said("POOL")).filter(|pool| !pool.is_empty()),
        );
        keep(&LogSettings {
            format,
            pool: pool.clone(),
            ..usual()
        });
        tracing::warn!(requests = 7, "it has happened");
        let line = kept();
        match format {
            Format::Text => {
                let pool = pool.map(|pool| format!("pool={pool:?} ")).unwrap_or_default();
                let expected = format!("  WARN contract::log::tests: {pool}it has happened requests=7\n");
                assert_eq!(line.split_at(27).1, expected);
            }
            Format::Json => {
                let value: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(value["message"], "it has happened");
                assert_eq!((&value["level"], &value["requests"]), (&"WARN".into(), &7.into()));
                assert_eq!(value["pool"].as_str(), pool.as_deref());
                assert_eq!(
                    line.starts_with("{\"pool\":\"blog\",\"timestamp\""),
                    pool.is_some(),
                    "{line}"
                );
                assert_eq!(line.matches('\n').count(), 1);
            }
        }
    }

    #[test]
    fn level_says_what_is_logged_but_for_requests_and_what_the_application_writes() {
        if !is_in_a_process() {
            let this = "log::tests::level_says_what_is_logged_but_for_requests_and_what_the_application_writes";
            for level in ["error", "warn", "info", "debug", "trace"] {
                for access in ["yes", "no"] {
                    in_a_process(this, &[("LEVEL", level), ("ACCESS", access)]);
                }
            }
            return;
        }
        let level = std::env::var("LEVEL").unwrap();
        let access = std::env::var("ACCESS").unwrap() == "yes";
        keep(&LogSettings {
            level: level.parse().unwrap(),
            access,
            ..usual()
        });
        tracing::info!(target: ACCESS, "of a request");
        tracing::info!(target: APP, "of the application");
        tracing::error!("error");
        tracing::warn!("warn");
        tracing::info!("info");
        tracing::debug!("debug");
        tracing::trace!("trace");
        let log = kept();
        let seen: Vec<_> = log.lines().map(|line| line.rsplit(": ").next().unwrap()).collect();
        let levels = ["error", "warn", "info", "debug", "trace"];
        let shown = 1 + levels.iter().position(|known| *known == level).unwrap();
        let mut expected = vec!["of the application"];
        expected.extend(&levels[..shown]);
        if access {
            expected.insert(0, "of a request");
        }
        assert_eq!(seen, expected);
    }

    /// Waits for a condition, for a few seconds.
    pub fn until(condition: impl Fn() -> bool) {
        let end = Instant::now() + std::time::Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < end, "it has not come true");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    #[test]
    fn notice_looks_like_an_event() {
        let text = lost(Format::Text, 7);
        let (time, rest) = text.split_at(27);
        assert!(time.starts_with("20") && time.ends_with('Z'), "{text}");
        assert_eq!(
            rest,
            "  WARN contract::log: 7 lines of the log were lost since nobody read it\n"
        );
        let json: serde_json::Value = serde_json::from_str(&lost(Format::Json, 7)).unwrap();
        assert_eq!(json["message"], "7 lines of the log were lost since nobody read it");
        assert_eq!(
            (&json["level"], &json["target"]),
            (&"WARN".into(), &"contract::log".into())
        );
    }
}
