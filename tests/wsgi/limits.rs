//! Limits at the limit and one past it (SPEC F10), and many slow peers (F11, F12).

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::support::fcgi_client::{Raw, Request, STDIN, record};
use crate::support::process::{Gateway, Shared};
use crate::support::wait::{SOON, until, until_some};

static DEFAULTS: Shared = Shared::new(|| Gateway::app("input"));

/// A request whose pairs take exactly `length` bytes.
fn request_with_params_of(length: usize) -> Request {
    let mut request = Request::get("/hello").param("HTTP_X_FILL", "");
    while request.pairs().len() < length {
        let missing = length - request.pairs().len();
        let value = request.params.last().unwrap().1.len();
        // A value of 128 bytes takes three bytes more for its length.
        let grow = if value < 128 && value + missing >= 128 {
            missing.saturating_sub(3).max(1)
        } else {
            missing
        };
        request = request.param("HTTP_X_FILL", "f".repeat(value + grow));
    }
    assert_eq!(request.pairs().len(), length);
    request
}

#[track_caller]
fn too_large(gateway: &Gateway, request: &Request, code: u16) {
    let mut connection = gateway.connect();
    let response = connection.exchange(&request.clone().keep_conn()).error_page(code);
    assert_eq!(response.end, Some((0, 0)));
    connection.expect_close();
}

#[test]
fn f10_params_bytes() {
    let gateway = Gateway::app("input").option("--params-bytes", "4096").start();
    gateway.send(&request_with_params_of(4096)).ok();
    too_large(&gateway, &request_with_params_of(4097), 431);
}

#[test]
fn f10_params_bytes_by_default_are_256_kib() {
    let mut request = Request::get("/hello");
    for n in 0..4 {
        request = request.param(format!("HTTP_X_{n}"), "v".repeat(65_000));
    }
    DEFAULTS.send(&request).ok();
    too_large(&DEFAULTS, &request.param("HTTP_X_4", "v".repeat(10_000)), 431);
}

#[test]
fn f10_params_pairs() {
    let base = Request::get("/hello").params.len();
    let gateway = Gateway::app("input")
        .option("--params-pairs", (base + 3).to_string())
        .start();
    let with = |n: usize| (0..n).fold(Request::get("/hello"), |request, n| request.param(format!("X_{n}"), ""));
    gateway.send(&with(3)).ok();
    too_large(&gateway, &with(4), 431);
}

#[test]
fn f10_param_name_is_1_kib() {
    DEFAULTS.send(&Request::get("/hello").param("N".repeat(1024), "v")).ok();
    too_large(&DEFAULTS, &Request::get("/hello").param("N".repeat(1025), "v"), 431);
}

#[test]
fn f10_param_value_is_64_kib() {
    DEFAULTS
        .send(&Request::get("/hello").param("HTTP_X", "v".repeat(65536)))
        .ok();
    too_large(
        &DEFAULTS,
        &Request::get("/hello").param("HTTP_X", "v".repeat(65537)),
        431,
    );
}

#[test]
fn f10_param_name_as_it_is_passed() {
    let gateway = Gateway::app("input").option("--param-name", "20").start();
    let with = |length: usize| Request::get("/hello").param("N".repeat(length), "v".repeat(1000));
    gateway.send(&with(20)).ok();
    too_large(&gateway, &with(21), 431);
    gateway.log.wait_for_line(&["refused with 431", "--param-name"]);
}

#[test]
fn f10_param_value_as_it_is_passed() {
    let gateway = Gateway::app("input").option("--param-value", "1k").start();
    let with = |length: usize| Request::get("/hello").param("HTTP_X", "v".repeat(length));
    gateway.send(&with(1024)).ok();
    too_large(&gateway, &with(1025), 431);
    gateway.log.wait_for_line(&["refused with 431", "--param-value"]);
}

#[test]
fn f10_body_max_of_a_declared_body() {
    let gateway = Gateway::app("input").option("--body-max", "1000").start();
    gateway.send(&Request::post("/echo", vec![b'x'; 1000])).ok();
    too_large(&gateway, &Request::post("/echo", vec![b'x'; 1001]), 413);
    // Refused by what is declared, before it arrives.
    let mut connection = gateway.connect();
    connection.send(
        &Request::new("POST", "/echo")
            .param("CONTENT_LENGTH", "18446744073709551615")
            .head_bytes(),
    );
    assert_eq!(connection.read_response(1).error_page(413).end, Some((0, 0)));
}

#[test]
fn f10_body_max_of_a_body_of_unknown_length() {
    let gateway = Gateway::app("input").option("--body-max", "1000").start();
    let chunked = |length: usize| {
        Request::new("POST", "/echo_all")
            .header("Transfer-Encoding", "chunked")
            .body(vec![b'x'; length])
    };
    assert_eq!(gateway.send(&chunked(1000)).ok().body().len(), 1000);
    too_large(&gateway, &chunked(1001), 413);
}

#[test]
fn f10_connection_requests() {
    let gateway = Gateway::app("input").option("--connection-requests", "3").start();
    let mut connection = gateway.connect();
    for _ in 0..3 {
        connection.exchange(&Request::get("/hello").keep_conn()).ok();
    }
    connection.expect_close();
}

/// nginx sends no request into a connection on which something is left to read; Apache takes that for its next response.
#[test]
fn f10_only_nginx_is_told_by_an_invalid_record_that_a_connection_closes() {
    let gateway = Gateway::app("input").option("--connection-requests", "1").start();
    for (software, trailing) in [("nginx/1.22.1", &[0; 8][..]), ("Apache/2.4.58 (Debian)", &[])] {
        let request = Request::get("/hello").param("SERVER_SOFTWARE", software);
        for request in [request.clone().keep_conn(), request] {
            let mut connection = gateway.connect();
            connection.exchange(&request).ok();
            assert_eq!(connection.read_to_end().trailing, trailing, "{software}");
        }
    }
}

/// Half-sent requests: connections that are not idle.
fn half_sent(gateway: &Gateway, number: usize) -> Vec<Raw> {
    let begin = |mut connection: Raw| {
        connection.exchange(&Request::get("/hello").keep_conn()).ok();
        connection.send(&Request::get("/hello").keep_conn().bytes()[..20]);
        connection
    };
    (0..number).map(|_| begin(gateway.connect())).collect()
}

#[test]
fn f10_connections_beyond_the_limit_wait_for_their_turn() {
    let gateway = Gateway::app("input").option("--connections", "5").start();
    let mut held = half_sent(&gateway, 5);
    let mut sixth = gateway.connect();
    sixth.send(&Request::get("/hello").bytes());
    assert!(
        !sixth.readable_within(Duration::from_millis(200)),
        "a sixth connection is not served"
    );
    held[0].send(&Request::get("/hello").keep_conn().bytes()[20..]);
    held[0].read_response(1).ok();
    sixth.read_response(1).ok();
}

/// It may be the web server's, who keeps more than it needs.
#[test]
fn f10_connection_beyond_the_limit_gets_the_place_of_the_one_that_is_idle_for_longest() {
    for workers in [1, 2] {
        let gateway = Gateway::app("input")
            .workers(workers)
            .option("--connections", "3")
            .start();
        let mut kept: Vec<Raw> = Vec::new();
        let places = 3 * workers as usize;
        let ask = |connection: &mut Raw| connection.exchange(&Request::get("/hello").keep_conn()).ok();
        // Until all workers have what they may have.
        while kept.len() < places {
            let mut connection = gateway.connect();
            ask(&mut connection);
            kept.push(connection);
            std::thread::sleep(Duration::from_millis(10));
        }
        let began = std::time::Instant::now();
        let mut next = gateway.connect();
        ask(&mut next);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        gateway
            .log
            .wait_for_line(&["WARN", "as many connections as allowed", "--connections"]);
        if workers == 1 {
            kept[0].expect_close();
            ask(&mut kept[1]);
        }
        ask(&mut next);
    }
}

#[test]
fn f10_response_head() {
    let gateway = Gateway::app("start_response").start();
    let head = gateway.get("/sized").ok().head().len();
    let exact = Gateway::app("start_response")
        .option("--response-head", head.to_string())
        .start();
    exact.get("/sized").ok();
    let smaller = Gateway::app("start_response")
        .option("--response-head", (head - 1).to_string())
        .start();
    assert_eq!(smaller.get("/sized").error_page(500).end, Some((1, 0)));
}

#[test]
fn f10_body_memory_spills_into_a_file_that_has_no_name() {
    let gateway = Gateway::app("input").option("--body-memory", "1k").start();
    for length in [1023, 1024, 1025, 300_000] {
        let body: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
        let response = gateway.send(&Request::post("/echo", body.clone())).ok();
        assert!(response.body() == body, "{length}");
    }
}

#[test]
fn f12_half_sent_bodies_of_many_share_a_bounded_memory() {
    let gateway = Gateway::app("processes").start();
    let worker = gateway.get("/pid").ok().text();
    let private = || -> u64 {
        let rollup = std::fs::read_to_string(format!("/proc/{worker}/smaps_rollup")).unwrap();
        let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = private();
    let request = Request::post("/pid", vec![b'x'; 60_000]).keep_conn();
    let bytes = request.bytes();
    let mut half_sent: Vec<Raw> = (0..600)
        .map(|_| {
            let mut connection = gateway.connect();
            connection.send(&bytes[..bytes.len() - 20]);
            connection
        })
        .collect();
    gateway.get("/pid").ok();
    let grown = private().saturating_sub(before);
    assert!(grown < 24 * 1024, "{grown} KiB for 36 MB of half-sent bodies");
    for connection in &mut half_sent {
        connection.send(&bytes[bytes.len() - 20..]);
        connection.read_response(1).ok();
    }
}

#[test]
fn f12_idle_connections_keep_little_of_what_they_needed() {
    let gateway = Gateway::app("iteration").start();
    let worker = gateway.get("/pid").ok().text();
    let private = || -> u64 {
        let rollup = std::fs::read_to_string(format!("/proc/{worker}/smaps_rollup")).unwrap();
        let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let ask = |connection: &mut Raw| {
        let response = connection
            .exchange(&Request::get("/fifteen_kibibytes").keep_conn())
            .ok();
        assert_eq!(response.body().len(), 15 * 1024);
    };
    ask(&mut gateway.connect());
    let before = private();
    let kept: Vec<Raw> = (0..800)
        .map(|_| {
            let mut connection = gateway.connect();
            ask(&mut connection);
            connection
        })
        .collect();
    let grown = private().saturating_sub(before);
    assert!(
        grown < 4 * kept.len() as u64,
        "{grown} KiB for {} connections",
        kept.len()
    );
}

#[test]
fn f11_half_sent_requests_hold_no_thread() {
    let gateway = Gateway::app("processes").threads(2).start();
    let status = |field: &str| -> String {
        let worker = gateway.get("/pid").ok().text();
        let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .unwrap()
            .trim()
            .to_owned()
    };
    let threads = status("Threads:");
    let mut half_open = Vec::new();
    for n in 0..500 {
        let mut connection = gateway.connect();
        let request = Request::post("/echo", vec![b'x'; 1000]);
        let bytes = request.bytes();
        // A third each: inside a header, inside the params, inside the body.
        let end = match n % 3 {
            0 => 4,
            1 => request.head_bytes().len() - 20,
            _ => bytes.len() - 100,
        };
        connection.send(&bytes[..end]);
        half_open.push(connection);
    }
    let mut kept = gateway.connect();
    for _ in 0..20 {
        gateway.get("/hello").ok();
        kept.exchange(&Request::get("/hello").keep_conn()).ok();
    }
    assert_eq!(status("Threads:"), threads);
}

#[test]
fn f11_incomplete_record_header_blocks_nobody() {
    let gateway = Gateway::app("processes").threads(1).start();
    let mut kept = gateway.connect();
    kept.exchange(&Request::get("/hello").keep_conn()).ok();
    // On a connection between two requests, and on a new one.
    kept.send(&Request::get("/hello").bytes()[..4]);
    let mut fresh = gateway.connect();
    fresh.send(&Request::get("/hello").bytes()[..1]);
    gateway.get("/hello").ok();
    fresh.send(&Request::get("/hello").bytes()[1..]);
    fresh.read_response(1).ok();
    kept.send(&Request::get("/hello").bytes()[4..]);
    kept.read_response(1).ok();
}

#[test]
fn f11_slow_reader_leaves_the_other_thread_free() {
    let gateway = Gateway::app("iteration").threads(2).start();
    let mut stalled = gateway.connect();
    stalled.send(&Request::get("/one_gibibyte?f11").bytes());
    stalled.expect_record();
    for _ in 0..10 {
        gateway.get("/hello").ok();
    }
}

#[test]
fn f12_spooled_body_has_no_name_even_when_everything_is_killed() {
    let temporary = tempfile::tempdir().unwrap();
    let names = || std::fs::read_dir(temporary.path()).unwrap().flatten().count();
    let gateway = Gateway::app("input")
        .option("--body-memory", "1k")
        .variable("TMPDIR", temporary.path())
        .start();
    let request = Request::post("/read_fails?f12", vec![b'x'; 1 << 20]);
    let mut connection = gateway.connect();
    connection.send(&request.head_bytes());
    connection.send(&record(STDIN, 1, &[b'x'; 60_000]));
    connection.send(&record(STDIN, 1, &[b'x'; 60_000]));
    until("the application reads", SOON, || {
        gateway.get("/recorded?f12").text().contains("called")
    });
    assert_eq!(names(), 0, "the body lies in a file without a name");
    gateway.signal_group(rustix::process::Signal::KILL);
    gateway.wait_for_nobody(SOON);
    assert_eq!(names(), 0);
}

#[test]
fn f12_spooled_body_lies_in_an_unlinked_file_for_its_owner_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let gateway = Gateway::app("input")
        .option("--body-memory", "1k")
        .variable("TMPDIR", temporary.path())
        .start();
    let request = Request::post("/read_fails?spooled", vec![b'x'; 1 << 20]);
    let mut connection = gateway.connect();
    connection.send(&request.head_bytes());
    // Less than the body buffer: no application reads it, so that it has to lie somewhere.
    connection.send(&record(STDIN, 1, &[b'x'; 60_000]));
    let file = until_some("a worker has a file below TMPDIR open", SOON, || {
        gateway.processes().iter().find_map(|pid| {
            let descriptors = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()));
            let mut paths = descriptors.into_iter().flatten().flatten().map(|entry| entry.path());
            paths.find(|path| std::fs::read_link(path).is_ok_and(|target| target.starts_with(temporary.path())))
        })
    });
    // Through the descriptor, whatever name it had.
    let file = std::fs::metadata(file).unwrap();
    assert!(file.is_file() && file.len() > 50_000, "{file:?}");
    assert_eq!((file.nlink(), file.mode() & 0o7777), (0, 0o600), "no name, mode 0600");
    assert_eq!(file.uid(), temporary.path().metadata().unwrap().uid());
}

#[test]
fn a17_declared_lengths_allocate_nothing() {
    let gateway = Gateway::app("processes").start();
    let worker = gateway.get("/pid").ok().text();
    let resident = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = resident();
    for _ in 0..50 {
        let mut connection = gateway.connect();
        let pair = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, b'n'];
        let request = Request::get("/hello");
        connection.send(&[request.begin_bytes(), record(4, 1, &pair), record(4, 1, b"")].concat());
        let response = connection.read_response(1);
        assert!(matches!(response.code(), 400 | 431), "{response}");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more for requests of a few bytes");
}
