//! What a pool says of itself through the web server, at paths of its own, as php-fpm does (`status_path`, `ping_path`). From the
//! scoreboard and without Python: any thread may answer.

use std::fs;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use contract::scoreboard::{Outcome, Phase, Scoreboard, Seat, Slot, now_ms};
use contract::settings::Settings;
use fastcgi::BeginRequest;
use fastcgi::record::role;
use rustix::net::{RecvFlags, recv};
use serde_json::Value;

use crate::connection::Connection;
use crate::request::carrier::{Carrier, Ending, Payload};
use crate::wsgi::reject::Page;

/// Bytes of a connection that are looked at before anybody has taken them.
const PEEKED: usize = 16 * 1024;

/// Names and values, in the order in which they are shown.
type Fields = Vec<(&'static str, Value)>;

/// The paths, and what of the pool stands on no scoreboard.
pub struct StatusPage {
    status: Option<Vec<u8>>,
    ping: Option<Vec<u8>>,
    pool: String,
    manager: &'static str,
    /// Of a worker.
    threads: usize,
}

impl StatusPage {
    /// `None`: nobody has named a path.
    pub fn of(settings: &Settings) -> Option<Self> {
        let [status, ping] = [&settings.status_path, &settings.ping_path]
            .map(|path| path.as_ref().map(|path| path.as_str().as_bytes().to_vec()));
        let is_wanted = status.is_some() || ping.is_some();
        is_wanted.then(|| Self {
            status,
            ping,
            pool: settings.name.clone(),
            manager: match (settings.size.is_fixed(), settings.size.least) {
                (true, _) => "static",
                (false, 0) => "ondemand",
                (false, _) => "dynamic",
            },
            threads: settings.threads.get() as usize,
        })
    }

    fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.status.iter().chain(&self.ping).map(Vec::as_slice)
    }

    /// Whether the request that has come on `connection` is for one of the paths.
    pub fn is_asked(&self, connection: &Connection, begin: BeginRequest) -> bool {
        begin.role == role::RESPONDER && self.paths().any(|path| asks_for(connection, path))
    }

    /// Whether what waits on a new connection may be such a request. It stays unread.
    pub fn may_be_asked(&self, connection: &Connection) -> bool {
        let mut bytes = [0; PEEKED];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let Ok((length, _)) = recv(connection.socket(), &mut bytes, flags) else {
            return false;
        };
        let waits = &bytes[..length.min(PEEKED)];
        self.paths()
            .any(|path| waits.windows(path.len()).any(|part| part == path))
    }

    /// Answers the request.
    pub fn answer(&self, mut connection: Box<Connection>, board: &Scoreboard) {
        let is_status = self.status.as_ref().is_some_and(|path| asks_for(&connection, path));
        let page = if is_status {
            let query = connection.param(b"QUERY_STRING");
            let has = |word: &[u8]| query.split(|byte| *byte == b'&').any(|part| part == word);
            let (is_json, is_full) = (has(b"json"), has(b"full"));
            let (pool, threads) = self.status(board);
            let threads = is_full.then_some(threads);
            let (kind, text) = match is_json {
                true => ("application/json", json(&pool, threads.as_deref()) + "\n"),
                false => ("text/plain", text(&pool, threads.as_deref().unwrap_or_default())),
            };
            Page::new("200 OK", kind, HEADERS, &text)
        } else {
            Page::new("200 OK", "text/plain", HEADERS, "pong")
        };
        let is_head = connection.param(b"REQUEST_METHOD") == b"HEAD";
        let ending = Ending::Complete { app_status: 0 };
        // Whoever does not take it at once isn't waited for.
        if let Ok(true) = connection.send(&mut Payload::new(&[page.answer(is_head)]), Some(ending)) {
            connection.done();
        }
    }

    /// With the names that php-fpm has for it, where it has one: what it calls a process serves one request at a time, as a thread
    /// does here.
    fn status(&self, board: &Scoreboard) -> (Fields, Vec<Fields>) {
        let totals = board.totals();
        let workers: Vec<_> = board.slots().chunks(self.threads).filter_map(worker).collect();
        let threads: Vec<_> = workers.iter().flat_map(|(_, slots)| slots).collect();
        let busy = threads.iter().filter(|slot| slot.busy_since_ms().is_some()).count();
        let since = leader_age().unwrap_or_default();
        let of = |outcome: Outcome| totals.outcomes[outcome as usize].into();
        let pool = vec![
            ("pool", self.pool.clone().into()),
            ("process manager", self.manager.into()),
            ("start time", seconds_since_epoch().saturating_sub(since).into()),
            ("start since", since.into()),
            ("accepted conn", (totals.requests() + busy as u64).into()),
            ("idle processes", (threads.len() - busy).into()),
            ("active processes", busy.into()),
            ("total processes", threads.len().into()),
            ("slow requests", totals.slow.into()),
            ("workers", workers.len().into()),
            ("workers replaced", totals.replaced.iter().sum::<u64>().into()),
            ("requests complete", of(Outcome::Complete)),
            ("requests failed", of(Outcome::Failed)),
            ("requests refused", of(Outcome::Refused)),
            ("requests disconnected", of(Outcome::Disconnected)),
            ("requests timed out", of(Outcome::TimedOut)),
        ];
        let of_worker = |(born_ms, slots): &(u64, Vec<&Slot>)| -> Vec<Fields> {
            slots.iter().map(|slot| process(*born_ms, slot)).collect()
        };
        (pool, workers.iter().flat_map(of_worker).collect())
    }
}

const HEADERS: &str =
    "Cache-Control: no-cache, no-store, must-revalidate, max-age=0\r\nExpires: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

/// SCRIPT_NAME has the whole path, or PATH_INFO has, or each a part: as the web server divides it.
fn asks_for(connection: &Connection, path: &[u8]) -> bool {
    let (script, info) = (connection.param(b"SCRIPT_NAME"), connection.param(b"PATH_INFO"));
    path.strip_prefix(script) == Some(info) || (script == path && info == path)
}

/// A worker that serves: when it was made, and its threads.
fn worker(slots: &[Slot]) -> Option<(u64, Vec<&Slot>)> {
    let (pid, phase, born_ms) = slots.first().map(|slot| &slot.seat).and_then(Seat::read)?;
    let own = slots.iter().filter(|slot| slot.pid.load(Relaxed) == pid);
    (phase == Phase::Serving).then(|| (born_ms, own.collect()))
}

fn process(born_ms: u64, slot: &Slot) -> Fields {
    let now = now_ms();
    let since = now.saturating_sub(born_ms) / 1000;
    let busy = slot.busy_since_ms();
    let line = slot.request_line();
    let (method, uri) = line.split_once(' ').unwrap_or((&line, ""));
    vec![
        ("pid", slot.pid.load(Relaxed).into()),
        ("state", if busy.is_some() { "Running" } else { "Idle" }.into()),
        ("start time", seconds_since_epoch().saturating_sub(since).into()),
        ("start since", since.into()),
        ("requests", slot.serial().into()),
        // Microseconds; of a request that runs.
        (
            "request duration",
            busy.map_or(0, |since| now.saturating_sub(since) * 1000).into(),
        ),
        ("request method", method.into()),
        ("request uri", uri.into()),
    ]
}

fn json(pool: &Fields, threads: Option<&[Fields]>) -> String {
    let members = |fields: &Fields| {
        let members = fields.iter().map(|(name, value)| format!("\"{name}\":{value}"));
        members.collect::<Vec<_>>().join(",")
    };
    let threads = threads.map(|threads| {
        let all: Vec<_> = threads
            .iter()
            .map(|thread| format!("{{{}}}", members(thread)))
            .collect();
        format!(",\"processes\":[{}]", all.join(","))
    });
    format!("{{{}{}}}", members(pool), threads.unwrap_or_default())
}

/// As php-fpm lines it up.
fn text(pool: &Fields, threads: &[Fields]) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let line = |(name, value): &(&str, Value)| format!("{:<21} {}\n", format!("{name}:"), plain(value));
    let mut text: String = pool.iter().map(line).collect();
    for thread in threads {
        text.push_str("\n************************\n");
        text.extend(thread.iter().map(line));
    }
    text
}

fn seconds_since_epoch() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Seconds since the leader was started, and the generation with it.
fn leader_age() -> Option<u64> {
    let leader = rustix::process::getppid()?.as_raw_nonzero();
    let stat = fs::read_to_string(format!("/proc/{leader}/stat")).ok()?;
    // Behind the name, which may have anything in it: the 20th, in ticks since the machine was started.
    let ticks: u64 = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec as u64;
    Some(now.saturating_sub(ticks / rustix::param::clock_ticks_per_second().max(1)))
}
