//! How many processes and threads run the application.

use crate::declaration::{Entries, section};
use crate::values::{Timeout, UpTo, Workers};

section! {
    /// The size of a pool.
    Processes = "Processes";

    /// Worker processes: a number, a range such as 1..4, or auto for as many as this machine has cores
    ///
    /// They run Python at the same time, and each has the application in memory. Within a range there are more when
    /// requests wait and fewer when workers are idle; with `0..4` no process runs until a request comes. A file may write `{ min = 1, max = 4, spare = 1, idle_timeout = "1m" }`
    /// for this and the next two options
    workers: Option<Workers> {
        otherwise: "auto; 1 for dev",
        entries: Entries::SERVED.or(Entries::DEV),
        when: "fewer to save memory; more if requests wait for databases rather than compute and threads do not suffice",
        table: &[("spare", "spare"), ("idle_timeout", "worker_idle_timeout")],
    }

    /// Workers without a request that are kept beside the busy ones, within the range of workers
    spare: UpTo<1024, 0> {
        default: Some("0"),
        entries: Entries::SERVED,
        when: "requests come in bursts, and a worker takes long to start",
    }

    /// How long a worker must have been one too many before it ends, within the range of workers
    ///
    /// One after the other. The last one of a range from 0 ends when no request has come for so long
    worker_idle_timeout: Timeout {
        default: Some("1m"),
        entries: Entries::SERVED,
        when: "longer if bursts come every few minutes; `0` to keep all that were started",
    }

    /// Threads of each worker: how many requests it runs at the same time
    ///
    /// They take turns in Python
    threads: UpTo<1024> {
        default: Some("4"),
        when: "more if requests wait for databases and other services; 1 if the application is not safe with threads",
    }
}
