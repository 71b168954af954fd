//! The start of a generation: what is said while its application is being imported and its pages are warmed up, and when it is given up.

use std::time::Duration;

use contract::settings::Settings;
use tokio::time::Instant;
use tracing::info;

/// A leader that is able to gives up by itself, and knows what its workers are doing.
const LATE_MARGIN: Duration = Duration::from_secs(1);
/// A start that takes longer is worth a line, another one when it has taken twice as long, and so on.
const SLOW_START: Duration = Duration::from_secs(5);

/// The start of an application, of which there is nothing to be heard until it is over.
pub struct Import {
    app: String,
    /// What is being done.
    doing: &'static str,
    begun: Instant,
    /// When the log says next that it goes on.
    pub due: Instant,
    /// When it is given up, if ever.
    pub give_up_at: Option<Instant>,
    /// Why, then.
    pub too_late: String,
}

impl Import {
    pub fn begin(settings: &Settings) -> Self {
        let begun = Instant::now();
        let most = settings.limits.start_timeout.duration();
        Self {
            app: settings.app.clone(),
            doing: match settings.warmup.is_empty() {
                true => "being imported",
                false => "starting (import and warm-up)",
            },
            begun,
            due: begun + SLOW_START,
            give_up_at: most.map(|most| begun + most + LATE_MARGIN),
            too_late: settings.not_ready_in_time(None),
        }
    }

    pub fn log(&mut self, pool: &str, generation: u64) {
        let taken = self.due - self.begun;
        info!(
            pool,
            generation,
            "{} is still {}, for {} s so far",
            contract::log::escape(&self.app),
            self.doing,
            taken.as_secs()
        );
        self.due += taken;
    }
}
