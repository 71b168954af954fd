//! FastCGI's records and streams against the real process: SPEC A. The codec's own tests go through every split and field;
//! these show that sockets, threads and Python change nothing about it.

use crate::support::fcgi_client::{
    ABORT_REQUEST, BEGIN_REQUEST, DATA, END_REQUEST, GET_VALUES_RESULT, PARAMS, Raw, Request, STDERR, STDIN, STDOUT,
    UNKNOWN_TYPE, begin_request, padded, record, stream,
};
use crate::support::process::{Gateway, Shared};
use crate::support::wait::{SOON, until};

pub static APPS: Shared = Shared::new(|| Gateway::app("failures"));
pub static INPUT: Shared = Shared::new(|| Gateway::app("input"));

pub fn hello() -> Request {
    Request::get("/hello").keep_conn()
}

/// Asserts that the connection still serves requests.
#[track_caller]
pub fn works(connection: &mut Raw) {
    assert_eq!(connection.exchange(&hello()).ok().text(), "hello");
}

pub fn called(key: &str) -> bool {
    APPS.get(&format!("/recorded?{key}")).ok().text().contains("called")
}

#[test]
fn a1_request_in_single_bytes_is_the_same_request() {
    let request = Request::post("/echo", "in single bytes").keep_conn();
    let mut connection = INPUT.connect();
    for byte in request.bytes() {
        connection.send(&[byte]);
    }
    let split = connection.read_response(1).ok();
    let whole = connection.exchange(&request).ok();
    assert_eq!(split.stdout, whole.stdout);
    assert_eq!(split.text(), "in single bytes");
}

#[test]
fn a2_padding_of_any_length_is_ignored() {
    let request = Request::post("/echo", "padded").keep_conn();
    let mut connection = INPUT.connect();
    for padding in [0, 1, 7, 255] {
        let mut begin = padded(BEGIN_REQUEST, 1, &request.begin_bytes()[8..], padding);
        begin.extend(padded(PARAMS, 1, &request.pairs(), padding));
        begin.extend(padded(PARAMS, 1, b"", padding));
        begin.extend(padded(STDIN, 1, &request.body, padding));
        begin.extend(padded(STDIN, 1, b"", padding));
        connection.send(&begin);
        assert_eq!(connection.read_response(1).ok().text(), "padded");
    }
    let body = vec![b'p'; 65535];
    let request = Request::post("/echo", body.clone()).keep_conn();
    connection.send(&request.head_bytes());
    connection.send(&padded(STDIN, 1, &body, 255));
    connection.send(&record(STDIN, 1, b""));
    assert!(connection.read_response(1).ok().body() == body);
}

#[test]
fn a3_reserved_bytes_and_unknown_flags_are_ignored() {
    let mut bytes = hello().bytes();
    bytes[7] = 0xFF;
    bytes[8 + 2] = 0xFF;
    bytes[8 + 3..16].fill(0xFF);
    let mut connection = APPS.connect();
    connection.send(&bytes);
    connection.read_response(1).ok();
    works(&mut connection);
}

#[test]
fn a4_record_of_another_version_closes_the_connection_without_a_reply() {
    for version in [0, 2, b'G'] {
        let mut bytes = hello().bytes();
        bytes[0] = version;
        let mut connection = APPS.connect();
        connection.send(&bytes);
        connection.expect_close();
    }
}

#[test]
fn a4_http_sent_by_mistake_closes_the_connection_and_is_logged_with_its_bytes() {
    let mut connection = APPS.connect();
    connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    connection.expect_close();
    // E12: the first eight bytes in hexadecimal.
    APPS.log.wait_for("with the bytes of GET / HT", |line| {
        let digits: String = line.chars().filter(char::is_ascii_hexdigit).collect();
        line.contains("WARN") && digits.to_ascii_lowercase().contains("474554202f204854")
    });
}

#[test]
fn a4_wrong_version_inside_a_running_request_closes_the_connection() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/waits?a4").keep_conn().bytes());
    until("the application is called", SOON, || called("a4"));
    connection.send(&[0; 8]);
    // The thread that has the request may notice only when the application has returned.
    APPS.get("/open_gate?a4").ok();
    assert!(connection.read_to_end().closed.is_some());
    APPS.get("/hello").ok();
}

#[test]
fn f15_nothing_after_a_bad_record_is_served() {
    let mut connection = APPS.connect();
    let bad = [2, 1, 0, 1, 0, 0, 0, 0];
    connection.send(&[bad.as_slice(), &Request::get("/waits?f15").bytes()].concat());
    connection.expect_close();
    APPS.get("/hello").ok();
    assert!(!called("f15"));
}

#[test]
fn a6_unknown_type_of_a_request_is_ignored() {
    let request = hello();
    let pairs = request.pairs();
    let (first, rest) = pairs.split_at(10);
    let mut connection = APPS.connect();
    connection.send(
        &[
            request.begin_bytes(),
            record(PARAMS, 1, first),
            record(99, 1, b"unknown"),
            stream(PARAMS, 1, rest, 65535),
            record(99, 1, b""),
            request.stdin_bytes(),
        ]
        .concat(),
    );
    let response = connection.read_response(1).ok();
    for record in &response.records {
        assert!(
            matches!(record.kind, STDOUT | STDERR | END_REQUEST) && record.id == 1,
            "{record:?}"
        );
    }
    works(&mut connection);
}

#[test]
fn a7_types_that_only_applications_send_are_ignored() {
    let mut connection = APPS.connect();
    for kind in [END_REQUEST, STDOUT, STDERR, GET_VALUES_RESULT, UNKNOWN_TYPE] {
        for id in [0, 1] {
            connection.send(&record(kind, id, &[0; 8]));
        }
    }
    works(&mut connection);
}

#[test]
fn a9_begin_request_shorter_than_eight_bytes_closes_the_connection() {
    for length in [0, 7] {
        let mut connection = APPS.connect();
        connection.send(&record(BEGIN_REQUEST, 1, &[0, 1, 1, 0, 0, 0, 0][..length]));
        connection.expect_close();
    }
}

#[test]
fn a9_excess_of_begin_request_is_ignored() {
    let request = hello();
    let mut connection = APPS.connect();
    connection.send(&record(BEGIN_REQUEST, 1, &[0, 1, 1, 0, 0, 0, 0, 0, 0xFF]));
    connection.send(&[request.params_bytes(), request.stdin_bytes()].concat());
    connection.read_response(1).ok();
    works(&mut connection);
}

#[test]
fn a10_application_types_with_id_0_are_ignored() {
    let mut connection = APPS.connect();
    connection.send(&begin_request(0, 1, 1));
    for kind in [ABORT_REQUEST, PARAMS, STDIN, DATA] {
        connection.send(&record(kind, 0, b""));
    }
    works(&mut connection);
}

#[test]
fn a10_every_id_works_and_is_echoed() {
    let mut connection = APPS.connect();
    for id in [2, 255, 256, 65535] {
        let response = connection.exchange(&hello().id(id)).ok();
        assert!(response.records.iter().all(|record| record.id == id), "{response}");
    }
}

#[test]
fn a11_records_of_inactive_ids_are_ignored() {
    let mut connection = APPS.connect();
    for kind in [PARAMS, STDIN, ABORT_REQUEST, DATA] {
        connection.send(&record(kind, 7, b"stray"));
    }
    works(&mut connection);
    connection.send(&[record(STDIN, 1, b""), record(STDIN, 1, b"late"), record(STDIN, 1, b"")].concat());
    works(&mut connection);
}

#[test]
fn a12_begin_on_an_active_id_closes_the_connection() {
    let before_params = [begin_request(1, 1, 1), begin_request(1, 1, 1)].concat();
    let mut connection = APPS.connect();
    connection.send(&before_params);
    connection.expect_close();

    // After the params, while the body is awaited.
    let mut connection = APPS.connect();
    let waiting = Request::post("/waits?a12", "body").keep_conn();
    connection.send(&waiting.head_bytes());
    connection.send(&Request::get("/waits?a12-second").keep_conn().bytes());
    connection.expect_close();
    APPS.get("/hello").ok();
    assert!(!called("a12"));
    assert!(!called("a12-second"));
}

#[test]
fn a13_second_request_on_a_busy_connection_is_refused_and_the_first_unharmed() {
    let first = Request::post("/echo", "first").keep_conn();
    let second = Request::post("/echo", "second").id(2).keep_conn();
    let first_pairs = first.pairs();
    let (left, right) = first_pairs.split_at(40);
    let mut connection = INPUT.connect();
    connection.send(
        &[
            first.begin_bytes(),
            record(PARAMS, 1, left),
            second.head_bytes(),
            stream(PARAMS, 1, right, 65535),
            record(STDIN, 2, b"second"),
            record(STDIN, 1, b"fir"),
            record(STDIN, 2, b""),
            record(STDIN, 1, b"st"),
            record(STDIN, 1, b""),
        ]
        .concat(),
    );
    let refusal = connection.expect_record();
    assert_eq!((refusal.kind, refusal.id), (END_REQUEST, 2));
    assert_eq!(
        refusal.content,
        [0, 0, 0, 0, 1, 0, 0, 0],
        "E11: CANT_MPX_CONN and nothing else"
    );
    let response = connection.read_response(1).ok();
    assert_eq!(response.text(), "first");
    assert!(response.records.iter().all(|record| record.id == 1), "{response}");
    assert_eq!(connection.exchange(&second).ok().text(), "second");
}

#[test]
fn a15_params_split_at_any_byte_are_the_same_params() {
    let request = Request::post("/echo", "split").keep_conn();
    let pairs = request.pairs();
    let mut connection = INPUT.connect();
    for at in 1..pairs.len() {
        let (left, right) = pairs.split_at(at);
        let params = [
            record(PARAMS, 1, left),
            record(PARAMS, 1, right),
            record(PARAMS, 1, b""),
        ];
        connection.send(&[request.begin_bytes(), params.concat(), request.stdin_bytes()].concat());
        assert_eq!(connection.read_response(1).ok().text(), "split", "at byte {at}");
    }
}

#[test]
fn a15_params_in_records_of_one_byte_are_the_same_params() {
    let request = Request::post("/echo", "tiny").keep_conn();
    let mut connection = INPUT.connect();
    let params = stream(PARAMS, 1, &request.pairs(), 1);
    connection.send(&[request.begin_bytes(), params, request.stdin_bytes()].concat());
    assert_eq!(connection.read_response(1).ok().text(), "tiny");
}

#[test]
fn a16_long_form_of_lengths_is_read_for_short_values_too() {
    let mut pairs = Vec::new();
    for (name, value) in hello().params {
        pairs.extend((name.len() as u32 | 0x8000_0000).to_be_bytes());
        pairs.extend((value.len() as u32 | 0x8000_0000).to_be_bytes());
        pairs.extend(name);
        pairs.extend(value);
    }
    let mut connection = APPS.connect();
    connection.send(
        &[
            hello().begin_bytes(),
            stream(PARAMS, 1, &pairs, 65535),
            record(STDIN, 1, b""),
        ]
        .concat(),
    );
    connection.read_response(1).ok();
}

#[test]
fn a17_pair_that_overruns_the_stream_is_answered_with_400() {
    for end in [
        [0xFF, 0xFF, 0xFF, 0xFF, 1].as_slice(),
        &[10, 10, b'x'],
        &[5],
        &[0x80, 0, 0],
        &[1, 0xFF, 0xFF, 0xFF, 0xFF, b'n'],
    ] {
        let mut pairs = Request::get("/waits?a17").pairs();
        pairs.extend(end);
        let mut connection = APPS.connect();
        connection.send(
            &[
                begin_request(1, 1, 0),
                stream(PARAMS, 1, &pairs, 65535),
                record(STDIN, 1, b""),
            ]
            .concat(),
        );
        let response = connection.read_response(1);
        assert!(matches!(response.code(), 400 | 431), "{end:?}: {response}");
        assert_eq!(response.end, Some((0, 0)));
        connection.expect_close();
    }
    assert!(!called("a17"));
}

#[test]
fn a26_connection_without_keep_conn_is_closed_after_the_response() {
    let mut connection = APPS.connect();
    connection.exchange(&Request::get("/hello")).ok();
    connection.expect_close();
}

#[test]
fn a26_thousand_requests_pass_over_one_connection() {
    let mut connection = APPS.connect();
    for _ in 0..1000 {
        works(&mut connection);
    }
}

#[test]
fn a26_early_answer_with_an_unread_body_ends_without_a_reset() {
    let gateway = Gateway::app("input").tcp("127.0.0.1").start();
    for _ in 0..5 {
        let mut connection = gateway.connect();
        connection.send(&Request::post("/ignored", vec![b'x'; 1 << 20]).bytes());
        let response = connection.read_response(1);
        assert_eq!((response.code(), response.end), (413, Some((0, 0))));
        assert_eq!(connection.read_to_end().closed, Some(true), "an orderly end, no reset");
    }
}

#[test]
fn a29_data_records_are_discarded() {
    let request = Request::post("/echo", "body").keep_conn();
    let mut connection = INPUT.connect();
    connection.send(
        &[
            request.head_bytes(),
            record(DATA, 1, b"data"),
            record(STDIN, 1, b"body"),
            record(DATA, 1, b""),
            record(STDIN, 1, b""),
        ]
        .concat(),
    );
    assert_eq!(connection.read_response(1).ok().text(), "body");
}

#[test]
fn e10_other_roles_get_a_500_and_unknown_role() {
    for role in [0, 2, 3, 9] {
        let mut connection = APPS.connect();
        let response = connection
            .exchange(&Request::get("/waits?e10").role(role).keep_conn())
            .error_page(500);
        // E10a: lighttpd takes a bare END_REQUEST of an authorizer for a permission.
        assert_eq!(response.end, Some((0, 3)), "{response}");
        works(&mut connection);
    }
    assert!(!called("e10"));
}

#[test]
fn f14_nothing_crosses_from_one_request_to_the_next() {
    let mut connection = INPUT.connect();
    for round in 0..10 {
        let secret = Request::post("/echo_all", format!("body of ann {round}"))
            .header("Cookie", "user=ann")
            .header("X-Calls", "1")
            .keep_conn();
        connection.exchange(&secret).ok();
        // Aborted in the middle of its body.
        let aborted = Request::post("/echo_all", "ann again").keep_conn();
        connection.send(
            &[
                aborted.head_bytes(),
                record(STDIN, 1, b"ann a"),
                record(ABORT_REQUEST, 1, b""),
            ]
            .concat(),
        );
        connection.read_response(1);
        let other = Request::post("/calls", "bob").header("X-Calls", "[environ.get('HTTP_COOKIE'), i.read()]");
        assert_eq!(connection.exchange(&other.keep_conn()).ok().text(), "[None, b'bob']");
    }
}

#[test]
fn tcp_speaks_the_same_as_a_unix_socket() {
    for host in ["127.0.0.1", "::1"] {
        if std::net::TcpListener::bind((host, 0)).is_err() {
            println!("skipped: no {host} on this machine");
            continue;
        }
        let gateway = Gateway::app("input").tcp(host).start();
        let mut connection = gateway.connect();
        let body = vec![b't'; 200_000];
        for _ in 0..3 {
            let response = connection
                .exchange(&Request::post("/echo", body.clone()).keep_conn())
                .ok();
            assert!(response.body() == body);
        }
    }
}

#[test]
fn many_peers_at_once_each_get_their_own_answers() {
    let gateway = Gateway::app("input").workers(2).start();
    std::thread::scope(|scope| {
        for peer in 0..16 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut kept = gateway.connect();
                for round in 0..60 {
                    let body = format!("peer {peer} round {round} ").repeat(1 + round * peer);
                    let request = Request::post("/echo", body.clone());
                    let response = match round % 3 {
                        0 => gateway.send(&request),
                        1 => kept.exchange(&request.keep_conn()),
                        _ => kept.exchange(&Request::post("/ignored", body.clone()).keep_conn()),
                    };
                    match round % 3 {
                        2 => assert_eq!(response.text(), "too large"),
                        _ => assert!(response.ok().text() == body, "peer {peer} round {round}"),
                    }
                }
            });
        }
    });
}
