//! The frameworks with a small site of ours, each with its habits.

use crate::checks::{Habits, as_it_is, drive};
use crate::sites::Site;

/// A test for each way, of each framework.
macro_rules! frameworks {
    ($($name:ident: $site:expr, $habits:expr;)*) => {$(
        mod $name {
            use super::*;

            const SITE: Site = $site;
            const HABITS: Habits = $habits;

            ways!(SITE, |front| drive(front, &HABITS));
        }
    )*};
}

frameworks! {
    flask: site("flask"), HABITS_OF_MOST;
    // Pyramid takes the method for a part of what it looks for.
    pyramid: site("pyramid"), Habits { wrong_method: 404, ..HABITS_OF_MOST };
    bottle: site("bottle"), HABITS_OF_MOST;
    falcon: site("falcon"), HABITS_OF_MOST;
    // Its sessions are in the memory of one process, and that serves one request at a time.
    quixote: Site { processes: 1, threads: 1, ..site("quixote") }, Habits { ranges: false, ..HABITS_OF_MOST };
    webware: site("webware"), Habits { wrong_method: 501, validates: true, ranges: false };
}

const HABITS_OF_MOST: Habits = Habits {
    wrong_method: 405,
    validates: true,
    ranges: true,
};

/// Two processes: what one of them knows alone would be lost half of the time.
const fn site(name: &'static str) -> Site {
    Site {
        name,
        processes: 2,
        threads: 4,
        prepare: as_it_is,
    }
}
