//! What is shown, and what keys do to it. It neither asks nor draws.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::rates::Rates;
use super::rows;
use super::stack::Stack;
use super::table::{Key, Place, Row};
use crate::admin::protocol::Worker;
use crate::status::snapshot::{Pool, Snapshot};

/// Rows that PgUp and PgDn go.
const PAGE: isize = 10;
/// Characters of a filter.
const LONGEST_FILTER: usize = 64;

/// What is to be done besides showing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Quit,
    /// To the shell, until that has us go on.
    Suspend,
    /// Nothing is asked until it is over.
    Pause(bool),
    /// What the threads of this worker do; the answer has this number.
    Stacks {
        number: u64,
        pool: String,
        worker: i32,
    },
}

/// Which table of an opened pool the keys are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Workers,
    Threads,
}

/// What covers the tables.
#[derive(Debug)]
pub enum Cover {
    Stack(Stack),
    /// Lines from the top, as in [`Stack`].
    Help {
        scrolled: Cell<usize>,
    },
}

#[derive(Debug)]
pub struct App {
    pub interval: Duration,
    pub snapshot: Option<Snapshot>,
    pub rates: Rates,
    /// Where the instance was found.
    pub control: PathBuf,
    /// When it answered last.
    pub heard: Instant,
    /// Why it does not answer.
    pub error: Option<String>,
    pub paused: bool,
    pub pools: Place,
    pub workers: Place,
    pub threads: Place,
    pub part: Part,
    /// The pool that is open.
    pub open: Option<String>,
    pub filter: String,
    /// The filter is being typed; what it was before.
    pub typing: Option<String>,
    pub cover: Option<Cover>,
    /// Questions for stacks.
    asked: u64,
}

impl App {
    pub fn new(interval: Duration, open: Option<String>, now: Instant) -> Self {
        Self {
            interval,
            snapshot: None,
            rates: Rates::new(interval),
            control: PathBuf::new(),
            heard: now,
            error: None,
            paused: false,
            pools: Place::sorted_by(0),
            workers: Place::sorted_by(0),
            threads: Place::sorted_by(rows::THREADS_FOR),
            part: Part::Threads,
            open,
            filter: String::new(),
            typing: None,
            cover: None,
            asked: 0,
        }
    }

    /// How everything is, or why nobody says.
    pub fn hear(&mut self, answer: Result<(PathBuf, Snapshot), String>, now: Instant) {
        // One that was asked for before.
        if self.paused {
            return;
        }
        match answer {
            Ok((control, snapshot)) => {
                self.rates.note(&snapshot);
                (self.control, self.heard, self.error) = (control, now, None);
                self.snapshot = Some(snapshot);
                self.see();
            }
            Err(error) => self.error = Some(error),
        }
    }

    pub fn hear_stacks(&mut self, number: u64, answer: Result<Worker, String>) {
        if let Some(Cover::Stack(stack)) = &mut self.cover {
            stack.hear(number, answer);
        }
    }

    /// For how long nobody has answered, if that is longer than it should take.
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        let silence = now.saturating_duration_since(self.heard);
        let late = silence > self.interval * 2 + Duration::from_secs(1);
        (!self.paused && (late || self.error.is_some())).then_some(silence)
    }

    pub fn pool(&self) -> Option<&Pool> {
        let (open, snapshot) = (self.open.as_ref()?, self.snapshot.as_ref()?);
        snapshot.pools.iter().find(|pool| pool.name == *open)
    }

    pub fn pool_rows(&self) -> Vec<Row> {
        let rows = self
            .snapshot
            .as_ref()
            .map(|snapshot| rows::pools(snapshot, &self.rates));
        self.arranged(rows, &self.pools, &rows::POOLS)
    }

    pub fn worker_rows(&self) -> Vec<Row> {
        let rows = self.pool().map(|pool| rows::workers(pool, &self.rates));
        self.arranged(rows, &self.workers, &rows::WORKERS)
    }

    pub fn thread_rows(&self) -> Vec<Row> {
        self.arranged(self.pool().map(rows::threads), &self.threads, &rows::THREADS)
    }

    fn arranged(&self, rows: Option<Vec<Row>>, place: &Place, columns: &[super::table::Column]) -> Vec<Row> {
        let mut rows = rows.unwrap_or_default();
        rows.retain(|row| row.is_found(&self.filter));
        place.sort(columns, &mut rows);
        rows
    }

    /// The table that keys are for: its rows, its place, and how many columns it has.
    fn table(&mut self) -> (Vec<Row>, &mut Place, usize) {
        match (&self.open, self.part) {
            (None, _) => (self.pool_rows(), &mut self.pools, rows::POOLS.len()),
            (Some(_), Part::Workers) => (self.worker_rows(), &mut self.workers, rows::WORKERS.len()),
            (Some(_), Part::Threads) => (self.thread_rows(), &mut self.threads, rows::THREADS.len()),
        }
    }

    /// The rows have changed.
    fn see(&mut self) {
        let (pools, workers, threads) = (self.pool_rows(), self.worker_rows(), self.thread_rows());
        self.pools.see(&pools);
        self.workers.see(&workers);
        self.threads.see(&threads);
    }

    pub fn key(&mut self, key: KeyEvent, now: Instant) -> Option<Wish> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Some(Wish::Quit),
                KeyCode::Char('z') => Some(Wish::Suspend),
                _ => None,
            };
        }
        if self.typing.is_some() {
            self.type_filter(key.code);
            return None;
        }
        // These do the same everywhere.
        match key.code {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Char('p') => {
                self.paused = !self.paused;
                // What came before the pause is nothing to wait for.
                self.heard = now;
                return Some(Wish::Pause(self.paused));
            }
            _ => {}
        }
        match self.cover {
            Some(_) => self.key_in_cover(key.code, now),
            None => self.key_in_table(key.code, now),
        }
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = None,
            KeyCode::Esc => self.filter = self.typing.take().unwrap_or_default(),
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(typed) if self.filter.chars().count() < LONGEST_FILTER => self.filter.push(typed),
            _ => {}
        }
        self.see();
    }

    fn key_in_cover(&mut self, code: KeyCode, now: Instant) -> Option<Wish> {
        let scrolled = match &self.cover {
            Some(Cover::Stack(Stack { scrolled, .. }) | Cover::Help { scrolled }) => scrolled,
            None => return None,
        };
        let scroll = |by: isize| scrolled.set(scrolled.get().saturating_add_signed(by));
        match code {
            KeyCode::Up | KeyCode::Char('k') => scroll(-1),
            KeyCode::Down | KeyCode::Char('j') => scroll(1),
            KeyCode::PageUp => scroll(-PAGE),
            KeyCode::PageDown | KeyCode::Char(' ') => scroll(PAGE),
            KeyCode::Home | KeyCode::Char('g') => scroll(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => scroll(isize::MAX),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left | KeyCode::Char('h' | '?') => self.cover = None,
            KeyCode::Char('t') => return self.ask_again(now),
            _ => {}
        }
        None
    }

    fn key_in_table(&mut self, code: KeyCode, now: Instant) -> Option<Wish> {
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-PAGE),
            KeyCode::PageDown | KeyCode::Char(' ') => self.step(PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.table().1.first(),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => return self.enter(now),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left | KeyCode::Char('h') => self.back(),
            KeyCode::Tab | KeyCode::BackTab if self.open.is_some() => {
                self.part = match self.part {
                    Part::Workers => Part::Threads,
                    Part::Threads => Part::Workers,
                };
            }
            KeyCode::Char('s') => {
                let (_, place, columns) = self.table();
                place.sort_on(columns);
            }
            KeyCode::Char('r') => {
                let (_, place, _) = self.table();
                place.reversed = !place.reversed;
            }
            KeyCode::Char('/') => self.typing = Some(self.filter.clone()),
            KeyCode::Char('t') => return self.ask(now),
            KeyCode::Char('?') => self.cover = Some(Cover::Help { scrolled: Cell::new(0) }),
            _ => {}
        }
        None
    }

    fn step(&mut self, by: isize) {
        let (rows, place, _) = self.table();
        place.step(&rows, by);
    }

    /// Opens a pool, or the stack of a thread.
    fn enter(&mut self, now: Instant) -> Option<Wish> {
        if self.open.is_some() {
            return self.ask(now);
        }
        let rows = self.pool_rows();
        if let Some(Key::Pool(name)) = self.pools.row(&rows).map(|row| row.key.clone()) {
            self.open = Some(name);
            self.filter.clear();
            self.part = Part::Threads;
            self.workers.first();
            self.threads.first();
        }
        None
    }

    /// Without the filter, then out of the pool.
    fn back(&mut self) {
        match self.filter.is_empty() {
            true => self.open = None,
            false => self.filter.clear(),
        }
        self.see();
    }

    /// For the stack of the selected thread, or those of the selected worker.
    fn ask(&mut self, now: Instant) -> Option<Wish> {
        let pool = self.open.clone()?;
        let (rows, place, _) = self.table();
        let stack = match place.row(&rows)?.key {
            Key::Worker(worker) => Stack::new(pool, worker, None, now),
            Key::Thread(worker, thread) => Stack::new(pool, worker, Some(thread), now),
            Key::Pool(_) => return None,
        };
        self.cover = Some(Cover::Stack(stack));
        self.ask_again(now)
    }

    fn ask_again(&mut self, now: Instant) -> Option<Wish> {
        let Some(Cover::Stack(stack)) = &mut self.cover else {
            return None;
        };
        self.asked += 1;
        stack.ask(self.asked, now).then(|| Wish::Stacks {
            number: self.asked,
            pool: stack.pool.clone(),
            worker: stack.worker,
        })
    }
}
