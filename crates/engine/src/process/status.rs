//! What a pool says of itself through the web server, at paths of its own, as php-fpm does (`status_path`, `ping_path`). From the
//! scoreboard and without Python: any thread may answer.

mod forms;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use contract::process::Stat;
use contract::scoreboard::{Outcome, Phase, Scoreboard, Seat, Slot, now_ms};
use contract::settings::Settings;
use contract::wait::timespec;
use fastcgi::BeginRequest;
use fastcgi::record::role;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, recv};

use crate::connection::Connection;
use crate::request::carrier::{Carrier, Ending, Payload};
use crate::wsgi::reject::Page;
use forms::{Fields, Form, Value};

/// Bytes of a connection that are looked at before anybody has taken them.
const PEEKED: usize = 16 * 1024;

const ENDING: Ending = Ending::Complete { app_status: 0 };
/// How long a peer may take to read what the kernel does not take at once: the threads of hundreds of workers.
const PATIENCE: Duration = Duration::from_secs(5);
/// One answer at a time is waited for.
static IS_WAITED_FOR: AtomicBool = AtomicBool::new(false);

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
        if begin.role != role::RESPONDER {
            return false;
        }
        let asked = asked(connection);
        self.paths().any(|path| is_it(asked, path))
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

    /// Answers the request. `handed`: so many connections wait between workers.
    pub fn answer(&self, mut connection: Box<Connection>, board: &Scoreboard, handed: usize) {
        let is_status = self.status.as_ref().is_some_and(|path| is_it(asked(&connection), path));
        let page = if is_status {
            let query = connection.param(b"QUERY_STRING");
            let form = Form::wanted(query);
            let (pool, threads) = self.status(board, handed as u64);
            let threads = forms::has(query, b"full").then_some(threads);
            Page::new(
                "200 OK",
                form.content_type(),
                HEADERS,
                &form.write(&pool, threads.as_deref()),
            )
        } else {
            Page::new("200 OK", "text/plain", HEADERS, "pong")
        };
        let is_head = connection.param(b"REQUEST_METHOD") == b"HEAD";
        let slices = [page.answer(is_head)];
        let mut payload = Payload::new(&slices);
        match connection.send(&mut payload, Some(ENDING)) {
            Ok(true) => connection.done(),
            Ok(false) => send_rest(connection, slices[0][slices[0].len() - payload.remaining()..].to_vec()),
            Err(_) => {}
        }
    }

    /// With the names that php-fpm has for it, where it has one: what it calls a process serves one request at a time, as a thread
    /// does here.
    fn status(&self, board: &Scoreboard, handed: u64) -> (Fields, Vec<Fields>) {
        let totals = board.totals();
        let workers: Vec<_> = board.slots().chunks(self.threads).filter_map(worker).collect();
        let threads: Vec<_> = workers.iter().flat_map(|(_, slots)| slots).collect();
        let busy = threads.iter().filter(|slot| slot.busy_since_ms().is_some()).count();
        let load = board.load();
        let queue = load.queue();
        let waiting = queue.map_or(0, |queue| queue.waiting.into()) + board.waiting() + handed;
        let most_waiting = load.note_waiting(waiting);
        let since = leader_age().unwrap_or_default();
        let of = |outcome: Outcome| totals.outcomes[outcome as usize];
        let (busy, idle) = (busy as u64, (threads.len() - busy) as u64);
        let mut pool = vec![
            ("pool", Value::Text(self.pool.clone())),
            ("process manager", Value::Text(self.manager.to_owned())),
            ("start time", Value::Time(seconds_since_epoch().saturating_sub(since))),
        ];
        let mut add = |name, number| pool.push((name, Value::Number(number)));
        add("start since", since);
        add("accepted conn", totals.requests() + busy);
        if let Some(queue) = queue {
            add("listen queue", waiting);
            add("max listen queue", most_waiting);
            add("listen queue len", queue.backlog.into());
        }
        add("idle processes", idle);
        add("active processes", busy);
        add("total processes", idle + busy);
        add("max active processes", load.note_busy(busy));
        add("max children reached", load.limits());
        add("slow requests", totals.slow);
        add("workers", workers.len() as u64);
        add("workers replaced", totals.replaced.iter().sum());
        add("requests complete", of(Outcome::Complete));
        add("requests failed", of(Outcome::Failed));
        add("requests refused", of(Outcome::Refused));
        add("requests disconnected", of(Outcome::Disconnected));
        add("requests timed out", of(Outcome::TimedOut));
        let of_worker = |(born_ms, slots): &(u64, Vec<&Slot>)| -> Vec<Fields> {
            slots.iter().map(|slot| process(*born_ms, slot)).collect()
        };
        (pool, workers.iter().flat_map(of_worker).collect())
    }
}

const HEADERS: &str =
    "Cache-Control: no-cache, no-store, must-revalidate, max-age=0\r\nExpires: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

/// SCRIPT_NAME and PATH_INFO.
fn asked(connection: &Connection) -> (&[u8], &[u8]) {
    (connection.param(b"SCRIPT_NAME"), connection.param(b"PATH_INFO"))
}

/// SCRIPT_NAME has the whole path, or PATH_INFO has, or each a part: as the web server divides it.
fn is_it((script, info): (&[u8], &[u8]), path: &[u8]) -> bool {
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
    // As php-fpm says it where there was none yet.
    let (method, uri) = line.split_once(' ').unwrap_or(("-", "-"));
    let state = if busy.is_some() { "Running" } else { "Idle" };
    let microseconds = busy.map_or(0, |since| now.saturating_sub(since) * 1000);
    vec![
        ("pid", Value::Number(slot.pid.load(Relaxed) as u64)),
        ("state", Value::Text(state.to_owned())),
        ("start time", Value::Time(seconds_since_epoch().saturating_sub(since))),
        ("start since", Value::Number(since)),
        ("requests", Value::Number(slot.requests())),
        ("request duration", Value::Number(microseconds)),
        ("request method", Value::Text(method.to_owned())),
        ("request uri", Value::Text(uri.to_owned())),
    ]
}

/// Sends the rest of an answer as the peer reads it, in a thread of its own: the caller may hold the GIL. Where somebody else is waited
/// for, or no thread is to be had, the answer breaks off.
fn send_rest(mut connection: Box<Connection>, rest: Vec<u8>) {
    if IS_WAITED_FOR.swap(true, AcqRel) {
        return;
    }
    let send = move || {
        let deadline = Instant::now() + PATIENCE;
        let slices = [rest.as_slice()];
        let mut payload = Payload::new(&slices);
        while let Ok(has_left) = connection.send(&mut payload, Some(ENDING)) {
            if has_left {
                connection.done();
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // However it ends, sending tells.
            let _ = poll(
                &mut [PollFd::from_borrowed_fd(connection.socket(), PollFlags::OUT)],
                Some(&timespec(left)),
            );
        }
        IS_WAITED_FOR.store(false, Release);
    };
    if std::thread::Builder::new().name("status".into()).spawn(send).is_err() {
        IS_WAITED_FOR.store(false, Release);
    }
}

fn seconds_since_epoch() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Seconds since the leader was started, and the generation with it.
fn leader_age() -> Option<u64> {
    let leader = rustix::process::getppid()?.as_raw_nonzero().get();
    Some(Stat::of(leader).ok()?.age()?.as_secs())
}
