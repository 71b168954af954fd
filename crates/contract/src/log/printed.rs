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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::{keep, kept, usual};
    use crate::tests::{in_a_process, is_in_a_process};

    #[test]
    fn each_printed_line_is_an_event_that_says_who_has_printed_it() {
        if !is_in_a_process() {
            let this = "each_printed_line_is_an_event_that_says_who_has_printed_it";
            in_a_process(&format!("log::printed::tests::{this}"), &[]);
            return;
        }
        keep(&usual());
        let mut leader = Printed::new(Printer::Leader { generation: 3 });
        let mut worker = Printed::new(Printer::Worker(42));
        leader.take(b"loading\n\n \t\nhalf of ");
        worker.take(b"  indented  \n");
        leader.take(b"it");
        leader.end();
        worker.end();
        let log = kept();
        let events: Vec<_> = log.lines().map(|line| line.split_at(27).1).collect();
        let expected = [
            "  INFO app: loading process=\"leader\" generation=3",
            "  INFO app:   indented worker=42",
            "  INFO app: half of it process=\"leader\" generation=3",
        ];
        assert_eq!(events, expected);
    }
}
