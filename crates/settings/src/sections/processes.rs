//! How many processes and threads run the application.

use crate::declaration::{Entries, section};
use crate::values::{UpTo, Workers};

section! {
    /// The size of a pool.
    Processes = "Processes";

    /// Worker processes; auto: as many as this machine has cores
    ///
    /// They run Python at the same time, and each has the application in memory
    workers: Option<Workers> {
        otherwise: "auto; 1 for dev",
        entries: Entries::SERVED.or(Entries::DEV),
        when: "fewer to save memory; more if requests wait for databases rather than compute and threads do not suffice",
    }

    /// Threads of each worker: how many requests it runs at the same time
    ///
    /// They take turns in Python
    threads: UpTo<1024> {
        default: Some("4"),
        when: "more if requests wait for databases and other services; 1 if the application is not safe with threads",
    }
}
