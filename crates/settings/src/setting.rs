//! A value, and what its user calls it.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// The value of one option. It is used as the value itself; whoever reports an error knows its name. Between processes it is
/// the pair of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting<T>(T, Box<str>);

impl<T> Setting<T> {
    /// `name`: as its user wrote it, or would write it.
    pub fn new(value: T, name: impl Into<Box<str>>) -> Self {
        Self(value, name.into())
    }

    /// `--drain-timeout`, `wsgi-fpm.toml:12: pool.blog.drain_timeout` or `app.fcgi:3: drain_timeout`.
    pub fn name(&self) -> &str {
        &self.1
    }

    pub fn into_value(self) -> T {
        self.0
    }

    /// What is made of the value, under the same name.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Setting<U> {
        Setting(make(self.0), self.1)
    }
}

impl<T> Deref for Setting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// `--drain-timeout 5s`.
impl<T: fmt::Display> fmt::Display for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.1, self.0)
    }
}
