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
    /// Whose events alone; `None`: all.
    pool: Option<String>,
    events: mpsc::Sender<Vec<u8>>,
    count: Arc<Count>,
}

pub(super) fn new(pool: Option<String>) -> (Feed, Tap) {
    let (sender, events) = mpsc::channel(LONGEST);
    let count = Arc::new(Count::default());
    let feed = Feed {
        pool,
        events: sender,
        count: Arc::clone(&count),
    };
    (feed, Tap { events, count })
}

impl Feed {
    /// An event of this pool, or of nobody in particular (`None`). Whether anybody follows still.
    pub(super) fn give(&self, pool: Option<&str>, event: &[u8]) -> bool {
        if self.pool.is_none() || self.pool.as_deref() == pool {
            self.add(event);
        }
        !self.events.is_closed()
    }

    fn add(&self, event: &[u8]) {
        let waiting = self.count.waiting.fetch_add(event.len(), Relaxed) + event.len();
        if waiting > BYTES || self.events.try_send(event.to_vec()).is_err() {
            self.count.waiting.fetch_sub(event.len(), Relaxed);
            self.count.lost.fetch_add(1, Relaxed);
        }
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
        let (feed, mut tap) = new(None);
        for number in 0..LONGEST + 10 {
            assert!(feed.give(None, number.to_string().as_bytes()));
        }
        assert_eq!((tap.lost(), tap.lost()), (10, 0));
        assert_eq!(tap.next().await.unwrap(), b"0");
        assert!(feed.give(None, b"last"));
        assert_eq!(tap.lost(), 0);
        // They may be few, and long.
        while tap.events.try_recv().is_ok() {}
        tap.count.waiting.store(0, Relaxed);
        for _ in 0..9 {
            assert!(feed.give(None, &[b'x'; 128 * 1024]));
        }
        assert_eq!(tap.lost(), 1);
        drop(tap);
        assert!(!feed.give(None, b"nobody"));
    }

    #[tokio::test]
    async fn one_who_follows_a_pool_gets_its_events_alone() {
        let (feed, mut tap) = new(Some("blog".to_owned()));
        for pool in [None, Some("shop"), Some("blog"), Some("blog2")] {
            assert!(feed.give(pool, pool.unwrap_or_default().as_bytes()));
        }
        assert_eq!(tap.events.try_recv().unwrap(), b"blog");
        assert!(tap.events.try_recv().is_err());
        // Who is gone is found out by any event.
        drop(tap);
        assert!(!feed.give(Some("shop"), b"more"));
    }
}
