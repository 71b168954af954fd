//! The slow requests that came last, for whoever looks at the status: what the slow log has of them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use contract::log::tag::Tagged;
use serde::Serialize;

/// Of each pool.
const MOST: usize = 10;
/// Bytes. A stack that is longer ends there.
const LONGEST: usize = 16 * 1024;

/// A request that was slow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlowRequest {
    /// When that was seen: seconds since the epoch.
    pub time: f64,
    /// Its number, as in the log.
    pub request: String,
    /// What the log says of it, in the log's format.
    pub text: String,
}

/// By pool, the last one at the end.
pub type SlowRequests = BTreeMap<String, VecDeque<SlowRequest>>;

/// Keeps what an event says.
pub(super) fn note(pool: &mut VecDeque<SlowRequest>, event: &Tagged<'_>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let lines = &event.lines[..event.lines.len().min(LONGEST)];
    if pool.len() == MOST {
        pool.pop_front();
    }
    pool.push_back(SlowRequest {
        time: now.as_secs_f64(),
        request: event.tag.map(|tag| tag.request.to_owned()).unwrap_or_default(),
        text: String::from_utf8_lossy(lines).trim_end().to_owned(),
    });
}
