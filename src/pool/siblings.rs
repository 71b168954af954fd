//! Which pool of this program listens where. A pool may want an address that another one leaves in the same reload: it waits for
//! that, unless that one waits for this one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::info;

use super::Running;
use super::listeners::{ListenError, Listener, NamedError};

/// How long a pool waits for an address of another one, which may have to load its application first.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct State {
    holders: Vec<(String, Weak<Listener>)>,
    /// Which pool a pool waits for, or has waited for in vain.
    waits: BTreeMap<String, String>,
}

static STATE: Mutex<State> = Mutex::new(State {
    holders: Vec::new(),
    waits: BTreeMap::new(),
});

/// This pool listens there.
pub fn note(pool: &str, listener: &Arc<Listener>) {
    let mut state = lock();
    state.holders.retain(|(_, listener)| listener.strong_count() > 0);
    state.holders.push((pool.to_owned(), Arc::downgrade(listener)));
}

/// The same error, with the pool's name if it is one of this program that listens there.
pub fn name(error: ListenError) -> ListenError {
    let ListenError::InUse { address } = error else {
        return error;
    };
    let state = lock();
    let is_it = |listener: Arc<Listener>| listener.address() == address && listener.is_reachable();
    let mut holders = state.holders.iter();
    match holders.find(|(_, listener)| listener.upgrade().is_some_and(is_it)) {
        Some((pool, _)) => ListenError::Sibling {
            pool: pool.clone(),
            address,
        },
        None => ListenError::InUse { address },
    }
}

/// It waits for nobody.
pub fn forget(pool: &str) {
    lock().waits.remove(pool);
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Whether there is use in it: that one does not wait for this one in turn.
    fn waits(&mut self, pool: &str, other: &str) -> bool {
        self.waits.insert(pool.to_owned(), other.to_owned());
        let mut next = Some(other);
        for _ in 0..=self.waits.len() {
            match next {
                Some(next) if next == pool => return false,
                Some(other) => next = self.waits.get(other).map(String::as_str),
                None => return true,
            }
        }
        // A circle of others, which will end.
        true
    }
}

impl Running {
    /// Whether a start that has failed so is tried again, as soon as another pool has left the address.
    pub(super) fn waits_for_sibling(&mut self, error: &anyhow::Error) -> bool {
        let Some(NamedError {
            error: ListenError::Sibling { address, pool },
            ..
        }) = error.downcast_ref()
        else {
            return false;
        };
        let is_new = self.waits_since.is_none();
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        self.prepare();
        if !lock().waits(&self.name, pool) || since.elapsed() > PATIENCE {
            self.preparing = None;
            return false;
        }
        if is_new {
            info!(
                pool = self.name,
                listen = address,
                "it waits for pool {pool}, which listens there"
            );
        }
        self.preparing = self.preparing.take().map(|preparing| -> super::Preparing {
            Box::pin(async move {
                sleep(LOOK).await;
                preparing.await
            })
        });
        true
    }
}
