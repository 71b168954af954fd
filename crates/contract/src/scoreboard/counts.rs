//! What a thread has counted since its slot was made, whichever workers it was of; and all of a pool's together.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::histogram::{Histogram, Times};
use crate::shared::shared;

/// What has become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Complete,
    /// The application failed; the client got a 500, or a broken response.
    Failed,
    /// The gateway has answered instead of the application.
    Refused,
    /// The front server went away or aborted.
    Disconnected,
    /// The request's time was over; the watchdog has answered.
    TimedOut,
}

impl Outcome {
    pub const ALL: [Self; 5] = [
        Self::Complete,
        Self::Failed,
        Self::Refused,
        Self::Disconnected,
        Self::TimedOut,
    ];

    /// As status and metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Disconnected => "disconnected",
            Self::TimedOut => "timed_out",
        }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    BadRequest,
    ParamsTooLarge,
    BodyTooLarge,
    BodyTimeout,
    /// The temporary file for its body takes no more.
    BodyUnkept,
    /// It is not below the mount.
    NotFound,
    /// It has waited for longer than `queue_timeout`.
    Overloaded,
    UnknownRole,
    /// Python itself failed.
    Internal,
}

impl Refusal {
    pub const ALL: [Self; 9] = [
        Self::BadRequest,
        Self::ParamsTooLarge,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::BodyUnkept,
        Self::NotFound,
        Self::Overloaded,
        Self::UnknownRole,
        Self::Internal,
    ];

    /// As status and metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::ParamsTooLarge => "params_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyUnkept => "body_unkept",
            Self::NotFound => "not_found",
            Self::Overloaded => "overloaded",
            Self::UnknownRole => "unknown_role",
            Self::Internal => "internal",
        }
    }
}

/// Why a worker was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It crashed, was killed by somebody else, or ended by itself.
    Died,
    MaxRequests,
    MaxMemory,
    MaxAge,
    /// A request did not end by its `request_timeout`.
    Stuck,
    /// A signal had stopped it.
    Stopped,
    /// Somebody wanted it.
    Asked,
}

impl Cause {
    pub const ALL: [Self; 7] = [
        Self::Died,
        Self::MaxRequests,
        Self::MaxMemory,
        Self::MaxAge,
        Self::Stuck,
        Self::Stopped,
        Self::Asked,
    ];

    /// As status and metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Died => "died",
            Self::MaxRequests => "max_requests",
            Self::MaxMemory => "max_memory",
            Self::MaxAge => "max_age",
            Self::Stuck => "stuck",
            Self::Stopped => "stopped",
            Self::Asked => "asked",
        }
    }
}

/// First digits of statuses; 0 stands for a response without a head.
const CLASSES: usize = 6;

shared! {
    /// Written by one thread, but for `slow`.
    pub struct Counts {
        responses: [AtomicU64; CLASSES],
        outcomes: [AtomicU64; Outcome::ALL.len()],
        refused: [AtomicU64; Refusal::ALL.len()],
        slow: AtomicU64,
        received: AtomicU64,
        sent: AtomicU64,
        duration: Histogram,
        queued: Histogram,
    }
}

/// A request that is over.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// 0: no head was sent.
    pub status: u16,
    pub outcome: Outcome,
    pub refusal: Option<Refusal>,
    /// Bytes of its body, as it has said.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// From when a thread had it until it was over.
    pub took: Duration,
    /// How long it had waited before, if the front server says when it has come.
    pub queued: Option<Duration>,
}

impl Counts {
    pub fn count(&self, finished: &Finished) {
        let class = usize::from(finished.status / 100).min(CLASSES - 1);
        add(&self.responses[class], 1);
        add(&self.outcomes[finished.outcome as usize], 1);
        if let Some(refusal) = finished.refusal {
            add(&self.refused[refusal as usize], 1);
        }
        add(&self.received, finished.received);
        add(&self.sent, finished.sent);
        self.duration.record(finished.took);
        if let Some(queued) = finished.queued {
            self.queued.record(queued);
        }
    }

    /// One more has been slow. The watchdog sees that.
    pub fn count_slow(&self) {
        self.slow.fetch_add(1, Relaxed);
    }

    /// The requests so far.
    pub fn requests(&self) -> u64 {
        self.outcomes.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Adds what there is to `totals`.
    pub fn add_to(&self, totals: &mut Totals) {
        collect(&mut totals.responses, &self.responses);
        collect(&mut totals.outcomes, &self.outcomes);
        collect(&mut totals.refused, &self.refused);
        totals.slow += self.slow.load(Relaxed);
        totals.received += self.received.load(Relaxed);
        totals.sent += self.sent.load(Relaxed);
        totals.duration.add(&self.duration.read());
        totals.queued.add(&self.queued.read());
    }
}

/// What was counted, in whatever number of slots, generations and runs of the program. Each list has the order of its enum.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// By the first digit of the status; 0 stands for a response without a head.
    #[serde(deserialize_with = "list")]
    pub responses: [u64; CLASSES],
    #[serde(deserialize_with = "list")]
    pub outcomes: [u64; Outcome::ALL.len()],
    #[serde(deserialize_with = "list")]
    pub refused: [u64; Refusal::ALL.len()],
    #[serde(deserialize_with = "list")]
    pub replaced: [u64; Cause::ALL.len()],
    pub slow: u64,
    /// Bytes of requests' bodies.
    pub received: u64,
    /// Bytes of responses' bodies.
    pub sent: u64,
    pub duration: Times,
    pub queued: Times,
}

/// Another program, in whose place this one is, may have had fewer of an enum, or more.
fn list<'de, D: Deserializer<'de>, const N: usize>(from: D) -> Result<[u64; N], D::Error> {
    let mut list = [0; N];
    sum(&mut list, &Vec::<u64>::deserialize(from)?);
    Ok(list)
}

impl Totals {
    pub fn requests(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    pub fn add(&mut self, other: &Self) {
        sum(&mut self.responses, &other.responses);
        sum(&mut self.outcomes, &other.outcomes);
        sum(&mut self.refused, &other.refused);
        sum(&mut self.replaced, &other.replaced);
        self.slow += other.slow;
        self.received += other.received;
        self.sent += other.sent;
        self.duration.add(&other.duration);
        self.queued.add(&other.queued);
    }
}

/// Only one thread writes: this costs no more than a load and a store.
#[inline]
pub(super) fn add(counter: &AtomicU64, number: u64) {
    counter.store(counter.load(Relaxed) + number, Relaxed);
}

pub(super) fn sum(into: &mut [u64], of: &[u64]) {
    into.iter_mut().zip(of).for_each(|(into, of)| *into += of);
}

pub(super) fn collect(into: &mut [u64], of: &[AtomicU64]) {
    into.iter_mut().zip(of).for_each(|(into, of)| *into += of.load(Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Scoreboard;

    #[test]
    fn enums_are_their_own_places() {
        assert!(
            Outcome::ALL
                .iter()
                .enumerate()
                .all(|(i, outcome)| *outcome as usize == i)
        );
        assert!(
            Refusal::ALL
                .iter()
                .enumerate()
                .all(|(i, refusal)| *refusal as usize == i)
        );
        assert!(Cause::ALL.iter().enumerate().all(|(i, cause)| *cause as usize == i));
    }

    #[test]
    fn totals_of_a_program_with_fewer_or_more_outcomes_are_read() {
        for outcomes in ["[]", "[1]", "[1,2,3,4,5,6,7,8,9,10]"] {
            let totals: Totals = serde_json::from_str(&format!("{{\"outcomes\":{outcomes},\"sent\":7}}")).unwrap();
            assert_eq!((totals.outcomes[0], totals.sent), (u64::from(outcomes != "[]"), 7));
        }
        let totals = Totals {
            replaced: [3; Cause::ALL.len()],
            ..Totals::default()
        };
        let text = serde_json::to_string(&totals).unwrap();
        assert_eq!(serde_json::from_str::<Totals>(&text).unwrap(), totals);
    }

    #[test]
    fn finished_requests_are_counted_by_what_became_of_them() {
        let scoreboard = Scoreboard::map(Scoreboard::create(2).unwrap()).unwrap();
        let finished = |status, outcome, refusal| Finished {
            status,
            outcome,
            refusal,
            received: 10,
            sent: 100,
            took: Duration::from_millis(1),
            queued: (status == 200).then_some(Duration::from_millis(3)),
        };
        let [one, other] = [0, 1].map(|slot| &scoreboard.slots()[slot].counts);
        one.count(&finished(200, Outcome::Complete, None));
        one.count(&finished(0, Outcome::Disconnected, None));
        other.count(&finished(413, Outcome::Refused, Some(Refusal::BodyTooLarge)));
        // Whatever an application may send.
        other.count(&finished(999, Outcome::Complete, None));
        other.count_slow();
        let mut totals = Totals::default();
        one.add_to(&mut totals);
        other.add_to(&mut totals);
        assert_eq!(totals.responses, [1, 0, 1, 0, 1, 1]);
        assert_eq!(totals.outcomes, [2, 0, 1, 1, 0]);
        assert_eq!((totals.refused[Refusal::BodyTooLarge as usize], totals.slow), (1, 1));
        assert_eq!((totals.received, totals.sent, totals.requests()), (40, 400, 4));
        assert_eq!((totals.duration.count(), totals.queued.count()), (4, 1));
        assert_eq!((one.requests(), other.requests()), (2, 2));
        let mut twice = totals.clone();
        twice.add(&totals);
        assert_eq!((twice.requests(), twice.duration.count(), twice.sent), (8, 8, 800));
    }
}
