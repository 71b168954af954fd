//! What the threads of a generation run: for whoever has to say so when they and their leader are gone.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use contract::scoreboard::{Scoreboard, Seat, Slot, Totals};
use serde::{Deserialize, Serialize};
use tracing::error;

use crate::inherited::Passed;

pub struct Board {
    scoreboard: Scoreboard,
    /// For another program.
    memory: OwnedFd,
    /// Of a worker.
    threads: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct BoardState {
    memory: Passed,
    threads: usize,
}

impl Board {
    /// `memory`: see [`Scoreboard::create`]. `threads`: of a worker.
    ///
    /// # Errors
    /// The system's: it can't be mapped.
    pub fn new(memory: OwnedFd, threads: usize) -> io::Result<Self> {
        Ok(Self {
            scoreboard: Scoreboard::map(&memory)?,
            memory,
            threads,
        })
    }

    /// # Errors
    /// No descriptor is left.
    pub fn state(&self) -> io::Result<BoardState> {
        Ok(BoardState {
            memory: Passed::copy(&self.memory)?,
            threads: self.threads,
        })
    }

    /// # Errors
    /// What was passed can't be taken.
    pub fn resume(state: BoardState) -> io::Result<Self> {
        Self::new(state.memory.take()?, state.threads.max(1))
    }

    /// How many workers there may be at a time.
    pub fn places(&self) -> usize {
        self.scoreboard.slots().len() / self.threads
    }

    /// What all threads have counted, and the leader.
    pub fn totals(&self) -> Totals {
        self.scoreboard.totals()
    }

    /// How each worker is: its own slots, by thread. Those that have ended have no seat.
    pub fn workers(&self) -> impl Iterator<Item = (&Seat, &[Slot])> {
        let workers = self.scoreboard.slots().chunks(self.threads);
        workers.filter_map(|slots| Some((&slots.first()?.seat, slots)))
    }

    /// Has the log name the requests that run, and counts them: nobody else is left who could.
    pub(super) fn count_lost(&self, pool: &str) {
        for (index, slot) in self.scoreboard.slots().iter().enumerate() {
            if slot.busy_since_ms().is_some() {
                error!(
                    pool,
                    worker = slot.pid.load(Ordering::Relaxed),
                    request = slot.request_name(index % self.threads),
                    "a request died with its worker, whose leader has died"
                );
                slot.count_lost();
            }
        }
    }
}
