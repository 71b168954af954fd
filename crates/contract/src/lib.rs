//! What the supervisor and the engine agree on: settings, control messages, the handover, the keeper's table, the scoreboard,
//! what the supervisor asks a worker, the memory of the application's metrics, the log's form, how sockets end, titles, the page that a developer sees, which permission is missing, which descriptors are
//! ours alone, how many connections wait in a listener, files in memory, what the kernel says of processes, which Pythons were tested, and how long to wait.
//!
//! Knows neither FastCGI nor Python. Both the program and the engine import it; it imports neither.

pub mod backoff;
pub mod cgi;
pub mod control;
pub mod denied;
pub mod drain;
pub mod handover;
pub mod keeper;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod own;
mod packet;
pub mod page;
pub mod process;
pub mod pythons;
pub mod queues;
pub mod scoreboard;
pub mod settings;
mod shared;
pub mod title;
pub mod wait;
pub mod worker;

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    const MARK: &str = "A_PROCESS_OF_ITS_OWN";

    /// Whether [`in_a_process`] has started this one.
    pub fn is_in_a_process() -> bool {
        std::env::var_os(MARK).is_some()
    }

    /// For what a process has only once: runs this test, named with its module, in one of its own, with more in its
    /// environment.
    #[track_caller]
    pub fn in_a_process(test: &str, environment: &[(&str, &str)]) -> Output {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(MARK, "")
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains("1 passed"), "{test}: {output:?}");
        output
    }
}
