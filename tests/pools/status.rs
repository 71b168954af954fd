//! What an instance says over HTTP of how it is (`status_listen`), be it stuck, in an upgrade, or asked by somebody unfriendly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::house::{House, directory, pool};
use crate::keeper::leader_of;
use crate::support::fcgi_client::{Raw, Request as Fcgi};
use crate::support::http::{Client, Request, Response};
use crate::support::wait::{SOON, until, until_some};

/// A table of the file that has the status shown somewhere, with these further lines.
pub fn server(listen: &str, lines: &str) -> String {
    format!("[server]\nstatus_listen = \"{listen}\"\n{lines}\n")
}

/// On a free port.
fn serve(pools: &[String]) -> (House, SocketAddr) {
    let all = [&[server("127.0.0.1:0", "")], pools].concat();
    let house = House::serve(&all);
    let address = address(&house);
    (house, address)
}

pub fn address(house: &House) -> SocketAddr {
    let line = house.wait_for(0, &["status over HTTP"]);
    let (_, rest) = line.split_once("listen=").unwrap();
    rest.trim().trim_matches('"').parse().unwrap()
}

fn get(address: SocketAddr, path: &str) -> Response {
    Client::connect(address).exchange(&Request::get(path))
}

fn json(address: SocketAddr) -> Value {
    get(address, "/status.json").ok().json()
}

fn metrics(address: SocketAddr, accept: &str) -> Response {
    let request = Request::get("/metrics").header("Accept", accept);
    Client::connect(address).exchange(&request).ok()
}

/// The value of a sample in the text of /metrics.
#[track_caller]
fn value(text: &str, sample: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("no {sample} in\n{text}"));
    line.parse().unwrap()
}

#[test]
fn ping_says_whether_every_pool_serves_or_rests_and_which_do_not() {
    let broken = pool("broken", "").replace("who:application", "no_such_module");
    let resting = pool("resting", "workers = \"0..1\"");
    let (house, address) = serve(&[pool("one", ""), resting.clone(), broken]);
    house.wait_ready("one");
    house.wait_for(0, &["at rest", "pool=\"resting\""]);
    let answer = until_some("the broken one has failed", SOON * 2, || {
        let answer = get(address, "/ping");
        answer.text().starts_with("not serving: broken\n").then_some(answer)
    });
    assert_eq!((answer.status, answer.text().as_str()), (503, "not serving: broken\n"));
    assert_eq!(get(address, "/ping/broken").status, 503);
    for name in ["one", "resting"] {
        assert_eq!(get(address, &format!("/ping/{name}")).ok().text(), "pong\n");
    }
    let none = get(address, "/ping/none").expect(404).text();
    assert_eq!(none, "there is no pool \"none\"; there are: broken, one, resting\n");
    house.reload(&[server("127.0.0.1:0", ""), pool("one", ""), resting]);
    until("all is well", SOON, || get(address, "/ping").status == 200);
    assert_eq!(get(address, "/ping").text(), "pong\n");
}

#[test]
fn status_is_the_snapshot_of_all_pools_or_of_one() {
    let (house, address) = serve(&[pool("one", ""), pool("two", "")]);
    house.wait_ready("one");
    house.wait_ready("two");
    house.get("two", "/");
    let answer = get(address, "/status.json").ok();
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    let all = answer.json();
    assert_eq!(
        (&all["schema"], &all["instance"]["pid"]),
        (&1.into(), &house.pid().into())
    );
    let names: Vec<_> = all["pools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pool| pool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["one", "two"]);
    let two = get(address, "/status.json?pool=two").ok().json();
    assert_eq!(two["pools"].as_array().unwrap().len(), 1);
    assert_eq!(two["pools"][0]["totals"]["responses"]["2xx"], 1);
    let none = get(address, "/status.json?pool=%22%3E").expect(404).text();
    assert_eq!(none, "there is no pool \"%22%3E\"; there are: one, two\n");
    let paths = get(address, "/nothing").expect(404).text();
    assert!(paths.starts_with("there are /, /ping, "), "{paths}");
    let post = Client::connect(address).exchange(&Request::post("/status.json").body("x"));
    assert_eq!((post.status, post.header("Allow")), (405, Some("GET, HEAD")));
    let head = Client::connect(address).exchange(&Request::new("HEAD", "/ping"));
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn metrics_count_requests_by_outcome_and_status_in_the_format_that_is_asked_for() {
    let (house, address) = serve(&[pool("one", "")]);
    house.wait_ready("one");
    for _ in 0..3 {
        house.get("one", "/");
    }
    let complete = "wsgi_fpm_requests_total{pool=\"one\",outcome=\"complete\"}";
    until("they are counted", SOON, || {
        value(&metrics(address, "*/*").text(), complete) == 3.0
    });
    let open = metrics(address, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    let text = metrics(address, "text/plain;version=0.0.4");
    assert_eq!(
        [&open, &text].map(|answer| answer.header("Content-Type").unwrap().to_owned()),
        [
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "text/plain; version=0.0.4; charset=utf-8"
        ]
    );
    assert!(open.text().ends_with("\n# EOF\n") && !text.text().contains("# EOF"));
    assert!(open.text().contains("# TYPE wsgi_fpm_requests counter\n"));
    assert!(text.text().contains("# TYPE wsgi_fpm_requests_total counter\n"));
    for page in [open.text(), text.text()] {
        assert_eq!(value(&page, complete), 3.0);
        assert_eq!(
            value(&page, "wsgi_fpm_responses_total{pool=\"one\",status=\"2xx\"}"),
            3.0
        );
        assert_eq!(
            value(&page, "wsgi_fpm_request_duration_seconds_count{pool=\"one\"}"),
            3.0
        );
        assert_eq!(
            value(
                &page,
                "wsgi_fpm_request_duration_seconds_bucket{pool=\"one\",le=\"+Inf\"}"
            ),
            3.0
        );
        assert!(value(&page, "wsgi_fpm_request_duration_seconds_sum{pool=\"one\"}") > 0.0);
        assert_eq!(
            value(
                &page,
                "wsgi_fpm_pool_state{pool=\"one\",wsgi_fpm_pool_state=\"serving\"}"
            ),
            1.0
        );
        assert_eq!(value(&page, "wsgi_fpm_workers{pool=\"one\",phase=\"serving\"}"), 1.0);
        assert_eq!(value(&page, "wsgi_fpm_threads{pool=\"one\"}"), 2.0);
        assert_eq!(
            value(&page, "wsgi_fpm_workers_replaced_total{pool=\"one\",cause=\"died\"}"),
            0.0
        );
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            value(&page, &format!("wsgi_fpm_build_info{{version=\"{version}\"}}")),
            1.0
        );
    }
}

#[test]
fn status_is_told_while_every_thread_is_stuck() {
    let (house, address) = serve(&[pool("one", "request_timeout = 0")]);
    house.wait_ready("one");
    let _stuck = [(); 2].map(|()| {
        let mut connection = Raw::connect(&house.socket("one")).unwrap();
        connection.send(&Fcgi::get("/sleep").bytes());
        connection
    });
    until("both threads are busy", SOON, || {
        value(&metrics(address, "").text(), "wsgi_fpm_threads_busy{pool=\"one\"}") == 2.0
    });
    let asked = Instant::now();
    let status = json(address);
    // That it is 50 ms on a loaded machine is measured elsewhere: tests run beside others.
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let threads = status["pools"][0]["workers"][0]["threads"].as_array().unwrap().clone();
    assert!(
        threads.iter().all(|thread| thread["request"]["line"] == "GET /sleep"),
        "{threads:?}"
    );
    let text = metrics(address, "").text();
    assert_eq!(value(&text, "wsgi_fpm_requests_in_flight{pool=\"one\"}"), 2.0);
    assert!(value(&text, "wsgi_fpm_request_longest_seconds{pool=\"one\"}") > 0.0);
    // Both run for a minute.
    house.signal(Signal::QUIT);
}

#[test]
fn slow_requests_are_told_with_their_stacks_and_the_past_in_steps() {
    let (house, address) = serve(&[pool("one", "slow_request = \"100ms\""), pool("two", "")]);
    house.wait_ready("one");
    let mut connection = Raw::connect(&house.socket("one")).unwrap();
    connection.send(&Fcgi::get("/sleep").bytes());
    let past = until_some("the slow request is told", SOON, || {
        let past = get(address, "/history.json").ok().json();
        past["slow"]["one"][0]["text"].is_string().then_some(past)
    });
    let text = past["slow"]["one"][0]["text"].as_str().unwrap();
    assert!(text.contains("GET /sleep") && text.contains("who.py"), "{text}");
    assert!(past["slow"]["two"].is_null());
    assert_eq!(past["pools"]["one"]["minutes"]["step"], 5);
    assert_eq!(past["pools"]["one"]["day"]["step"], 300);
    until("a step is over", SOON, || {
        let past = get(address, "/history.json").ok().json();
        past["pools"]["one"]["minutes"]["busy"]
            .as_array()
            .unwrap()
            .contains(&1.0.into())
    });
    // What was is passed on.
    let mark = house.log.mark();
    house.signal(Signal::USR2);
    house.wait_for(mark, &["status over HTTP"]);
    let past = get(address, "/history.json").ok().json();
    assert!(
        past["pools"]["one"]["minutes"]["busy"]
            .as_array()
            .unwrap()
            .contains(&1.0.into()),
        "{past}"
    );
    house.signal(Signal::QUIT);
}

#[test]
fn request_that_dies_with_its_worker_or_its_leader_is_counted_once() {
    let (house, address) = serve(&[pool("one", "workers = 2\nthreads = 2")]);
    house.wait_ready("one");
    let counted = || {
        let text = metrics(address, "").text();
        let requests = |outcome| {
            value(
                &text,
                &format!("wsgi_fpm_requests_total{{pool=\"one\",outcome=\"{outcome}\"}}"),
            )
        };
        let without_head = value(&text, "wsgi_fpm_responses_total{pool=\"one\",status=\"none\"}");
        (requests("failed"), without_head, requests("complete"))
    };
    let workers = || json(address)["pools"][0]["workers"].as_array().unwrap().clone();
    let pid = |worker: &Value| worker["pid"].as_i64().unwrap() as i32;
    let busy = |worker: &Value| {
        let threads = worker["threads"].as_array().unwrap();
        threads.iter().filter(|thread| !thread["request"].is_null()).count()
    };
    let send_signal = |pid: i32| kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let (mut lost, mut complete) = (0.0, 0.0);
    // Where its worker dies first, that is counted by the leader.
    for (worker_first, requests) in [(false, 3), (true, 1), (false, 1)] {
        house.get("one", "/");
        complete += 1.0;
        let mut running: Vec<_> = (0..requests)
            .map(|_| Raw::connect(&house.socket("one")).unwrap())
            .collect();
        for connection in &mut running {
            connection.send(&Fcgi::get("/sleep").bytes());
        }
        until("they run", SOON, || {
            workers().iter().map(busy).sum::<usize>() == requests
        });
        let worker = workers().iter().find(|worker| busy(worker) > 0).map(pid).unwrap();
        let (leader, old) = (leader_of(worker), workers().iter().map(pid).collect::<Vec<_>>());
        lost += requests as f64;
        if worker_first {
            send_signal(worker);
            until("it is counted", SOON, || counted() == (lost, lost, complete));
        }
        send_signal(leader);
        until("another leader serves", SOON, || {
            let serves = |worker: &&Value| worker["phase"] == "serving" && !old.contains(&pid(worker));
            workers().iter().filter(serves).count() == 2
        });
        until("they are counted", SOON, || counted() == (lost, lost, complete));
    }
    house.done(&["reload", "one"]);
    assert_eq!(counted(), (lost, lost, complete));
    let named = house.log.text().matches("a request died with its worker").count();
    assert_eq!(named as f64, lost, "{}", house.log.text());
}

#[test]
fn application_counts_in_the_same_metrics() {
    let counts = pool("counts", "").replace("who:application", "counts:application");
    let (house, address) = serve(&[counts, pool("one", "")]);
    house.wait_ready("counts");
    house.get("counts", "/");
    let sample = "orders_total{pool=\"counts\",country=\"n\\\"z\"}";
    until("it is counted", SOON, || {
        let text = metrics(address, "").text();
        text.contains(sample) && value(&text, sample) == 2.0
    });
    let text = metrics(address, "").text();
    assert!(
        text.contains("# TYPE orders counter\n# HELP orders Orders \\\"taken\\\".\n"),
        "{text}"
    );
    assert_eq!(
        value(&text, "wsgi_fpm_application_series_dropped_total{pool=\"counts\"}"),
        0.0
    );
    assert_eq!(
        value(&text, "wsgi_fpm_log_lines_lost_total{destination=\"stderr\"}"),
        0.0
    );
}

#[test]
fn status_is_for_names_of_this_machine_and_those_that_are_allowed() {
    let allowed = server("127.0.0.1:0", "status_host = [\"web\", \".example.org\"]");
    let house = House::serve(&[allowed, pool("one", "")]);
    let address = address(&house);
    let ask = |host: &str| {
        Client::connect(address)
            .exchange(&Request::get("/status.json").host(host))
            .status
    };
    for host in ["localhost", "127.0.0.1:1", "web:9180", "a.example.org"] {
        assert_eq!(ask(host), 200, "{host}");
    }
    for host in ["evil.example", "example.org.evil"] {
        assert_eq!(ask(host), 403, "{host}");
    }
    house.wait_for(0, &["refused with 403", "status_host"]);
}

#[test]
fn status_of_a_unix_socket_is_for_whom_its_mode_lets_in() {
    let house = House::serve(&[server("./status.sock", "status_mode = \"0600\""), pool("one", "")]);
    house.wait_for(0, &["status over HTTP"]);
    let path = house.path("status.sock");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    // No browser comes here, whatever it calls itself.
    stream
        .write_all(b"GET /ping/one HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    drop(house);
}

#[test]
fn address_that_is_taken_is_one_line_and_is_had_when_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let wanted = taken.local_addr().unwrap();
    let house = House::serve(&[server(&wanted.to_string(), ""), pool("one", "")]);
    house.wait_ready("one");
    let line = house.wait_for(0, &["the status is not shown", "server.status_listen"]);
    assert!(
        line.contains("another program answers there; stop it or name another address"),
        "{line}"
    );
    house.get("one", "/");
    drop(taken);
    assert_eq!(address(&house), wanted);
    assert_eq!(get(wanted, "/ping").status, 200);
    assert_eq!(house.log.count(|line| line.contains("the status is not shown")), 1);
}

#[test]
fn address_beyond_this_machine_must_be_meant() {
    let directory = directory();
    let mut house = House::serve_in(directory, &[server("0.0.0.0:0", ""), pool("one", "")]);
    assert_eq!(house.exit().code(), Some(2));
    let text = house.log.text();
    assert!(
        text.contains("status_allow_remote") && text.contains("no login"),
        "{text}"
    );
    let house = House::serve(&[server("0.0.0.0:0", "status_allow_remote = true"), pool("one", "")]);
    let port = address(&house).port();
    let there: SocketAddr = ([127, 0, 0, 1], port).into();
    let ask = |host: &str| {
        Client::connect(there)
            .exchange(&Request::get("/ping").host(host))
            .status
    };
    // From outside this machine has addresses that it does not know itself.
    assert_ne!(ask("192.0.2.1:9180"), 403);
    assert_eq!(ask("evil.example"), 403);
}

#[test]
fn upgrade_keeps_the_address_and_whoever_waits_there() {
    let (house, address) = serve(&[pool("one", "")]);
    house.wait_ready("one");
    assert_eq!(get(address, "/ping").status, 200);
    for _ in 0..2 {
        let mark = house.log.mark();
        house.signal(Signal::USR2);
        house.wait_for(mark, &["upgrade: the new program takes over"]);
        let waits = get(address, "/ping");
        assert_eq!(waits.text(), "pong\n");
        let line = house.wait_for(mark, &["status over HTTP"]);
        assert!(line.contains(&address.to_string()), "{line}");
        house.wait_for(mark, &[" ready "]);
    }
}

#[test]
fn answer_that_is_under_way_at_an_upgrade_is_whole_and_who_comes_then_waits() {
    let (house, address) = serve(&[pool("one", "")]);
    house.wait_ready("one");
    let mut begun = TcpStream::connect(address).unwrap();
    begun
        .write_all(b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n")
        .unwrap();
    // It was let in before this one, and neither is it in the way that somebody has connected and asks for nothing.
    get(address, "/ping").ok();
    let _silent = TcpStream::connect(address).unwrap();
    let mark = house.log.mark();
    house.signal(Signal::USR2);
    let mut waits = until_some("nobody is let in any more", SOON, || {
        let mut next = TcpStream::connect(address).unwrap();
        next.write_all(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        next.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        next.peek(&mut [0]).is_err().then_some(next)
    });
    assert!(!house.log.since(mark).iter().any(|line| line.contains("takes over")));
    begun.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    begun.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let status: Value = serde_json::from_str(body).unwrap();
    assert_eq!(status["instance"]["pid"], house.pid());
    house.wait_for(mark, &["upgrade: the new program takes over"]);
    waits.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = String::new();
    waits.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\npong\n"),
        "{answer}"
    );
}

#[test]
fn nobody_who_asks_while_programs_are_replaced_is_cut() {
    let (house, address) = serve(&[pool("one", "")]);
    house.wait_ready("one");
    let is_over = AtomicBool::new(false);
    let ask = |path: &str| {
        let mut answers = 0;
        while !is_over.load(Relaxed) {
            let answer = Client::connect(address).try_exchange(&Request::get(path));
            assert_eq!(
                answer.map(|answer| answer.status).unwrap(),
                200,
                "{path} after {answers}"
            );
            answers += 1;
        }
        answers
    };
    let answers = thread::scope(|scope| {
        let asking = ["/metrics", "/status.json", "/history.json"].map(|path| scope.spawn(|| ask(path)));
        for _ in 0..3 {
            let mark = house.log.mark();
            house.signal(Signal::USR2);
            house.wait_for(mark, &["status over HTTP"]);
            house.wait_for(mark, &[" ready "]);
        }
        is_over.store(true, Relaxed);
        asking.map(|asking| asking.join().unwrap())
    });
    assert!(answers.iter().all(|answers| *answers > 3), "{answers:?}");
}

#[test]
fn clients_that_are_slow_or_many_keep_nobody_from_an_answer() {
    let (house, address) = serve(&[pool("one", "")]);
    house.wait_ready("one");
    let half: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
            stream
        })
        .collect();
    let asked = Instant::now();
    assert_eq!(get(address, "/ping").status, 200);
    assert!(asked.elapsed() < SOON / 2, "{:?}", asked.elapsed());
    // Those that were too many have been sent away, the rest are by the time that a head may take.
    let ended = |stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        match stream.peek(&mut [0]) {
            Ok(_) => true,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    };
    until("most of them are gone", SOON, || {
        half.iter().filter(|stream| ended(stream)).count() >= 300 - 64
    });
    let mut huge = TcpStream::connect(address).unwrap();
    let _ = huge.write_all(&[b"GET / HTTP/1.1\r\nX: ", &[b'x'; 64 * 1024][..]].concat());
    let mut answer = String::new();
    let _ = huge.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    for nonsense in [&b"\0\x01\x02\x03\r\n\r\n"[..], b"GET http:// HTTP/9\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(nonsense);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    assert_eq!(get(address, "/ping").status, 200);
    assert_eq!(
        house
            .log
            .count(|line| line.contains("ERROR") || line.contains("panicked")),
        0
    );
}
