//! When a new version of an application comes, and what it has to do before it is served.

use std::path::PathBuf;

use crate::declaration::{Entries, PathForm, section};
use crate::values::Page;

section! {
    /// What a reload waits for, and what brings one about.
    Reload = "Reload";

    /// Page that each worker answers itself before it is ready, such as / or https://example.org/; can be repeated
    ///
    /// Through the very path that requests take. An answer that is no success (2xx or 3xx) is a start that has failed, and the old
    /// version goes on. An application that checks the `Host` header needs the whole URL; without a host it is `localhost`
    warmup: Vec<Page> {
        otherwise: "no page",
        entries: Entries::SERVED,
        when: "the first request of a worker is slow, or a reload is to show that pages still work",
    }

    /// File or directory whose change loads the application anew; can be repeated
    ///
    /// `touch` is a change. What is replaced, such as the symbolic link to the present release, counts as well. Of a directory what
    /// lies directly in it
    reload_on: Vec<PathBuf> {
        otherwise: "none: SIGHUP reloads",
        entries: Entries::SERVED,
        when: "whoever deploys may not send signals",
        path: PathForm::Path,
    }
}
