//! What the death of its owner would mean to a connection: one word of the keeper's table.

use serde::{Deserialize, Serialize};

/// Who has a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(u32);

impl Owner {
    /// The entry is free.
    pub(super) const FREE: Self = Self(0);
    /// The supervisor.
    pub const KEEPER: Self = Self(u32::MAX);
    /// It is on its way from one to another.
    pub const NOBODY: Self = Self(u32::MAX - 1);

    /// The worker with this number.
    pub(super) const fn worker(number: u32) -> Self {
        Self(number)
    }

    /// For messages between processes.
    pub(super) const fn number(self) -> u32 {
        self.0
    }
}

/// A request of which the id is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub id: u16,
    pub is_head: bool,
    /// It was read to its end, and its front server wants the connection kept: once it is answered, the connection is idle.
    pub is_whole: bool,
    /// A thread has it: the scoreboard says more.
    pub runs: bool,
}

impl Asked {
    const fn flags(self) -> u64 {
        let head = if self.is_head { IS_HEAD } else { 0 };
        let whole = if self.is_whole { IS_WHOLE } else { 0 };
        let runs = if self.runs { RUNS } else { 0 };
        head | whole | runs
    }
}

/// How far a connection is. Written before the read or write that changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Between two requests: nothing of the next one was read.
    Idle,
    /// Something was read that nobody else can know of.
    Receiving,
    /// A request runs or still arrives, and nothing of its response has left.
    Unanswered(Asked),
    /// The same, but all of its response, with its end, is being sent by one call.
    Ending(Asked),
    /// A part of its response has left, or all of it, perhaps within a record.
    Sending,
    /// The same, with whole records.
    BetweenRecords,
    /// On its way to another worker, for so manieth time (counted up to 65,535 and again from 0).
    Given(u16),
    /// The same, with something that was read: it comes in the message, and nowhere else.
    GivenWithBytes(u16),
}

const IS_HEAD: u64 = 1 << 56;
const IS_WHOLE: u64 = 1 << 57;
const RUNS: u64 = 1 << 58;

/// Owner (32 bits), id or count (16), state (8), flags.
pub(super) const fn encode(owner: Owner, state: State) -> u64 {
    let (kind, number, flags) = match state {
        State::Idle => (0, 0, 0),
        State::Receiving => (1, 0, 0),
        State::Unanswered(asked) => (2, asked.id, asked.flags()),
        State::Ending(asked) => (7, asked.id, asked.flags()),
        State::Sending => (3, 0, 0),
        State::BetweenRecords => (4, 0, 0),
        State::Given(count) => (5, count, 0),
        State::GivenWithBytes(count) => (6, count, 0),
    };
    owner.0 as u64 | (number as u64) << 32 | kind << 48 | flags
}

/// What no worker writes is taken for something of which nothing is known.
pub(super) const fn decode(word: u64) -> (Owner, State) {
    let number = (word >> 32) as u16;
    let asked = Asked {
        id: number,
        is_head: word & IS_HEAD != 0,
        is_whole: word & IS_WHOLE != 0,
        runs: word & RUNS != 0,
    };
    let state = match (word >> 48) as u8 {
        0 => State::Idle,
        1 => State::Receiving,
        2 => State::Unanswered(asked),
        4 => State::BetweenRecords,
        5 => State::Given(number),
        6 => State::GivenWithBytes(number),
        7 => State::Ending(asked),
        _ => State::Sending,
    };
    (Owner(word as u32), state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_keeps_what_is_put_into_it() {
        let asked = |id, is_head, is_whole| {
            State::Unanswered(Asked {
                id,
                is_head,
                is_whole,
                runs: id == 7,
            })
        };
        let ending = State::Ending(Asked {
            id: 9,
            is_head: true,
            is_whole: true,
            runs: true,
        });
        let states = [
            State::Idle,
            State::Receiving,
            asked(1, false, false),
            asked(u16::MAX, true, false),
            asked(7, false, true),
            State::Sending,
            State::BetweenRecords,
            State::Given(0),
            State::Given(u16::MAX),
            State::GivenWithBytes(3),
            ending,
        ];
        for owner in [
            Owner::worker(1),
            Owner::worker(0xffff_fff0),
            Owner::KEEPER,
            Owner::NOBODY,
        ] {
            for state in states {
                assert_eq!(decode(encode(owner, state)), (owner, state));
                assert_ne!(encode(owner, state), 0, "that is a free entry");
            }
        }
        assert_eq!(decode(0xff << 48 | 1), (Owner::worker(1), State::Sending));
    }
}
