//! What follows when a generation of the pool is ready, fails or ends.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::generation::{Event, Order, What};
use super::{Member, OnFailure, Running, Stage, Status};

/// So many leaders that die within a minute, having served, are replaced at once; those behind them with growing delays.
const STORM: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);

impl Running {
    pub(super) fn event(&mut self, event: Event) {
        let number = event.generation;
        let Some(i) = self
            .members
            .iter()
            .position(|member| member.generation.number == number)
        else {
            return;
        };
        match event.what {
            What::Ready { python } => self.ready(i, &python),
            What::Failed { reason, detail } => self.failed(i, reason, detail),
            What::NotPreloadable { reason } => self.not_preloadable(i, &reason),
            What::Workers { size } => debug!(pool = self.name, generation = number, workers = size, "another size"),
            What::Idle => self.idle(i),
            What::WorkerDied {
                pid,
                how,
                backoff_ms,
                not_started,
            } => {
                self.keeper.worker_died(pid, &self.handover);
                // The leader has logged it, with the request that the worker ran.
                debug!(
                    pool = self.name,
                    generation = number,
                    worker = pid,
                    how,
                    backoff_ms,
                    "worker died"
                );
                if let Some(failed) = not_started {
                    self.replacement_failed(number, &failed);
                }
            }
            What::Exited(status) => self.exited(i, status),
        }
    }

    fn ready(&mut self, i: usize, python: &str) {
        if self.members[i].stage != Stage::Starting {
            return;
        }
        self.reloads.done += u64::from(self.ever_ready);
        // Nobody decides otherwise any more: what it takes from now on does not end with a start that is given up.
        self.members[i].generation.order(Order::Serve);
        self.retire(Stage::Serving, Order::Retire);
        // Once, and not to a developer, whose own files these are.
        if let (false, OnFailure::Exit | OnFailure::Retry, Some(pool)) = (self.ever_ready, self.on_failure, &self.pool)
        {
            pool.identity.warn_of_root(&self.name);
            if let Some(closed) = pool.closed_sockets() {
                warn!(pool = self.name, "{closed}");
            }
        }
        let member = &mut self.members[i];
        member.stage = Stage::Serving;
        self.ever_ready = true;
        self.restart_at = None;
        self.turn = None;
        self.sockets.is_ready();
        let settings = self.pool.as_ref().map(|pool| &pool.settings);
        info!(
            pool = self.name,
            app = settings.map(|settings| settings.app.as_str()),
            listen = self.sockets.addresses(),
            python,
            workers = settings.map(|settings| display(settings.size)),
            threads = settings.map(|settings| settings.threads.get()),
            generation = member.generation.number,
            leader = member.generation.pid,
            "ready"
        );
        self.stands(Status::Ready);
    }

    fn failed(&mut self, i: usize, reason: String, detail: String) {
        self.members[i].failed = true;
        let member = &self.members[i];
        if member.stage != Stage::Starting {
            return;
        }
        let traceback = Some(contract::log::block(&detail)).filter(|text| !text.is_empty());
        error!(
            pool = self.name,
            app = self.app(),
            python = self.python(),
            generation = member.generation.number,
            traceback = traceback.as_deref().map(tracing::field::display),
            "the application can't start: {reason}"
        );
        // It ends by itself; this is for one that does not.
        member.generation.order(Order::Quit);
        self.turn = None;
        self.stands(Status::Failed { reason, detail });
    }

    /// The same again, with the application loaded by each worker.
    fn not_preloadable(&mut self, i: usize, reason: &str) {
        let member = &mut self.members[i];
        if member.stage != Stage::Starting {
            return;
        }
        member.stage = Stage::Retiring;
        member.generation.order(Order::Quit);
        info!(
            pool = self.name,
            app = self.app(),
            reason,
            "each worker imports the application itself (the option preload says so from the start: off)"
        );
        self.not_preloadable = true;
        self.prepare();
    }

    fn exited(&mut self, i: usize, status: ExitStatus) {
        let Member {
            generation,
            stage,
            failed,
            ..
        } = self.members.remove(i);
        let (number, lived) = (generation.number, generation.started.elapsed());
        let ordered = generation.ordered();
        // One that ends by itself has said what its workers ran; where it was killed they count on.
        let (board, over) = match generation.board {
            Some(board) if status.signal().is_some() => (Some(board), None),
            over => (None, over),
        };
        if let Some(board) = over {
            self.ended.add(&board.totals());
        }
        self.keeper.leader_died(generation.pid as i32, board);
        if self.stopping.is_some() || stage == Stage::Retiring {
            match status.signal() {
                Some(_) if ordered < Order::Quit => {
                    warn!(pool = self.name, generation = number, %status, "the leader died before its workers had ended");
                }
                _ => debug!(pool = self.name, generation = number, %status, "leader ended"),
            }
            return;
        }
        if !self.is_any(Stage::Starting) {
            self.turn = None;
            self.sockets.has_failed(self.ever_ready);
        }
        let how = format!("the leader ended with {status}");
        if stage == Stage::Starting {
            self.forget_scale();
        }
        match stage {
            Stage::Starting if failed => {}
            Stage::Starting | Stage::Retiring => {
                let reason = format!("{how} before it could serve");
                error!(
                    pool = self.name,
                    app = self.app(),
                    python = self.python(),
                    generation = number,
                    "the application can't start: {reason}"
                );
                let detail = String::new();
                self.stands(Status::Failed { reason, detail });
            }
            Stage::Serving => {
                error!(pool = self.name, generation = number, %status, "the leader died");
                self.reloads.leaders_died += 1;
                self.stands(Status::Starting);
                self.served_and_died.push_back(Instant::now());
            }
        }
        if self.is_any(Stage::Serving) {
            warn!(pool = self.name, "the previous generation goes on");
        } else if self.is_tried_again() && !self.is_any(Stage::Starting) && !self.waits_after(stage) {
            match stage {
                Stage::Serving if !self.is_storm() => self.prepare(),
                _ => self.schedule_restart(lived),
            }
        }
    }

    /// Whether leaders that had served have died so often that starting each anew at once would only cost.
    fn is_storm(&mut self) -> bool {
        while self.served_and_died.front().is_some_and(|died| died.elapsed() > MINUTE) {
            self.served_and_died.pop_front();
        }
        self.served_and_died.len() > STORM
    }
}
