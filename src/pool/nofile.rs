//! The limit of open files, which leaders and workers inherit.

use contract::settings::Settings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Files, database connections and the like that a thread's request may have open beside its own connection.
const PER_THREAD: u64 = 64;
/// Standard descriptors, listeners, the reactor, files that Python and libraries keep open.
const PER_WORKER: u64 = 256;

/// Raises the soft limit as far as one worker of the pool may need it; says so if the hard limit is lower, once for what
/// the settings ask for. `before`: the settings of the last generation.
pub fn raise(settings: &Settings, before: Option<&Settings>) {
    let needed = needed(settings);
    if before.map(self::needed) == Some(needed) {
        return;
    }
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
    if hard < needed {
        warn!(
            limit = hard,
            needed,
            "the hard limit of open files (ulimit -n) is low for {} and {}",
            settings.limits.connections.name(),
            settings.threads.name()
        );
    }
}

fn needed(settings: &Settings) -> u64 {
    let threads = u64::from(settings.threads.get());
    // Each connection may have a file for its request's body.
    2 * u64::from(settings.limits.connections.get()) + threads * PER_THREAD + PER_WORKER
}
