//! The declarations, a file for each section of the documentation.

mod app;
mod front;
mod limits;
mod listen;
mod log;
mod processes;
mod recycle;
mod reload;
mod run_as;
mod status;

pub use app::App;
pub use front::Front;
pub use limits::Limits;
pub use listen::Listen;
pub use log::Log;
pub use processes::Processes;
pub use recycle::Recycle;
pub use reload::Reload;
pub use run_as::RunAs;
pub use status::Status;

use crate::declaration::Declaration;

/// Options that belong together.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    pub options: &'static [Declaration],
}

/// In the order of the documentation.
pub const SECTIONS: &[Section] = &[
    Section {
        title: App::TITLE,
        options: App::OPTIONS,
    },
    Section {
        title: Listen::TITLE,
        options: Listen::OPTIONS,
    },
    Section {
        title: Front::TITLE,
        options: Front::OPTIONS,
    },
    Section {
        title: Processes::TITLE,
        options: Processes::OPTIONS,
    },
    Section {
        title: Recycle::TITLE,
        options: Recycle::OPTIONS,
    },
    Section {
        title: Reload::TITLE,
        options: Reload::OPTIONS,
    },
    Section {
        title: RunAs::TITLE,
        options: RunAs::OPTIONS,
    },
    Section {
        title: Log::TITLE,
        options: Log::OPTIONS,
    },
    Section {
        title: Status::TITLE,
        options: Status::OPTIONS,
    },
    Section {
        title: Limits::TITLE,
        options: Limits::OPTIONS,
    },
];
