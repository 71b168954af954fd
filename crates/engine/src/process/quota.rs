//! How many requests a worker serves before it is replaced.
//!
//! Its threads count for themselves. What is left is divided among them, and a thread that has had its share adds up what all
//! have had: the sum can't be reached before one of them looks, and none writes what another one reads at each request.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};

use settings::sections::Recycle;

pub struct Quota {
    /// `None`: as many as come.
    most: Option<u64>,
    spent: AtomicBool,
}

/// A thread does not look any more.
pub const NEVER: u64 = u64::MAX;

impl Quota {
    /// For the worker `pid`.
    pub fn new(recycle: &Recycle, pid: u32) -> Self {
        let most = recycle.max_requests.get().map(|most| {
            let jitter = recycle
                .max_requests_jitter
                .map_or(most / 10, |jitter| u64::from(jitter.get()));
            // Forks of one leader have the same random state, not the same number.
            most + RandomState::new().hash_one(pid) % (jitter + 1)
        });
        Self {
            most,
            spent: AtomicBool::new(false),
        }
    }

    /// At which of its own requests a thread looks again, now that it has had `own` and all `threads` together have had `all`.
    pub fn next(&self, own: u64, all: u64, threads: usize) -> u64 {
        match self.most {
            None => NEVER,
            Some(most) if all >= most => {
                self.spent.store(true, Ordering::Relaxed);
                NEVER
            }
            Some(most) => own + ((most - all) / threads as u64).max(1),
        }
    }

    /// Whether the worker has had as many as it should have.
    pub fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(most: u64) -> Quota {
        Quota {
            most: Some(most),
            spent: AtomicBool::new(false),
        }
    }

    /// Threads take turns as `turn` says; what all have had when the quota is spent.
    fn had(most: u64, threads: usize, turn: impl Fn(u64) -> usize) -> u64 {
        let quota = quota(most);
        let (mut own, mut look_at) = (vec![0u64; threads], vec![0u64; threads]);
        for step in 0.. {
            let thread = turn(step) % threads;
            own[thread] += 1;
            if own[thread] >= look_at[thread] {
                look_at[thread] = quota.next(own[thread], own.iter().sum(), threads);
            }
            if quota.is_spent() {
                break;
            }
        }
        own.iter().sum()
    }

    #[test]
    fn quota_is_spent_with_one_request_more_for_each_thread_at_most() {
        for most in [1, 2, 199, 200, 10_007] {
            assert_eq!(had(most, 1, |_| 0), most);
            for threads in [2, 4, 7] {
                let all = [
                    had(most, threads, |step| step as usize),
                    had(most, threads, |_| 0),
                    had(most, threads, |step| (step * step / 3) as usize),
                ];
                for had in all {
                    assert!((most..=most + threads as u64).contains(&had), "{most} {threads} {had}");
                }
            }
        }
    }

    #[test]
    fn looks_are_rare() {
        let quota = quota(10_000);
        let (mut own, mut looks) = (0, 0);
        while !quota.is_spent() {
            own = quota.next(own, own, 4);
            looks += 1;
            if own == NEVER {
                break;
            }
        }
        assert!(looks < 50, "{looks}");
    }

    #[test]
    fn without_a_limit_nobody_looks_twice() {
        let quota = Quota::new(&Recycle::default(), 1);
        assert_eq!(quota.next(1, u64::MAX, 4), NEVER);
        assert!(!quota.is_spent());
    }
}
