//! What the keeper is told of a connection: what the death of this process would mean to it. Each word of it is written before
//! the read or write that makes it true.

use std::os::fd::AsFd;

use contract::keeper::{Asked, State};

use super::outgoing::Tail;
use super::{Connection, Phase};

impl Connection {
    pub(super) fn note_receiving(&mut self) {
        if let Some(entry) = &mut self.entry
            && entry.state() == State::Idle
        {
            entry.mark(State::Receiving);
        }
    }

    /// Behind a whole request, that can only be the beginning of the next one.
    pub(super) fn note_received(&mut self) {
        if let Some(entry) = &mut self.entry
            && let State::Unanswered(asked @ Asked { is_whole: true, .. }) = entry.state()
        {
            entry.mark(State::Unanswered(Asked {
                is_whole: false,
                ..asked
            }));
        }
    }

    pub(super) fn note_running(&mut self, is_head: bool) {
        if self.entry.is_none() {
            return;
        }
        let state = self.unanswered(is_head, true);
        if let (Some(entry), Some(state)) = (&mut self.entry, state) {
            entry.mark(state);
        }
    }

    fn unanswered(&self, is_head: bool, runs: bool) -> Option<State> {
        let begin = self.codec.active()?;
        Some(State::Unanswered(Asked {
            id: begin.id,
            is_head,
            is_whole: begin.keep_conn && self.codec.stdin_ended() && self.is_between_records(),
            runs,
        }))
    }

    pub(super) fn note_sending(&mut self) {
        if let Some(entry) = &mut self.entry {
            entry.mark(State::Sending);
        }
    }

    /// A part of a response is about to be sent; `tail`: the last one. `at_once`: it is no more than one call sends.
    pub(super) fn note_response(&mut self, tail: Option<Tail>, at_once: bool) {
        let has_begun = std::mem::replace(&mut self.answering, tail.is_none());
        if let Some(Tail { last: false, .. }) = tail
            && self.entry.is_none()
        {
            self.be_kept(has_begun);
        }
        let is_between_records = self.outgoing.is_between_records();
        let Some(entry) = &mut self.entry else { return };
        entry.mark(match entry.state() {
            State::Unanswered(asked @ Asked { is_whole: true, .. })
                if at_once && tail.is_some() && is_between_records =>
            {
                State::Ending(asked)
            }
            _ => State::Sending,
        });
    }

    /// It will stay open for a further request: from the first time on the keeper has it, too. Before its front server can know.
    fn be_kept(&mut self, has_begun: bool) {
        let Some(keeper) = self.hub.keeper.as_ref().filter(|_| !self.closes_when_drained()) else {
            return;
        };
        if !self.codec.active().is_some_and(|begin| begin.keep_conn) {
            return;
        }
        self.entry = keeper.keep(self.fd.as_fd(), self.is_from(b"nginx"));
        if !has_begun {
            self.note_running(self.param(b"REQUEST_METHOD") == b"HEAD");
        }
    }

    /// `all`: of the part. `ended`: with it the response ends, and the next word follows at once.
    pub(super) fn note_sent(&mut self, all: bool, ended: bool) {
        let Some(entry) = &mut self.entry else { return };
        match (all, ended) {
            (false, _) => entry.mark(State::Sending),
            (true, true) => {}
            (true, false) => entry.mark(State::BetweenRecords),
        }
    }

    /// Whatever it is parked for.
    pub(super) fn note_parked(&mut self) {
        let Some(before) = self.entry.as_ref().map(|entry| entry.state()) else {
            return;
        };
        let is_idle = self.phase == Phase::Idle && !self.owes_body() && self.is_between_records();
        let is_head = || self.param(b"REQUEST_METHOD") == b"HEAD";
        let unanswered = match before {
            _ if is_idle || self.phase == Phase::Lingering => None,
            State::Unanswered(_) => return,
            _ => self.codec.active().and_then(|_| self.unanswered(is_head(), false)),
        };
        let (Some(entry), requests) = (&mut self.entry, self.requests) else {
            return;
        };
        match unanswered {
            _ if is_idle => entry.rest(requests),
            Some(unanswered) => entry.mark(unanswered),
            None if self.phase == Phase::Lingering => {}
            None => entry.mark(State::Receiving),
        }
    }
}
