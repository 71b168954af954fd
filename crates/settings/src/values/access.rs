//! What a line of the access log looks like, and which requests get none.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::value_by_text;

/// Form of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessFormat {
    /// An event of the log as text.
    Text,
    /// An object with these fields, or with those that the text has.
    Json(Vec<Field>),
    /// What the administrator has put together.
    Pattern(Vec<Part>),
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Field(Field),
}

/// Declares what can be told of a request: the names.
macro_rules! fields {
    ($($(#[doc = $about:literal])* $variant:ident = $name:literal,)*) => {
        /// What can be told of a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field { $($(#[doc = $about])* $variant,)* }

        impl Field {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

fields! {
    /// When it ended, as the log writes it.
    Time = "time",
    /// The same as web servers write it: `28/Nov/2026:14:01:01 +0000`.
    TimeClf = "time_clf",
    Pool = "pool",
    Worker = "worker",
    /// Its number in the log.
    Request = "request",
    /// The web server's address.
    Peer = "peer",
    /// The client's address.
    Remote = "remote",
    User = "user",
    Method = "method",
    Path = "path",
    /// It may have secrets in it, so it is told only where it is named.
    Query = "query",
    Protocol = "protocol",
    Scheme = "scheme",
    Host = "host",
    Referer = "referer",
    UserAgent = "user_agent",
    Status = "status",
    Bytes = "bytes",
    Ms = "ms",
    AppMs = "app_ms",
    QueueMs = "queue_ms",
    Outcome = "outcome",
    /// The trace of its `traceparent`.
    Trace = "trace",
}

/// nginx's and Apache's form, but for the query.
const COMBINED: &str =
    r#"$remote - $user [$time_clf] "$method $path $protocol" $status $bytes "$referer" "$user_agent""#;

/// A path, or with a `*` at its end all that begin so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathPattern(String);

impl AccessFormat {
    /// Everything that its lines tell.
    pub fn fields(&self) -> impl Iterator<Item = Field> {
        let (fields, parts) = match self {
            Self::Text => (&[][..], &[][..]),
            Self::Json(fields) => (fields.as_slice(), &[][..]),
            Self::Pattern(parts) => (&[][..], parts.as_slice()),
        };
        let of_parts = parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Field(field) => Some(*field),
        });
        fields.iter().copied().chain(of_parts)
    }

    fn pattern(written: &str) -> Result<Vec<Part>, String> {
        if written.chars().any(|c| c.is_control() && c != '\t') {
            return Err("a line has no control characters in it but tabs".to_owned());
        }
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = written;
        while let Some((before, behind)) = rest.split_once('$') {
            text.push_str(before);
            if let Some(behind) = behind.strip_prefix('$') {
                text.push('$');
                rest = behind;
                continue;
            }
            let (name, behind) = match behind.strip_prefix('{') {
                Some(inside) => inside
                    .split_once('}')
                    .ok_or_else(|| format!("the brace of ${behind} has no end"))?,
                None => {
                    let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                    behind.split_at(end.unwrap_or(behind.len()))
                }
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Field(name.parse()?));
            rest = behind;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(parts)
    }
}

impl FromStr for Field {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|field| field.name() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|field| field.name()).collect();
            match name {
                "" => "a $ stands in front of a name; write $$ for the character itself".to_owned(),
                _ => format!("there is no field ${name}; there are {}", names.join(", ")),
            }
        })
    }
}

impl FromStr for AccessFormat {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        match written {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json(Vec::new())),
            "combined" => Self::pattern(COMBINED).map(Self::Pattern),
            _ => match written.strip_prefix("json:") {
                Some(names) => names.split(',').map(|name| name.trim().parse()).collect::<Result<_, _>>().map(Self::Json),
                None if written.contains('$') => Self::pattern(written).map(Self::Pattern),
                None => Err("write text, json, json:NAME,NAME, combined, or a line with names in it, such as '$remote $method $path $status $ms'".to_owned()),
            },
        }
    }
}

/// As it is read.
impl fmt::Display for AccessFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Json(fields) => {
                f.write_str("json")?;
                let mut separators = std::iter::once(':').chain(std::iter::repeat(','));
                fields
                    .iter()
                    .try_for_each(|field| write!(f, "{}{}", separators.next().unwrap_or(','), field.name()))
            }
            Self::Pattern(parts) => parts.iter().try_for_each(|part| match part {
                Part::Text(text) => f.write_str(&text.replace('$', "$$")),
                Part::Field(field) => write!(f, "${{{}}}", field.name()),
            }),
        }
    }
}

impl Serialize for AccessFormat {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AccessFormat {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

value_by_text!(AccessFormat, "FORMAT");

impl PathPattern {
    pub fn matches(&self, path: &[u8]) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => path.starts_with(start.as_bytes()),
            None => path == self.0.as_bytes(),
        }
    }
}

impl FromStr for PathPattern {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let inner = written.strip_suffix('*').unwrap_or(written);
        match inner.starts_with('/') && !inner.contains(['*', '?']) {
            true => Ok(Self(written.to_owned())),
            false => Err("write a path from its first slash on, without a query, such as /health; a * at its end stands for anything".to_owned()),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

value_by_text!(PathPattern, "PATH");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_is_written_so_that_it_reads_as_the_same() {
        for text in [
            "text",
            "json",
            "json:time,method,user_agent",
            "combined",
            "$remote ${method}_x $$5 100% \"$path\"",
            "$status",
        ] {
            let format: AccessFormat = text.parse().unwrap();
            assert_eq!(format.to_string().parse(), Ok(format), "{text}");
        }
        let parts = "a $$$ms${status}b".parse();
        assert_eq!(
            parts,
            Ok(AccessFormat::Pattern(vec![
                Part::Text("a $".into()),
                Part::Field(Field::Ms),
                Part::Field(Field::Status),
                Part::Text("b".into()),
            ]))
        );
    }

    #[test]
    fn unknown_field_is_named_with_those_that_there_are() {
        let error = |text: &str| text.parse::<AccessFormat>().unwrap_err();
        for text in ["$remote $metod", "${metod}", "json:remote,metod"] {
            let message = error(text);
            assert!(
                message.starts_with("there is no field $metod; there are time, time_clf, pool, "),
                "{message}"
            );
        }
        assert!(error("50$ $ms").contains("$$"));
        assert!(error("${ms").ends_with("has no end"));
        assert!(error("$ms\n$path").contains("control characters"));
        assert!(error("common").contains("combined"));
    }

    #[test]
    fn pattern_is_one_path_or_all_that_begin_with_it() {
        let matches = |pattern: &str, path: &str| pattern.parse::<PathPattern>().unwrap().matches(path.as_bytes());
        assert!(matches("/health", "/health") && !matches("/health", "/health/x") && !matches("/health", "/healt"));
        assert!(matches("/static/*", "/static/x") && !matches("/static/*", "/static"));
        assert!(matches("/*", "/anything"));
        for wrong in ["", "health", "/a*b", "/x?y", "*"] {
            assert!(wrong.parse::<PathPattern>().is_err(), "{wrong}");
        }
    }
}
