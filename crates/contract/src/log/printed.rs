//! What a process of ours prints becomes events of the log, a line each. Whoever reads its pipe brings the bytes here.

use super::{APP, Lines};

/// Whose pipe it is.
#[derive(Debug, Clone, Copy)]
pub enum Printer {
    /// Of this generation: the leader itself, and what it has started.
    Leader { generation: u64 },
    /// With this process number.
    Worker(i32),
}

/// The stream of one printer.
#[derive(Debug)]
pub struct Printed {
    printer: Printer,
    lines: Lines,
}

impl Printed {
    pub fn new(printer: Printer) -> Self {
        Self {
            printer,
            lines: Lines::default(),
        }
    }

    /// Logs each line that is complete with `bytes`.
    pub fn take(&mut self, bytes: &[u8]) {
        let printer = self.printer;
        self.lines.take(bytes, |line| printer.log(line));
    }

    /// There will be no more: logs what has no end.
    pub fn end(&mut self) {
        let printer = self.printer;
        self.lines.end(|line| printer.log(line));
    }
}

impl Printer {
    /// An empty line says nothing in a log.
    fn log(self, line: &str) {
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        match self {
            Self::Leader { generation } => {
                tracing::info!(target: APP, process = "leader", generation, "{line}");
            }
            Self::Worker(worker) => tracing::info!(target: APP, worker, "{line}"),
        }
    }
}
