//! Values that are one of a few words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Declares such a type: its words, each with its meaning.
macro_rules! words {
    (
        $(#[doc = $about:literal])*
        $name:ident as $value:literal { $($variant:ident = $word:literal: $meaning:literal,)* }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $(#[doc = $meaning] $variant,)* }

        impl FromStr for $name {
            type Err = String;

            fn from_str(written: &str) -> Result<Self, String> {
                match written {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("write {}", one_of(&[$($word),*]))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word,)* })
            }
        }

        impl $crate::values::Value for $name {
            const NAME: &'static str = $value;
            const CHOICES: &'static [$crate::declaration::Choice] =
                &[$($crate::declaration::Choice { word: $word, meaning: $meaning },)*];

            fn parse(text: &std::ffi::OsStr) -> Result<Self, String> {
                $crate::values::as_str(text)?.parse()
            }
        }
    };
}

words! {
    /// Least important events that are logged.
    Level as "LEVEL" {
        Error = "error": "what costs requests or keeps the program from working",
        Warn = "warn": "what somebody should look at",
        Info = "info": "what an administrator wants to know of a program that works",
        Debug = "debug": "what helps to find a fault",
        Trace = "trace": "everything",
    }
}

words! {
    /// Form of the log.
    Format as "FORMAT" {
        Text = "text": "one line an event",
        Json = "json": "one object a line",
    }
}

words! {
    /// Which of the two paths that a web server sends is taken.
    PathSource as "SOURCE" {
        Params = "params": "SCRIPT_NAME and PATH_INFO",
        RequestUri = "request-uri": "REQUEST_URI, decoded once",
    }
}

words! {
    /// Whether the application is loaded once and shared.
    Preload as "WHEN" {
        Auto = "auto": "unless importing it starts threads or processes or opens files or sockets",
        Off = "off": "each worker imports it",
    }
}

/// `auto or off`, `error, warn or info`.
fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_word_is_answered_with_those_that_there_are() {
        assert_eq!("on".parse::<Preload>(), Err("write auto or off".into()));
        assert_eq!(
            "loud".parse::<Level>(),
            Err("write error, warn, info, debug or trace".into())
        );
    }

    #[test]
    fn words_are_written_as_they_are_read() {
        for word in ["params", "request-uri"] {
            assert_eq!(word.parse::<PathSource>().unwrap().to_string(), word);
        }
    }
}
