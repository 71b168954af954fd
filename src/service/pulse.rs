//! What the service manager is told from time to time: that the program is alive, that it needs more time, and how pools stand.

use std::env;
use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Service, State};

/// At most one line about pools in this time; the last one always comes.
const STATUS_PAUSE: Duration = Duration::from_secs(1);
/// How much more time the program asks for, and how often, as long as it needs some.
const EXTENSION: Duration = Duration::from_secs(30);
const EXTENSION_PAUSE: Duration = Duration::from_secs(10);

/// What was told when.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// How often the watchdog wants a sign of life; `None`: there is none.
    interval: Option<Duration>,
    alive: Option<Instant>,
    /// `None`: not yet for what it needs time for now.
    pub(super) extended: Option<Instant>,
    pub(super) status: Option<Instant>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        let number = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let most = number("WATCHDOG_USEC").filter(|&most| is_ours && most > 1);
        Self {
            interval: most.map(|most| Duration::from_micros(most / 2)),
            ..Self::default()
        }
    }
}

impl State {
    /// It starts, reloads or finishes requests, which may take longer than the service manager would wait by itself. How long it takes
    /// at most, options of pools say: start_timeout, and stop_timeout.
    fn needs_time(&self) -> bool {
        (self.starting > 0 && !self.is_ready) || self.reloads > 0 || self.drains
    }

    fn alive_due(&self, now: Instant) -> Option<Instant> {
        let interval = self.pulse.interval?;
        Some(self.pulse.alive.map_or(now, |alive| alive + interval))
    }

    fn extension_due(&self, now: Instant) -> Option<Instant> {
        let extended = self.pulse.extended.map(|extended| extended + EXTENSION_PAUSE);
        self.needs_time().then(|| extended.unwrap_or(now))
    }

    fn status_due(&self, now: Instant) -> Option<Instant> {
        let told = self.pulse.status.map(|told| told + STATUS_PAUSE);
        self.has_news.then(|| told.unwrap_or(now))
    }
}

impl Service {
    /// Waits until [`Self::beat`] has something to tell. Can be left and called again.
    pub async fn due(&self) {
        if !self.channel.is_open() {
            return pending().await;
        }
        loop {
            let due = {
                let state = self.lock();
                let now = Instant::now();
                let all = [state.alive_due(now), state.extension_due(now), state.status_due(now)];
                all.into_iter().flatten().min()
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => return,
            }
        }
    }

    /// Tells what is due. To be called by the event loop, without which the program is not alive. `is_well`: whether the threads
    /// beside it that it needs are alive, too. A broken application is no reason to be started again: the others serve.
    pub fn beat(&self, is_well: impl FnOnce() -> bool) {
        let mut state = self.lock();
        let now = Instant::now();
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(state.alive_due(now)) {
            state.pulse.alive = Some(now);
            if is_well() {
                self.channel.tell("WATCHDOG=1");
            } else {
                self.channel
                    .tell("STATUS=The log is not written any more, and the watchdog will start the service again");
            }
        }
        if is_due(state.extension_due(now)) {
            state.pulse.extended = Some(now);
            self.channel
                .tell(&format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros()));
        }
        if is_due(state.status_due(now)) {
            self.tell_status(&mut state, "");
        }
    }
}
