//! A request waits for whoever is free, on kept connections too: one that no thread of its worker takes goes to another worker.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::processes::pid;
use crate::support::fcgi_client::{GET_VALUES, GET_VALUES_RESULT, Raw, Request, pair, record};
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until, until_some};

/// A gateway with all threads of one worker, or of all, in requests that end when [`Blocked::release`] says so.
struct Blocked {
    gateway: Gateway,
    /// By worker: its pid, and what its blocked requests wait for.
    workers: Vec<(String, Vec<PathBuf>)>,
    running: Vec<Raw>,
}

/// A kept connection of the worker `wanted`, or of any.
fn kept_by(gateway: &Gateway, wanted: Option<&str>) -> (Raw, String) {
    until_some("a connection of that worker", SOON, || {
        // Several at once: one alone might always be the same worker's.
        let number = if wanted.is_some() { 8 } else { 1 };
        let mut connections: Vec<Raw> = (0..number).map(|_| gateway.connect()).collect();
        for connection in &mut connections {
            connection.send(&Request::get("/pid").keep_conn().bytes());
        }
        let answered = connections.into_iter().map(|mut connection| {
            let pid = connection.read_response(1).ok().text();
            (connection, pid)
        });
        let mut answered = answered.collect::<Vec<_>>().into_iter();
        answered.find(|(_, pid)| wanted.is_none_or(|wanted| wanted == pid))
    })
}

impl Blocked {
    fn new(builder: Builder, threads: u32) -> Self {
        Self {
            gateway: builder.threads(threads).start(),
            workers: Vec::new(),
            running: Vec::new(),
        }
    }

    /// Blocks another worker, and gives `kept` idle connections of it.
    fn block(&mut self, threads: u32, kept: usize) -> Vec<Raw> {
        let blocked: Vec<String> = self.workers.iter().map(|(pid, _)| pid.clone()).collect();
        let (first, worker) = until_some("a worker that is free", SOON, || {
            Some(kept_by(&self.gateway, None)).filter(|(_, pid)| !blocked.contains(pid))
        });
        let mut connections = vec![first];
        while connections.len() < kept {
            connections.push(kept_by(&self.gateway, Some(&worker)).0);
        }
        self.block_worker(&worker, threads);
        connections
    }

    fn block_worker(&mut self, worker: &str, threads: u32) {
        let mut gates = Vec::new();
        for attempt in 0.. {
            if gates.len() == threads as usize {
                break;
            }
            let (mut connection, _) = kept_by(&self.gateway, Some(worker));
            let gate = self.gateway.directory.path().join(format!("{worker}-{attempt}"));
            connection.send(&Request::get(&format!("/waits?{}", gate.display())).keep_conn().bytes());
            let called = gate.with_extension("called");
            let runs_in = until_some("it runs", SOON, || {
                fs::read_to_string(&called).ok().filter(|pid| !pid.is_empty())
            });
            if runs_in == worker {
                gates.push(gate);
                self.running.push(connection);
            } else {
                // On a machine that is busy enough, another worker came first.
                fs::write(&gate, "").unwrap();
                connection.read_response(1).ok();
            }
        }
        self.workers.push((worker.to_owned(), gates));
    }

    fn release(&self, worker: usize) {
        for gate in &self.workers[worker].1 {
            fs::write(gate, "").unwrap();
        }
    }

    fn finish(mut self) {
        (0..self.workers.len()).for_each(|worker| self.release(worker));
        for running in &mut self.running {
            assert_eq!(running.read_response(1).ok().text(), "waited");
        }
    }
}

#[test]
fn request_on_a_kept_connection_of_a_blocked_worker_is_served_by_another() {
    for threads in [1, 3] {
        let mut blocked = Blocked::new(Gateway::app("processes").workers(2), threads);
        let mut kept = blocked.block(threads, 5);
        for connection in &mut kept {
            // The second time it is the other worker's.
            for _ in 0..2 {
                assert_ne!(pid(connection), blocked.workers[0].0);
            }
        }
        blocked.finish();
    }
}

/// Requests on `kept` connections of the first of two blocked workers are all served by the one that becomes free.
#[track_caller]
fn wait_until_a_worker_is_free(kept: usize, free: usize) {
    let mut blocked = Blocked::new(Gateway::app("processes").workers(2), 1);
    let mut kept = blocked.block(1, kept);
    blocked.block(1, 0);
    for connection in &mut kept {
        connection.send(&Request::get("/pid").keep_conn().bytes());
    }
    assert!(!kept[0].readable_within(Duration::from_millis(100)), "nobody is free");
    blocked.release(free);
    for connection in &mut kept {
        assert_eq!(connection.read_response(1).ok().text(), blocked.workers[free].0);
    }
    blocked.finish();
}

#[test]
fn requests_on_kept_connections_wait_for_whichever_worker_is_free_first() {
    wait_until_a_worker_is_free(4, 1);
}

#[test]
fn worker_that_becomes_free_takes_back_what_waits_for_it() {
    wait_until_a_worker_is_free(4, 0);
}

#[test]
fn more_requests_than_fit_into_the_handover_wait_for_whoever_is_free() {
    wait_until_a_worker_is_free(600, 1);
}

/// Its only worker keeps what waits for it: there is nobody else.
#[test]
fn request_that_waits_for_a_retiring_worker_is_served_by_the_next_generation() {
    let mut blocked = Blocked::new(Gateway::app("processes").workers(1), 1);
    let mut kept = blocked.block(1, 1);
    kept[0].send(&Request::get("/pid").keep_conn().bytes());
    assert!(!kept[0].readable_within(Duration::from_millis(100)), "it waits");
    blocked.gateway.signal(Signal::HUP);
    assert_ne!(kept[0].read_response(1).ok().text(), blocked.workers[0].0);
    blocked.finish();
}

/// Answers of `digest`, with the pid of whoever has read the body.
fn expect_digest(answer: &str, body: &[u8]) -> String {
    let (pid, digest) = answer.split_once(' ').unwrap();
    assert_eq!(digest, format!("{} {}", body.len(), crc32(body)));
    pid.to_owned()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    let all = bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step));
    !all
}

/// Bytes that differ.
fn body(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// The memory that a body may have is 128 KiB; what is more of it goes to a file.
#[test]
fn request_that_a_blocked_worker_has_received_in_part_is_served_by_another() {
    let gateway = Gateway::app("processes").workers(2).option("--body-buffer", "10m");
    let mut blocked = Blocked::new(gateway, 1);
    let body = body(300_000);
    let request = Request::post("/digest", &body[..]).keep_conn().stdin_record(50_000);
    let head = request.head_bytes().len();
    // Within BEGIN_REQUEST, its params, their end, the header of a record, a body in memory, one in a file; all but the last byte of that.
    let cuts = [
        3,
        12,
        16 + 20,
        head - 4,
        head + 3,
        head + 70_000,
        head + 200_000,
        request.bytes().len() - 9,
    ];
    let (_, worker) = kept_by(&blocked.gateway, None);
    let mut begun: Vec<Raw> = cuts
        .iter()
        .map(|_| kept_by(&blocked.gateway, Some(&worker)).0)
        .collect();
    for (connection, cut) in begun.iter_mut().zip(cuts) {
        connection.send(&request.bytes()[..cut]);
    }
    blocked.block_worker(&worker, 1);
    for (connection, cut) in begun.iter_mut().zip(cuts) {
        connection.send(&request.bytes()[cut..]);
        let answer = connection.read_response(1).ok().text();
        assert_ne!(expect_digest(&answer, &body), worker, "{cut}");
        // It is kept, and the other worker's.
        assert_ne!(pid(connection), worker);
    }
    blocked.finish();
}

/// As if its application had left files open until there may be no more.
#[test]
fn worker_without_room_for_a_connection_leaves_it_to_others() {
    let mut blocked = Blocked::new(Gateway::app("processes").workers(2), 1);
    let (mut idle, worker) = kept_by(&blocked.gateway, None);
    let (mut begun, _) = kept_by(&blocked.gateway, Some(&worker));
    let request = Request::get("/pid").keep_conn().bytes();
    let (part, rest) = request.split_at(40);
    begun.send(part);
    blocked.block_worker(&worker, 1);
    let (_, other) = kept_by(&blocked.gateway, None);
    assert_ne!(other, worker);
    let pid = Pid::from_raw(other.parse().unwrap());
    let before = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        ..before
    };
    prlimit(pid, Resource::Nofile, none).unwrap();
    idle.send(&request);
    begun.send(rest);
    blocked
        .gateway
        .log
        .wait_for_line(&["ERROR", "can't accept connections"]);
    // A few more times.
    std::thread::sleep(Duration::from_millis(500));
    prlimit(pid, Resource::Nofile, before).unwrap();
    for connection in [&mut idle, &mut begun] {
        assert_eq!(connection.read_response(1).ok().text(), other);
    }
    blocked.finish();
}

#[test]
fn bodies_arrive_whole_however_often_their_connections_change_workers() {
    let gateway = Gateway::app("processes")
        .workers(3)
        .threads(1)
        .option("--body-buffer", "10m")
        .start();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut connection = gateway.connect();
                let mut random: u32 = client;
                for _ in 0..20 {
                    let mut next = |below: u32| {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (random >> 8) % below
                    };
                    let body = body(next(300_000) as usize);
                    let target = format!("/digest?{}", next(20));
                    let request = Request::post(&target, &body[..])
                        .keep_conn()
                        .stdin_record(1 + next(65_535) as usize);
                    let bytes = request.bytes();
                    let mut rest = &bytes[..];
                    while !rest.is_empty() {
                        let (piece, after) = rest.split_at(rest.len().min(1 + next(80_000) as usize));
                        connection.send(piece);
                        rest = after;
                        std::thread::sleep(Duration::from_millis(next(6).into()));
                    }
                    expect_digest(&connection.read_response(1).ok().text(), &body);
                }
            });
        }
    });
}

#[test]
fn requests_of_a_connection_are_counted_over_workers() {
    let gateway = Gateway::app("processes")
        .workers(2)
        .option("--connection-requests", "4");
    let mut blocked = Blocked::new(gateway, 1);
    let (mut connection, worker) = kept_by(&blocked.gateway, None);
    let request = Request::get("/pid").keep_conn().bytes();
    let (begun, rest) = request.split_at(40);
    connection.send(begun);
    blocked.block_worker(&worker, 1);
    connection.send(rest);
    assert_ne!(connection.read_response(1).ok().text(), worker);
    assert_ne!(pid(&mut connection), worker);
    assert_ne!(pid(&mut connection), worker);
    connection.expect_close();
    blocked.finish();
}

/// SPEC A8.
#[test]
fn blocked_worker_answers_what_is_asked_of_the_gateway_itself() {
    let mut blocked = Blocked::new(Gateway::app("processes").workers(2), 1);
    let mut kept = blocked.block(1, 1);
    blocked.block(1, 0);
    kept[0].send(&record(GET_VALUES, 0, &pair(b"FCGI_MPXS_CONNS", b"")));
    let answer = kept[0].expect_record();
    assert_eq!(
        (answer.kind, answer.content),
        (GET_VALUES_RESULT, pair(b"FCGI_MPXS_CONNS", b"0"))
    );
    blocked.finish();
}

#[test]
fn peer_that_leaves_a_blocked_worker_is_let_go() {
    let mut blocked = Blocked::new(Gateway::app("processes").workers(2), 1);
    let kept = blocked.block(1, 1);
    blocked.block(1, 0);
    let descriptors = format!("/proc/{}/fd", blocked.workers[0].0);
    let open = || fs::read_dir(&descriptors).unwrap().count();
    let before = open();
    drop(kept);
    until("its connection is closed", SOON, || open() < before);
    blocked.finish();
}

/// How often the thread `name` of a process has gone to sleep.
fn sleeps(pid: &str, name: &str) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let is_named = |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let task = tasks.map(|task| task.path()).find(is_named).expect("the thread");
    let status = fs::read_to_string(task.join("status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn giver_sleeps_while_its_worker_has_nothing_to_give() {
    let mut blocked = Blocked::new(Gateway::app("processes").workers(2), 3);
    let rests = |worker: &str| {
        until("the giver rests", SOON, || {
            let before = sleeps(worker, "giver");
            std::thread::sleep(Duration::from_millis(300));
            sleeps(worker, "giver") == before
        });
    };
    let kept = kept_by(&blocked.gateway, None);
    rests(&kept.1);
    // All of its threads are blocked, and nothing waits.
    blocked.block(3, 2);
    rests(&blocked.workers[0].0);
    blocked.finish();
}
