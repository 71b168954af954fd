//! Numbers of bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::units::{display, factor, split};
use super::value_by_text;

/// A number of bytes, perhaps 0. In text k, m and g are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Size(u64);

const UNITS: [(&str, u64); 3] = [("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)];

/// The largest file that Linux has; sums of two sizes never overflow.
const LARGEST: u64 = i64::MAX as u64;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SizeError {
    #[error("write a number of bytes, or with k, m or g, such as 64k")]
    NotASize,
    #[error("too large")]
    TooLarge,
}

impl Size {
    /// `None`: larger than any file can be.
    pub fn of(bytes: u64) -> Option<Self> {
        (bytes <= LARGEST).then_some(Self(bytes))
    }

    pub fn bytes(self) -> u64 {
        self.0
    }

    /// For what is in memory.
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(written: &str) -> Result<Self, SizeError> {
        let (number, unit) = split(written).ok_or(SizeError::NotASize)?;
        let factor = match unit.as_str() {
            "" | "b" => 1,
            unit => factor(&UNITS, unit.trim_end_matches("ib").trim_end_matches('b')).ok_or(SizeError::NotASize)?,
        };
        match number.checked_mul(factor) {
            Some(bytes) if bytes <= LARGEST => Ok(Self(bytes)),
            _ => Err(SizeError::TooLarge),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(f, self.0, &UNITS)
    }
}

value_by_text!(Size, "SIZE");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let size = |written: &str| written.parse::<Size>().map(Size::bytes);
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("64k"), Ok(65_536));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("10 mb"), Ok(10 << 20));
        assert_eq!(size("1m"), Ok(1 << 20));
        assert_eq!(size("2G"), Ok(2 << 30));
        for wrong in ["", "k", "-1", "1.5m", "64q", "1 gb x", "b64"] {
            assert_eq!(size(wrong), Err(SizeError::NotASize), "{wrong}");
        }
    }

    #[test]
    fn largest_size_is_that_of_the_largest_file() {
        assert_eq!("9223372036854775807".parse(), Ok(Size(LARGEST)));
        assert_eq!("9223372036854775808".parse::<Size>(), Err(SizeError::TooLarge));
        assert_eq!("9999999999g".parse::<Size>(), Err(SizeError::TooLarge));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for bytes in [0, 1, 1023, 1024, 65_536, 3 << 20, 1 << 30] {
            assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
        assert_eq!(Size(1 << 30).to_string(), "1g");
        assert_eq!(Size(1025).to_string(), "1025");
    }
}
