//! Lengths of time.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::units::{display, factor, split};
use super::value_by_text;

/// A length of time, perhaps 0. In text a bare number means seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time(Duration);

/// A limit of time, or none: `0` in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout(Option<Duration>);

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// No sensible timeout is longer, and sums of clock readings and timeouts never overflow.
const LONGEST_MS: u64 = 365 * 24 * 3_600_000;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TimeError {
    #[error("write a number of seconds, or with ms, s, m or h, such as 10s")]
    NotATime,
    #[error("longer than a year")]
    TooLong,
    #[error("longer than a year; 0 means no limit")]
    LongerThanNone,
}

impl Time {
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl Timeout {
    pub const NONE: Self = Self(None);

    /// `None`: there is no limit.
    pub fn duration(self) -> Option<Duration> {
        self.0
    }

    /// When what began then is over its limit.
    pub fn deadline(self, begun: Instant) -> Option<Instant> {
        self.0.map(|duration| begun + duration)
    }

    /// Whether what has taken so many milliseconds is at its limit.
    pub fn is_reached_after(self, ms: u64) -> bool {
        self.0.is_some_and(|duration| u128::from(ms) >= duration.as_millis())
    }

    /// The limit of two waits, one behind the other; none if one of them has none.
    pub fn and_then(self, next: Self) -> Self {
        Self(self.0.zip(next.0).map(|(first, second)| first + second))
    }
}

/// Zero means no limit.
impl From<Duration> for Timeout {
    fn from(duration: Duration) -> Self {
        Self((!duration.is_zero()).then_some(duration))
    }
}

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(written: &str) -> Result<Self, TimeError> {
        let (number, unit) = split(written).ok_or(TimeError::NotATime)?;
        let unit = if unit.is_empty() { "s" } else { &unit };
        let factor = factor(&UNITS, unit).ok_or(TimeError::NotATime)?;
        match number.checked_mul(factor) {
            Some(ms) if ms <= LONGEST_MS => Ok(Self(Duration::from_millis(ms))),
            _ => Err(TimeError::TooLong),
        }
    }
}

impl FromStr for Timeout {
    type Err = TimeError;

    fn from_str(written: &str) -> Result<Self, TimeError> {
        match written.parse::<Time>() {
            Ok(time) => Ok(time.duration().into()),
            Err(TimeError::TooLong) => Err(TimeError::LongerThanNone),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(f, self.0.as_millis() as u64, &UNITS)
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Time(self.0.unwrap_or_default()).fmt(f)
    }
}

value_by_text!(Time, "TIME");
value_by_text!(Timeout, "TIME");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        let ms = |written: &str| written.parse::<Time>().map(|time| time.duration().as_millis());
        assert_eq!(ms("0"), Ok(0));
        assert_eq!(ms("10"), Ok(10_000));
        assert_eq!(ms("10s"), Ok(10_000));
        assert_eq!(ms("10 S"), Ok(10_000));
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("5m"), Ok(300_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        for wrong in ["", "s", "-1s", "1.5s", "5 minutes", "1m30s"] {
            assert_eq!(ms(wrong), Err(TimeError::NotATime), "{wrong}");
        }
    }

    #[test]
    fn longest_time_is_a_year() {
        assert_eq!("8760h".parse::<Time>().map(|time| time.to_string()), Ok("8760h".into()));
        assert_eq!("31536001".parse::<Time>(), Err(TimeError::TooLong));
        assert_eq!("99999999h".parse::<Timeout>(), Err(TimeError::LongerThanNone));
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!("0".parse(), Ok(Timeout::NONE));
        assert_eq!("0ms".parse(), Ok(Timeout::NONE));
        assert_eq!("1ms".parse(), Ok(Timeout(Some(Duration::from_millis(1)))));
        assert_eq!(Timeout::NONE.to_string(), "0");
    }

    #[test]
    fn limit_of_two_waits_is_their_sum_unless_one_has_none() {
        let timeout = |seconds| Timeout::from(Duration::from_secs(seconds));
        assert_eq!(timeout(2).and_then(timeout(3)), timeout(5));
        assert_eq!(timeout(2).and_then(timeout(0)), Timeout::NONE);
        assert_eq!(timeout(0).and_then(timeout(3)), Timeout::NONE);
    }

    #[test]
    fn what_takes_as_long_as_its_limit_has_reached_it() {
        let second = Timeout::from(Duration::from_secs(1));
        assert!(!second.is_reached_after(999) && second.is_reached_after(1000));
        assert!(!Timeout::NONE.is_reached_after(u64::MAX));
        let now = Instant::now();
        assert_eq!(second.deadline(now), Some(now + Duration::from_secs(1)));
        assert_eq!(Timeout::NONE.deadline(now), None);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for ms in [0, 1, 999, 1000, 75_000, 300_000, 3_600_000] {
            let time = Time(Duration::from_millis(ms));
            assert_eq!(time.to_string().parse(), Ok(time));
        }
        assert_eq!(Time(Duration::from_secs(75)).to_string(), "75s");
    }
}
