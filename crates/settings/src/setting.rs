//! A value, and what its user calls it.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// The value of one option. It is used as the value itself; whoever reports an error knows its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting<T> {
    value: T,
    name: Box<str>,
}

impl<T> Setting<T> {
    /// `name`: as its user wrote it, or would write it.
    pub fn new(value: T, name: impl Into<Box<str>>) -> Self {
        Self {
            value,
            name: name.into(),
        }
    }

    /// `--drain-timeout`, `wsgi-fpm.toml:12: pool.blog.drain_timeout` or `app.fcgi:3: drain_timeout`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T> Deref for Setting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// `--drain-timeout 5s`.
impl<T: fmt::Display> fmt::Display for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.value)
    }
}
