//! A value, and what its user calls it.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// The value of one option. It is used as the value itself; whoever reports an error knows its name. Between processes it is
/// the pair of both.
#[derive(Debug, Clone, Serialize, Deserialize)]
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

/// Whether the values are the same: a line that has moved in its file changes nothing for a pool.
impl<T: PartialEq> PartialEq for Setting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Eq> Eq for Setting<T> {}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Timeout;

    #[test]
    fn value_keeps_its_name_whatever_is_made_of_it() {
        let threads = Setting::new(4_u32, "app.fcgi:3: threads").map(u64::from);
        assert_eq!((*threads, threads.name()), (4_u64, "app.fcgi:3: threads"));
        assert_eq!(threads.to_string(), "app.fcgi:3: threads 4");
    }

    #[test]
    fn settings_are_the_same_wherever_they_are_said() {
        let said = |value: u32, line: u32| Setting::new(value, format!("wsgi-fpm.toml:{line}: pool.blog.threads"));
        assert_eq!(said(4, 3), said(4, 5));
        assert_ne!(said(4, 3), said(5, 3));
    }

    #[test]
    fn setting_is_sent_with_its_name() {
        let sent = Setting::new(Timeout::NONE, "--drain-timeout");
        let text = serde_json::to_string(&sent).unwrap();
        assert_eq!(text, r#"[null,"--drain-timeout"]"#);
        let received: Setting<Timeout> = serde_json::from_str(&text).unwrap();
        assert_eq!((received.name(), *received), ("--drain-timeout", Timeout::NONE));
    }
}
