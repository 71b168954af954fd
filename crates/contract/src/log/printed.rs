//! What a process of ours prints becomes events of the log, a line each. Whoever reads its pipe brings the bytes here.
use std::time::{Duration, Instant};

use super::limit::LINES;
use super::{APP, Limit, Lines, TRACEBACK, application_may, block};

/// Whose pipe it is.
#[derive(Debug)]
pub enum Printer {
    /// Of this generation of a pool: the leader itself, and what it has started. `limit`: of how much is logged.
    Leader {
        pool: String,
        generation: u64,
        limit: Limit,
    },
    /// With this process number.
    Worker(i32),
}

/// The stream of one printer.
#[derive(Debug)]
pub struct Printed {
    printer: Printer,
    lines: Lines,
    /// A traceback that has no end yet.
    held: Vec<String>,
    /// How long it is waited for; `None` where nothing is held.
    until: Option<Instant>,
}

/// How long nothing may come of a traceback that has no end: whoever writes it may hang, and somebody wants to know where.
const PATIENCE: Duration = Duration::from_secs(1);
/// Lines of a traceback that is waited for.
const LONGEST_TRACEBACK: usize = 1000;

impl Printed {
    pub fn new(printer: Printer) -> Self {
        Self {
            printer,
            lines: Lines::default(),
            held: Vec::new(),
            until: None,
        }
    }

    /// Logs each line that is complete with `bytes`; a traceback when it is.
    pub fn take(&mut self, bytes: &[u8]) {
        self.report();
        let Self {
            printer, lines, held, ..
        } = self;
        lines.take(bytes, |line| printer.take(line, held));
        self.until = (!self.held.is_empty()).then(|| Instant::now() + PATIENCE);
    }

    /// When [`Printed::give_up`] has something to do.
    pub fn waits_until(&self) -> Option<Instant> {
        self.until
    }

    /// Logs what there is of a traceback of which nothing has come for a while.
    pub fn give_up(&mut self) {
        if self.until.is_some_and(|until| until <= Instant::now()) {
            self.until = None;
            self.printer.log_held(&mut self.held);
        }
    }

    /// Whether lines were left out, and nothing has been said of them.
    pub fn is_owing(&self) -> bool {
        matches!(&self.printer, Printer::Leader { limit, .. } if limit.is_exceeded())
    }

    /// Says how many were left out, once their second is over.
    pub fn report(&self) {
        let Printer::Leader {
            pool,
            generation,
            limit,
        } = &self.printer
        else {
            return;
        };
        if let Some((left_out, seconds)) = limit.left_out() {
            tracing::warn!(
                pool,
                generation,
                what = LINES,
                "and {left_out} more like this in the last {seconds} s"
            );
        }
    }

    /// There will be no more: logs what has no end.
    pub fn end(&mut self) {
        let Self {
            printer,
            lines,
            held,
            until,
        } = self;
        lines.end(|line| printer.take(line, held));
        printer.log_held(held);
        *until = None;
    }
}

impl Printer {
    fn take(&self, line: &str, held: &mut Vec<String>) {
        match (held.is_empty(), line.starts_with(' ') && held.len() < LONGEST_TRACEBACK) {
            (true, _) if line.trim_end() == TRACEBACK => held.push(line.to_owned()),
            (true, _) => self.log(line, None),
            (false, true) => held.push(line.to_owned()),
            (false, false) => {
                // It names the exception.
                held.push(line.to_owned());
                self.log_held(held);
            }
        }
    }

    fn log_held(&self, held: &mut Vec<String>) {
        if let Some((first, more)) = std::mem::take(held).split_first() {
            self.log(first, (!more.is_empty()).then(|| block(&more.join("\n"))));
        }
    }

    fn may(&self) -> bool {
        match self {
            Self::Leader { limit, .. } => limit.count(),
            Self::Worker(_) => application_may(),
        }
    }

    /// An empty line says nothing in a log.
    fn log(&self, line: &str, more: Option<String>) {
        let line = line.trim_end();
        if line.is_empty() || !self.may() {
            return;
        }
        match self {
            Self::Leader { pool, generation, .. } => {
                tracing::info!(target: APP, pool, process = "leader", generation, more = more.map(display), "{line}");
            }
            Self::Worker(worker) => tracing::info!(target: APP, worker, more = more.map(display), "{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use settings::values::CountLimit;

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
        let mut leader = Printed::new(Printer::Leader {
            pool: "blog".into(),
            generation: 3,
            limit: Limit::of_pool(CountLimit::NONE),
        });
        let mut worker = Printed::new(Printer::Worker(42));
        leader.take(b"loading\n\n \t\nhalf of ");
        worker.take(b"  indented  \n");
        leader.take(b"it");
        leader.end();
        worker.take(b"Traceback (most recent call last):\n  File \"x\"\n");
        worker.take(b"    raise\nValueError: x\nnext\nTraceback (most recent call last):\n  cut");
        worker.end();
        let log = kept();
        let begins = |line: &&str| !line.starts_with(' ');
        let events: Vec<_> = log.lines().filter(begins).map(|line| line.split_at(27).1).collect();
        assert!(
            log.contains(" more=\n    File \"x\"\n      raise\n  ValueError: x\n")
                && log.ends_with(" more=\n    cut\n"),
            "{log}"
        );
        let expected = [
            "  INFO app: loading pool=\"blog\" process=\"leader\" generation=3",
            "  INFO app:   indented worker=42",
            "  INFO app: half of it pool=\"blog\" process=\"leader\" generation=3",
            "  INFO app: Traceback (most recent call last): worker=42 more=",
            "  INFO app: next worker=42",
            "  INFO app: Traceback (most recent call last): worker=42 more=",
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn pools_have_each_their_own_limit_and_what_was_left_out_is_said() {
        if !is_in_a_process() {
            let this = "pools_have_each_their_own_limit_and_what_was_left_out_is_said";
            in_a_process(&format!("log::printed::tests::{this}"), &[]);
            return;
        }
        keep(&usual());
        let [mut loud, mut other] = [("loud", "2"), ("other", "0")].map(|(pool, rate)| {
            Printed::new(Printer::Leader {
                pool: pool.into(),
                generation: 1,
                limit: Limit::of_pool(rate.parse().unwrap()),
            })
        });
        // Two of them may be in another second.
        loud.take(&b"x\n".repeat(100));
        other.take(&b"y\n".repeat(100));
        assert!(loud.is_owing() && !other.is_owing());
        crate::log::tests::until(|| {
            loud.report();
            !loud.is_owing()
        });
        let log = kept();
        let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
        let passed = count("app: x pool=\"loud\"");
        assert!((2..=4).contains(&passed), "{passed}");
        assert_eq!(count("app: y pool=\"other\""), 100);
        assert!(
            log.contains(" more like this in the last ")
                && log.contains("pool=\"loud\" generation=1 what=\"lines of the application\"")
        );
    }
}
