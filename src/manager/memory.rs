//! How much memory processes have. The kernel walks through all of it to tell (PSS), which takes milliseconds for each, and may have to
//! wait for the process; so a thread asks, only while somebody wants to know, and what it has found is told for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::process::pss;

use crate::users::Identity;

/// What was found is looked up anew when it is wanted and is as old; or later, so that looking takes at most so little of a processor.
const FRESH: Duration = Duration::from_secs(5);
const PART: u32 = 50;

/// A process, and where its memory belongs.
pub type Wanted<'a> = (i32, &'a mut Option<u64>);

#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    /// Bytes by pid; `None`: it was gone, or may not be looked at.
    bytes: HashMap<i32, Option<u64>>,
    /// Until then it is told.
    until: Option<Instant>,
    is_looking: bool,
}

impl Memory {
    /// Fills in what is known of these processes. What is not, or not any more, is known a moment later.
    /// By user: they are looked at with his rights, since root's alone are not enough where a unit has taken some of them away
    /// (`ProtectProc=`, no CAP_SYS_PTRACE).
    pub fn fill(&self, wanted: Vec<(Identity, Vec<Wanted<'_>>)>) {
        let mut found = self.lock();
        let mut pids: Vec<(Identity, Vec<i32>)> = Vec::new();
        for (identity, wanted) in wanted {
            pids.push((identity, wanted.iter().map(|(pid, _)| *pid).collect()));
            for (pid, memory) in wanted {
                *memory = found.bytes.get(&pid).copied().flatten();
            }
        }
        let is_old = found.until.is_none_or(|until| Instant::now() >= until);
        if !is_old {
            // Only at those that have come since.
            for (_, pids) in &mut pids {
                pids.retain(|pid| !found.bytes.contains_key(pid));
            }
            pids.retain(|(_, pids)| !pids.is_empty());
        }
        if found.is_looking || pids.is_empty() {
            return;
        }
        found.is_looking = true;
        drop(found);
        let memory = self.clone();
        tokio::task::spawn_blocking(move || memory.look(&pids, is_old));
    }

    /// `anew`: at all that are wanted.
    fn look(&self, pids: &[(Identity, Vec<i32>)], anew: bool) {
        let _looking = Looking(self);
        let began = Instant::now();
        let look = |pid: &i32| (*pid, pss(*pid).ok());
        let bytes = pids
            .iter()
            .flat_map(|(identity, pids)| identity.looks(|| pids.iter().map(look).collect::<Vec<_>>()))
            .collect::<Vec<_>>();
        let mut found = self.lock();
        if anew {
            found.bytes.clear();
            found.until = Some(Instant::now() + FRESH.max(began.elapsed() * PART));
        }
        found.bytes.extend(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One look, however it ends: where no thread is to be had, that is a panic.
struct Looking<'a>(&'a Memory);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.lock().is_looking = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_is_known_a_moment_after_it_was_wanted() {
        let (memory, own) = (Memory::default(), std::process::id() as i32);
        let asked = Instant::now();
        let (mut of_this, mut of_none) = (None, None);
        while of_this.is_none() {
            assert!(asked.elapsed() < Duration::from_secs(20));
            memory.fill(vec![(
                Identity::default(),
                vec![(own, &mut of_this), (i32::MAX, &mut of_none)],
            )]);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(
            of_this.is_some_and(|bytes| bytes > 100_000) && of_none.is_none(),
            "{of_this:?}"
        );
    }
}
