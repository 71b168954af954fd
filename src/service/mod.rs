//! The service manager that has started this program, if it wants to be told (systemd, `NOTIFY_SOCKET`). It learns when the
//! program is ready, reloads and stops, and how pools stand; and it keeps listening sockets until the next start: connections
//! wait in them meanwhile.

mod channel;
mod progress;
mod pulse;
mod standing;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::inherited;
use channel::Channel;
pub use progress::{Reload, Start};
use pulse::Pulse;
pub use standing::Standing;
use standing::Standings;

/// Begins the names under which sockets are kept, so that they are not taken for those of a socket unit.
const PREFIX: &str = "wsgi-fpm.";
/// Less than the 90 s that systemd gives a service to become ready.
const READY_AT_THE_LATEST: Duration = Duration::from_secs(60);

/// Sockets that were kept since the last run, by name.
pub type Kept = BTreeMap<String, OwnedFd>;

#[derive(Debug, Default)]
pub struct Service {
    channel: Channel,
    state: Mutex<State>,
    /// Wakes whoever waits in [`Service::due`].
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    kept: Kept,
    /// How many [`Start`]s are not over.
    starting: usize,
    is_ready: bool,
    /// How many [`Reload`]s are not over.
    reloads: usize,
    is_stopping: bool,
    /// Requests that run are being finished.
    drains: bool,
    pools: Standings,
    /// The number of the last pool.
    counted: u64,
    /// What is wrong beside pools.
    trouble: Option<String>,
    /// The last line about pools is out of date.
    has_news: bool,
    pulse: Pulse,
}

/// A socket that the service manager keeps. Dropping it ends that, unless the whole program stops.
#[derive(Debug)]
pub struct Deposit {
    service: Arc<Service>,
    name: String,
}

/// What is said of a pool, until it is dropped.
#[derive(Debug)]
pub struct Place {
    service: Arc<Service>,
    number: u64,
}

/// What was kept. To be asked before anything is opened.
pub fn kept() -> Kept {
    inherited::kept(PREFIX).into_iter().collect()
}

impl Service {
    /// The one of the environment. `kept`: see [`kept`].
    pub fn new(kept: Kept) -> Self {
        let state = State {
            kept,
            pulse: Pulse::new(),
            ..State::default()
        };
        Self {
            channel: Channel::new(),
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// Tells after a minute that it is ready, whoever has no socket by then: a service manager does not wait for ever.
    pub async fn be_ready_at_the_latest(self: Arc<Self>) {
        tokio::time::sleep(READY_AT_THE_LATEST).await;
        let mut state = self.lock();
        if state.starting > 0 {
            self.becomes_ready(&mut state);
        }
    }

    /// From now on there is this pool.
    pub fn pool(self: &Arc<Self>, name: &str) -> Place {
        let mut state = self.lock();
        state.counted += 1;
        let number = state.counted;
        state.pools.insert(number, (name.to_owned(), Standing::Starts));
        drop(state);
        self.tell_soon();
        Place {
            service: Arc::clone(self),
            number,
        }
    }

    /// What is wrong beside pools; `None`: nothing any more.
    pub fn has_trouble(&self, trouble: Option<String>) {
        self.lock().trouble = trouble;
        self.tell_soon();
    }

    /// From now on everything ends, and what is kept stays so for the next start. `drains`: as soon as requests that run have
    /// been finished.
    pub fn stops(&self, drains: bool) {
        let mut state = self.lock();
        state.drains = drains;
        if !state.is_stopping {
            state.is_stopping = true;
            state.pulse.extended = None;
            let what = if drains {
                "requests that run are finished"
            } else {
                "at once"
            };
            self.channel.tell(&format!("STOPPING=1\nSTATUS=Stopping: {what}"));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Has the service manager keep `socket`, if there is one. It doesn't say whether it does.
    pub fn keep(self: &Arc<Self>, name: &str, socket: impl AsFd) -> Option<Deposit> {
        self.channel.is_open().then_some(())?;
        self.channel
            .tell_with(&format!("FDSTORE=1\nFDNAME={PREFIX}{name}"), Some(socket.as_fd()));
        Some(self.deposit(name.to_owned()))
    }

    /// What was kept under this name.
    pub fn take(self: &Arc<Self>, name: &str) -> Option<(OwnedFd, Deposit)> {
        let socket = self.lock().kept.remove(name)?;
        Some((socket, self.deposit(name.to_owned())))
    }

    /// Everything else that was kept.
    pub fn take_rest(self: &Arc<Self>) -> Vec<(String, OwnedFd, Deposit)> {
        let rest = std::mem::take(&mut self.lock().kept);
        let with_deposit = |(name, socket): (String, OwnedFd)| (name.clone(), socket, self.deposit(name));
        rest.into_iter().map(with_deposit).collect()
    }

    /// Returns when the service manager has done everything that it was told.
    pub fn settle(&self) {
        self.channel.settle();
    }

    /// A socket that it keeps already, under this name.
    pub fn deposit(self: &Arc<Self>, name: String) -> Deposit {
        Deposit {
            service: Arc::clone(self),
            name,
        }
    }

    /// The line about pools is told anew, as soon as one may be.
    fn tell_soon(&self) {
        let mut state = self.lock();
        state.has_news = !state.is_stopping;
        drop(state);
        self.changed.notify_one();
    }

    /// Tells `message`, and with it the line about pools.
    fn tell_status(&self, state: &mut State, message: &str) {
        let reloads = if state.reloads > 0 { "Reloading. " } else { "" };
        let trouble = state.trouble.iter().map(|trouble| format!("{trouble}. "));
        let trouble = trouble.collect::<String>();
        let pools = standing::line(&state.pools);
        self.channel.tell(&format!("{message}STATUS={reloads}{trouble}{pools}"));
        state.has_news = false;
        state.pulse.status = Some(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub fn stands(&self, standing: Standing) {
        let mut state = self.service.lock();
        if let Some((_, known)) = state.pools.get_mut(&self.number)
            && *known != standing
        {
            *known = standing;
            drop(state);
            self.service.tell_soon();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.service.lock().pools.remove(&self.number);
        self.service.tell_soon();
    }
}

impl Deposit {
    /// The name under which it is kept.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the socket, and the file that it has, are to be there at the next start.
    pub fn stays(&self) -> bool {
        self.service.lock().is_stopping
    }
}

impl Drop for Deposit {
    fn drop(&mut self) {
        if !self.stays() {
            self.service
                .channel
                .tell(&format!("FDSTOREREMOVE=1\nFDNAME={PREFIX}{}", self.name));
        }
    }
}
