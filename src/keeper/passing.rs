//! What of a keeper goes along when another program takes this one's place: its table, its channel, and each connection.

use std::io;
use std::sync::Arc;

use contract::keeper::channel::{Receiver, Sender};
use contract::keeper::{Asked, Place};
use contract::own::{Own, OwnFd};
use contract::scoreboard::Totals;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::deaths::{ON_THE_WAY, ORPHANS, Orphaned};
use super::room::Room;
use super::{Board, BoardState, Keeper, Kept, answers};
use crate::inherited::Passed;

#[derive(Debug, Serialize, Deserialize)]
pub struct KeeperState {
    memory: Passed,
    channel: [Passed; 2],
    kept: Vec<(Place, Passed)>,
    workers: Vec<WorkerState>,
    waiting: Vec<Place>,
    unsure: Vec<(Place, Asked)>,
    /// Of which a request was being answered with 503.
    refused: Vec<Place>,
    /// Leaders that have died, and have left workers.
    orphaned: Vec<OrphanedState>,
    #[serde(default)]
    counted: Totals,
}

#[derive(Debug, Serialize, Deserialize)]
struct WorkerState {
    number: u32,
    pid: i32,
    leader: i32,
    pidfd: Option<Passed>,
    #[serde(default)]
    asks: Option<Passed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OrphanedState {
    leader: i32,
    #[serde(default)]
    places: usize,
    board: Option<BoardState>,
}

impl Keeper {
    /// What another program needs to go on with it.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn state(&self) -> io::Result<KeeperState> {
        let worker = |(number, worker): (&u32, &super::Worker)| {
            Ok(WorkerState {
                number: *number,
                pid: worker.pid,
                leader: worker.leader,
                pidfd: worker.pidfd.as_ref().map(Passed::copy).transpose()?,
                asks: worker.asks.as_ref().map(Passed::copy).transpose()?,
            })
        };
        let orphaned = |orphaned: &Orphaned| {
            Ok(OrphanedState {
                leader: orphaned.leader,
                places: orphaned.places,
                board: orphaned.board.as_ref().map(Board::state).transpose()?,
            })
        };
        // There may be too many for duplicates.
        let kept = self.kept.values();
        let kept = kept.map(|kept| (kept.place, Passed::shared(Arc::clone(&kept.connection))));
        let (refused, waiting) = self.waiting.values().partition(|place| self.is_refused(**place));
        Ok(KeeperState {
            memory: Passed::copy(&self.memory)?,
            channel: [Passed::copy(&self.sender)?, Passed::copy(&self.receiver)?],
            kept: kept.collect(),
            workers: self.workers.iter().map(worker).collect::<io::Result<_>>()?,
            waiting,
            unsure: self.unsure.values().map(|(place, asked, _)| (*place, *asked)).collect(),
            refused,
            orphaned: self.orphaned.iter().map(orphaned).collect::<io::Result<_>>()?,
            counted: self.counted.clone(),
        })
    }

    /// The one that another program had, in whose place this one is.
    ///
    /// # Errors
    /// What was passed can't be taken.
    pub fn resume(pool: &str, state: KeeperState) -> io::Result<Self> {
        let [sender, receiver] = state.channel;
        let sender = Sender::new(Own::new(sender.take()?));
        let receiver = Receiver::new(Own::new(receiver.take()?));
        let mut keeper = Self::with(pool, state.memory.take()?, sender, receiver)?;
        keeper.counted = state.counted;
        for worker in state.workers {
            let pidfd = worker.pidfd.map(Passed::take).transpose()?.map(Own::new);
            let asks = worker.asks.map(Passed::take).transpose()?.map(Own::new);
            keeper.know(worker.number, worker.pid, worker.leader, pidfd, asks);
        }
        for (place, connection) in state.kept {
            keeper.keep_on(place, Own::new(connection.take()?))?;
        }
        let now = Instant::now();
        for place in state.waiting {
            keeper.waits(place);
        }
        for (place, asked) in state.unsure {
            keeper.is_unsure(place, asked);
        }
        for place in state.refused {
            // What was read of it, or written to it, is not known any more.
            keeper.table.free(place);
            if let Some(connection) = keeper.let_go(place.index) {
                answers::hang_up(&connection);
            }
        }
        for OrphanedState { leader, places, board } in state.orphaned {
            keeper.orphaned.push(Orphaned {
                leader,
                places,
                until: now + ORPHANS,
                board: board.map(Board::resume).transpose()?,
                are_killed: false,
            });
        }
        keeper.on_their_way = keeper.table.given();
        if !keeper.on_their_way.is_empty() {
            keeper.look_at = Some(now + ON_THE_WAY);
        }
        Ok(keeper)
    }

    fn keep_on(&mut self, place: Place, connection: OwnFd) -> io::Result<()> {
        self.set.add_connection(place, &connection)?;
        let kept = Kept {
            connection: Arc::new(connection),
            place,
            _room: Room::keep(),
        };
        self.kept.insert(place.index, kept);
        Ok(())
    }
}
