//! The options as files, people and pools have them.

mod declarations;
mod layers;
mod show;
mod tables;
mod text;
mod values;
