//! A request and its response, whatever brings it.

pub mod body;
pub mod carrier;
pub mod exchange;
