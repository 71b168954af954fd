//! Pools start in turns: each start loads a Python and an application, and fifty at once would take the processors from the pools
//! that serve.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

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
    _permit: Option<OwnedSemaphorePermit>,
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
            _permit: Arc::clone(&self.turns).acquire_owned().await.ok(),
            until: Instant::now() + LONGEST_TURN,
        }
    }
}
