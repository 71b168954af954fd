//! Connections that outlive a killed process: what becomes of those of a worker or of a leader that is gone, and what is answered
//! while nobody serves.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::house::{House, directory, pool};
use crate::support::fcgi_client::{Raw, Request, Response};
use crate::support::process::{Builder, Gateway};
use crate::support::wait::{SOON, until, until_some};

fn gateway() -> Builder {
    Gateway::app("processes").threads(2)
}

fn pid_request() -> Request {
    Request::get("/pid").keep_conn()
}

/// The worker that answers on it.
#[track_caller]
fn worker(connection: &mut Raw) -> i32 {
    connection.exchange(&pid_request()).ok().text().parse().unwrap()
}

fn send_signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn status(pid: i32, field: &str) -> i64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap().trim().parse().unwrap()
}

pub fn leader_of(worker: i32) -> i32 {
    status(worker, "PPid") as i32
}

fn supervisor(gateway: &Gateway) -> i32 {
    gateway.pid().as_raw_nonzero().get()
}

fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// A request that runs until its file is there, and that file.
#[track_caller]
fn runs(gateway: &Gateway, name: &str, connection: &mut Raw, request: impl Fn(&str) -> Request) -> String {
    let file = format!("{}/{name}", gateway.directory.path().display());
    connection.send(&request(&format!("/waits?{file}")).keep_conn().bytes());
    until("it runs", SOON, || Path::new(&format!("{file}.called")).exists());
    file
}

#[track_caller]
fn bad_gateway(response: Response) {
    let response = response.error_page(502);
    assert_eq!(response.end, Some((1, 0)), "{response}");
    assert_eq!(response.header("Retry-After").as_deref(), Some("1"), "{response}");
}

#[test]
fn idle_connection_outlives_its_worker() {
    for builder in [
        gateway(),
        gateway().workers(2),
        gateway().tcp("127.0.0.1"),
        gateway().option("--preload", "off"),
    ] {
        let gateway = builder.start();
        let mut kept = gateway.connect();
        let mut last = worker(&mut kept);
        // The later ones are of connections that were handed over themselves.
        for _ in 0..3 {
            send_signal(last, Signal::KILL);
            let next = worker(&mut kept);
            assert_ne!(next, last);
            last = next;
        }
    }
}

#[test]
fn request_that_nobody_has_read_outlives_the_worker() {
    let gateway = gateway().start();
    let mut kept = gateway.connect();
    let last = worker(&mut kept);
    send_signal(last, Signal::STOP);
    kept.send(&Request::post("/pid", vec![b'x'; 1024]).keep_conn().bytes());
    send_signal(last, Signal::KILL);
    let next: i32 = kept.read_response(1).ok().text().parse().unwrap();
    assert_ne!(next, last);
}

#[test]
fn request_that_comes_while_a_worker_crashes_is_run_by_another_one() {
    let gateway = gateway().start();
    let (mut kept, mut new) = (gateway.connect(), gateway.connect());
    let last = worker(&mut kept);
    assert_eq!(worker(&mut kept), last);
    // The dying process answers what the keeper does not know, and waits for a moment until that is read and closed.
    new.send(&Request::get("/aborts_without_python").bytes());
    new.read_response(1).error_page(502);
    let file = runs(&gateway, "a", &mut kept, Request::get);
    let who = || fs::read_to_string(format!("{file}.called")).ok()?.parse::<i32>().ok();
    assert_ne!(until_some("it says where", SOON, who), last);
    fs::write(&file, "").unwrap();
    kept.read_response(1).ok();
}

#[test]
fn more_idle_connections_than_fit_into_the_handover_outlive_their_worker() {
    let gateway = gateway().start();
    let mut kept: Vec<Raw> = (0..900).map(|_| gateway.connect()).collect();
    let first = worker(&mut kept[0]);
    // Twice: of a connection that the channel had no room for the keeper is told at its next request.
    for _ in 0..2 {
        kept.iter_mut()
            .for_each(|connection| assert_eq!(worker(connection), first));
    }
    // Of a response that is just being sent nobody would know whether it has left, until its connection is used again.
    std::thread::sleep(Duration::from_millis(100));
    send_signal(first, Signal::KILL);
    // The last ones first: what nobody knows of them is known if they are used within a second.
    for connection in kept.iter_mut().rev() {
        assert_ne!(worker(connection), first);
    }
}

#[test]
fn request_without_a_response_gets_502_and_its_connection_goes_on() {
    let gateway = gateway().start();
    let mut kept = gateway.connect();
    let mut head = gateway.connect();
    let last = worker(&mut kept);
    worker(&mut head);
    runs(&gateway, "a", &mut kept, Request::get);
    runs(&gateway, "b", &mut head, |target| Request::new("HEAD", target));
    send_signal(last, Signal::KILL);
    bad_gateway(kept.read_response(1));
    let response = head.read_response(1);
    assert_eq!((response.code(), response.body()), (502, &b""[..]), "{response}");
    for connection in [&mut kept, &mut head] {
        assert_ne!(worker(connection), last);
    }
    gateway
        .log
        .wait_for_line(&["a request died with its worker", "GET /waits"]);
    gateway
        .log
        .wait_for_line(&["connections that a worker had when it ended", "answered=2"]);
}

#[test]
fn request_whose_body_still_arrives_gets_502_and_its_connection_ends() {
    let gateway = gateway().start();
    let mut kept = gateway.connect();
    let last = worker(&mut kept);
    let mut of_nginx = gateway.connect();
    let request = Request::post("/pid", vec![b'x'; 100_000]).keep_conn();
    let from_nginx = request.clone().param("SERVER_SOFTWARE", "nginx/1.22.1");
    of_nginx
        .exchange(&pid_request().param("SERVER_SOFTWARE", "nginx/1.22.1"))
        .ok();
    of_nginx.send(&from_nginx.bytes()[..5_000]);
    let bytes = request.bytes();
    kept.send(&bytes[..5_000]);
    // It was read when others are answered that came later.
    let mut other = gateway.connect();
    for _ in 0..5 {
        worker(&mut other);
        std::thread::sleep(Duration::from_millis(10));
    }
    send_signal(last, Signal::KILL);
    bad_gateway(kept.read_response(1));
    // What it still sends is no reason to lose the answer.
    let _ = kept.try_send(&bytes[5_000..]);
    kept.expect_close();
    // nginx would send its next request there, unless something stands behind the end.
    bad_gateway(of_nginx.read_response(1));
    assert_eq!(of_nginx.read_to_end().trailing, [0; 8]);
    gateway
        .log
        .wait_for_line(&["ERROR", "requests that were still being received", "requests=2"]);
}

#[test]
fn response_that_has_begun_is_cut_visibly() {
    let gateway = Gateway::app("failures").start();
    let mut kept = gateway.connect();
    kept.exchange(&Request::get("/hello").keep_conn()).ok();
    kept.send(&Request::get("/segfaults_after_head?cut").keep_conn().bytes());
    let mut response = Response::default();
    kept.read_until_body_has(&mut response, b"begun;");
    gateway.get("/open_gate?cut").ok();
    kept.read_more(&mut response, 1);
    let response = response.cut();
    assert_eq!(response.text(), "begun;");
}

#[test]
fn leader_that_dies_costs_only_what_was_inside() {
    let gateway = gateway().workers(2).start();
    let mut idle: Vec<Raw> = (0..20).map(|_| gateway.connect()).collect();
    let mut inside = gateway.connect();
    let last = worker(&mut inside);
    idle.iter_mut().for_each(|connection| _ = worker(connection));
    runs(&gateway, "a", &mut inside, Request::get);
    let mark = gateway.log.mark();
    send_signal(leader_of(last), Signal::KILL);
    let begun = Instant::now();
    bad_gateway(inside.read_response(1));
    let old: Vec<_> = idle.iter_mut().map(worker).collect();
    assert!(!old.contains(&last));
    assert_ne!(worker(&mut inside), last);
    assert!(begun.elapsed() < SOON);
    let line = gateway
        .log
        .wait_for_line(&["a request died with its worker", "GET /waits"]);
    assert!(
        line.contains("ERROR") && line.contains(&format!("worker={last}")),
        "{line}"
    );
    let lines = gateway.log.since(mark).join("\n");
    assert!(
        lines.contains("the leader died") && !lines.contains("starting again"),
        "{lines}"
    );
}

#[test]
fn stopped_worker_is_killed_when_its_leader_has_died() {
    let gateway = gateway().option("--preload", "off").start();
    let mut kept = gateway.connect();
    let last = worker(&mut kept);
    runs(&gateway, "a", &mut kept, Request::get);
    send_signal(last, Signal::STOP);
    send_signal(leader_of(last), Signal::KILL);
    bad_gateway(kept.read_response(1));
    assert_ne!(worker(&mut kept), last);
}

#[test]
fn connection_that_is_over_is_let_go() {
    let gateway = gateway().option("--connection-requests", "3").start();
    let supervisor = supervisor(&gateway);
    let before = open_files(supervisor);
    let mut kept: Vec<Raw> = (0..50).map(|_| gateway.connect()).collect();
    kept.iter_mut().for_each(|connection| _ = worker(connection));
    until("each is kept", SOON, || open_files(supervisor) == before + 50);
    // One half ends by the peer's will, the other by ours.
    kept.drain(..25);
    until("those are let go", SOON, || open_files(supervisor) == before + 25);
    for connection in &mut kept {
        worker(connection);
        worker(connection);
        connection.expect_close();
    }
    until("all are let go", SOON, || open_files(supervisor) == before);
}

#[test]
fn requests_on_kept_connections_never_wake_the_supervisor() {
    let gateway = gateway().start();
    let mut kept = gateway.connect();
    worker(&mut kept);
    let supervisor = supervisor(&gateway);
    let wakes = || status(supervisor, "voluntary_ctxt_switches");
    // Whatever the start has left to do.
    let mut before = wakes();
    until("it is quiet", SOON, || {
        std::thread::sleep(Duration::from_millis(300));
        std::mem::replace(&mut before, wakes()) == before
    });
    for _ in 0..1000 {
        worker(&mut kept);
    }
    assert_eq!(wakes(), before);
}

#[test]
fn supervisor_without_room_for_more_descriptors_keeps_those_that_it_has() {
    let gateway = gateway().start();
    let supervisor = supervisor(&gateway);
    let connect = |number: usize| {
        let mut connections: Vec<Raw> = (0..number).map(|_| gateway.connect()).collect();
        connections.iter_mut().for_each(|connection| _ = worker(connection));
        connections
    };
    let mut first = connect(10);
    let limit = open_files(supervisor) as u64 + 160;
    let limits = Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    prlimit(Some(gateway.pid()), Resource::Nofile, limits).unwrap();
    let mut rest = connect(300);
    let line = gateway
        .log
        .wait_for_line(&["WARN", "the supervisor may not have more open files"]);
    assert!(line.contains("LimitNOFILE"), "{line}");
    assert!(
        line.contains(&format!("limit={limit}")) && line.contains("kept=") && line.contains("for_all_else=112"),
        "{line}"
    );
    // As long as it lasts it is one line a minute.
    std::thread::sleep(Duration::from_millis(1500));
    drop(connect(50));
    let lines = gateway.log.count(|line| line.contains("may not have more open files"));
    assert_eq!(lines, 1, "{}", gateway.log.text());
    // Nothing else is lacking: a reload starts a new leader.
    let last = worker(&mut first[0]);
    send_signal(last, Signal::KILL);
    for connection in &mut first {
        assert_ne!(worker(connection), last);
    }
    let outlived = rest.iter_mut().filter_map(|connection| {
        connection.try_send(&pid_request().bytes()).ok()?;
        (connection.read_response(1).code() == 200).then_some(())
    });
    let outlived = outlived.count();
    assert!((1..300).contains(&outlived), "{outlived}");
    let ready = |line: &str| line.contains(" ready ");
    let before = gateway.log.count(ready);
    gateway.signal(Signal::HUP);
    until("a reload has room", SOON, || gateway.log.count(ready) > before);
}

/// A pool whose application can't be imported while its file says so.
fn breakable(house: &House, is_broken: bool) {
    let text = fs::read_to_string(house.path("who.py")).unwrap();
    let text = text.replace("raise RuntimeError('broken')\n", "");
    let first = if is_broken {
        "raise RuntimeError('broken')\n"
    } else {
        ""
    };
    fs::write(house.path("who.py"), format!("{first}{text}")).unwrap();
}

#[track_caller]
fn unavailable(response: Response) -> u64 {
    let response = response.error_page(503);
    assert_eq!(response.end, Some((0, 0)), "{response}");
    response.header("Retry-After").unwrap().parse().unwrap()
}

#[test]
fn pool_without_a_generation_answers_503_until_one_serves() {
    let directory = directory();
    fs::write(directory.path().join("who.py"), "raise RuntimeError('broken')\n").unwrap();
    let house = House::serve_in(directory, &[pool("one", "")]);
    house.wait_for(0, &["starting again", "pool=\"one\""]);
    let exchange = |request: &Request| Raw::connect(&house.socket("one")).unwrap().exchange(request);
    let retry_after = unavailable(exchange(&Request::get("/")));
    assert!((1..=2).contains(&retry_after), "{retry_after}");
    unavailable(exchange(&Request::post("/", vec![b'x'; 200_000])));
    let head = exchange(&Request::new("HEAD", "/"));
    assert_eq!((head.code(), head.body()), (503, &b""[..]), "{head}");
    // Who has nothing to say is closed in the end, and holds nobody up.
    let _silent = Raw::connect(&house.socket("one")).unwrap();
    unavailable(exchange(&Request::get("/").keep_conn()));
    fs::copy(crate::house::app("who.py"), house.path("who.py")).unwrap();
    house.wait_ready("one");
    house.get("one", "/");
}

#[test]
fn kept_connection_is_answered_503_while_nobody_serves_and_goes_on_afterwards() {
    let house = House::serve(&[pool("one", "")]);
    house.wait_ready("one");
    let request = Request::get("/").keep_conn();
    let mut kept = Raw::connect(&house.socket("one")).unwrap();
    let mut other = Raw::connect(&house.socket("one")).unwrap();
    kept.exchange(&request).ok();
    other.exchange(&request).ok();
    breakable(&house, true);
    let leader: i32 = house.who("one", "pid").parse().unwrap();
    let mark = house.log.mark();
    send_signal(leader, Signal::KILL);
    house.wait_for(mark, &["starting again", "pool=\"one\""]);
    let refused = until_some("it is refused", SOON, || {
        let response = kept.exchange(&request);
        (response.code() == 503).then_some(response)
    });
    unavailable(refused);
    breakable(&house, false);
    house.wait_for(mark, &[" ready ", "pool=\"one\""]);
    kept.exchange(&request).ok();
    other.exchange(&request).ok();
}

#[test]
fn stop_closes_kept_connections() {
    let gateway = gateway().start();
    let mut kept = gateway.connect();
    worker(&mut kept);
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(SOON).success());
    kept.expect_close();
}
