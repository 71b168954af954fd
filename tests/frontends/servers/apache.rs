//! What all set-ups of Apache have in common.

use crate::harness::backends::a_minute_ago;
use crate::harness::quirk::{Limit, Quirk};

pub const JOINS_COOKIES: (Quirk, &str) = (
    Quirk::JoinsCookiesWithCommas,
    "Apache joins all headers so; over HTTP/2 cookies are joined before",
);
/// Of what is no `ProxyPass`.
pub const MERGES_SLASHES: (Quirk, &str) = (Quirk::MergesSlashes, "Apache looks for a file by that path first");

/// Of what is no CGI process of Apache's own.
pub const SILENT_ABOUT_GONE: (Quirk, &str) = (
    Quirk::IsSilentAboutGoneClients,
    "Apache learns of it when it writes to the client",
);

/// `ap_add_common_vars`.
pub const KEYS: &[&str] = &[
    "SERVER_SIGNATURE",
    "SERVER_ADDR",
    "DOCUMENT_ROOT",
    "REQUEST_SCHEME",
    "CONTEXT_PREFIX",
    "CONTEXT_DOCUMENT_ROOT",
    "SERVER_ADMIN",
    "SCRIPT_FILENAME",
];

/// LimitRequestFieldSize, name and all.
pub const REQUEST_HEADER: Limit = Limit {
    passes: 8000,
    fails: 8200,
    status: 400,
};

/// MAX_STRING_LEN of the parser for all kinds of CGI.
pub const RESPONSE_HEADER: Limit = Limit {
    passes: 8000,
    fails: 8200,
    status: 500,
};

/// What the place of a request that has waited has of its own.
pub fn waited(place: &str) -> String {
    match place {
        "old" => format!("SetEnv REQUEST_START {}\n", a_minute_ago()),
        _ => String::new(),
    }
}
