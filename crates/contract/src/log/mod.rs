//! The log: its form, the same in every process, and its ways out. tracing-subscriber hands over each event whole.

pub mod access;
pub mod channel;
mod clock;
mod direct;
mod events;
mod limit;
mod printed;
pub mod tag;
mod text;
mod trace;

use std::os::fd::BorrowedFd;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};
use settings::values::{AccessFormat, CountLimit, Destination, Format, Level, PathPattern};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::prelude::*;

use crate::wait::timespec;

pub use clock::clf;
pub use direct::{Direct, last_line};
use events::{Events, OfPool, Output};
pub use limit::{Limit, application_may, is_owing, report};
pub use printed::{Printed, Printer};
use tag::{Severity, Stream, Tag};
use text::Lines;
pub use text::{MAX_LINE, block, escape, escape_bytes, set_word, word};
pub use trace::{Trace, set_trace, traced};

/// Stands in the lines of the access log, as the target of an event.
pub const ACCESS: &str = "access";
/// Target of lines that the application wrote: to `wsgi.errors`, standard output or standard error.
pub const APP: &str = "app";
/// First line of what Python prints of an exception.
pub const TRACEBACK: &str = "Traceback (most recent call last):";
/// Target of requests that are slow, which may have a log of their own.
pub const SLOW: &str = "slow";

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
    /// The pool's name in any case; empty: of the supervisor.
    #[serde(default)]
    pub name: String,
    /// Where the supervisor writes it.
    #[serde(default)]
    pub to: Destination,
    /// `None`: where the log goes.
    #[serde(default)]
    pub access_to: Option<Destination>,
    /// `None`: as the log's.
    #[serde(default)]
    pub access_format: Option<AccessFormat>,
    /// Paths whose requests get no line.
    #[serde(default)]
    pub access_suppress: Vec<PathPattern>,
    /// `None`: where the log goes.
    #[serde(default)]
    pub slow_to: Option<Destination>,
    /// Lines of the application in a second.
    #[serde(default = "no_limit")]
    pub app_rate: CountLimit,
}

fn no_limit() -> CountLimit {
    CountLimit::NONE
}

/// The usual log of one pool.
impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: Level::Info,
            format: Format::Text,
            access: false,
            ansi: false,
            pool: None,
            name: String::new(),
            to: Destination::Stderr,
            access_to: None,
            access_format: None,
            access_suppress: Vec::new(),
            slow_to: None,
            app_rate: CountLimit::NONE,
        }
    }
}

/// What an event of the log looks like on its way to the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub format: Format,
    /// Its receiver keeps time and importance by itself.
    pub is_tagged: bool,
}

impl LogSettings {
    pub fn form(&self) -> Form {
        Form {
            format: self.format,
            is_tagged: self.to.is_a_service(),
        }
    }
}

/// A way out of this process for events.
pub trait Sink: Send + Sync + 'static {
    /// Takes one event with all of its lines, the last newline included. Never waits for long, whoever reads the log: what
    /// does not get through is lost, and counted.
    fn write(&self, event: &[u8]);

    /// Whether somebody there reads tags.
    fn takes_tags(&self) -> bool {
        true
    }
}

/// The log of this process.
struct Started {
    settings: LogSettings,
    /// What the access log wants to know beside the usual.
    extras: Vec<access::Extra>,
    sink: Arc<dyn Sink>,
    has_tags: bool,
}

static STARTED: OnceLock<Started> = OnceLock::new();

/// Starts logging to `sink` for the whole process. A second call changes nothing.
pub fn start(settings: &LogSettings, sink: impl Sink) {
    let sink: Arc<dyn Sink> = Arc::new(sink);
    let has_tags = sink.takes_tags();
    let started = Started {
        settings: settings.clone(),
        extras: access::extras(settings),
        sink: Arc::clone(&sink),
        has_tags,
    };
    if STARTED.set(started).is_err() {
        tracing::debug!("logging has been started before");
        return;
    }
    limit::set_application_rate(settings.app_rate);
    let level = match settings.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    // Libraries tell of what they do; what follows from it is ours to say.
    let libraries = if level > LevelFilter::INFO {
        level
    } else {
        LevelFilter::OFF
    };
    // What the application writes is the administrator's business at every level, and so is what he has asked for by an option.
    let filter = Targets::new()
        .with_default(level)
        .with_target("notify", libraries)
        .with_target(SLOW, level.max(LevelFilter::WARN))
        .with_target(APP, LevelFilter::INFO);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(Output {
            sink: Arc::clone(&sink),
            ansi: settings.ansi,
        })
        .with_ansi(settings.ansi)
        // It would be told on standard error, by one who does not mind waiting.
        .log_internal_errors(false)
        .fmt_fields(OfPool(settings.pool.clone()))
        .event_format(Events::new(settings, has_tags));
    let registry = tracing_subscriber::registry().with(filter).with(layer);
    if registry.try_init().is_err() {
        tracing::debug!("logging has been started before");
    }
}

/// What a line of the access log is to tell beside the usual.
pub fn access_extras() -> &'static [access::Extra] {
    STARTED.get().map_or(&[], |started| &started.extras)
}

/// Whether requests like this one have no line in the access log if all is well.
pub fn is_suppressed(method: &[u8], path: &[u8]) -> bool {
    let started = STARTED.get().filter(|_| matches!(method, b"GET" | b"HEAD"));
    started.is_some_and(|started| {
        started
            .settings
            .access_suppress
            .iter()
            .any(|pattern| pattern.matches(path))
    })
}

/// Writes a line of the access log. `event`: memory for it, which the next one can have, too.
pub fn access(line: &access::Line<'_>, event: &mut String) {
    if let Some(started) = STARTED.get() {
        event.clear();
        line.write(event, &started.settings, started.has_tags, std::time::SystemTime::now());
        started.sink.write(event.as_bytes());
    }
}

/// One event of the log's own, for those who write it where tracing can't be asked.
pub fn notice(form: Form, message: &str) -> String {
    let mut event = String::new();
    let target = module_path!();
    if form.is_tagged {
        let tag = Tag {
            stream: Stream::Log,
            severity: Severity::Warning,
            pool: "",
            request: "",
        };
        // Writing to a String can't fail.
        let _ = tag.write(&mut event);
    }
    let mut time = String::new();
    // It can only fail if the clock is before 1970.
    let _ = SystemTime.format_time(&mut format::Writer::new(&mut time));
    match form.format {
        Format::Text if form.is_tagged => event.push_str(&format!("{target}: {message}\n")),
        Format::Text => event.push_str(&format!("{time}  WARN {target}: {message}\n")),
        Format::Json => {
            let object =
                serde_json::json!({ "timestamp": time, "level": "WARN", "message": message, "target": target });
            event.push_str(&format!("{object}\n"));
        }
    }
    event
}

/// What a log says of events that nobody read in time.
pub fn lost(form: Form, events: u64) -> String {
    notice(
        form,
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

    pub const PLAIN: Form = Form {
        format: Format::Text,
        is_tagged: false,
    };

    static KEPT: Mutex<String> = Mutex::new(String::new());

    struct Kept;

    impl Sink for Kept {
        fn write(&self, event: &[u8]) {
            KEPT.lock().unwrap().push_str(std::str::from_utf8(event).unwrap());
        }

        fn takes_tags(&self) -> bool {
            false
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
        LogSettings::default()
    }

    #[test]
    fn level_says_what_is_logged_but_for_slow_requests_and_what_the_application_writes() {
        if !is_in_a_process() {
            let this = "log::tests::level_says_what_is_logged_but_for_slow_requests_and_what_the_application_writes";
            for level in ["error", "warn", "info", "debug", "trace"] {
                in_a_process(this, &[("LEVEL", level)]);
            }
            return;
        }
        let level = std::env::var("LEVEL").unwrap();
        keep(&LogSettings {
            level: level.parse().unwrap(),
            ..usual()
        });
        tracing::warn!(target: SLOW, "of a slow request");
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
        let mut expected = vec!["of a slow request", "of the application"];
        expected.extend(&levels[..shown]);
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
        let text = lost(PLAIN, 7);
        let (time, rest) = text.split_at(27);
        assert!(time.starts_with("20") && time.ends_with('Z'), "{text}");
        assert_eq!(
            rest,
            "  WARN contract::log: 7 lines of the log were lost since nobody read it\n"
        );
        let json: serde_json::Value = serde_json::from_str(&lost(
            Form {
                format: Format::Json,
                ..PLAIN
            },
            7,
        ))
        .unwrap();
        assert_eq!(json["message"], "7 lines of the log were lost since nobody read it");
        assert_eq!(
            (&json["level"], &json["target"]),
            (&"WARN".into(), &"contract::log".into())
        );
    }
}
