//! Texts with a form of their own: names, prefixes, permissions, variables.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Value, as_str, value_by_text};

/// The application: `module:callable`, `module`, `path/to/file.py[:callable]` or `module:factory()`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppName(String);

/// Name of a pool: up to 64 letters, digits, dots, dashes and underscores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PoolName(String);

/// Name of a host, without a port; one that begins with a dot means all names that end so, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostName(String);

/// Permissions, octal, up to 0777.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mode(u32);

/// URL prefix under which an application lives, without a slash at its end; "" for the whole site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount(String);

/// Path of a URL, decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlPath(String);

/// A variable of the environment, with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    pub name: String,
    pub value: String,
}

impl AppName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PoolName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Mode {
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl UrlPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Mount {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppName {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        match written {
            "" => Err("write module:callable, or the path of a file"),
            name => Ok(Self(name.to_owned())),
        }
    }
}

impl FromStr for PoolName {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if written.is_empty() || written.len() > 64 || !written.chars().all(allowed) {
            return Err("use up to 64 letters, digits, dots, dashes and underscores");
        }
        Ok(Self(written.to_owned()))
    }
}

impl FromStr for HostName {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if written.trim_matches('.').is_empty() || !written.chars().all(allowed) {
            return Err("write a host name without a port, such as blog.test, or .blog.test for all names that end so");
        }
        Ok(Self(written.to_owned()))
    }
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let digits = written.strip_prefix("0o").unwrap_or(written);
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err("write an octal number from 0 to 0777, such as 0660"),
        }
    }
}

impl FromStr for Mount {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let mount = written.trim_end_matches('/');
        if (!mount.is_empty() && !mount.starts_with('/')) || mount.contains("//") || mount.contains(['?', '#', '\0']) {
            return Err("write a path that starts with a slash, such as /app");
        }
        Ok(Self(mount.to_owned()))
    }
}

impl FromStr for UrlPath {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%".contains(&byte);
        if written.len() < 2 || !written.starts_with('/') || !written.bytes().all(is_plain) {
            return Err("write a path such as /fpm-status");
        }
        Ok(Self(written.to_owned()))
    }
}

impl fmt::Display for UrlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// The whole site is `/`.
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

value_by_text!(AppName, "APP");
value_by_text!(PoolName, "NAME");
value_by_text!(HostName, "NAME");
value_by_text!(Mode, "MODE");
value_by_text!(Mount, "PREFIX");
value_by_text!(UrlPath, "PATH");

impl Value for Variable {
    const NAME: &'static str = "KEY=VALUE";
    const IS_PAIR: bool = true;

    fn parse(text: &OsStr) -> Result<Self, String> {
        match as_str(text)?.split_once('=') {
            Some((name, value)) if !name.is_empty() && !name.contains('\0') && !value.contains('\0') => Ok(Self {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("write KEY=VALUE".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_loses_its_trailing_slash_and_needs_a_leading_one() {
        let mount = |written: &str| written.parse::<Mount>().map(|mount| mount.0);
        assert_eq!(mount("/app/"), Ok("/app".to_owned()));
        assert_eq!(mount("/"), Ok(String::new()));
        assert_eq!(mount(""), Ok(String::new()));
        for wrong in ["app", "/a//b", "/a?b", "/a#b", "/a\0b"] {
            assert!(mount(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mode_is_octal() {
        let mode = |written: &str| written.parse::<Mode>().map(Mode::bits);
        assert_eq!(mode("0660"), Ok(0o660));
        assert_eq!(mode("0o600"), Ok(0o600));
        assert_eq!(mode("777"), Ok(0o777));
        for wrong in ["888", "1000", "1777", "", "rw"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Mode(0o600).to_string(), "0600");
    }

    #[test]
    fn pool_names_are_short_and_plain() {
        assert!("blog-2.example_x".parse::<PoolName>().is_ok());
        assert!("x".repeat(64).parse::<PoolName>().is_ok());
        for wrong in [
            String::new(),
            "x".repeat(65),
            "a b".into(),
            "a/b".into(),
            "caf\u{e9}".into(),
        ] {
            assert!(wrong.parse::<PoolName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn path_of_a_url_is_one_that_a_request_can_have() {
        assert_eq!(
            "/fpm-status".parse::<UrlPath>().map(|path| path.to_string()).as_deref(),
            Ok("/fpm-status")
        );
        for wrong in ["", "/", "status", "/a b", "/a?full", "/%41", "/\u{e9}"] {
            assert!(wrong.parse::<UrlPath>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn host_names_are_written_without_a_port() {
        for typed in ["blog.test", ".blog.test", "a_b-c"] {
            assert_eq!(
                typed.parse::<HostName>().map(|name| name.to_string()).as_deref(),
                Ok(typed)
            );
        }
        for typed in ["", ".", "blog.test:80", "http://blog.test", "*", "a b"] {
            assert!(typed.parse::<HostName>().is_err(), "{typed}");
        }
    }

    #[test]
    fn variable_has_a_name_and_a_value() {
        let variable = |text: &str| Variable::parse(OsStr::new(text));
        let (name, value) = ("A".to_owned(), "b=c".to_owned());
        assert_eq!(variable("A=b=c"), Ok(Variable { name, value }));
        assert!(variable("A=").is_ok());
        for wrong in ["A", "=b", "", "A\0=b"] {
            assert!(variable(wrong).is_err(), "{wrong}");
        }
    }
}
