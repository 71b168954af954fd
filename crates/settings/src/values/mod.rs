//! The types of values: read from text as administrators write it. A type says what its value
//! means: [`Timeout`] may be none, [`Time`] is always one.

mod access;
mod account;
mod address;
mod control;
mod destination;
mod limit;
mod page;
mod proxies;
mod size;
mod system;
mod text;
mod time;
mod units;
mod words;
mod workers;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

pub use access::{AccessFormat, Field, Part, PathPattern};
pub use account::Account;
pub use address::{Address, AddressError, StatusAddress, TcpAddress};
pub use control::Control;
pub use destination::{AccessLog, Destination, Facility, Journald, Syslog};
pub use limit::{AtLeastOne, CountLimit, Drain, SizeLimit, UpTo};
pub use page::Page;
pub use proxies::{ProxiesError, TrustedProxies};
pub use size::Size;
pub use system::{Niceness, RESOURCES, ResourceLimit};
pub use text::{AppName, HostName, Mode, Mount, PoolName, UrlPath, Variable};
pub use time::{Time, Timeout};
pub use words::{Format, Level, PathSource, Preload};
pub use workers::{Count, Workers};

use crate::declaration::{Choice, Form, Shape};

/// What one piece of text stands for.
pub trait Value: Sized {
    /// What stands for it in help and documentation.
    const NAME: &'static str;
    /// The words that there are, if there are only some.
    const CHOICES: &'static [Choice] = &[];
    /// Given as `NAME=VALUE`.
    const IS_PAIR: bool = false;

    /// # Errors
    /// What to write instead.
    fn parse(text: &OsStr) -> Result<Self, String>;
}

/// What an option's field holds: a switch, one value, perhaps one, or any number.
pub trait Values: Sized {
    const SHAPE: Shape;

    /// # Errors
    /// What to write instead.
    fn read(texts: &[OsString]) -> Result<Self, String>;
}

const fn shape_of<T: Value>(form: Form) -> Shape {
    Shape {
        form,
        value: T::NAME,
        choices: T::CHOICES,
        check: |text| T::parse(text).map(drop),
    }
}

impl<T: Value> Values for T {
    const SHAPE: Shape = shape_of::<T>(Form::One);

    fn read(texts: &[OsString]) -> Result<Self, String> {
        match texts {
            [text] => T::parse(text),
            _ => Err("write one value".to_owned()),
        }
    }
}

impl<T: Value> Values for Option<T> {
    const SHAPE: Shape = shape_of::<T>(Form::One);

    fn read(texts: &[OsString]) -> Result<Self, String> {
        match texts {
            [] => Ok(None),
            texts => T::read(texts).map(Some),
        }
    }
}

impl<T: Value> Values for Vec<T> {
    const SHAPE: Shape = shape_of::<T>(if T::IS_PAIR { Form::Table } else { Form::List });

    fn read(texts: &[OsString]) -> Result<Self, String> {
        texts.iter().map(|text| T::parse(text)).collect()
    }
}

/// A switch: on where it stands, without a value; a file can say `false`.
impl Values for bool {
    const SHAPE: Shape = Shape {
        form: Form::Switch,
        value: "",
        choices: &[],
        check: |text| Self::read(&[text.to_owned()]).map(drop),
    };

    fn read(texts: &[OsString]) -> Result<Self, String> {
        match texts {
            [] => Ok(true),
            [text] if text == "true" => Ok(true),
            [text] if text == "false" => Ok(false),
            _ => Err("is true or false".to_owned()),
        }
    }
}

/// A path as it was written.
impl Value for PathBuf {
    const NAME: &'static str = "PATH";

    fn parse(text: &OsStr) -> Result<Self, String> {
        match text.is_empty() {
            true => Err("write a path".to_owned()),
            false => Ok(text.into()),
        }
    }
}

impl Value for String {
    const NAME: &'static str = "TEXT";

    fn parse(text: &OsStr) -> Result<Self, String> {
        as_str(text).map(str::to_owned)
    }
}

/// Most values have no place for bytes that are no text.
fn as_str(text: &OsStr) -> Result<&str, String> {
    text.to_str().ok_or_else(|| format!("{} is not UTF-8", text.display()))
}

/// For types that are read and written by their `FromStr` and `Display`.
macro_rules! value_by_text {
    ($type:ty, $name:literal) => {
        impl $crate::values::Value for $type {
            const NAME: &'static str = $name;

            fn parse(text: &std::ffi::OsStr) -> Result<Self, String> {
                $crate::values::as_str(text)?
                    .parse()
                    .map_err(|error| format!("{error}"))
            }
        }
    };
}
use value_by_text;
