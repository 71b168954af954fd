//! Where commands reach a running instance.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Address, value_by_text};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    Off,
    Path(PathBuf),
}

impl FromStr for Control {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "write the path of a unix socket, such as /run/wsgi-fpm/blog.control, or off";
        if written == "off" {
            return Ok(Self::Off);
        }
        if !written.contains('/') {
            return Err(WANTED.to_owned());
        }
        match written.parse() {
            Ok(Address::Unix(path)) => Ok(Self::Path(path)),
            Ok(Address::Tcp(_) | Address::Fd(_) | Address::Named(_)) => Err(WANTED.to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

value_by_text!(Control, "PATH");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_path_or_off() {
        let parse = |written: &str| written.parse::<Control>();
        assert_eq!(parse("off").unwrap(), Control::Off);
        assert_eq!(parse("/run/x.control").unwrap(), Control::Path("/run/x.control".into()));
        assert_eq!(parse("unix:/run/x.control").unwrap().to_string(), "/run/x.control");
        for wrong in ["", "on", ":9000", "fd:3", "x.control"] {
            assert!(parse(wrong).unwrap_err().starts_with("write the path"), "{wrong}");
        }
        assert!(
            parse(&format!("/{}", "x".repeat(107)))
                .unwrap_err()
                .contains("107 bytes")
        );
    }
}
