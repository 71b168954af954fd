//! What the system is asked for a process: resource limits and niceness.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Size, Value, as_str, value_by_text};

/// One of the limits of setrlimit(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// One of [`RESOURCES`].
    pub resource: String,
    /// `None`: unlimited.
    pub value: Option<u64>,
}

/// Names of the limits, as prlimit(1) has them.
pub const RESOURCES: [&str; 15] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// From -20, who goes first, to 19, who goes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Niceness(i32);

impl Niceness {
    pub fn get(self) -> i32 {
        self.0
    }
}

impl Value for ResourceLimit {
    const NAME: &'static str = "NAME=VALUE";
    const IS_PAIR: bool = true;

    fn parse(text: &OsStr) -> Result<Self, String> {
        let (resource, value) = as_str(text)?
            .split_once('=')
            .ok_or("write NAME=VALUE, such as nofile=4096")?;
        if !RESOURCES.contains(&resource) {
            return Err(format!(
                "there is no limit {resource:?}; there are {}",
                RESOURCES.join(", ")
            ));
        }
        let value = match value {
            "unlimited" => None,
            size => Some(
                size.parse::<Size>()
                    .map_err(|error| format!("{resource}: {error}"))?
                    .bytes(),
            ),
        };
        let resource = resource.to_owned();
        Ok(Self { resource, value })
    }
}

impl fmt::Display for ResourceLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "{}={value}", self.resource),
            None => write!(f, "{}=unlimited", self.resource),
        }
    }
}

impl FromStr for Niceness {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        match written.parse() {
            Ok(number @ -20..=19) => Ok(Self(number)),
            _ => Err("write a number from -20 to 19"),
        }
    }
}

impl fmt::Display for Niceness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

value_by_text!(Niceness, "N");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_a_name_and_a_number() {
        let limit = |text: &str| ResourceLimit::parse(OsStr::new(text));
        assert_eq!(limit("nofile=4096").unwrap().value, Some(4096));
        assert_eq!(limit("as=2g").unwrap().value, Some(2 << 30));
        assert_eq!(limit("core=unlimited").unwrap().value, None);
        for wrong in ["nofile", "files=1", "nofile=", "nofile=-1", "=1"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn niceness_is_within_its_bounds() {
        assert_eq!("-20".parse::<Niceness>().map(Niceness::get), Ok(-20));
        assert_eq!("19".parse::<Niceness>().map(Niceness::get), Ok(19));
        for wrong in ["-21", "20", "", "x"] {
            assert!(wrong.parse::<Niceness>().is_err(), "{wrong}");
        }
    }
}
