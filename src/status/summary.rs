//! What people want to know first of a snapshot, in words: what is wrong, how busy a pool is, how it stands. For every command that
//! shows one.

use contract::scoreboard::Phase;

use super::snapshot::{Pool, Snapshot, State, Thread, Worker};
use super::words;

/// A request that has run for so many seconds is worth a line, whatever its limit.
pub const LONG: f64 = 10.0;
/// Characters of a request in a line about it.
const LONGEST_LINE: usize = 80;

/// What is wrong, a line each, the worst first; of more than `most` the last line says how many.
pub fn troubles(snapshot: &Snapshot, most: usize) -> Vec<String> {
    let mut all = Vec::new();
    if snapshot.instance.stopping {
        all.push("everything stops: running requests end, and no further ones are taken".to_owned());
    }
    let pools = &snapshot.pools;
    all.extend(pools.iter().filter_map(failure));
    all.extend(pools.iter().flat_map(unreachable));
    all.extend(pools.iter().filter_map(crowd));
    all.extend(pools.iter().filter_map(long));
    let more = all.len().saturating_sub(most);
    all.truncate(most);
    if more > 0 {
        all.push(format!("and {more} more like this"));
    }
    all
}

fn failure(pool: &Pool) -> Option<String> {
    let failure = pool.failure.as_ref()?;
    let (name, ago) = (&pool.name, words::time(failure.age));
    let what = match pool.state {
        State::Failed | State::Starting => format!("failed {ago} ago"),
        State::Serving => format!("the new version failed {ago} ago, the one before goes on"),
        State::Resting => format!("can't be started, as was seen {ago} ago"),
        State::Stopping | State::Stopped => return None,
    };
    // Which application that is stands with the pool; the error is what there is little room for.
    let loading = format!("application {} can't be loaded: ", pool.app);
    let reason = failure.reason.strip_prefix(&loading).unwrap_or(&failure.reason);
    Some(format!("{name}: {what}: {}", contract::log::escape(reason)))
}

fn unreachable(pool: &Pool) -> impl Iterator<Item = String> {
    let reasons = pool
        .listeners
        .iter()
        .filter_map(|listener| listener.unreachable.as_ref());
    reasons.map(|reason| format!("{}: {}", pool.name, contract::log::escape(reason)))
}

/// Nobody is free, and somebody waits.
fn crowd(pool: &Pool) -> Option<String> {
    let Load { busy, threads, waiting } = load(pool);
    (waiting > 0 && busy >= threads && threads > 0).then(|| {
        format!(
            "{}: all {threads} threads are busy, and {waiting} connections wait",
            pool.name
        )
    })
}

fn long(pool: &Pool) -> Option<String> {
    let running = threads(pool).filter_map(|thread| thread.request.as_ref());
    let long: Vec<_> = running.filter(|request| request.runs >= LONG).collect();
    let longest = long.iter().max_by(|one, other| one.runs.total_cmp(&other.runs))?;
    let (name, runs, line) = (
        &pool.name,
        words::time(longest.runs),
        words::cut(&longest.line, LONGEST_LINE),
    );
    Some(match long.len() {
        1 => format!("{name}: a request has run for {runs}: {line}"),
        number => format!("{name}: {number} requests have run for long, one for {runs}: {line}"),
    })
}

/// How busy a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Threads that run a request.
    pub busy: usize,
    pub threads: usize,
    /// Connections that no thread has taken yet.
    pub waiting: u64,
}

pub fn load(pool: &Pool) -> Load {
    let queued = pool.listeners.iter().filter_map(|listener| listener.waiting);
    Load {
        busy: threads(pool).filter(|thread| thread.request.is_some()).count(),
        threads: threads(pool).count(),
        waiting: queued.map(u64::from).sum::<u64>() + pool.kept.waiting,
    }
}

pub fn threads(pool: &Pool) -> impl Iterator<Item = &Thread> {
    pool.workers.iter().flat_map(|worker| &worker.threads)
}

pub fn state(pool: &Pool) -> &'static str {
    match pool.state {
        State::Starting => "starting",
        State::Serving if pool.reloading => "reloads",
        State::Serving => "serving",
        State::Resting => "at rest",
        State::Failed => "failed",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
    }
}

/// How many workers there are, and the range if there is one: `2 (1..4)`.
pub fn size(pool: &Pool) -> String {
    match (pool.size.least, pool.size.most) {
        (least, most) if least == most => pool.workers.len().to_string(),
        (least, most) => format!("{} ({least}..{most})", pool.workers.len()),
    }
}

/// Of all workers; `None` while it is not known of each of them, or there is none.
pub fn memory(pool: &Pool) -> Option<u64> {
    let all: Option<u64> = pool.workers.iter().map(|worker| worker.memory).sum();
    all.filter(|_| !pool.workers.is_empty())
}

pub fn phase(worker: &Worker) -> &'static str {
    match worker.phase {
        Phase::Starting => "starting",
        Phase::Serving => "serving",
        Phase::Retiring => "retiring",
    }
}
