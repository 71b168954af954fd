//! What is received and not yet written, for one destination.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use contract::log::tag::Tagged;
use contract::log::{self, Form};

use super::LAST_WORDS;
use super::reopening::Reply;

/// Bytes that wait while nobody reads the log: some ten thousand lines. As many may be on their way into it.
const LONGEST_QUEUE: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Queue {
    /// How the log says among its lines what was lost; `None`: it is no log, and the log says so.
    form: Option<Form>,
    /// Its receiver wants to know more of an event than its text.
    wants_tags: bool,
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// Something was added, and nobody was told.
    has_more: AtomicBool,
    /// Lines that were lost, of all.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    events: Vec<u8>,
    /// Lines that are being written.
    writing: u64,
    /// Number of events behind these that did not fit in, or did not get here.
    lost: u64,
    /// Who wants the file to be opened anew.
    reopen: Vec<Reply>,
    /// Since when nothing more comes.
    ended: Option<Instant>,
}

/// What is to be done.
pub(super) struct Work {
    /// Lines that did not fit in, where the log is to say so.
    pub lost: u64,
    pub reopen: Vec<Reply>,
}

impl Queue {
    pub(super) fn new(form: Option<Form>, wants_tags: bool) -> Self {
        Self {
            form,
            wants_tags,
            waiting: Mutex::default(),
            changed: Condvar::new(),
            has_more: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes events; whether whoever writes them is to be told later ([`Queue::tell`]), and that is new.
    pub(super) fn add(&self, events: &Tagged<'_>) -> bool {
        let bytes = if self.wants_tags { events.whole } else { events.lines };
        let mut waiting = self.lock();
        if waiting.events.len() + bytes.len() > LONGEST_QUEUE {
            let lost = lines(events.lines);
            waiting.lost += lost;
            self.lost.fetch_add(lost, Relaxed);
        } else {
            self.tell_lost(&mut waiting);
            waiting.events.extend_from_slice(bytes);
        }
        !self.has_more.swap(true, Relaxed)
    }

    /// So many events did not get here.
    pub(super) fn add_lost(&self, events: u64) -> bool {
        self.lock().lost += events;
        self.lost.fetch_add(events, Relaxed);
        !self.has_more.swap(true, Relaxed)
    }

    /// So many could not be written.
    pub(super) fn count_lost(&self, lines: u64) {
        self.lost.fetch_add(lines, Relaxed);
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// What was lost is told in its place: behind what came before it, in front of what comes after it.
    fn tell_lost(&self, waiting: &mut Waiting) {
        if let Some(form) = self.form.filter(|_| waiting.lost > 0) {
            let lost = std::mem::take(&mut waiting.lost);
            waiting.events.extend_from_slice(log::lost(form, lost).as_bytes());
        }
    }

    /// There is something to write.
    pub(super) fn tell(&self) {
        self.has_more.store(false, Relaxed);
        self.changed.notify_all();
    }

    pub(super) fn end(&self) {
        self.lock().ended.get_or_insert_with(Instant::now);
        self.changed.notify_all();
    }

    pub(super) fn reopen(&self, reply: Reply) {
        self.lock().reopen.push(reply);
        self.changed.notify_all();
    }

    /// Whether something else is more urgent than what is being written: a file in place of the one that takes nothing, or the end.
    pub(super) fn is_urgent(&self) -> bool {
        let waiting = self.lock();
        !waiting.reopen.is_empty() || waiting.ended.is_some_and(|ended| ended.elapsed() >= LAST_WORDS)
    }

    /// Waits until everything is written, but not longer than `until`; how many lines are not, then.
    pub(super) fn wait_until_written(&self, until: Instant) -> u64 {
        let mut waiting = self.lock();
        loop {
            let lines = waiting.writing + waiting.lost + lines(&waiting.events);
            let left = until.saturating_duration_since(Instant::now());
            if lines == 0 || left.is_zero() {
                return lines;
            }
            let waited = self.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for something to do; events take the place of `events`. `None`: there will be nothing more.
    pub(super) fn take(&self, events: &mut Vec<u8>) -> Option<Work> {
        let mut waiting = self.lock();
        waiting.writing = 0;
        self.changed.notify_all();
        while waiting.events.is_empty() && waiting.lost == 0 && waiting.reopen.is_empty() {
            if waiting.ended.is_some() {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        self.tell_lost(&mut waiting);
        std::mem::swap(&mut waiting.events, events);
        waiting.writing = lines(events);
        Some(Work {
            lost: std::mem::take(&mut waiting.lost),
            reopen: std::mem::take(&mut waiting.reopen),
        })
    }
}

pub(super) fn lines(events: &[u8]) -> u64 {
    events.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use contract::log::tag;
    use settings::values::Format;

    use super::super::tests::told;
    use super::*;

    const TEXT: Form = Form {
        format: Format::Text,
        is_tagged: false,
    };

    fn add(queue: &Queue, events: &str) {
        tag::split(events.as_bytes()).for_each(|event| _ = queue.add(&event));
    }

    #[test]
    fn four_mebibytes_wait_for_a_reader_and_what_is_lost_is_told_in_its_place() {
        let queue = Queue::new(Some(TEXT), false);
        let after = |more: &[&str]| {
            let long = "x".repeat(1023) + "\n";
            let all = [long.as_str(); LONGEST_QUEUE / 1024 - 1];
            all.iter().chain(more).for_each(|event| add(&queue, event));
            let mut events = Vec::new();
            assert_eq!(queue.take(&mut events).unwrap().lost, 0);
            let text = String::from_utf8(events).unwrap();
            text.strip_prefix(&all.concat()).unwrap().to_owned()
        };
        let [fits, too_long] = [1024, 1025].map(|length| "y".repeat(length - 1) + "\n");
        assert_eq!(after(&[&fits]), fits);
        let text = after(&[&too_long, &too_long, "short\n", &fits]);
        let [first, "short", last] = text.lines().collect::<Vec<_>>()[..] else {
            panic!("{text}")
        };
        assert_eq!((told(first), told(last)), (Some(2), Some(1)));
        assert_eq!(after(&[]), "", "nothing is told twice");
        assert_eq!(queue.lost(), 3);
    }

    #[test]
    fn what_nobody_wants_any_more_is_waited_for_a_moment() {
        let queue = Queue::new(None, false);
        assert!(!queue.is_urgent());
        let start = Instant::now();
        queue.end();
        while !queue.is_urgent() {
            assert!(start.elapsed() < 20 * LAST_WORDS);
            std::thread::sleep(LAST_WORDS / 20);
        }
        assert!(start.elapsed() >= LAST_WORDS);
    }

    #[test]
    fn log_of_requests_has_nothing_but_its_lines() {
        let queue = Queue::new(None, false);
        let long = "x".repeat(LONGEST_QUEUE - 1) + "\n";
        for event in [long.as_str(), "lost\n", "lost\n"] {
            add(&queue, event);
        }
        let mut events = Vec::new();
        assert_eq!(queue.take(&mut events).unwrap().lost, 2);
        assert!(events == long.as_bytes());
        events.clear();
        add(&queue, "\x01a6blog\x1f\x02next\n");
        assert_eq!(queue.take(&mut events).unwrap().lost, 0);
        assert_eq!(events, b"next\n");
    }
}
