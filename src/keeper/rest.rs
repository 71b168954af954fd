//! A pool at rest: its connections wait here, and what arrives on them or on its listeners is a reason to start it.

use std::os::fd::AsFd;

use contract::handover::{Handed, Handover, Passage};
use contract::keeper::{Owner, State};
use contract::own::OwnFd;
use tracing::{debug, warn};

use super::{Keeper, answers};

impl Keeper {
    /// Whether something waits for a pool at rest.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// From now on connections of workers that go come here.
    pub(super) fn begin_rest(&mut self, handover: &Handover) {
        if let Err(error) = self.set.add_handover(handover.takes()) {
            warn!(pool = self.pool, %error, "kept connections wait until a new one comes, for they can't be watched now");
        }
    }

    pub(super) fn end_rest(&mut self, handover: &Handover) {
        self.is_wanted = false;
        self.set.remove(handover.takes());
    }

    /// Takes what workers that go have given away.
    pub(super) fn take_in(&mut self, handover: &Handover) {
        loop {
            match handover.take() {
                Ok(Some(Handed::Connection(connection, passage, files))) => {
                    // Its descriptor is one too many then.
                    if !self.take_over(&passage) {
                        return self.leave_to_workers(&connection, passage, &files, handover);
                    }
                }
                Ok(Some(Handed::Nudge | Handed::Lost)) => {}
                Ok(None) => return,
                Err(error) => {
                    debug!(pool = self.pool, %error, "a connection on its way can't be taken: it waits for a worker");
                    // It would be an event for as long as it is there.
                    self.set.remove(handover.takes());
                    self.is_wanted = true;
                    return;
                }
            }
        }
    }

    /// Whether it is one that is kept here, and idle.
    fn take_over(&mut self, passage: &Passage) -> bool {
        let Some((place, known)) = passage.entry.and_then(|place| Some((place, self.known(place)?))) else {
            return false;
        };
        let given = (Owner::NOBODY, State::Given(place.count));
        let is_idle = self.table.exchange(place, given, (Owner::KEEPER, State::Idle));
        if is_idle {
            self.waits(known);
        }
        is_idle
    }

    /// A part of its request is on its way, or it is not kept, and nobody here can know what it brings.
    fn leave_to_workers(&mut self, connection: &OwnFd, passage: Passage, files: &[OwnFd], handover: &Handover) {
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let given = handover.give(connection.as_fd(), passage, &files);
        debug!(
            pool = self.pool,
            ?given,
            "a connection that is not kept waits for a worker"
        );
        self.is_wanted = true;
        // There was room a moment ago; if there is none now, it is ended, unless somebody else has it.
        let is_lost = !matches!(given, Ok(true));
        let is_ours = |place| self.table.take_given(place, Owner::KEEPER).is_some();
        if is_lost && passage.entry.is_none_or(is_ours) {
            answers::hang_up(connection);
            if let Some(place) = passage.entry {
                self.end(place);
            }
        }
    }
}
