//! How many workers there are, and which of them are replaced although they work.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use contract::control::ToSupervisor;
use contract::scoreboard::Slot;

use super::super::recycling::Enough;
use super::super::size::{Change, Sample};
use super::super::watched::Worker;
use super::{LOOK, Workers};
use crate::process::watchdog::Farewell;

/// After a replacement the next one waits for so many times as long as that has taken: where workers would be due all the time, they
/// serve for longer, and the pool is not busy with replacing them.
const REPLACING: u32 = 50;
/// It waits no longer than this: each import may take long, and the memory of those that are due grows on.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Workers {
    /// Has as many workers as there should be, and one for another that has had enough: first the new one, then the old one ends.
    /// What the supervisor should know.
    pub fn manage(&mut self) -> Option<ToSupervisor> {
        let now = Instant::now();
        let change = self.sizing.varies().then(|| self.sample(now));
        let change = change.and_then(|sample| self.sizing.look(sample, now));
        let workers = self.sizing.size();
        match change {
            Some(Change::More) => tracing::info!(workers, "one worker more: requests wait"),
            Some(Change::Fewer) => tracing::info!(workers, "one worker less: fewer are enough"),
            Some(Change::Rest) | None => {}
        }
        self.replace(now);
        let size = workers as u32;
        change.map(|change| match change {
            Change::Rest => ToSupervisor::Idle,
            Change::More | Change::Fewer => ToSupervisor::Workers { size },
        })
    }

    /// Somebody wants one worker more or less.
    pub fn step(&mut self, more: bool) -> Option<ToSupervisor> {
        let moved = self.sizing.step(more, Instant::now());
        let size = self.sizing.size() as u32;
        match (moved, more) {
            (true, true) => tracing::info!(workers = size, "one worker more, by a signal"),
            (true, false) => tracing::info!(workers = size, "one worker less, by a signal"),
            (false, true) => tracing::warn!(workers = size, "not one worker more: the option workers allows no more"),
            (false, false) => tracing::warn!(workers = size, "not one worker less: it is the last one"),
        }
        moved.then_some(ToSupervisor::Workers { size })
    }

    /// Somebody wants so many, in place of what the options say.
    pub fn resize(&mut self, least: u32, most: u32) -> ToSupervisor {
        self.sizing.set(least, most, Instant::now());
        let size = self.sizing.size() as u32;
        tracing::info!(
            workers = size,
            least,
            most,
            "another number of workers, as was asked for"
        );
        ToSupervisor::Workers { size }
    }

    /// Somebody wants all workers replaced.
    pub fn recycle(&mut self) {
        let mut workers = 0;
        for worker in self.seats.iter_mut().flatten() {
            if worker.stays() && worker.enough.is_none() {
                worker.enough = Some(Enough::Asked);
                workers += 1;
            }
        }
        tracing::info!(
            workers,
            "all workers are replaced, one after the other, as was asked for"
        );
    }

    fn sample(&mut self, now: Instant) -> Sample {
        let is_settled = self.vacancies.len() == 0 && self.staying().count() == self.sizing.size();
        let mut sample = Sample {
            all_full: true,
            is_settled,
            ..Sample::default()
        };
        for (index, seat) in self.seats.iter().enumerate() {
            let Some(worker) = seat.as_ref().filter(|worker| worker.stays()) else {
                continue;
            };
            sample.is_settled &= worker.serves();
            let mut is_full = false;
            for (_, slot) in self.slots_of(index, worker.pid()) {
                sample.busy += usize::from(slot.busy_since_ms().is_some());
                sample.requests += slot.requests();
                is_full |= slot.is_full();
            }
            sample.all_full &= is_full;
        }
        if now - self.used_at >= LOOK {
            let used: Duration = self.seats.iter_mut().flatten().map(Worker::used).sum();
            let since = std::mem::replace(&mut self.used_at, now);
            sample.processors = Some(used.as_secs_f64() / (now - since).as_secs_f64());
        }
        sample
    }

    fn replace(&mut self, now: Instant) {
        let (slots, threads) = (self.scoreboard.slots(), self.threads);
        let workers = self.seats.iter_mut().enumerate().filter_map(|(index, seat)| {
            let worker = seat.as_mut()?;
            let slots = slots[index * threads..][..threads].iter();
            let own = slots.filter(|slot| slot.pid.load(Relaxed) == worker.pid());
            let requests = own.map(Slot::requests).sum();
            Some((worker, requests))
        });
        self.recycling.look(workers, now);
        if !self.is_any_enough() {
            self.replacing_since = None;
        } else if self.replacing_since.is_none() && (now >= self.replace_at || self.is_any_stuck()) {
            self.replacing_since = Some(now);
        }
        let wanted = self.sizing.size() + usize::from(self.replacing_since.is_some());
        let staying = self.staying().count();
        for _ in staying + self.vacancies.len()..wanted {
            self.vacancies.open(now);
        }
        for _ in wanted..staying + self.vacancies.len() {
            self.vacancies.close();
        }
        if self.staying().filter(|worker| worker.serves()).count() > self.sizing.size() {
            self.retire_one(now);
        }
    }

    /// Retires a worker that has had enough, or else the one with the fewest requests.
    fn retire_one(&mut self, now: Instant) {
        let busy = |index: usize, pid: i32| {
            let slots = self.slots_of(index, pid);
            slots.filter(|(_, slot)| slot.busy_since_ms().is_some()).count()
        };
        let serving = self.seats.iter().enumerate().filter_map(|(index, seat)| {
            let worker = seat.as_ref().filter(|worker| worker.serves())?;
            let fewest = std::cmp::Reverse(busy(index, worker.pid()));
            Some(((worker.enough.is_some(), fewest, now - worker.born), index))
        });
        let Some((_, index)) = serving.max() else { return };
        let Some(worker) = &self.seats[index] else { return };
        let (pid, enough) = (worker.pid(), worker.enough);
        let requests = self.requests_of(index, pid);
        if let Some(worker) = &mut self.seats[index] {
            worker.send_home(Farewell::Retire);
        }
        match enough {
            Some(enough) => {
                self.scoreboard.count_replaced(enough.cause());
                self.recycling.log(pid, enough, requests);
            }
            None => tracing::debug!(worker = pid, requests, "a worker is not needed any more"),
        }
        if let Some(begun) = self.replacing_since.take_if(|_| enough.is_some()) {
            self.replace_at = now + ((now - begun) * REPLACING).min(LONGEST_PAUSE);
        }
    }
}
