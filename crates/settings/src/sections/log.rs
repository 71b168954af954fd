//! What is logged, and how.

use crate::declaration::{Entries, Scope, section};
use crate::values::{Format, Level};

section! {
    /// The log, which goes to standard error.
    Log = "Logging";

    /// Least important events that are logged
    log_level: Level {
        default: Some("info"),
        scope: Scope::ServerAndPool,
        when: "to look for a fault",
    }

    /// Form of the log on standard error
    ///
    /// `json` is one object a line. Colours on a terminal, unless `NO_COLOR` is set
    log_format: Format {
        default: Some("text"),
        scope: Scope::Server,
        when: "the log is read by a program",
    }

    /// Log one line for each request
    ///
    /// Always on in `dev`
    access_log: bool {
        default: Some("false"),
        entries: Entries::PRODUCTION,
        when: "the web server's own log does not tell enough",
    }
}
