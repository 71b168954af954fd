//! How many workers there are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::limit::UpTo;
use super::value_by_text;

/// A number of worker processes, or one for each core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workers {
    Auto,
    Number(UpTo<1024>),
}

impl Workers {
    /// How many that is on a machine with so many cores.
    pub fn on(self, cores: u32) -> u32 {
        match self {
            Self::Auto => cores.clamp(1, 1024),
            Self::Number(number) => number.get(),
        }
    }
}

impl FromStr for Workers {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        match written.parse() {
            Ok(number) => Ok(Self::Number(number)),
            Err(_) if written == "auto" => Ok(Self::Auto),
            Err(_) => Err("write a number from 1 to 1024, or auto for one on each core"),
        }
    }
}

impl fmt::Display for Workers {
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
            (Ok(1024), Ok(1), Ok(6))
        );
        assert_eq!((Workers::Auto.on(0), Workers::Auto.on(5000)), (1, 1024));
        for wrong in ["0", "1025", "-1", "many", "", "Auto"] {
            assert!(workers(wrong).is_err(), "{wrong}");
        }
    }
}
