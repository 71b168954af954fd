//! What tracing tells becomes an event of the log: a line of text or an object, with all that it is about.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use settings::values::Format;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format};
use tracing_subscriber::registry::LookupSpan;

use super::tag::{self, Severity, Stream, Tag};
use super::{LogSettings, SLOW, Sink, trace};

/// Fields of an event; in front the name of the pool where there may be several, and the trace of a request that has one.
pub struct OfPool(pub Option<String>);

impl<'writer> FormatFields<'writer> for OfPool {
    fn format_fields<R: RecordFields>(&self, mut writer: format::Writer<'writer>, fields: R) -> fmt::Result {
        if let Some(pool) = &self.0 {
            write!(writer, "pool={pool:?} ")?;
        }
        if let Some(trace) = trace::current() {
            write!(writer, "trace={trace} ")?;
        }
        format::DefaultFields::new().format_fields(writer, fields)
    }
}

/// What an event becomes: a line of text with its time, one without for a receiver that keeps that by itself, or JSON; and the
/// supervisor's tag in front of it, if it needs one.
pub struct Events {
    settings: LogSettings,
    has_tags: bool,
    text: format::Format<format::Full>,
    bare: format::Format<format::Full, ()>,
    json: format::Format<format::Json>,
}

impl Events {
    pub fn new(settings: &LogSettings, has_tags: bool) -> Self {
        Self {
            settings: settings.clone(),
            has_tags,
            text: format::format(),
            bare: format::format().without_time().with_level(false),
            json: format::format().json().flatten_event(true),
        }
    }
}

impl<S> FormatEvent<S, OfPool> for Events
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, OfPool>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let is_slow = self.has_tags && event.metadata().target() == SLOW;
        let slow = self.settings.slow_to.as_ref().filter(|_| is_slow);
        let to = slow.unwrap_or(&self.settings.to);
        if self.has_tags {
            let mut subject = Subject::default();
            event.record(&mut subject);
            let tag = Tag {
                stream: if is_slow { Stream::Slow } else { Stream::Log },
                severity: Severity::of(*event.metadata().level()),
                // The supervisor's own events name the pool that they are about, if it is one.
                pool: match self.settings.name.as_str() {
                    "" => &subject.pool,
                    name => name,
                },
                request: subject.number(),
            };
            tag.write(&mut writer)?;
        }
        match (self.settings.format, &self.settings.pool) {
            (Format::Text, _) if to.is_a_service() => self.bare.format_event(context, writer, event),
            (Format::Text, _) => self.text.format_event(context, writer, event),
            (Format::Json, pool) => {
                let mut object = String::new();
                self.json
                    .format_event(context, format::Writer::new(&mut object), event)?;
                writer.write_char('{')?;
                if let Some(pool) = pool {
                    write!(writer, "\"pool\":{},", serde_json::json!(pool))?;
                }
                if let Some(trace) = trace::current() {
                    write!(writer, "\"trace\":\"{trace}\",")?;
                }
                writer.write_str(object.strip_prefix('{').unwrap_or(&object))
            }
        }
    }
}

/// What an event is about.
#[derive(Default)]
struct Subject {
    pool: String,
    request: String,
}

impl Subject {
    /// Method and path may stand behind it, and everything of a client's is escaped there.
    fn number(&self) -> &str {
        let number = self.request.split(' ').next().unwrap_or_default();
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if is_number { number } else { "" }
    }
}

impl Visit for Subject {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "pool" => value.clone_into(&mut self.pool),
            "request" => value.clone_into(&mut self.request),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "request" {
            self.request = format!("{value:?}");
        }
    }
}

/// Where events go.
pub struct Output {
    pub sink: Arc<dyn Sink>,
    pub ansi: bool,
}

impl Write for Output {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        match tag::sanitized(event, self.ansi) {
            Some(mended) => self.sink.write(&mended),
            None => self.sink.write(event),
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Output;

    fn make_writer(&'a self) -> Self::Writer {
        Output {
            sink: Arc::clone(&self.sink),
            ansi: self.ansi,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{keep, kept, usual};
    use super::*;
    use crate::tests::{in_a_process, is_in_a_process};

    #[test]
    fn event_is_a_line_in_its_form_with_its_pool_in_front() {
        if !is_in_a_process() {
            for (form, pool) in [("text", ""), ("text", "blog"), ("json", ""), ("json", "blog")] {
                let environment = [("FORM", form), ("POOL", pool)];
                let this = "log::events::tests::event_is_a_line_in_its_form_with_its_pool_in_front";
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
                let expected = format!("  WARN contract::log::events::tests: {pool}it has happened requests=7\n");
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
}
