//! What the tests of this suite share: the ways through web servers, what is known of each, and the applications behind
//! them.

#[macro_use]
pub mod scenarios;

pub mod backends;
pub mod data;
pub mod front;
pub mod quirk;
pub mod scripts;
