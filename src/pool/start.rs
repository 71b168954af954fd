//! What comes before a generation can be started: its turn, its pool as it is now, and its Python.

use std::collections::BTreeSet;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use tracing::{debug, info};

use super::starts::{Starts, Turn};
use crate::config::Pool;
use crate::config::pools::Definition;
use crate::host::{Host, HostError, Hosting};
use crate::python::{Interpreter, Wanted};
use crate::users::Identity;

/// A Python, and how it is run.
#[derive(Debug, Clone)]
pub struct Found {
    pub host: Host,
    /// Version and path, for messages.
    pub python: String,
    /// What is to be said of one that is newer than those tested.
    pub untested: Option<String>,
}

/// Everything that a generation needs but for its sockets.
pub struct Prepared {
    pub turn: Turn,
    pub pool: Pool,
    pub found: Found,
}

pub type Preparing = Pin<Box<dyn Future<Output = anyhow::Result<Prepared>> + Send>>;

impl Found {
    /// Looks for the Python of this pool.
    ///
    /// # Errors
    /// There is none that fits, or the engine is missing.
    pub async fn of(pool: &Pool) -> anyhow::Result<Self> {
        let wanted = Wanted::from_environment(pool.python.clone(), &pool.settings.chdir, &pool.identity);
        Ok(Self::new(&wanted.find().await?, &pool.identity)?)
    }

    /// # Errors
    /// The engine is missing.
    pub fn new(interpreter: &Interpreter, identity: &Identity) -> Result<Self, HostError> {
        debug!(
            python = %interpreter,
            prefix = %interpreter.prefix.display(),
            base_prefix = %interpreter.base_prefix.display(),
            platform = interpreter.platform,
            shared = interpreter.shared,
            "Python found"
        );
        let host = Host::new(interpreter, identity)?;
        match host.hosting() {
            Hosting::Embedded { libpython } => debug!(libpython = %libpython.display(), "Python is embedded"),
            Hosting::Exec => debug!("Python runs in its own executable"),
        }
        Ok(Self {
            host,
            python: interpreter.to_string(),
            untested: interpreter.untested(),
        })
    }

    /// Once, however many pools it runs and however often they start.
    fn tell_if_untested(&self) {
        static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        let Some(text) = &self.untested else { return };
        let is_news = TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone());
        if is_news {
            info!(python = self.python, "{text}");
        }
    }
}

/// `found`: the Python, if it was looked for already.
pub fn prepare(definition: Definition, found: Option<Found>, starts: Starts) -> Preparing {
    Box::pin(async move {
        let turn = starts.turn().await;
        let pool = definition.pool()?;
        let found = match found {
            Some(found) => found,
            None => Found::of(&pool).await?,
        };
        found.tell_if_untested();
        Ok(Prepared { turn, pool, found })
    })
}

/// Never ends where nothing is prepared.
pub async fn prepared(preparing: &mut Option<Preparing>) -> anyhow::Result<Prepared> {
    match preparing {
        Some(preparing) => preparing.await,
        None => pending().await,
    }
}
