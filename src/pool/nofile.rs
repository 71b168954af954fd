//! The limit of open files: the supervisor's own, which has a duplicate of each kept connection, and that of leaders and workers,
//! which inherit it.

use std::sync::atomic::{AtomicU64, Ordering};

use contract::keeper::ENTRIES;
use contract::settings::Settings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

use crate::keeper::room;

/// Files, database connections and the like that a thread's request may have open beside its own connection.
const PER_THREAD: u64 = 64;
/// Standard descriptors, listeners, the reactor, files that Python and libraries keep open.
const PER_WORKER: u64 = 256;

/// What the supervisor has of each worker: its process, and where it is asked something.
const PER_WORKER_HERE: u64 = 2;

/// What the supervisor needs for all pools so far, if they keep as many connections as they may.
static FOR_POOLS: AtomicU64 = AtomicU64::new(0);

/// Raises the soft limit as far as one worker of the pool may need it, and the supervisor for all pools; says so if the hard
/// limit is lower than what a worker needs, once for what the settings ask for. That it is for the supervisor is said if
/// there are so many connections. `before`: the settings of the last generation.
pub fn raise(settings: &Settings, before: Option<&Settings>) {
    let for_worker = needed(settings);
    let [was, is] = [before, Some(settings)].map(|settings| settings.map_or(0, needed_for_pool));
    if before.map(needed) == Some(for_worker) && was == is {
        return;
    }
    let more = is.wrapping_sub(was);
    let for_pools = FOR_POOLS.fetch_add(more, Ordering::Relaxed).wrapping_add(more);
    let needed = for_worker.max(for_pools);
    let limit = getrlimit(Resource::Nofile);
    // No value means no limit.
    let soft = limit.current.unwrap_or(u64::MAX);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    if soft < needed && soft < hard {
        let raised = Rlimit {
            current: Some(needed.min(hard)),
            maximum: limit.maximum,
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => debug!(from = soft, to = needed.min(hard), "limit of open files raised"),
            Err(error) => warn!(limit = soft, needed, %error, "the limit of open files can't be raised"),
        }
    }
    if hard < for_worker && before.map(self::needed) != Some(for_worker) {
        warn!(
            limit = hard,
            needed = for_worker,
            "the hard limit of open files (ulimit -n) is low for {} and {}",
            settings.limits.connections.name(),
            settings.threads.name()
        );
    }
}

fn needed_for_pool(settings: &Settings) -> u64 {
    let connections = u64::from(settings.limits.connections.get()) * u64::from(settings.size.limit());
    room::needed(connections.min(ENTRIES.into())) + PER_WORKER_HERE * settings.size.seats() as u64
}

fn needed(settings: &Settings) -> u64 {
    let threads = u64::from(settings.threads.get());
    // Each connection may have a file for its request's body.
    2 * u64::from(settings.limits.connections.get()) + threads * PER_THREAD + PER_WORKER
}
