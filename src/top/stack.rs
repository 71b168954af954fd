//! What one thread does in Python, or all of a worker: asked for by a key, and shown until another one.

use std::cell::Cell;
use std::time::Instant;

use contract::scoreboard::read_request_id;
use contract::worker::{Stacks, Thread};

use super::table::shown;
use crate::admin::commands::{import_line, thread_lines};
use crate::admin::protocol::Worker;

#[derive(Debug)]
pub struct Stack {
    pub pool: String,
    pub worker: i32,
    /// Its number in the worker; `None`: all.
    pub thread: Option<u32>,
    /// Lines from the top; drawing, which knows how many there are, keeps it among them.
    pub scrolled: Cell<usize>,
    /// The number of the question that is under way.
    asked: Option<u64>,
    /// When the last one was asked.
    pub since: Instant,
    /// The last answer, in lines.
    pub answer: Option<Result<Vec<String>, String>>,
}

impl Stack {
    pub fn new(pool: String, worker: i32, thread: Option<u32>, now: Instant) -> Self {
        Self {
            pool,
            worker,
            thread,
            scrolled: Cell::new(0),
            asked: None,
            since: now,
            answer: None,
        }
    }

    /// Whether it is to be asked now: one question is enough.
    pub fn ask(&mut self, number: u64, now: Instant) -> bool {
        let asks = self.asked.is_none();
        if asks {
            (self.asked, self.since) = (Some(number), now);
        }
        asks
    }

    pub fn hear(&mut self, number: u64, answer: Result<Worker, String>) {
        if self.asked != Some(number) {
            return;
        }
        self.asked = None;
        self.answer = Some(answer.and_then(|worker| match (&worker.stacks, &worker.imports) {
            // None of its threads serves yet.
            (Some(stacks), Some(imports)) => {
                let threads = stacks.threads.iter().flat_map(thread_lines);
                let lines = std::iter::once(import_line(&worker, imports)).chain(threads);
                Ok(lines.map(|line| shown(&line)).collect())
            }
            (Some(stacks), None) => Ok(self.lines(stacks)),
            (None, _) => Err(worker.error.unwrap_or_else(|| "it does not say".to_owned())),
        }));
    }

    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    pub fn title(&self) -> String {
        let thread = self
            .thread
            .map_or_else(|| "all threads".to_owned(), |thread| format!("thread {thread}"));
        format!("{}, worker {}, {thread}", shown(&self.pool), self.worker)
    }

    fn lines(&self, stacks: &Stacks) -> Vec<String> {
        let mut lines = Vec::new();
        if !stacks.by_python {
            lines.push("Python's lock is held: read from outside".to_owned());
        }
        let mine: Vec<_> = match self.thread {
            Some(number) => stacks
                .threads
                .iter()
                .filter(|thread| is_number(thread, number))
                .collect(),
            None => Vec::new(),
        };
        match (self.thread, mine.is_empty()) {
            (Some(number), true) => {
                lines.push(format!(
                    "thread {number} is not among those that Python knows, which are:"
                ));
                lines.extend(stacks.threads.iter().flat_map(thread_lines));
            }
            (None, _) => lines.extend(stacks.threads.iter().flat_map(thread_lines)),
            (Some(_), false) => lines.extend(mine.into_iter().flat_map(thread_lines)),
        }
        lines.iter().map(|line| shown(line)).collect()
    }
}

/// By the request that it runs, or by the name that it was given.
fn is_number(thread: &Thread, number: u32) -> bool {
    match thread.request.as_ref().and_then(|request| read_request_id(&request.id)) {
        Some((_, of_request, _)) => of_request == number as usize,
        None if number == 0 => thread.serves && thread.name == "MainThread",
        None => thread.serves && thread.name == format!("wsgi-fpm-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use contract::worker::Running;

    use super::*;
    use crate::admin::protocol::Imports;

    fn thread(name: &str, id: Option<&str>) -> Thread {
        Thread {
            name: name.to_owned(),
            ident: 1,
            serves: name != "own",
            request: id.map(|id| Running {
                id: id.to_owned(),
                line: "GET /\x1b".to_owned(),
                ms: 1500,
            }),
            stack: format!("File \"{name}.py\", line 1\n\x1b[2J\tx\n"),
        }
    }

    fn heard(number: Option<u32>, threads: Vec<Thread>) -> Vec<String> {
        let mut stack = Stack::new("blog".to_owned(), 7, number, Instant::now());
        assert!(
            stack.ask(1, Instant::now()) && !stack.ask(2, Instant::now()),
            "one is enough"
        );
        let by_python = true;
        let answer = Worker {
            worker: 7,
            imports: None,
            stacks: Some(Stacks { by_python, threads }),
            error: None,
        };
        stack.hear(2, Err("of another question".to_owned()));
        assert!(stack.is_asked() && stack.answer.is_none());
        stack.hear(1, Ok(answer));
        stack.answer.unwrap().unwrap()
    }

    #[test]
    fn thread_is_found_by_its_request_or_its_name() {
        let all = || {
            vec![
                thread("renamed", Some("7-2-9")),
                thread("MainThread", None),
                thread("wsgi-fpm-1", None),
                thread("own", None),
            ]
        };
        for (number, file) in [(0, "MainThread.py"), (1, "wsgi-fpm-1.py"), (2, "renamed.py")] {
            let lines = heard(Some(number), all());
            assert!(lines.len() == 3 && lines[1].contains(file), "{lines:?}");
        }
        assert_eq!(heard(None, all()).len(), 12);
        let lines = heard(Some(5), all());
        assert!(
            lines[0].starts_with("thread 5 is not among") && lines.len() == 13,
            "{lines:?}"
        );
    }

    #[test]
    fn what_the_application_names_can_not_steer_the_terminal() {
        let lines = heard(Some(2), vec![thread("a\x1bb", Some("7-2-9"))]);
        assert!(lines.iter().all(|line| !line.contains(char::is_control)), "{lines:?}");
    }

    #[test]
    fn worker_that_does_not_say_is_told_of() {
        let mut stack = Stack::new("blog".to_owned(), 7, Some(0), Instant::now());
        stack.ask(1, Instant::now());
        let error = Some("worker 7 is stopped by a signal".to_owned());
        let answer = Worker {
            worker: 7,
            imports: None,
            stacks: None,
            error,
        };
        stack.hear(1, Ok(answer));
        assert_eq!(stack.answer, Some(Err("worker 7 is stopped by a signal".to_owned())));
    }

    #[test]
    fn worker_that_imports_the_application_says_that_and_shows_where_it_is() {
        let mut stack = Stack::new("blog".to_owned(), 7, Some(0), Instant::now());
        stack.ask(1, Instant::now());
        let threads = vec![Thread {
            serves: false,
            ..thread("MainThread", None)
        }];
        let by_python = false;
        let answer = Worker {
            worker: 7,
            imports: Some(Imports {
                is_leader: false,
                generation: 3,
                ms: 42_000,
            }),
            stacks: Some(Stacks { by_python, threads }),
            error: None,
        };
        stack.hear(1, Ok(answer));
        let lines = stack.answer.unwrap().unwrap();
        assert_eq!(lines[0], "worker 7 of generation 3 imports the application, for 42 s");
        assert!(
            lines[1].contains("thread MainThread") && lines[2].contains("MainThread.py"),
            "{lines:?}"
        );
    }
}
