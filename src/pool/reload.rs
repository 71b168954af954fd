//! A new generation because somebody wants one, and what becomes of that while another one starts.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info};

use super::{OnFailure, Order, Running, Stage, Status};
use crate::service::Reload;

/// How long a reload that has replaced a start may take before further ones don't wait for it any more.
const FAIR: Duration = Duration::from_secs(10);
/// Why a pool without a definition starts nothing, and what helps.
pub const UNKNOWN: &str = "its configuration could not be read when an upgrade was refused, and is unknown since; \
    mend it, then type wsgi-fpm reload, or wsgi-fpm upgrade where it has no file";

#[derive(Debug, Default)]
pub(super) struct Reloading {
    /// When the last reload began, if it has replaced a start that was under way.
    replaces_since: Option<Instant>,
    /// One that waits until that is over, and why it is wanted.
    further: Option<(String, Reload)>,
}

impl Reloading {
    /// Whether one waits.
    pub(super) fn goes_further(&self) -> bool {
        self.further.is_some()
    }
}

impl Running {
    /// Starts a new generation, which replaces the serving one when it is ready. If it fails, the old one goes on; but a
    /// developer wants to see the new version or what is wrong with it, and nothing of the old one in between.
    pub(super) fn reload(&mut self, reason: &str, reload: Reload) {
        if self.definition.is_none() {
            return error!(pool = self.name, reason, "no reload: {UNKNOWN}");
        }
        if self.is_fair_to_wait() {
            info!(
                pool = self.name,
                reason, "this reload follows when the one that is under way is over, which has replaced another"
            );
            self.reloading.further = Some((reason.to_owned(), reload));
            return;
        }
        self.reloading.replaces_since = self.is_under_way().then(Instant::now);
        // Whoever waits for an earlier one waits for this one now.
        self.reload = Some(reload);
        self.scaled = None;
        if self.preparing.is_some() && self.members.is_empty() {
            info!(
                pool = self.name,
                reason, "no reload: the start is still under way, nothing is loaded yet"
            );
            return;
        }
        info!(pool = self.name, reason, "reloading");
        // The new version may allow what the old one did not.
        self.not_preloadable = false;
        // What it has loaded so far is out of date.
        self.retire(Stage::Starting, Order::Quit);
        if self.on_failure == OnFailure::Wait {
            self.retire(Stage::Serving, Order::Retire);
        } else {
            // An administrator may have made the virtual environment anew.
            self.found = None;
        }
        self.prepare();
    }

    /// There is nothing to make a generation from.
    pub(super) fn is_unknown(&mut self) {
        error!(pool = self.name, "it can't be started: {UNKNOWN}");
        let (reason, detail) = (UNKNOWN.to_owned(), String::new());
        self.stands(Status::Failed { reason, detail });
    }

    /// Whether a generation is being started.
    pub(super) fn is_under_way(&self) -> bool {
        self.preparing.is_some() || self.is_any(Stage::Starting)
    }

    /// Whether a further reload would keep on replacing what never gets ready, since reloads come faster than that takes. Who mends
    /// what hangs does not wait for it.
    fn is_fair_to_wait(&self) -> bool {
        let is_ours = self.on_failure != OnFailure::Wait && !self.members.is_empty();
        let since = self.reloading.replaces_since;
        is_ours && self.is_under_way() && since.is_some_and(|since| since.elapsed() < FAIR)
    }

    /// The reload that has waited for the one before.
    pub(super) fn reload_further(&mut self) {
        if !self.is_under_way()
            && let Some((reason, reload)) = self.reloading.further.take()
        {
            self.reload(&reason, reload);
        }
    }
}
