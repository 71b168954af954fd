//! Metrics as text: OpenMetrics 1.0, and the format 0.0.4 of Prometheus. Two formats of a few lines, so own code; what is text of
//! others is escaped.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use contract::scoreboard::Times;

use super::snapshot::Pool;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    /// 0.0.4 of Prometheus.
    Text,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
    StateSet,
}

/// What is written so far.
pub struct Page {
    text: String,
    format: Format,
    /// Of the family that is being written.
    name: String,
}

impl Page {
    pub fn new(format: Format) -> Self {
        Self {
            text: String::with_capacity(16 * 1024),
            format,
            name: String::new(),
        }
    }

    /// Whether a histogram may have a sum that falls: OpenMetrics has none then, and no count beside its buckets either.
    pub fn takes_falling_sums(&self) -> bool {
        self.format == Format::Text
    }

    /// Its samples follow. `name`: without what counters and infos have at their end.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        name.clone_into(&mut self.name);
        let (end, kind_name) = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => ("", "counter"),
            (Format::Text, Kind::Counter) => ("_total", "counter"),
            (Format::OpenMetrics, Kind::Info) => ("", "info"),
            (Format::Text, Kind::Info) => ("_info", "gauge"),
            (Format::OpenMetrics, Kind::StateSet) => ("", "stateset"),
            (_, Kind::Gauge) | (Format::Text, Kind::StateSet) => ("", "gauge"),
            (_, Kind::Histogram) => ("", "histogram"),
        };
        let is_quoted = self.format == Format::OpenMetrics;
        let help = escape(help, is_quoted);
        // A String takes everything, here and below.
        let _ = writeln!(self.text, "# TYPE {name}{end} {kind_name}");
        let unit = ["seconds", "bytes"]
            .into_iter()
            .find(|unit| name.ends_with(&format!("_{unit}")));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {name}{end} {help}");
    }

    pub fn sample(&mut self, end: &str, labels: &[(&str, &str)], value: f64) {
        let Self { text, name, .. } = self;
        let _ = write!(text, "{name}{end}");
        for (i, (label, value)) in labels.iter().enumerate() {
            let before = if i == 0 { '{' } else { ',' };
            let _ = write!(text, "{before}{label}=\"{}\"", escape(value, true));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{after} {}", number(value));
    }

    pub fn gauge(&mut self, name: &str, help: &str, pools: &[Pool], value: impl Fn(&Pool) -> f64) {
        self.family(name, Kind::Gauge, help);
        for pool in pools {
            self.sample("", &[("pool", &pool.name)], value(pool));
        }
    }

    pub fn counter(&mut self, name: &str, help: &str, pools: &[Pool], value: impl Fn(&Pool) -> u64) {
        self.family(name, Kind::Counter, help);
        for pool in pools {
            self.sample("_total", &[("pool", &pool.name)], value(pool) as f64);
        }
    }

    /// One for each thing that `by` can be.
    pub fn counters(
        &mut self,
        name: &str,
        by: &str,
        help: &str,
        pools: &[Pool],
        values: impl Fn(&Pool) -> &BTreeMap<String, u64>,
    ) {
        self.family(name, Kind::Counter, help);
        for pool in pools {
            for (what, number) in values(pool) {
                self.sample("_total", &[("pool", &pool.name), (by, what)], *number as f64);
            }
        }
    }

    pub fn histograms(&mut self, name: &str, help: &str, pools: &[Pool], times: impl Fn(&Pool) -> &Times) {
        self.family(name, Kind::Histogram, help);
        for pool in pools {
            let (labels, times) = ([("pool", pool.name.as_str())], times(pool));
            for (end, number) in times.up_to_doublings() {
                let end = self::number(end.as_secs_f64());
                self.sample("_bucket", &[labels[0], ("le", &end)], number as f64);
            }
            let count = times.count() as f64;
            self.sample("_bucket", &[labels[0], ("le", "+Inf")], count);
            self.sample("_sum", &labels, times.sum().as_secs_f64());
            self.sample("_count", &labels, count);
        }
    }

    pub fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// As both formats write one: whole ones without a dot, no exponents.
pub fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

/// Text that can't end what it stands in. Control characters other than the end of a line pass, as both formats have it.
fn escape(text: &str, is_quoted: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if is_quoted => escaped.push_str("\\\""),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_can_not_end_their_quotes_or_their_line() {
        for format in [Format::OpenMetrics, Format::Text] {
            let mut page = Page::new(format);
            page.family("x", Kind::Gauge, "A \"quoted\"\nhelp \\.");
            page.sample("", &[("a", "1\"} 2\n# EOF\\"), ("b", "")], 0.5);
            let help = match format {
                Format::OpenMetrics => "A \\\"quoted\\\"\\nhelp \\\\.",
                Format::Text => "A \"quoted\"\\nhelp \\\\.",
            };
            let expected = format!("# TYPE x gauge\n# HELP x {help}\nx{{a=\"1\\\"}} 2\\n# EOF\\\\\",b=\"\"}} 0.5\n");
            assert_eq!(page.text, expected);
        }
    }

    #[test]
    fn numbers_have_no_exponents_and_the_names_of_what_is_none() {
        for (value, written) in [
            (0.0, "0"),
            (1e21, "1000000000000000000000"),
            (0.000_064, "0.000064"),
            (-1.5, "-1.5"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), written);
        }
    }

    #[test]
    fn counters_and_infos_have_their_ends_where_each_format_has_them() {
        let text = |format| {
            let mut page = Page::new(format);
            page.family("a_bytes", Kind::Counter, "A.");
            page.sample("_total", &[], 1.0);
            page.family("b", Kind::Info, "B.");
            page.sample("_info", &[("version", "1")], 1.0);
            page.end()
        };
        assert_eq!(
            text(Format::OpenMetrics),
            "# TYPE a_bytes counter\n# UNIT a_bytes bytes\n# HELP a_bytes A.\na_bytes_total 1\n\
             # TYPE b info\n# HELP b B.\nb_info{version=\"1\"} 1\n# EOF\n"
        );
        assert_eq!(
            text(Format::Text),
            "# TYPE a_bytes_total counter\n# HELP a_bytes_total A.\na_bytes_total 1\n\
             # TYPE b_info gauge\n# HELP b_info B.\nb_info{version=\"1\"} 1\n"
        );
    }
}
