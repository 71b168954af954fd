//! Values that go into a configuration. Each server's file quotes them in its own way; what none of them can hold is
//! refused here.

use std::ffi::OsStr;
use std::path::Path;

use super::WriterError;

/// A value and where it came from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// "--static", "APP".
    what: Box<str>,
    text: String,
}

impl Value {
    /// # Errors
    /// If it is not UTF-8 or has control characters, line breaks among them.
    pub fn new(what: &str, value: impl AsRef<OsStr>) -> Result<Self, WriterError> {
        let value = value.as_ref();
        let Some(text) = value.to_str() else {
            let value = value.to_string_lossy().into_owned();
            let what = what.to_owned();
            return Err(WriterError::NotUtf8 { what, value });
        };
        let text = text.to_owned();
        match text.chars().find(|c| c.is_control()) {
            Some(character) => Err(WriterError::Unwritable {
                what: what.to_owned(),
                value: text,
                server: "a configuration",
                character: character.to_string(),
            }),
            None => Ok(Self {
                what: what.into(),
                text,
            }),
        }
    }

    /// # Errors
    /// As [`Value::new`].
    pub fn path(what: &str, path: &Path) -> Result<Self, WriterError> {
        Self::new(what, path)
    }

    /// Where it came from.
    pub fn what(&self) -> &str {
        &self.what
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same origin, another text, which is made from it.
    pub fn with(&self, text: String) -> Self {
        Self {
            what: self.what.clone(),
            text,
        }
    }

    /// With one slash at the end.
    pub fn directory(&self) -> Self {
        self.with(format!("{}/", self.text.trim_end_matches('/')))
    }

    /// # Errors
    /// If the text has one of `wrong`, which `server` can't write there.
    pub fn without(&self, server: &'static str, wrong: &[&str]) -> Result<&str, WriterError> {
        match wrong.iter().find(|wrong| self.text.contains(**wrong)) {
            Some(wrong) => Err(WriterError::Unwritable {
                what: self.what.to_string(),
                value: self.text.clone(),
                server,
                character: (*wrong).to_owned(),
            }),
            None => Ok(&self.text),
        }
    }
}

/// `text` in double quotes, with a backslash before each of `special`.
pub fn quoted(text: &str, special: &[char]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        if special.contains(&character) {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
    out
}

/// `text` as a part of a regular expression that means nothing but it.
pub fn regex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if r".^$*+?()[]{}|\".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// Whether no syntax that is written here means anything by a character of `text`.
pub fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,@+".contains(c);
    !text.is_empty() && text.chars().all(plain)
}

/// A path in a URL that is sent to browsers.
pub fn percent_encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
