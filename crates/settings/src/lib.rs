//! The options of wsgi-fpm, each declared once: key, type, default, documentation, and where it may stand.
//!
//! A leaf: knows no other crate of the project, opens no file and starts nothing. From the declarations come the arguments of the
//! command line, the keys of the configuration file and of a script's block, the tables of the documentation, and what the
//! engine gets.
//!
//! - [`declaration`]: what is known of one option, and the macro that declares a section of them
//! - [`sections`]: the declarations
//! - [`values`]: the types of values, read from text and written as text
//! - [`said`]: what somebody has said, where, and how layers of it are merged
//! - [`toml`]: a table of a file, or a script's block, as what somebody has said
//! - [`tables`]: the documentation's tables and the reference file
//! - [`show`]: what holds in the end, in the form of a file
#![forbid(unsafe_code)]

pub mod declaration;
pub mod said;
pub mod sections;
pub mod setting;
pub mod show;
pub mod tables;
pub mod toml;
pub mod values;

pub use declaration::{Declaration, Entries, Form, Scope};
pub use said::{Layers, Mistake, Origin, Place, Said};
pub use setting::Setting;

/// All options, in the order of the documentation.
pub fn all() -> impl Iterator<Item = &'static Declaration> {
    sections::SECTIONS.iter().flat_map(|section| section.options)
}

/// The option with this key, as a file writes it: `request_timeout`.
pub fn find(key: &str) -> Option<&'static Declaration> {
    all().find(|option| option.key == key)
}
