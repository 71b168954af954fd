//! A pool without any process: nothing of it runs until something arrives on its listeners, or on the connections that were kept.

use tracing::{error, info};

use super::start::{self, Found};
use super::{Order, Running, Stage, Status};
use crate::config::Pool;

impl Running {
    /// The member with this number has had no request for as long as its last worker waits for one.
    pub(super) fn idle(&mut self, i: usize) {
        let is_needed =
            self.members[i].stage != Stage::Serving || self.preparing.is_some() || self.is_any(Stage::Starting);
        // Without a definition nothing could be started again; and somebody may have wanted more workers meanwhile.
        let is_last = self.definition.is_none() || self.scaled.is_some_and(|(least, _)| least > 0);
        if is_needed || is_last || self.stopping.is_some() {
            return;
        }
        self.rests = true;
        self.retire(Stage::Serving, Order::Retire);
        self.stands(Status::Ready);
        let size = self.pool.as_ref().map(|pool| pool.settings.size);
        // Another program may have started it.
        let idle_timeout = size.map_or_else(
            || "as long as worker_idle_timeout said".to_owned(),
            |size| size.idle_timeout.to_string(),
        );
        info!(
            pool = self.name,
            "at rest: no request has come for {idle_timeout}; the next one starts it"
        );
    }

    /// It has its sockets, and that is all until something arrives.
    ///
    /// # Errors
    /// An address can't be had.
    pub(super) fn rest(&mut self, pool: Pool) -> anyhow::Result<()> {
        self.sockets.prepare(&pool.listen, &pool.socket)?;
        self.sockets.is_ready();
        self.touched.watch(&pool.reload_on, &self.name);
        info!(
            pool = self.name,
            app = pool.settings.app,
            listen = self.sockets.addresses(),
            workers = %pool.settings.size,
            "at rest: the first request starts it"
        );
        if self.found.is_none() {
            self.looking = Some(start::look(pool.clone(), self.starts.clone()));
        }
        self.pool = Some(pool);
        self.stands(Status::Ready);
        Ok(())
    }

    /// It is at rest, and its Python was looked for.
    pub(super) fn looked(&mut self, found: anyhow::Result<Found>) {
        self.looking = None;
        match found {
            Ok(found) => self.found = Some(found),
            Err(error) => error!(pool = self.name, "the pool at rest can't be started: {error:#}"),
        }
    }

    /// Whether it stays at rest though the next version of it can't be had.
    pub(super) fn rests_on(&self) -> bool {
        self.rests && self.pool.is_some()
    }

    /// Something has arrived while it was at rest.
    pub(super) fn wake(&mut self) {
        self.rests = false;
        if self.definition.is_some() {
            info!(
                pool = self.name,
                "something has arrived for the pool at rest: it is started"
            );
        }
        self.prepare();
    }
}
