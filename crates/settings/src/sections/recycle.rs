//! When a worker is replaced although it works.

use crate::declaration::{Entries, section};
use crate::values::{CountLimit, SizeLimit, Timeout, UpTo};

section! {
    /// Replacing workers that may have grown.
    Recycle = "Recycling";

    /// Requests after which a worker is replaced; 0: never
    ///
    /// The replacement starts first, and the worker serves until that is ready, so that it has a few requests more than this
    max_requests: CountLimit {
        default: Some("0"),
        entries: Entries::SERVED,
        when: "the application or a library loses memory, slowly; `1000` to begin with",
    }

    /// At most so many requests more, by chance, so that workers are not all due at the same time
    max_requests_jitter: Option<UpTo<{ i32::MAX as u32 }, 0>> {
        otherwise: "a tenth of `max_requests`",
        entries: Entries::SERVED,
        when: "hardly ever: workers are replaced one after the other in any case",
    }

    /// Memory after which a worker is replaced; 0: never
    ///
    /// Its own and its part of what it shares with others (PSS), looked at every five seconds, and not while it has no
    /// request. What a worker has before its first request must be less
    max_memory: SizeLimit {
        default: Some("0"),
        entries: Entries::SERVED,
        when: "the application grows by what requests happen to need; twice what a worker has after a day",
    }

    /// Age after which a worker is replaced; 0: never
    max_age: Timeout {
        default: Some("0"),
        entries: Entries::SERVED,
        when: "something that the application keeps grows old, and no request shows it",
    }
}
