//! Sizes and times as administrators write them: `64k`, `1g`, `500ms`, `5m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes; k, m and g are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// A length of time; a bare number means seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSpan(pub Duration);

const SIZES: [(&str, u64); 3] = [("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)];
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// No sensible timeout is longer, and sums of clock readings and timeouts never overflow.
const LONGEST_MS: u64 = 365 * 24 * 3_600_000;
/// For the same reason; the largest file that Linux has.
const LARGEST: u64 = i64::MAX as u64;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnitError {
    #[error("write a number of bytes, or with k, m or g, such as 64k")]
    NotASize,
    #[error("write a number of seconds, or with ms, s, m or h, such as 10s")]
    NotATime,
    #[error("too large")]
    TooLarge,
    #[error("longer than a year; 0 means no limit")]
    TooLong,
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(typed: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(typed).ok_or(UnitError::NotASize)?;
        let factor = match unit.as_str() {
            "" | "b" => 1,
            unit => factor(&SIZES, unit.trim_end_matches("ib").trim_end_matches('b')).ok_or(UnitError::NotASize)?,
        };
        match number.checked_mul(factor) {
            Some(bytes) if bytes <= LARGEST => Ok(Self(bytes)),
            _ => Err(UnitError::TooLarge),
        }
    }
}

impl FromStr for TimeSpan {
    type Err = UnitError;

    fn from_str(typed: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(typed).ok_or(UnitError::NotATime)?;
        let unit = if unit.is_empty() { "s" } else { &unit };
        let factor = factor(&TIMES, unit).ok_or(UnitError::NotATime)?;
        match number.checked_mul(factor) {
            Some(ms) if ms <= LONGEST_MS => Ok(Self(Duration::from_millis(ms))),
            _ => Err(UnitError::TooLong),
        }
    }
}

/// Number and unit, the unit in lower case: `64K` is as clear as `64k`.
fn split(typed: &str) -> Option<(u64, String)> {
    let end = typed.find(|c: char| !c.is_ascii_digit()).unwrap_or(typed.len());
    let (number, unit) = typed.split_at(end);
    Some((number.parse().ok()?, unit.trim_start().to_ascii_lowercase()))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    let found = units.iter().find(|(name, _)| *name == unit)?;
    Some(found.1)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(f, self.0, &SIZES)
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(f, self.0.as_millis() as u64, &TIMES)
    }
}

/// In the largest unit that loses nothing, and 75 s rather than 1 m 15 s.
fn display(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let exact = units
        .iter()
        .find(|(_, factor)| value > 0 && value.is_multiple_of(*factor));
    match exact {
        Some((name, factor)) => write!(f, "{}{name}", value / factor),
        None => write!(f, "{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let size = |typed: &str| typed.parse::<Size>().map(|size| size.0);
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("64k"), Ok(65_536));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1m"), Ok(1 << 20));
        assert_eq!(size("2G"), Ok(2 << 30));
        for wrong in ["", "k", "-1", "1.5m", "64q", "1 gb x", "b64"] {
            assert_eq!(size(wrong), Err(UnitError::NotASize), "{wrong}");
        }
        assert_eq!(size("9999999999g"), Err(UnitError::TooLarge));
    }

    #[test]
    fn times_are_read_with_their_units() {
        let ms = |typed: &str| typed.parse::<TimeSpan>().map(|time| time.0.as_millis());
        assert_eq!(ms("0"), Ok(0));
        assert_eq!(ms("10"), Ok(10_000));
        assert_eq!(ms("10s"), Ok(10_000));
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("5m"), Ok(300_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        for wrong in ["", "s", "-1s", "1.5s", "5 minutes", "1m30s"] {
            assert_eq!(ms(wrong), Err(UnitError::NotATime), "{wrong}");
        }
        assert_eq!(ms("99999999h"), Err(UnitError::TooLong));
    }

    #[test]
    fn what_is_displayed_is_read_back() {
        for bytes in [0, 1, 1023, 1024, 65_536, 3 << 20, 1 << 30] {
            assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
        for ms in [0, 1, 999, 1000, 75_000, 300_000, 3_600_000] {
            let time = TimeSpan(Duration::from_millis(ms));
            assert_eq!(time.to_string().parse(), Ok(time));
        }
        assert_eq!(TimeSpan(Duration::from_secs(75)).to_string(), "75s");
        assert_eq!(Size(1 << 30).to_string(), "1g");
    }
}
