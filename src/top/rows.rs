//! What the tables show: pools, the workers of one, and its threads with what they run.

use super::rates::Rates;
use super::table::{Cell, Column, Key, Mood, Row, shown};
use crate::status::snapshot::{Pool, Snapshot, State, Thread, Worker};
use crate::status::summary::{self, LONG, Load};
use crate::status::words;

const fn text(head: &'static str, rank: u8) -> Column {
    let (is_number, falls) = (false, false);
    Column {
        head,
        is_number,
        falls,
        rank,
    }
}

const fn number(head: &'static str, rank: u8) -> Column {
    let (is_number, falls) = (true, true);
    Column {
        head,
        is_number,
        falls,
        rank,
    }
}

/// A number that is a name: there is no more or less of it.
const fn name(head: &'static str, rank: u8) -> Column {
    let falls = false;
    Column {
        falls,
        ..number(head, rank)
    }
}

pub const POOLS: [Column; 11] = [
    text("POOL", 0),
    text("STATE", 2),
    number("WORKERS", 7),
    number("BUSY", 1),
    number("WAIT", 3),
    number("REQ/S", 4),
    number("5XX/S", 10),
    number("P50", 9),
    number("P99", 5),
    number("LONGEST", 8),
    number("MEMORY", 6),
];

pub const WORKERS: [Column; 9] = [
    name("WORKER", 0),
    text("STATE", 1),
    number("GEN", 8),
    number("UP", 6),
    number("BUSY", 2),
    number("REQ/S", 4),
    number("REQUESTS", 7),
    number("LONGEST", 5),
    number("MEMORY", 3),
];

pub const THREADS: [Column; 5] = [
    name("WORKER", 4),
    name("THREAD", 3),
    number("FOR", 1),
    text("NUMBER", 2),
    text("REQUEST", 0),
];
/// The columns that threads are sorted by at first, and that has the room.
pub const THREADS_FOR: usize = 2;
pub const THREADS_REQUEST: usize = 4;

pub fn pools(snapshot: &Snapshot, rates: &Rates) -> Vec<Row> {
    snapshot.pools.iter().map(|pool| of_pool(pool, rates)).collect()
}

fn of_pool(pool: &Pool, rates: &Rates) -> Row {
    let Load { busy, threads, waiting } = summary::load(pool);
    let rate = rates.of_pool(&pool.name);
    let seconds = |value: Option<f64>| Cell::number(value, words::time);
    let per_second = |value: Option<f64>| Cell::number(value, words::rate);
    let state = match pool.state {
        State::Failed => Mood::Bad,
        State::Starting | State::Stopping => Mood::Warns,
        _ if pool.failure.is_some() => Mood::Bad,
        _ if pool.reloading => Mood::Warns,
        _ => Mood::Plain,
    };
    let load = match busy >= threads && threads > 0 {
        true if waiting > 0 => Mood::Bad,
        true => Mood::Warns,
        false => Mood::Plain,
    };
    let failed = rate.map(|rate| rate.failed);
    let fails = if failed.is_some_and(|failed| failed > 0.0) {
        Mood::Warns
    } else {
        Mood::Plain
    };
    Row {
        key: Key::Pool(pool.name.clone()),
        cells: vec![
            Cell::text(&pool.name),
            Cell::text(summary::state(pool)).in_mood(state),
            Cell::number(pool.workers.len() as f64, |_| summary::size(pool)),
            Cell::number(busy as f64, |_| format!("{busy}/{threads}")).in_mood(load),
            Cell::number(waiting as f64, |_| words::count(waiting)).in_mood(load),
            per_second(rate.map(|rate| rate.requests)),
            per_second(failed).in_mood(fails),
            seconds(rate.and_then(|rate| rate.p50)),
            seconds(rate.and_then(|rate| rate.p99)),
            runs(longest(summary::threads(pool))),
            memory(summary::memory(pool)),
        ],
        besides: shown(&pool.app),
    }
}

pub fn workers(pool: &Pool, rates: &Rates) -> Vec<Row> {
    pool.workers.iter().map(|worker| of_worker(worker, rates)).collect()
}

fn of_worker(worker: &Worker, rates: &Rates) -> Row {
    let busy = worker.threads.iter().filter(|thread| thread.request.is_some()).count();
    let threads = worker.threads.len();
    Row {
        key: Key::Worker(worker.pid),
        cells: vec![
            Cell::number(f64::from(worker.pid), |_| worker.pid.to_string()),
            Cell::text(summary::phase(worker)),
            Cell::number(worker.generation as f64, |_| worker.generation.to_string()),
            Cell::number(worker.age, words::time),
            Cell::number(busy as f64, |_| format!("{busy}/{threads}")),
            Cell::number(rates.of_worker(worker.pid), words::rate),
            Cell::number(worker.requests as f64, |_| words::count(worker.requests)),
            runs(longest(worker.threads.iter())),
            memory(worker.memory),
        ],
        // A worker is found by what it runs.
        besides: worker.threads.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}

pub fn threads(pool: &Pool) -> Vec<Row> {
    let of_worker = |worker: &Worker| {
        let pid = worker.pid;
        let threads = worker.threads.iter().map(move |thread| of_thread(pid, thread));
        threads.collect::<Vec<_>>()
    };
    pool.workers.iter().flat_map(of_worker).collect()
}

fn of_thread(pid: i32, thread: &Thread) -> Row {
    let request = thread.request.as_ref();
    Row {
        key: Key::Thread(pid, thread.number),
        cells: vec![
            Cell::number(f64::from(pid), |_| pid.to_string()),
            Cell::number(f64::from(thread.number), |_| thread.number.to_string()),
            runs(request.map(|request| request.runs)),
            Cell::text(request.map_or("-", |request| &request.id)),
            Cell::text(request.map_or("idle", |request| &request.line)),
        ],
        besides: String::new(),
    }
}

/// Number and request, as the filter finds them.
fn line(thread: &Thread) -> String {
    let request = thread.request.as_ref();
    request.map_or_else(
        || "idle".to_owned(),
        |request| shown(&format!("{} {}", request.id, request.line)),
    )
}

fn longest<'a>(threads: impl Iterator<Item = &'a Thread>) -> Option<f64> {
    let running = threads.filter_map(|thread| thread.request.as_ref());
    running.map(|request| request.runs).max_by(f64::total_cmp)
}

fn runs(seconds: Option<f64>) -> Cell {
    let mood = match seconds {
        Some(seconds) if seconds >= LONG => Mood::Bad,
        _ => Mood::Plain,
    };
    Cell::number(seconds, words::time).in_mood(mood)
}

fn memory(bytes: Option<u64>) -> Cell {
    Cell::number(bytes.map(|bytes| bytes as f64), |bytes| words::memory(bytes as u64))
}
