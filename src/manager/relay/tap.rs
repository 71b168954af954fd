//! Events for whoever follows the logs. One who does not read loses them, and learns how many; nobody waits for him.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc;

/// Events that wait for one who follows, and their bytes.
const LONGEST: usize = 4096;
const BYTES: usize = 1024 * 1024;

/// What comes from now on, until it is dropped.
#[derive(Debug)]
pub struct Tap {
    events: mpsc::Receiver<Vec<u8>>,
    count: Arc<Count>,
}

#[derive(Debug, Default)]
struct Count {
    /// Bytes that wait.
    waiting: AtomicUsize,
    lost: AtomicU64,
}

/// The log's end of one.
#[derive(Debug)]
pub(super) struct Feed {
    events: mpsc::Sender<Vec<u8>>,
    count: Arc<Count>,
}

pub(super) fn new() -> (Feed, Tap) {
    let (sender, events) = mpsc::channel(LONGEST);
    let count = Arc::new(Count::default());
    let feed = Feed {
        events: sender,
        count: Arc::clone(&count),
    };
    (feed, Tap { events, count })
}

impl Feed {
    /// Whether anybody follows still.
    pub(super) fn give(&self, event: &[u8]) -> bool {
        let waiting = self.count.waiting.fetch_add(event.len(), Relaxed) + event.len();
        if waiting > BYTES || self.events.try_send(event.to_vec()).is_err() {
            self.count.waiting.fetch_sub(event.len(), Relaxed);
            self.count.lost.fetch_add(1, Relaxed);
        }
        !self.events.is_closed()
    }
}

impl Tap {
    /// The next event, a line or several; `None` when there will be no more.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        let event = self.events.recv().await?;
        self.count.waiting.fetch_sub(event.len(), Relaxed);
        Some(event)
    }

    /// How many were lost since this was asked last.
    pub fn lost(&self) -> u64 {
        self.count.lost.swap(0, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_who_does_not_read_loses_events_and_learns_how_many() {
        let (feed, mut tap) = new();
        for number in 0..LONGEST + 10 {
            assert!(feed.give(number.to_string().as_bytes()));
        }
        assert_eq!((tap.lost(), tap.lost()), (10, 0));
        assert_eq!(tap.next().await.unwrap(), b"0");
        assert!(feed.give(b"last"));
        assert_eq!(tap.lost(), 0);
        // They may be few, and long.
        while tap.events.try_recv().is_ok() {}
        tap.count.waiting.store(0, Relaxed);
        for _ in 0..9 {
            assert!(feed.give(&[b'x'; 128 * 1024]));
        }
        assert_eq!(tap.lost(), 1);
        drop(tap);
        assert!(!feed.give(b"nobody"));
    }
}
