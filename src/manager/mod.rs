//! What all pools share: signals, the log, children that nobody waits for, the limit of open files.

pub mod nofile;
pub mod orphans;
pub mod relay;
pub mod signals;
