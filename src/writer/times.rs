//! The web server's times, made from ours: whoever is to speak first has to be earlier.

use std::time::Duration;

use settings::sections::Limits;

/// From our time limit to the web server's: what is on its way arrives, on a busy machine, too.
const MARGIN: Duration = Duration::from_secs(20);
/// The same for a body that stops: nothing has to be computed in between.
const BODY_MARGIN: Duration = Duration::from_secs(15);
/// A local socket answers at once or not at all.
pub const CONNECT: Duration = Duration::from_secs(5);
/// For servers that have no way to say "no limit". As long as our own options go.
pub const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Longest wait for a response, and between two parts of it: our 503 and 504 come first, with their lines in our log.
/// `None`: a request may take as long as it likes.
pub fn read(limits: &Limits) -> Option<Duration> {
    // Who waits for a thread without a limit is not waited for without one: nobody would want that answer.
    let queue = limits.queue_timeout.duration().unwrap_or_default();
    let request = limits.request_timeout.duration()?;
    Some(queue + request + MARGIN)
}

/// Longest time without progress in sending a body to us. `None`: we wait for it as long as it takes.
pub fn send(limits: &Limits) -> Option<Duration> {
    limits.body_timeout.duration().map(|body| body + BODY_MARGIN)
}

/// How a web server is to keep connections: it has to be the one who closes, because a request that meets our closing is
/// lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// By each of its processes.
    pub connections: usize,
    pub idle: Duration,
    pub requests: u64,
}

/// `None`: our own limits are too narrow for it.
pub fn kept(limits: &Limits) -> Option<Kept> {
    /// Beyond some dozens a kept connection saves nothing more.
    const CONNECTIONS: usize = 32;
    /// The web server may have as many processes as this, and our worker needs room for new connections.
    const PROCESSES: usize = 8;
    const IDLE: Duration = Duration::from_secs(60);
    const REQUESTS: u64 = 1000;
    let kept = Kept {
        connections: CONNECTIONS.min(limits.connections.get() as usize / PROCESSES),
        idle: match limits.idle_timeout.duration() {
            None => IDLE,
            Some(ours) => Duration::from_secs((ours * 4 / 5).as_secs()),
        },
        requests: limits
            .connection_requests
            .get()
            .map_or(REQUESTS, |most| REQUESTS.min(most - 1)),
    };
    let useful = kept.connections > 0 && kept.idle >= Duration::from_secs(1) && kept.requests > 0;
    useful.then_some(kept)
}

/// In whole seconds, upwards: later is what all of these times may be.
pub fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
