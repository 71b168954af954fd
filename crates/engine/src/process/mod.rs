//! Processes and threads: leader, workers, those who serve and those who watch.

pub mod access;
pub mod interrupt;
pub mod leader;
pub mod overdue;
pub mod preload;
pub mod receiver;
pub mod standalone;
pub mod thread;
pub mod watchdog;
pub mod worker;
