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
use crate::python::{Interpreter, Mark, Wanted};
use crate::users::Identity;

/// A Python, and how it is run.
#[derive(Debug, Clone)]
pub struct Found {
    pub host: Host,
    /// Version and path, for messages.
    pub python: String,
    /// What is to be said of one that is newer than those tested.
    pub untested: Option<String>,
    mark: Mark,
}

/// What there is to begin with.
pub enum Prepared {
    Generation(Box<Ready>),
    /// The pool needs no process until something arrives.
    Rest(Box<Pool>),
}

/// Everything that a generation needs but for its sockets.
pub struct Ready {
    pub turn: Turn,
    pub pool: Pool,
    pub found: Found,
}

pub type Looking = Pin<Box<dyn Future<Output = anyhow::Result<Found>> + Send>>;
pub type Preparing = Pin<Box<dyn Future<Output = anyhow::Result<Prepared>> + Send>>;

impl Found {
    /// Looks for the Python of this pool.
    ///
    /// # Errors
    /// There is none that fits, or the engine is missing.
    pub async fn of(pool: &Pool) -> anyhow::Result<Self> {
        Ok(Self::new(&wanted(pool).find().await?, &pool.identity)?)
    }

    /// Whether it is what this pool would find now. Without its virtual environment an executable would run as another Python.
    ///
    /// # Errors
    /// There is none that fits.
    fn is_that_of(&self, pool: &Pool) -> anyhow::Result<bool> {
        Ok(wanted(pool).mark()? == self.mark)
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
            mark: interpreter.mark.clone(),
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

fn wanted(pool: &Pool) -> Wanted {
    Wanted::from_environment(pool.python.clone(), &pool.settings.chdir, &pool.identity)
}

/// `found`: the Python, if it was looked for already; `may_rest`: whether the pool may begin without a generation.
pub fn prepare(definition: Definition, found: Option<Found>, starts: Starts, may_rest: bool) -> Preparing {
    Box::pin(async move {
        if may_rest {
            let pool = definition.pool()?;
            if pool.settings.size.least == 0 {
                return Ok(Prepared::Rest(Box::new(pool)));
            }
        }
        let mut turn = starts.turn().await;
        let pool = definition.pool()?;
        let found = match found {
            Some(found) if found.is_that_of(&pool)? => found,
            _ => turn.during(Found::of(&pool)).await?,
        };
        found.tell_if_untested();
        Ok(Prepared::Generation(Box::new(Ready { turn, pool, found })))
    })
}

/// Looks for the Python of a pool at rest, when it is its turn.
pub fn look(pool: Pool, starts: Starts) -> Looking {
    Box::pin(async move {
        let _permit = starts.look().await;
        Found::of(&pool).await
    })
}

/// Never ends where nobody looks.
pub async fn looked(looking: &mut Option<Looking>) -> anyhow::Result<Found> {
    match looking {
        Some(looking) => looking.await,
        None => pending().await,
    }
}

/// Never ends where nothing is prepared.
pub async fn prepared(preparing: &mut Option<Preparing>) -> anyhow::Result<Prepared> {
    match preparing {
        Some(preparing) => preparing.await,
        None => pending().await,
    }
}
