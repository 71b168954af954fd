//! Limits that may be none, and numbers that may not.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::size::Size;
use super::value_by_text;

/// A size or a number that is at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtLeastOne<T>(T);

/// A number from `LEAST` to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpTo<const MOST: u32, const LEAST: u32 = 1>(u32);

/// A largest size, or none: `0` in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeLimit(Option<NonZeroU64>);

/// A largest number, or none: `0` in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountLimit(Option<NonZeroU64>);

/// How much is read and thrown away: so much, or `all` of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Drain {
    UpTo(Size),
    All,
}

impl<T: Copy> AtLeastOne<T> {
    pub fn get(self) -> T {
        self.0
    }
}

impl<const MOST: u32, const LEAST: u32> UpTo<MOST, LEAST> {
    pub fn get(self) -> u32 {
        self.0
    }
}

impl SizeLimit {
    pub const NONE: Self = Self(None);

    /// Whether so many bytes are more than are allowed.
    pub fn is_exceeded_by(self, bytes: u64) -> bool {
        self.0.is_some_and(|most| bytes > most.get())
    }

    /// `None`: there is no limit.
    pub fn bytes(self) -> Option<u64> {
        self.0.map(NonZeroU64::get)
    }
}

impl CountLimit {
    pub const NONE: Self = Self(None);

    /// Whether so many are as many as are allowed.
    pub fn is_reached_by(self, count: u64) -> bool {
        self.0.is_some_and(|most| count >= most.get())
    }

    /// `None`: there is no limit.
    pub fn get(self) -> Option<u64> {
        self.0.map(NonZeroU64::get)
    }
}

impl Drain {
    /// Whether so many bytes are more than are read.
    pub fn is_exceeded_by(self, bytes: u64) -> bool {
        matches!(self, Self::UpTo(most) if bytes > most.bytes())
    }

    /// As many of so many bytes as are read.
    pub fn of(self, bytes: u64) -> u64 {
        match self {
            Self::UpTo(most) => most.bytes().min(bytes),
            Self::All => bytes,
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LimitError {
    #[error("write a number from 1 to 4294967295")]
    NotANumber,
    #[error("write a number; 0 means no limit")]
    NotALimit,
    #[error("at least 1 is needed")]
    TooSmall,
    #[error("{0}")]
    Size(#[from] super::size::SizeError),
}

impl FromStr for AtLeastOne<Size> {
    type Err = LimitError;

    fn from_str(written: &str) -> Result<Self, LimitError> {
        match written.parse::<Size>()? {
            size if size.bytes() == 0 => Err(LimitError::TooSmall),
            size => Ok(Self(size)),
        }
    }
}

impl FromStr for AtLeastOne<u32> {
    type Err = LimitError;

    fn from_str(written: &str) -> Result<Self, LimitError> {
        let number: NonZeroU32 = written.parse().map_err(|_| LimitError::NotANumber)?;
        Ok(Self(number.get()))
    }
}

impl<const MOST: u32, const LEAST: u32> FromStr for UpTo<MOST, LEAST> {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        match written.parse() {
            Ok(number) if (LEAST..=MOST).contains(&number) => Ok(Self(number)),
            _ => Err(format!("write a number from {LEAST} to {MOST}")),
        }
    }
}

impl FromStr for SizeLimit {
    type Err = LimitError;

    fn from_str(written: &str) -> Result<Self, LimitError> {
        Ok(Self(NonZeroU64::new(written.parse::<Size>()?.bytes())))
    }
}

impl FromStr for CountLimit {
    type Err = LimitError;

    fn from_str(written: &str) -> Result<Self, LimitError> {
        let number = written.parse().map_err(|_| LimitError::NotALimit)?;
        Ok(Self(NonZeroU64::new(number)))
    }
}

impl FromStr for Drain {
    type Err = LimitError;

    fn from_str(written: &str) -> Result<Self, LimitError> {
        match written {
            "all" => Ok(Self::All),
            size => Ok(Self::UpTo(size.parse()?)),
        }
    }
}

impl<T: fmt::Display> fmt::Display for AtLeastOne<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MOST: u32, const LEAST: u32> fmt::Display for UpTo<MOST, LEAST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SizeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => match Size::of(bytes.get()) {
                Some(size) => size.fmt(f),
                None => bytes.fmt(f),
            },
            None => f.write_str("0"),
        }
    }
}

impl fmt::Display for CountLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(0, NonZeroU64::get).fmt(f)
    }
}

impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpTo(size) => size.fmt(f),
            Self::All => f.write_str("all"),
        }
    }
}

value_by_text!(AtLeastOne<Size>, "SIZE");
value_by_text!(AtLeastOne<u32>, "N");
value_by_text!(SizeLimit, "SIZE");
value_by_text!(UpTo<1024>, "N");
value_by_text!(UpTo<1024, 0>, "N");
value_by_text!(UpTo<1_000_000>, "N");
value_by_text!(UpTo<{ i32::MAX as u32 }>, "N");
value_by_text!(UpTo<{ i32::MAX as u32 }, 0>, "N");
value_by_text!(CountLimit, "N");
value_by_text!(Drain, "SIZE");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_there_is_at_least_one() {
        assert_eq!("1".parse::<AtLeastOne<Size>>().map(|size| size.get().bytes()), Ok(1));
        assert_eq!("0".parse::<AtLeastOne<Size>>(), Err(LimitError::TooSmall));
        assert_eq!("1".parse::<AtLeastOne<u32>>().map(AtLeastOne::get), Ok(1));
        assert_eq!(
            "4294967295".parse::<AtLeastOne<u32>>().map(AtLeastOne::get),
            Ok(u32::MAX)
        );
        for wrong in ["0", "4294967296", "-1", "auto", ""] {
            assert_eq!(wrong.parse::<AtLeastOne<u32>>(), Err(LimitError::NotANumber), "{wrong}");
        }
    }

    #[test]
    fn number_is_within_its_bounds() {
        assert_eq!("1024".parse::<UpTo<1024>>().map(UpTo::get), Ok(1024));
        for wrong in ["0", "1025", "-1", "auto"] {
            let error = wrong.parse::<UpTo<1024>>().unwrap_err();
            assert_eq!(error, "write a number from 1 to 1024", "{wrong}");
        }
        assert_eq!("0".parse::<UpTo<1024, 0>>().map(UpTo::get), Ok(0));
        let error = "1025".parse::<UpTo<1024, 0>>().unwrap_err();
        assert_eq!(error, "write a number from 0 to 1024");
    }

    #[test]
    fn zero_is_no_limit() {
        let (none, some): (SizeLimit, SizeLimit) = ("0".parse().unwrap(), "1k".parse().unwrap());
        assert!(!none.is_exceeded_by(u64::MAX) && !some.is_exceeded_by(1024) && some.is_exceeded_by(1025));
        let (none, some): (CountLimit, CountLimit) = ("0".parse().unwrap(), "3".parse().unwrap());
        assert!(!none.is_reached_by(u64::MAX) && !some.is_reached_by(2) && some.is_reached_by(3));
        assert_eq!((none.get(), some.get()), (None, Some(3)));
        assert_eq!("x".parse::<CountLimit>(), Err(LimitError::NotALimit));
    }

    #[test]
    fn nothing_may_be_thrown_away_or_all() {
        let drain = |written: &str| written.parse::<Drain>().unwrap();
        assert!(drain("0").is_exceeded_by(1) && !drain("0").is_exceeded_by(0));
        assert!(!drain("16m").is_exceeded_by(16 << 20) && drain("16m").is_exceeded_by((16 << 20) + 1));
        assert!(!drain("all").is_exceeded_by(u64::MAX));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for written in ["0", "1k", "1g", "1025"] {
            assert_eq!(written.parse::<SizeLimit>().unwrap().to_string(), written);
            assert_eq!(written.parse::<Drain>().unwrap().to_string(), written);
        }
        assert_eq!(Drain::All.to_string(), "all");
        let most: Drain = "10".parse().unwrap();
        assert_eq!((most.of(9), most.of(11), Drain::All.of(11)), (9, 10, 11));
        assert_eq!("10000".parse::<CountLimit>().unwrap().to_string(), "10000");
    }
}
