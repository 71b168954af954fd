//! How much there is to do, noted for the pool's status page.

use std::os::fd::AsFd;
use std::time::Instant;

use contract::handover::Handover;
use contract::own::OwnFd;
use contract::queues::{self, Queue};
use contract::settings::ListenerKind;
use rustix::fs::fstat;

use super::{LOOK, Workers};

impl Workers {
    /// Looks at threads, at `listeners` of these kinds and at the handover, each time that a look is due.
    pub fn note_load(&mut self, listeners: &[OwnFd], kinds: &[ListenerKind], handover: &Handover) {
        let now = Instant::now();
        if now < self.load_at {
            return;
        }
        self.load_at = now + LOOK;
        let slots = self.scoreboard.slots().iter();
        let busy = slots.filter(|slot| slot.busy_since_ms().is_some()).count();
        let queue = queue(listeners, kinds);
        let load = self.scoreboard.load();
        load.note_busy(busy as u64);
        load.set_queue(queue);
        let accepted = self.scoreboard.waiting() + handover.waiting() as u64;
        load.note_waiting(queue.map_or(0, |queue| queue.waiting.into()) + accepted);
        load.set_limits(self.sizing.limits());
    }
}

/// All together; `None` if the kernel does not tell of each.
fn queue(listeners: &[OwnFd], kinds: &[ListenerKind]) -> Option<Queue> {
    let queues = queues::listening(kinds);
    let mut all = Queue::default();
    for listener in listeners {
        let queue = queues.get(&fstat(listener.as_fd()).ok()?.st_ino)?;
        all.waiting = all.waiting.saturating_add(queue.waiting);
        all.backlog = all.backlog.saturating_add(queue.backlog);
    }
    Some(all)
}
