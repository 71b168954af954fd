//! How much a generation has to do and had to do: what php-fpm's status page tells of a pool, as far as somebody looks now and then.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::queues::Queue;
use crate::shared::shared;

shared! {
    /// The leader looks once a second; who answers a status request notes what it sees.
    pub struct Load {
        most_busy: AtomicU64,
        /// Connections that nobody has accepted.
        waiting: AtomicU64,
        most_waiting: AtomicU64,
        /// As many may wait; 0: not known, and neither is `waiting`.
        backlog: AtomicU64,
        /// How often one worker more was wanted than there may be.
        limits: AtomicU64,
    }
}

impl Load {
    /// So many threads are busy; the most that there were at a look.
    pub fn note_busy(&self, busy: u64) -> u64 {
        self.most_busy.fetch_max(busy, Relaxed).max(busy)
    }

    /// How it stands with the listeners of the pool, all together; `None`: the kernel does not tell.
    pub fn set_queue(&self, queue: Option<Queue>) {
        let (waiting, backlog) = queue.map_or((0, 0), |queue| (queue.waiting, queue.backlog));
        self.waiting.store(waiting.into(), Relaxed);
        self.backlog.store(backlog.into(), Relaxed);
    }

    /// What [`Load::set_queue`] has noted.
    pub fn queue(&self) -> Option<Queue> {
        let [waiting, backlog] = [&self.waiting, &self.backlog].map(|number| number.load(Relaxed) as u32);
        (backlog > 0).then_some(Queue { waiting, backlog })
    }

    /// So many requests wait for a thread; the most that there were at a look.
    pub fn note_waiting(&self, waiting: u64) -> u64 {
        self.most_waiting.fetch_max(waiting, Relaxed).max(waiting)
    }

    pub fn set_limits(&self, limits: u64) {
        self.limits.store(limits, Relaxed);
    }

    pub fn limits(&self) -> u64 {
        self.limits.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Scoreboard;

    #[test]
    fn the_most_stay_and_a_queue_is_known_or_not() {
        let scoreboard = Scoreboard::map(Scoreboard::create(1).unwrap()).unwrap();
        let load = scoreboard.load();
        assert_eq!([3, 1, 4].map(|busy| load.note_busy(busy)), [3, 3, 4]);
        assert_eq!([2, 0].map(|waiting| load.note_waiting(waiting)), [2, 2]);
        assert_eq!(load.queue(), None);
        let queue = Queue { waiting: 0, backlog: 7 };
        load.set_queue(Some(queue));
        assert_eq!(load.queue(), Some(queue));
        load.set_queue(None);
        load.set_limits(5);
        assert_eq!((load.queue(), load.limits()), (None, 5));
    }
}
