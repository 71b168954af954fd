//! Another number of workers than the options say, until the next reload.

use tracing::{info, warn};

use super::generation::Step;
use super::{Running, Stage};
use crate::service::Reload;

impl Running {
    /// Has so many workers; whether that takes a new generation: the one that serves has room for as many as it was made for.
    pub(super) fn scale(&mut self, wanted: (u32, u32), reload: Reload) -> bool {
        let (least, most) = wanted;
        self.scaled = Some(wanted);
        let is_under_way = self.is_under_way();
        let serving = self.members.iter().find(|member| member.stage == Stage::Serving);
        if !is_under_way && serving.is_some_and(|member| most <= member.room) {
            if let Some(pool) = &mut self.pool {
                (pool.settings.size.least, pool.settings.size.most) = wanted;
            }
            let serving = self.members.iter().filter(|member| member.stage == Stage::Serving);
            serving.for_each(|member| member.generation.step(Step::Size { least, most }));
            return false;
        }
        if self.rests && !is_under_way && least == 0 {
            // The next request starts that many.
            return false;
        }
        info!(
            pool = self.name,
            least, most, "a new generation is to have that many workers"
        );
        self.reload = Some(reload);
        self.retire(Stage::Starting, super::Order::Quit);
        self.rests = false;
        self.prepare();
        true
    }

    /// A start has failed. If so many workers were the reason, each further start would fail as well, until somebody reloads.
    pub(super) fn forget_scale(&mut self) {
        if let Some((least, most)) = self.scaled.take() {
            warn!(
                pool = self.name,
                least,
                most,
                "so many workers were wanted when a start has failed: the next one has as many as the options say"
            );
        }
    }
}
