//! Pools start in turns: each start loads a Python and an application, and fifty at once would take the processors from the pools
//! that serve.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// An application that takes longer to load, or hangs, keeps nobody else waiting.
const LONGEST_TURN: Duration = Duration::from_secs(10);

/// How many pools may start at the same time.
#[derive(Debug, Clone)]
pub struct Starts {
    turns: Arc<Semaphore>,
    looks: Arc<Semaphore>,
}

/// The right to start, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    /// When it should be dropped, whatever has become of the start.
    pub until: Instant,
}

impl Starts {
    /// As many at once as the machine has processors.
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            turns: Arc::new(Semaphore::new(processors)),
            looks: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits until a pool at rest may look at its Python: one at a time, and none of them in front of a pool that starts.
    pub async fn look(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        Arc::clone(&self.looks).acquire_owned().await.ok()
    }

    /// Waits until it is somebody's turn.
    pub async fn turn(&self) -> Turn {
        Turn {
            // Nobody closes it.
            permit: Arc::clone(&self.turns).acquire_owned().await.ok(),
            until: Instant::now() + LONGEST_TURN,
        }
    }
}

impl Turn {
    /// Does this within the turn; it goes on when that has ended.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        match timeout_at(self.until, &mut work).await {
            Ok(done) => done,
            Err(_) => {
                self.permit = None;
                work.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_longer_than_a_turn_keeps_nobody_waiting() {
        let starts = Starts {
            turns: Arc::new(Semaphore::new(1)),
            looks: Arc::new(Semaphore::new(1)),
        };
        let mut turn = starts.turn().await;
        turn.until = Instant::now();
        // Ends when the next one has its turn.
        let next = turn.during(starts.turn()).await;
        assert!(turn.permit.is_none() && next.permit.is_some());
    }
}
