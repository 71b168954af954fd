//! Numbers with units.

use std::fmt;

/// Number and unit, the unit in lower case: `64K` is as clear as `64k`.
pub fn split(written: &str) -> Option<(u64, String)> {
    let end = written.find(|c: char| !c.is_ascii_digit()).unwrap_or(written.len());
    let (number, unit) = written.split_at(end);
    Some((number.parse().ok()?, unit.trim_start().to_ascii_lowercase()))
}

pub fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    let found = units.iter().find(|(name, _)| *name == unit)?;
    Some(found.1)
}

/// In the largest unit that loses nothing, and 75 s rather than 1 m 15 s.
pub fn display(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let exact = units
        .iter()
        .find(|(_, factor)| value > 0 && value.is_multiple_of(*factor));
    match exact {
        Some((name, factor)) => write!(f, "{}{name}", value / factor),
        None => write!(f, "{value}"),
    }
}
