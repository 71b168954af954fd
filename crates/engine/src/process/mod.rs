//! Processes and threads: leader, workers, those who serve and those who watch.

pub mod access;
pub mod asked;
pub mod giver;
pub mod interrupt;
pub mod leader;
pub mod overdue;
pub mod preload;
pub mod quota;
pub mod receiver;
pub mod slow;
pub mod stacks;
pub mod standalone;
pub mod status;
pub mod thread;
pub mod warmup;
pub mod watchdog;
pub mod worker;
