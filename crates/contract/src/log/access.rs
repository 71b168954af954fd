//! Lines of the access log. They are made here, not by tracing, for they are by far the most.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use settings::values::{AccessFormat, Destination, Field, Format, Part};

use super::tag::{Severity, Stream, Tag};
use super::{LogSettings, Trace, clock, escape_bytes, word};

/// What one line tells. Texts are [words](word) but for those of `more`.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    pub request: &'a str,
    pub peer: &'a str,
    pub remote: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    pub status: u16,
    pub bytes: u64,
    /// From when a thread had it until it was over.
    pub took: Duration,
    pub in_application: Duration,
    /// How long it had waited before, if the front server says when it has come.
    pub queued: Option<Duration>,
    pub outcome: &'a str,
    pub trace: Option<Trace>,
    /// What else the format asks for, as it was sent.
    pub more: &'a [(Field, Vec<u8>)],
}

/// Fields of a line that asks for none.
const USUAL: [Field; 12] = [
    Field::Request,
    Field::Peer,
    Field::Remote,
    Field::Method,
    Field::Path,
    Field::Status,
    Field::Bytes,
    Field::Ms,
    Field::AppMs,
    Field::QueueMs,
    Field::Outcome,
    Field::Trace,
];

/// What a line tells only if it is asked for: the field, and under which name it stands in the environ.
pub type Extra = (Field, &'static str);

const EXTRAS: [Extra; 7] = [
    (Field::User, "REMOTE_USER"),
    (Field::Query, "QUERY_STRING"),
    (Field::Protocol, "SERVER_PROTOCOL"),
    (Field::Scheme, "wsgi.url_scheme"),
    (Field::Host, "HTTP_HOST"),
    (Field::Referer, "HTTP_REFERER"),
    (Field::UserAgent, "HTTP_USER_AGENT"),
];

fn is_extra(field: Field) -> bool {
    EXTRAS.iter().any(|(extra, _)| *extra == field)
}

/// Those that the lines are to tell.
pub(super) fn extras(settings: &LogSettings) -> Vec<Extra> {
    let asked: Vec<_> = settings
        .access_format
        .iter()
        .flat_map(|format| format.fields())
        .collect();
    EXTRAS.into_iter().filter(|(field, _)| asked.contains(field)).collect()
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Word,
    Json,
}

impl Line<'_> {
    /// Appends the event, with its tag if somebody there reads that.
    pub(super) fn write(&self, event: &mut String, settings: &LogSettings, has_tag: bool, now: SystemTime) {
        let own = settings.access_to.as_ref();
        let to = own.unwrap_or(&settings.to);
        if has_tag {
            let tag = Tag {
                stream: if own.is_some() { Stream::Access } else { Stream::Log },
                severity: Severity::Info,
                pool: &settings.name,
                request: self.request,
            };
            // Writing to a String can't fail, here and below.
            let _ = tag.write(event);
        }
        let as_log = match settings.format {
            Format::Text => AccessFormat::Text,
            Format::Json => AccessFormat::Json(Vec::new()),
        };
        let format = settings.access_format.as_ref().unwrap_or(&as_log);
        match (format, own, settings.format) {
            (AccessFormat::Text, Some(_), _) | (AccessFormat::Text, None, Format::Text) => {
                self.text(event, settings, to, now, |line, out| {
                    line.pairs(out, settings.ansi);
                })
            }
            (AccessFormat::Json(fields), Some(_), _) | (AccessFormat::Json(fields), None, Format::Json) => {
                self.json(event, settings, fields, now);
            }
            (AccessFormat::Pattern(parts), Some(_), _) => self.pattern(event, settings, parts, now),
            // Not of the log's own form: it is the message.
            (other, None, form) => {
                let mut message = String::new();
                match other {
                    AccessFormat::Text => self.pairs(&mut message, false),
                    AccessFormat::Json(fields) => self.json(&mut message, settings, fields, now),
                    AccessFormat::Pattern(parts) => self.pattern(&mut message, settings, parts, now),
                }
                match form {
                    Format::Text => self.text(event, settings, to, now, |_, out| out.push_str(&message)),
                    Format::Json => {
                        self.json_head(event, settings, now);
                        let message = serde_json::Value::from(message);
                        let _ = write!(event, ",\"message\":{message},\"target\":\"access\"}}");
                    }
                }
            }
        }
        event.push('\n');
    }

    /// As tracing would write it.
    fn text(
        &self,
        out: &mut String,
        settings: &LogSettings,
        to: &Destination,
        now: SystemTime,
        fields: impl FnOnce(&Self, &mut String),
    ) {
        let [dim, green, plain] = match settings.ansi {
            true => ["\x1b[2m", "\x1b[32m", "\x1b[0m"],
            false => [""; 3],
        };
        if !to.is_a_service() {
            out.push_str(dim);
            clock::rfc3339(out, now);
            push(out, [plain, " ", green, " INFO", plain, " "]);
        }
        push(out, [dim, super::ACCESS, plain, dim, ":", plain, " "]);
        if let Some(pool) = &settings.pool {
            let _ = write!(out, "pool={pool:?} ");
        }
        fields(self, out);
    }

    fn pairs(&self, out: &mut String, ansi: bool) {
        let [italic, dim, plain] = match ansi {
            true => ["\x1b[3m", "\x1b[2m", "\x1b[0m"],
            false => [""; 3],
        };
        for (place, field) in USUAL.into_iter().enumerate() {
            if self.lacks(field) {
                continue;
            }
            if place > 0 {
                out.push(' ');
            }
            if ansi {
                push(out, [italic, field.name(), plain, dim, "=", plain]);
            } else {
                out.push_str(field.name());
                out.push('=');
            }
            self.usual(out, field, Style::Word);
        }
    }

    fn json_head(&self, out: &mut String, settings: &LogSettings, now: SystemTime) {
        out.push('{');
        if let Some(pool) = &settings.pool {
            let _ = write!(out, "\"pool\":{},", serde_json::json!(pool));
        }
        out.push_str("\"timestamp\":\"");
        clock::rfc3339(out, now);
        out.push_str("\",\"level\":\"INFO\"");
    }

    fn json(&self, out: &mut String, settings: &LogSettings, fields: &[Field], now: SystemTime) {
        if fields.is_empty() {
            self.json_head(out, settings, now);
            for field in USUAL {
                if self.lacks(field) {
                    continue;
                }
                push(out, [",\"", field.name(), "\":"]);
                self.usual(out, field, Style::Json);
            }
            out.push_str(",\"target\":\"access\"}");
            return;
        }
        let mut before = '{';
        for field in fields {
            let _ = write!(out, "{before}\"{}\":", field.name());
            self.value(out, *field, settings, now, Style::Json);
            before = ',';
        }
        out.push('}');
    }

    fn pattern(&self, out: &mut String, settings: &LogSettings, parts: &[Part], now: SystemTime) {
        for part in parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(field) => self.value(out, *field, settings, now, Style::Word),
            }
        }
    }

    /// Whether there is nothing to be told.
    fn lacks(&self, field: Field) -> bool {
        match field {
            Field::QueueMs => self.queued.is_none(),
            Field::Trace => self.trace.is_none(),
            _ => false,
        }
    }

    fn usual(&self, out: &mut String, field: Field, style: Style) {
        let text = match field {
            Field::Request => self.request,
            Field::Peer => self.peer,
            Field::Remote => self.remote,
            Field::Method => self.method,
            Field::Path => self.path,
            Field::Outcome => self.outcome,
            Field::Trace => {
                return match self.trace {
                    Some(trace) => self.quoted(out, style, |out| _ = write!(out, "{trace}")),
                    None => out.push_str(if style == Style::Json { "null" } else { "-" }),
                };
            }
            _ => {
                return match (field, self.queued) {
                    (Field::Status, _) => number(out, self.status.into()),
                    (Field::Bytes, _) => number(out, self.bytes),
                    (Field::Ms, _) => milliseconds(out, self.took),
                    (Field::AppMs, _) => milliseconds(out, self.in_application),
                    (_, Some(queued)) => milliseconds(out, queued),
                    (_, None) => out.push_str(if style == Style::Json { "null" } else { "-" }),
                };
            }
        };
        self.quoted(out, style, |out| push_json_or_plain(out, text, style));
    }

    fn value(&self, out: &mut String, field: Field, settings: &LogSettings, now: SystemTime, style: Style) {
        match field {
            Field::Time => self.quoted(out, style, |out| clock::rfc3339(out, now)),
            Field::TimeClf => self.quoted(out, style, |out| clock::clf(out, now)),
            Field::Pool => self.quoted(out, style, |out| {
                push_json_or_plain(out, &word(settings.name.as_bytes()), style)
            }),
            Field::Worker => {
                let _ = write!(out, "{}", std::process::id());
            }
            field if is_extra(field) => {
                let found = self.more.iter().find(|(known, _)| *known == field);
                let bytes = found.map_or(&b""[..], |(_, bytes)| bytes);
                let text = match field {
                    // They are written between quotes, where spaces do no harm.
                    Field::Referer | Field::UserAgent if !bytes.is_empty() => escape_bytes(bytes),
                    _ => word(bytes),
                };
                self.quoted(out, style, |out| push_json_or_plain(out, &text, style));
            }
            field => self.usual(out, field, style),
        }
    }

    fn quoted(&self, out: &mut String, style: Style, text: impl FnOnce(&mut String)) {
        let quote = if style == Style::Json { "\"" } else { "" };
        out.push_str(quote);
        text(out);
        out.push_str(quote);
    }
}

/// `text` is printable ASCII.
fn push_json_or_plain(out: &mut String, text: &str, style: Style) {
    if style == Style::Word || !text.contains(['"', '\\']) {
        return out.push_str(text);
    }
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
}

fn push<const N: usize>(out: &mut String, parts: [&str; N]) {
    parts.into_iter().for_each(|part| out.push_str(part));
}

fn number(out: &mut String, number: u64) {
    out.push_str(itoa::Buffer::new().format(number));
}

/// Milliseconds, to the microsecond, as a number with at least one digit behind its point.
fn milliseconds(out: &mut String, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    out.push('.');
    let digits = [micros / 100 % 10, micros / 10 % 10, micros % 10].map(|digit| b'0' + digit as u8);
    let last = digits.iter().rposition(|&digit| digit != b'0').unwrap_or(0);
    digits[..=last].iter().for_each(|&digit| out.push(digit.into()));
}

/// Seconds and microseconds since 1970.
pub(super) fn since_1970(now: SystemTime) -> (u64, u32) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs(), since.subsec_micros())
}

#[cfg(test)]
mod tests {
    use settings::values::CountLimit;

    use super::*;

    fn line() -> Line<'static> {
        Line {
            request: "7-0-1",
            peer: "unix",
            remote: "192.0.2.1",
            method: "GET",
            path: r"/a\x20b",
            status: 200,
            bytes: 5,
            took: Duration::from_micros(1250),
            in_application: Duration::ZERO,
            queued: None,
            outcome: "Complete",
            trace: None,
            more: &[],
        }
    }

    fn settings(format: &str, own: Option<&str>) -> LogSettings {
        LogSettings {
            name: "blog".into(),
            access_format: (!format.is_empty()).then(|| format.parse().unwrap()),
            access_to: own.map(|own| own.parse().unwrap()),
            app_rate: CountLimit::NONE,
            ..LogSettings::default()
        }
    }

    /// Without a tag.
    fn written(line: &Line<'_>, settings: &LogSettings) -> String {
        event(line, settings, false)
    }

    fn tagged(line: &Line<'_>, settings: &LogSettings) -> String {
        event(line, settings, true)
    }

    fn event(line: &Line<'_>, settings: &LogSettings, has_tag: bool) -> String {
        let mut event = String::new();
        line.write(&mut event, settings, has_tag, noon());
        event
    }

    fn noon() -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(951_827_696_000_007)
    }

    const TEXT: &str = r"request=7-0-1 peer=unix remote=192.0.2.1 method=GET path=/a\x20b status=200 bytes=5 ms=1.25 app_ms=0.0 outcome=Complete";

    #[test]
    fn line_among_the_others_is_an_event_of_their_form() {
        let text = written(&line(), &settings("", None));
        assert_eq!(text, format!("2000-02-29T12:34:56.000007Z  INFO access: {TEXT}\n"));
        assert_eq!(
            tagged(&line(), &settings("", None)),
            format!("\x01l6blog\x1f7-0-1\x02{text}")
        );
        let of_many = LogSettings {
            pool: Some("blog".into()),
            ..settings("", None)
        };
        assert!(written(&line(), &of_many).contains(" access: pool=\"blog\" request=7-0-1 "));
        let json = LogSettings {
            format: Format::Json,
            ..of_many.clone()
        };
        let text = written(&line(), &json);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["path"], &value["ms"], &value["target"]),
            (&r"/a\x20b".into(), &1.25.into(), &"access".into())
        );
        assert!(
            text.starts_with(
                r#"{"pool":"blog","timestamp":"2000-02-29T12:34:56.000007Z","level":"INFO","request":"7-0-1","#
            ),
            "{text}"
        );
        // What is of another form is the message of an event.
        let combined = LogSettings {
            format: Format::Json,
            ..settings("combined", None)
        };
        let value: serde_json::Value = serde_json::from_str(&written(&line(), &combined)).unwrap();
        assert!(
            value["message"]
                .as_str()
                .unwrap()
                .starts_with("192.0.2.1 - - [29/Feb/2000:12:34:56 +0000] \"GET")
        );
        let in_text = written(&line(), &settings("json:status", None));
        assert_eq!(in_text, "2000-02-29T12:34:56.000007Z  INFO access: {\"status\":200}\n");
    }

    #[test]
    fn line_with_a_destination_of_its_own_is_as_it_was_asked_for() {
        let own = |format, line: &Line<'_>| {
            let event = tagged(line, &settings(format, Some("/x/y")));
            event.strip_prefix("\x01a6blog\x1f7-0-1\x02").unwrap().to_owned()
        };
        let more = [
            (Field::Referer, b"https://example.org/\" x".to_vec()),
            (Field::UserAgent, b"curl 8\n\x1b".to_vec()),
            (Field::Protocol, b"HTTP/1.1".to_vec()),
            (Field::Query, b"a b".to_vec()),
        ];
        let line = Line {
            more: &more,
            queued: Some(Duration::from_millis(2)),
            trace: Trace::of_halves([0, 0xab]),
            ..line()
        };
        assert_eq!(
            own("combined", &line),
            "192.0.2.1 - - [29/Feb/2000:12:34:56 +0000] \"GET /a\\x20b HTTP/1.1\" 200 5 \"https://example.org/\\\" x\" \"curl 8\\n\\x1b\"\n"
        );
        let pid = std::process::id();
        assert_eq!(
            own("$pool $worker\t$path?$query $queue_ms $$", &line),
            format!("blog {pid}\t/a\\x20b?a\\x20b 2.0 $\n")
        );
        let without = Line { trace: None, ..line };
        let traces = [&line, &without].map(|line| [own("$trace", line), own("json:trace", line)]);
        let trace = "000000000000000000000000000000ab";
        assert_eq!(
            traces[0],
            [format!("{trace}\n"), format!("{{\"trace\":\"{trace}\"}}\n")]
        );
        assert_eq!(traces[1], ["-\n", "{\"trace\":null}\n"]);
        assert!(own("text", &line).ends_with(&format!(" outcome=Complete trace={trace}\n")));
        assert_eq!(
            own("json:referer,query,queue_ms,user,time", &line),
            "{\"referer\":\"https://example.org/\\\\\\\" x\",\"query\":\"a\\\\x20b\",\"queue_ms\":2.0,\"user\":\"-\",\"time\":\"2000-02-29T12:34:56.000007Z\"}\n"
        );
        assert_eq!(
            own("text", &line).split(" access: ").next(),
            Some("2000-02-29T12:34:56.000007Z  INFO")
        );
        assert!(own("json", &line).contains("\"queue_ms\":2.0,\"outcome\":\"Complete\",\"trace\":"));
    }

    #[test]
    fn times_are_milliseconds_without_needless_digits() {
        for (micros, expected) in [
            (0, "0.0"),
            (1, "0.001"),
            (70, "0.07"),
            (500, "0.5"),
            (1_000, "1.0"),
            (1_234_560, "1234.56"),
        ] {
            let mut text = String::new();
            milliseconds(&mut text, Duration::from_micros(micros));
            assert_eq!(text, expected);
            assert_eq!(text, format!("{:?}", micros as f64 / 1000.0));
        }
    }

    #[test]
    fn services_that_keep_the_time_get_none() {
        for to in ["syslog", "journald"] {
            let own = tagged(&line(), &settings("text", Some(to)));
            assert_eq!(own, format!("\x01a6blog\x1f7-0-1\x02access: {TEXT}\n"));
            let log = LogSettings {
                to: to.parse().unwrap(),
                ..settings("", None)
            };
            assert_eq!(
                tagged(&line(), &log),
                format!("\x01l6blog\x1f7-0-1\x02access: {TEXT}\n")
            );
        }
    }

    #[test]
    fn every_field_has_a_value_in_both_styles() {
        let names: Vec<_> = Field::ALL.iter().map(|field| field.name()).collect();
        let json = written(&line(), &settings(&format!("json:{}", names.join(",")), Some("stderr")));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value.as_object().unwrap().len(), Field::ALL.len());
        let pattern: Vec<_> = names.iter().map(|name| format!("${name}")).collect();
        let line = written(&line(), &settings(&pattern.join("|"), Some("stderr")));
        assert!(
            line.split('|').count() == Field::ALL.len() && !line.contains("||"),
            "{line}"
        );
    }
}
