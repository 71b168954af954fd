//! The file that describes the pools, read again while they run.

use std::collections::BTreeMap;
use std::path::Path;

use tracing::{error, info, warn};

use super::relay::Routes;
use super::{Entry, Manager};
use crate::config::pools::{self, Definition};
use crate::config::report::Report;
use crate::pool::{Command, OnFailure, Order};
use crate::service::Reload;

impl Manager {
    /// Reads the file again. Pools of which it says the same go on as they are, unless their last version has failed.
    pub(super) fn read_again(&mut self, signal: &str) {
        if self.stopping.is_some() {
            return;
        }
        let Some(path) = self.file.clone() else { return };
        if let Err(report) = self.read(&path, signal, false) {
            for line in report.lines() {
                error!("{line}");
            }
            error!(
                file = %path.display(),
                signal,
                "the file has mistakes and changes nothing; mend them and send the signal again"
            );
        }
    }

    /// Has what the file says. `anew`: pools of which it says the same are loaded anew, too.
    ///
    /// # Errors
    /// It has mistakes, and nothing has changed.
    pub(super) fn read(&mut self, path: &Path, reason: &str, anew: bool) -> Result<(), Report> {
        let reload = self.service.reloads();
        let new = self.definitions(path)?;
        let (stay, leave) = std::mem::take(&mut self.pools)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(name, _)| new.contains_key(name));
        self.pools = stay;
        for (name, pool) in leave {
            pool.tell(Command::Stop {
                order: Order::Stop,
                reason: "it is not in the file any more".to_owned(),
            });
            self.leaves(name, pool.commands);
        }
        self.leaving.retain(|(_, pool)| !pool.is_closed());
        // Pools that finish requests still have lines to write.
        let is_leaving = |pool: &str| self.leaving.iter().any(|(name, _)| name == pool);
        self.logs.keep(|pool| new.contains_key(pool) || is_leaving(pool));
        info!(file = %path.display(), reason, pools = new.len(), "the file was read again");
        for definition in new.into_values() {
            self.become_it(definition, reason, anew, &reload);
        }
        self.set_title();
        Ok(())
    }

    /// What the file at `path` says, by the pools' names.
    pub(super) fn definitions(&self, path: &Path) -> Result<BTreeMap<String, Definition>, Report> {
        let configuration = pools::load(path).inspect_err(|_| {
            let trouble = format!(
                "{} has mistakes and changes nothing: wsgi-fpm check names them",
                path.display()
            );
            self.service.has_trouble(Some(trouble));
        })?;
        self.service.has_trouble(None);
        let (said, holds) = (configuration.log(), &self.log_settings);
        if (&said.to, said.format, said.level) != (&holds.to, holds.format, holds.level) {
            warn!("what [server] says of the log counts from the next start on: restart wsgi-fpm");
        }
        let pools = configuration.pools.into_values();
        let pools = pools.map(|pool| Definition::File(Box::new(pool)));
        Ok(pools
            .map(|definition| (definition.name().to_owned(), definition))
            .collect())
    }

    /// One pool is as the file says now.
    pub(super) fn become_it(&mut self, definition: Definition, reason: &str, anew: bool, reload: &Reload) {
        let name = definition.name().to_owned();
        // One that has ended starts anew, and so does one that was stopped: whoever wants that has come later.
        let goes_on = |pool: &&mut Entry| !pool.is_stopped && !pool.commands.is_closed();
        let pool = self.pools.get_mut(&name).filter(goes_on);
        if let Some(pool) = pool {
            self.logs.set(&name, Routes::of(&definition.log()));
            pool.become_it(definition, reason, anew, reload);
        } else if let Err(error) = self.start(definition, None, OnFailure::Retry, Some(reload)) {
            error!(pool = name, "it can't be started: {error:#}");
        }
    }
}
