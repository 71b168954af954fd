//! How many workers there are.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::limit::UpTo;
use super::value_by_text;

/// A number of worker processes, or from how many to how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workers {
    Number(Count),
    Range(UpTo<MOST, 0>, Count),
}

/// A number, or one for each core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Count {
    Auto,
    Number(UpTo<MOST>),
}

const MOST: u32 = 1024;
const WRONG: &str =
    "write a number from 1 to 1024, auto for one on each core, or a range such as 1..4, 0..4 or 1..auto";

impl Workers {
    /// How few and how many that is on a machine with so many cores.
    pub fn on(self, cores: u32) -> RangeInclusive<u32> {
        match self {
            Self::Number(number) => number.on(cores)..=number.on(cores),
            Self::Range(least, most) => {
                let most = most.on(cores);
                least.get().min(most)..=most
            }
        }
    }
}

impl Count {
    fn on(self, cores: u32) -> u32 {
        match self {
            Self::Auto => cores.clamp(1, MOST),
            Self::Number(number) => number.get(),
        }
    }
}

impl FromStr for Workers {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let Some((least, most)) = written.split_once("..") else {
            return written.parse().map(Self::Number);
        };
        let least: UpTo<MOST, 0> = least.trim().parse().map_err(|_| WRONG)?;
        let most: Count = most.trim().parse()?;
        match most {
            Count::Number(most) if most.get() < least.get() => Err("the range ends before it begins"),
            most => Ok(Self::Range(least, most)),
        }
    }
}

impl FromStr for Count {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        match written.parse() {
            Ok(number) => Ok(Self::Number(number)),
            Err(_) if written == "auto" => Ok(Self::Auto),
            Err(_) => Err(WRONG),
        }
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Range(least, most) => write!(f, "{least}..{most}"),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

value_by_text!(Workers, "N");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_a_number_or_one_for_each_core() {
        let workers = |written: &str| written.parse::<Workers>().map(|workers| workers.on(6));
        assert_eq!(
            (workers("1024"), workers("1"), workers("auto")),
            (Ok(1024..=1024), Ok(1..=1), Ok(6..=6))
        );
        let auto = Workers::Number(Count::Auto);
        assert_eq!((auto.on(0), auto.on(5000)), (1..=1, 1024..=1024));
        for wrong in ["0", "1025", "-1", "many", "", "Auto"] {
            assert!(workers(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn workers_are_a_range_perhaps_from_none() {
        let workers = |written: &str| written.parse::<Workers>().map(|workers| workers.on(6));
        assert_eq!(
            (workers("1..4"), workers("0..auto"), workers("4 .. 4")),
            (Ok(1..=4), Ok(0..=6), Ok(4..=4))
        );
        // On a machine with fewer cores than were thought of.
        assert_eq!(workers("8..auto"), Ok(6..=6));
        assert_eq!(workers("4..1"), Err("the range ends before it begins"));
        for wrong in ["0..0", "..4", "1..", "1..1025", "1...4", "auto..4", "1-4"] {
            assert!(workers(wrong).is_err(), "{wrong}");
        }
        for written in ["1..4", "0..auto", "auto", "7"] {
            assert_eq!(written.parse::<Workers>().unwrap().to_string(), written);
        }
    }
}
