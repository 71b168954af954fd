//! Workers that are over their time: with a request that does not end, or with an import.

use std::time::Duration;

use contract::scoreboard::{Cause, Slot, now_ms};
use contract::settings::Settings;
use settings::values::Timeout;

use super::super::recycling::Enough;
use super::super::watched::Worker;
use super::{LAST_STACK, Workers};
use crate::process::interrupt::{log_given_up, log_stuck};

/// How long a request may take to end by its RequestTimeout before nobody counts on that any more.
const GRACE: Duration = Duration::from_secs(1);

impl Workers {
    /// Has workers replaced that are going to be killed: what else they run gets the rest of `kill_timeout` to end, and their
    /// connections go elsewhere. Whether the request ends after all makes no difference: nobody knows what it has left behind.
    pub fn replace_stuck(&mut self) {
        let limits = &self.limits;
        // Who is never killed goes on.
        if limits
            .kill_timeout
            .duration()
            .is_none_or(|kill_timeout| kill_timeout <= GRACE)
        {
            return;
        }
        for (index, slot) in self.over(GRACE.into()) {
            let worker = self.seats[index].as_mut();
            let Some(worker) = worker.filter(|worker| worker.serves() && worker.enough != Some(Enough::Stuck)) else {
                continue;
            };
            worker.enough = Some(Enough::Stuck);
            let pid = worker.pid();
            log_given_up(pid, &self.request_name(slot), self.left(slot));
        }
    }

    /// Their replacement can't wait for its turn.
    pub(super) fn is_any_stuck(&self) -> bool {
        self.staying().any(|worker| worker.enough == Some(Enough::Stuck))
    }

    /// Kills workers with a request that has outlived its limits: one that never lets go of the GIL can't be stopped
    /// from inside.
    pub fn kill_stuck(&mut self) {
        for (index, slot) in self.over(*self.limits.kill_timeout) {
            let Some(pid) = self.living(index) else { continue };
            let (request, limits) = (self.request_name(slot), &self.limits);
            let was_killed = self.scoreboard.slots()[slot].killed_ms().is_some();
            let after = match was_killed {
                true => "it was told to end",
                false => limits.request_timeout.name(),
            };
            log_stuck(Some(pid), &request, after, &limits.kill_timeout);
            // One that was retired for that has been counted.
            if self.seats[index].as_ref().is_some_and(Worker::stays) {
                self.scoreboard.count_replaced(Cause::Stuck);
            }
            self.kill_one(index);
        }
    }

    /// Ends workers that are not ready in time, as a generation is that is not: the next one may find what this one waits for.
    pub fn end_late(&mut self, settings: &Settings) {
        let Some(most) = settings.limits.start_timeout.duration() else {
            return;
        };
        for index in 0..self.seats.len() {
            let Some(pid) = self.living(index) else { continue };
            let page = self.page_of(index);
            let Some(worker) = &mut self.seats[index] else { continue };
            let taken = worker.born.elapsed();
            if worker.ready || taken < most {
                continue;
            }
            if !worker.process.is_aborted() {
                let late = settings.not_ready_in_time(page);
                tracing::error!(worker = pid, "a worker is ended: {late}");
                worker.process.abort();
            } else if taken >= most + LAST_STACK {
                self.kill_one(index);
            }
        }
    }

    /// The page that a worker answers which is not ready, by its number among those to be warmed up.
    pub fn warming_up(&self) -> Option<usize> {
        (0..self.seats.len()).find_map(|index| self.page_of(index))
    }

    fn page_of(&self, index: usize) -> Option<usize> {
        let worker = self.seats[index].as_ref().filter(|worker| !worker.ready)?;
        let mut slots = self.slots_of(index, worker.pid());
        // Nothing else has come to this worker, so its requests are the pages, in their order.
        slots.find_map(|(_, slot)| slot.busy_since_ms().and((slot.serial() as usize).checked_sub(1)))
    }

    /// How long it takes until a worker is killed for the request in a slot.
    fn left(&self, slot: usize) -> Duration {
        let (slot, now) = (&self.scoreboard.slots()[slot], now_ms());
        let left = |limit: Timeout, since: Option<u64>| {
            let taken = Duration::from_millis(now.saturating_sub(since?));
            Some(limit.duration()?.saturating_sub(taken))
        };
        let limits = &self.limits;
        let by_time = left(
            limits.request_timeout.and_then(*limits.kill_timeout),
            slot.busy_since_ms(),
        );
        let by_wish = left(*limits.kill_timeout, slot.killed_ms());
        [by_time, by_wish].into_iter().flatten().min().unwrap_or_default()
    }

    /// Living workers with a request that has gone on for so long after its time was over, or somebody wanted it to end; by number, and
    /// where it stands on the scoreboard.
    fn over(&self, by: Timeout) -> Vec<(usize, usize)> {
        let now = now_ms();
        let longest = self.limits.request_timeout.and_then(by);
        let is_reached = |limit: Timeout, since: Option<u64>| {
            since.is_some_and(|since| limit.is_reached_after(now.saturating_sub(since)))
        };
        let is_over = |slot: &Slot| is_reached(longest, slot.busy_since_ms()) || is_reached(by, slot.killed_ms());
        let found = |index: usize| {
            let pid = self.living(index)?;
            let mut slots = self.slots_of(index, pid);
            slots.find_map(|(number, slot)| is_over(slot).then_some((index, number)))
        };
        (0..self.seats.len()).filter_map(found).collect()
    }
}
