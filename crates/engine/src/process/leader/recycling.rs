//! Which workers have had enough, and what they take.

use std::fmt;
use std::time::{Duration, Instant};

use contract::limited;
use contract::process::pss;
use contract::scoreboard::Cause;
use settings::sections::Recycle;

use super::watched::Worker;

/// Why a worker is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enough {
    Requests,
    /// Bytes.
    Memory(u64),
    Age,
    /// A request does not end: the log has it.
    Stuck,
    /// Somebody wants it, as the log says.
    Asked,
}

impl Enough {
    /// As it is counted.
    pub fn cause(self) -> Cause {
        match self {
            Self::Requests => Cause::MaxRequests,
            Self::Memory(_) => Cause::MaxMemory,
            Self::Age => Cause::MaxAge,
            Self::Stuck => Cause::Stuck,
            Self::Asked => Cause::Asked,
        }
    }
}

pub struct Recycling {
    options: Recycle,
    /// When memory is looked at next.
    memory_at: Instant,
    /// It was said that memory can't be looked at, or that all workers take too much.
    has_complained: bool,
}

/// How often memory is looked at: the kernel walks through all of it for that.
const MEMORY_LOOK: Duration = Duration::from_secs(5);

impl Recycling {
    pub fn new(options: Recycle, now: Instant) -> Self {
        Self {
            options,
            memory_at: now + MEMORY_LOOK,
            has_complained: false,
        }
    }

    /// Looks at all workers, each with the number of requests that it has had.
    pub fn look<'a>(&mut self, workers: impl Iterator<Item = (&'a mut Worker, u64)>, now: Instant) {
        let at_memory = now >= self.memory_at;
        if at_memory {
            self.memory_at = now + MEMORY_LOOK;
        }
        for (worker, requests) in workers.filter(|(worker, _)| worker.serves() && worker.enough.is_none()) {
            worker.enough = if worker.is_spent {
                Some(Enough::Requests)
            } else if self
                .options
                .max_age
                .duration()
                .is_some_and(|age| now - worker.born >= age)
            {
                Some(Enough::Age)
            } else if self.options.max_memory.bytes().is_some() && (at_memory || worker.weighed_at.is_none()) {
                self.weigh(worker, requests)
            } else {
                None
            };
        }
    }

    fn weigh(&mut self, worker: &mut Worker, requests: u64) -> Option<Enough> {
        let before = worker.weighed_at.replace(requests);
        // What it takes from the beginning the next one would take, too.
        if worker.is_large || before == Some(requests) {
            return None;
        }
        let limit = &self.options.max_memory;
        let memory = match pss(worker.pid()) {
            Ok(memory) => memory,
            Err(error) => {
                if !std::mem::replace(&mut self.has_complained, true) {
                    tracing::warn!(%error, "the memory of workers can't be read: {} has no effect", limit.name());
                }
                return None;
            }
        };
        if !limit.is_exceeded_by(memory) {
            return None;
        }
        worker.is_large = before.is_none();
        if worker.is_large {
            if !std::mem::replace(&mut self.has_complained, true) {
                tracing::warn!(
                    worker = worker.pid(),
                    memory,
                    "a new worker takes more than {limit} already, so that it is not replaced for that: allow more"
                );
            }
            return None;
        }
        Some(Enough::Memory(memory))
    }

    /// Says why the worker is replaced.
    pub fn log(&self, pid: i32, enough: Enough, requests: u64) {
        let Recycle {
            max_requests,
            max_memory,
            max_age,
            ..
        } = &self.options;
        let limit: &dyn fmt::Display = match enough {
            Enough::Stuck | Enough::Asked => return,
            Enough::Requests => max_requests,
            Enough::Memory(_) => max_memory,
            Enough::Age => max_age,
        };
        let memory = match enough {
            Enough::Memory(memory) => Some(memory),
            Enough::Requests | Enough::Age | Enough::Stuck | Enough::Asked => None,
        };
        limited!(
            "workers that are replaced",
            tracing::info!(worker = pid, requests, memory, "a worker is replaced: {limit}")
        );
    }
}
