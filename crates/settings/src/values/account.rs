//! Users and groups of the system.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::value_by_text;

/// A user or a group, by name or by number. Whether it exists is for whoever uses it to find out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account(String);

impl Account {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Account {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        if written.is_empty() || written.contains(|c: char| c.is_control() || c == ':') {
            return Err("write a name or number of the system's accounts");
        }
        Ok(Self(written.to_owned()))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

value_by_text!(Account, "NAME");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_have_names_or_numbers() {
        for right in ["www-data", "33", "deploy.web", "domain users"] {
            assert!(right.parse::<Account>().is_ok(), "{right}");
        }
        for wrong in ["", "a:b", "a\nb", "a\0"] {
            assert!(wrong.parse::<Account>().is_err(), "{wrong}");
        }
    }
}
