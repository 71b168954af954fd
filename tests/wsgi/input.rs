//! wsgi.input: SPEC C41 to C48, and the body's way to it (A20, A28, C59).

use crate::support::fcgi_client::{PARAMS, Request, Response, STDIN, record, stream};
use crate::support::process::{Gateway, Shared};
use crate::support::wait::{SOON, until};

static APPS: Shared = Shared::new(|| Gateway::app("input"));

/// The repr of what Python expressions over the input `i` give.
#[track_caller]
fn calls(request: Request, expression: &str) -> String {
    APPS.send(&request.header("X-Calls", expression)).ok().text()
}

#[track_caller]
fn calls_on(body: &[u8], expression: &str) -> String {
    calls(Request::post("/calls", body), expression)
}

#[test]
fn c41_read_gives_the_rest_without_a_size() {
    assert_eq!(
        calls_on(b"hello world", "[i.read(5), i.read()]"),
        "[b'hello', b' world']"
    );
    assert_eq!(
        calls_on(b"hello world", "[i.read(5), i.read(None)]"),
        "[b'hello', b' world']"
    );
    assert_eq!(
        calls_on(b"hello world", "[i.read(5), i.read(-1)]"),
        "[b'hello', b' world']"
    );
    assert_eq!(calls_on(b"hello world", "[i.read(-5)]"), "[b'hello world']");
}

#[test]
fn c41_read_of_zero_consumes_nothing() {
    assert_eq!(calls_on(b"ab", "[i.read(0), i.read(0), i.read()]"), "[b'', b'', b'ab']");
}

#[test]
fn c41_read_of_a_size_gives_exactly_that_or_what_is_left() {
    assert_eq!(
        calls_on(b"abcdef", "[i.read(2), i.read(2), i.read(100)]"),
        "[b'ab', b'cd', b'ef']"
    );
    assert_eq!(calls_on(b"abc", "[i.read(2**62)]"), "[b'abc']");
    assert_eq!(calls_on(b"abc", "type(i.read()) is bytes"), "True");
}

#[test]
fn c41_body_in_records_of_one_byte_is_one_stream() {
    let body = b"line one\nline two\nrest of it";
    let request = Request::post("/calls", body.as_slice()).stdin_record(1);
    assert_eq!(
        calls(request, "[i.read(2), i.readline(), i.read(3), i.readline(), i.read()]"),
        "[b'li', b'ne one\\n', b'lin', b'e two\\n', b'rest of it']"
    );
}

#[test]
fn c41_read_waits_for_exactly_its_bytes() {
    let body = vec![b'z'; 300_000];
    let request = Request::post("/progress?200000", body.clone());
    let mut connection = APPS.connect();
    connection.send(&request.head_bytes());
    let stdin = request.stdin_bytes();
    let (first, rest) = stdin.split_at(200_000 + 8 * 4);
    connection.send(&first[..150_000]);
    connection.send(&first[150_000..]);
    let mut response = Response::default();
    connection.read_until_body_has(&mut response, b"first 200000;");
    connection.send(rest);
    connection.read_more(&mut response, 1);
    assert_eq!(response.ok().text(), "first 200000;rest 100000");
}

#[test]
fn c42_readline_keeps_the_newline_and_its_size() {
    assert_eq!(
        calls_on(
            b"aaaaaaaa\nb",
            "[i.readline(3), i.readline(), i.readline(), i.readline()]"
        ),
        "[b'aaa', b'aaaaa\\n', b'b', b'']"
    );
    assert_eq!(
        calls_on(b"ab\ncd", "[i.readline(3), i.readline(100)]"),
        "[b'ab\\n', b'cd']"
    );
    assert_eq!(calls_on(b"ab\ncd", "[i.readline(2), i.readline()]"), "[b'ab', b'\\n']");
    assert_eq!(
        calls_on(b"ab", "[i.readline(0), i.readline(-1), i.readline(None)]"),
        "[b'', b'ab', b'']"
    );
    assert_eq!(calls_on(b"\n\nx\r\n", "list(i)"), "[b'\\n', b'\\n', b'x\\r\\n']");
}

#[test]
fn c42_line_longer_than_any_buffer_comes_whole() {
    let mut body = vec![b'x'; 300_000];
    body.extend(b"\nnext");
    assert_eq!(
        calls_on(&body, "[len(i.readline()), i.readline()]"),
        "[300001, b'next']"
    );
}

#[test]
fn c43_readlines_stops_at_its_hint() {
    assert_eq!(calls_on(b"a\nb\nc", "[i.readlines()]"), "[[b'a\\n', b'b\\n', b'c']]");
    assert_eq!(
        calls_on(b"a\nb\nc", "[i.readlines(1), i.readlines(3), i.readlines()]"),
        "[[b'a\\n'], [b'b\\n', b'c'], []]"
    );
    assert_eq!(
        calls_on(b"a\nb\nc", "[i.readlines(2), i.read()]"),
        "[[b'a\\n'], b'b\\nc']"
    );
    assert_eq!(calls_on(b"a\nb", "[i.readlines(0)]"), "[[b'a\\n', b'b']]");
    assert_eq!(calls_on(b"a\nb", "[i.readlines(-1)]"), "[[b'a\\n', b'b']]");
    assert_eq!(calls_on(b"a\nb", "[i.readlines(None)]"), "[[b'a\\n', b'b']]");
}

#[test]
fn c43_iteration_gives_lines_and_mixes_with_reads() {
    assert_eq!(
        calls_on(
            b"a\nb\nc\nd",
            "[next(i), i.read(1), list(i), i.read(), iter(i) is not None]"
        ),
        "[b'a\\n', b'b', [b'\\n', b'c\\n', b'd'], b'', True]"
    );
}

#[test]
fn c44_nothing_is_read_past_the_content_length() {
    let request = Request::new("POST", "/calls")
        .param("CONTENT_LENGTH", "3")
        .body("abcdef");
    assert_eq!(
        calls(request.clone(), "[i.read(), i.read(), i.readline(), list(i)]"),
        "[b'abc', b'', b'', []]"
    );
    assert_eq!(calls(request, "[i.readline(), i.read(10)]"), "[b'abc', b'']");
    APPS.log.wait_for_line(&["WARN", "CONTENT_LENGTH"]);
}

#[test]
fn c44_end_of_input_is_empty_bytes_for_ever() {
    assert_eq!(
        calls_on(b"", "[i.read(), i.read(1), i.readline(), i.readlines(), list(i)]"),
        "[b'', b'', b'', [], []]"
    );
    assert_eq!(
        calls(Request::get("/calls"), "[i.read(), i.read(1), i.readline()]"),
        "[b'', b'', b'']"
    );
    assert_eq!(
        calls_on(b"x", "[i.read(1), i.read(1), i.read(), i.read(-1)]"),
        "[b'x', b'', b'', b'']"
    );
}

#[test]
fn c44_bytes_beyond_the_content_length_never_reach_the_next_request() {
    let mut connection = APPS.connect();
    let first = Request::new("POST", "/echo_all")
        .param("CONTENT_LENGTH", "3")
        .body("abcSECRET")
        .keep_conn();
    assert_eq!(connection.exchange(&first).ok().text(), "abc");
    assert_eq!(
        connection
            .exchange(&Request::post("/echo_all", "xyz").keep_conn())
            .ok()
            .text(),
        "xyz"
    );
}

#[test]
fn c45_body_that_ends_short_raises_os_error() {
    let request = Request::new("POST", "/calls")
        .param("CONTENT_LENGTH", "10")
        .body("four");
    for call in ["i.read()", "i.read(10)", "i.readline()", "i.readlines()", "list(i)"] {
        let expression = format!("attempt(lambda: {call})[1]");
        assert_eq!(calls(request.clone(), &expression), "True", "{call}");
    }
    assert_eq!(
        calls(request, "[i.read(4), attempt(lambda: i.read(1))[1]]"),
        "[b'four', True]"
    );
}

#[test]
fn c45_connection_that_ends_inside_the_body_raises_os_error() {
    let request = Request::post("/read_fails?c45", vec![b'x'; 1 << 20]);
    let mut connection = APPS.connect();
    connection.send(&request.head_bytes());
    connection.send(&request.stdin_bytes()[..200_000]);
    until("the application is called", SOON, || {
        APPS.get("/recorded?c45").text().contains("called")
    });
    drop(connection);
    until("read() raises", SOON, || {
        APPS.get("/recorded?c45").text() == r#"["called", "OSError"]"#
    });
}

#[test]
fn f14_input_of_an_ended_request_reads_nothing_of_the_next() {
    let mut connection = APPS.connect();
    let first = Request::post("/stashed?f14", "FIRST BODY").keep_conn();
    connection.exchange(&first).ok();
    for _ in 0..8 {
        let next = Request::post("/use_stashed?f14", "second body").keep_conn();
        let text = connection.exchange(&next).ok().text();
        assert!(text.ends_with(" own:second body"), "{text}");
        assert!(
            !text[..text.len() - " own:second body".len()].contains("second"),
            "{text}"
        );
    }
}

#[test]
fn c46_body_without_a_content_length_is_delivered_with_one() {
    for body in [b"streamed body".to_vec(), vec![b'm'; 200_000]] {
        let request = Request::new("POST", "/echo_all")
            .param("CONTENT_LENGTH", "")
            .header("Transfer-Encoding", "chunked")
            .body(body.clone());
        let response = APPS.send(&request).ok();
        assert_eq!(response.body(), body);
        assert_eq!(response.header("X-Content-Length"), Some(body.len().to_string()));
    }
}

#[test]
fn c46_body_without_a_content_length_and_without_chunked_is_delivered() {
    let request = Request::new("PUT", "/echo_all").body("from mod_fcgid 2.3.9");
    assert_eq!(APPS.send(&request).ok().text(), "from mod_fcgid 2.3.9");
}

#[test]
fn c46_body_in_pieces_without_a_content_length_is_delivered() {
    let request = Request::new("POST", "/echo_all").header("Transfer-Encoding", "chunked");
    let mut connection = APPS.connect();
    connection.send(&request.head_bytes());
    for piece in ["one ", "two ", "three"] {
        connection.send(&record(STDIN, 1, piece.as_bytes()));
    }
    connection.send(&record(STDIN, 1, b""));
    let response = connection.read_response(1).ok();
    assert_eq!(response.text(), "one two three");
    assert_eq!(response.header("X-Content-Length").as_deref(), Some("13"));
}

#[test]
fn c47_early_answer_to_a_big_body_is_complete() {
    let request = Request::post("/ignored", vec![b'x'; 50 << 20]);
    let response = APPS.send(&request);
    assert_eq!(
        (response.code(), response.text().as_str(), response.end),
        (413, "too large", Some((0, 0))),
        "{response}"
    );
}

#[test]
fn c47_connection_is_usable_after_an_unread_body() {
    let mut connection = APPS.connect();
    for _ in 0..3 {
        let response = connection.exchange(&Request::post("/ignored", vec![b'x'; 1 << 20]).keep_conn());
        assert_eq!(response.code(), 413);
        connection.exchange(&Request::get("/hello").keep_conn()).ok();
    }
}

#[test]
fn c48_input_shows_nothing_of_the_socket() {
    let expression = "[hasattr(i, name) for name in ('fileno', 'seek', 'detach', 'raw', 'getsockname')]";
    assert_eq!(calls_on(b"x", expression), "[False, False, False, False, False]");
}

#[test]
fn c48_input_says_what_it_can_do() {
    let expression = "[i.readable(), i.writable(), i.seekable(), i.isatty(), i.closed, i.close(), i.closed]";
    assert_eq!(
        calls_on(b"x", expression),
        "[True, False, False, False, False, None, False]"
    );
}

#[test]
fn c48_io_can_be_put_around_the_input() {
    let body = "caf\u{e9}\r\none\ntwo".as_bytes();
    assert_eq!(
        calls_on(body, "list(__import__('io').TextIOWrapper(i, 'utf-8'))"),
        "['caf\u{e9}\\n', 'one\\n', 'two']"
    );
    let buffered = "[(b.readline(), b.peek(1)[:1], b.read()) for b in [__import__('io').BufferedReader(i)]]";
    assert_eq!(
        calls_on(body, buffered),
        "[(b'caf\\xc3\\xa9\\r\\n', b'o', b'one\\ntwo')]"
    );
    // What was put around it is gone; the input is not closed.
    let around = "[__import__('io').TextIOWrapper(i, 'utf-8').close(), i.read()]";
    assert_eq!(calls_on(b"body", around), "[None, b'body']");
}

#[test]
fn c48_readinto_fills_what_it_is_given() {
    let expression = "[(i.readinto(b), bytes(b), i.readinto1(memoryview(b)[2:]), bytes(b), i.readinto(b), i.readinto(bytearray()), \
                      attempt(lambda: i.readinto(b'fixed')), attempt(lambda: i.readinto('text'))) for b in [bytearray(4)]]";
    assert_eq!(
        calls_on(b"abcdef", expression),
        "[(4, b'abcd', 2, b'abef', 0, 0, ('TypeError', False), ('TypeError', False))]"
    );
}

#[test]
fn c48_read1_gives_what_is_there() {
    assert_eq!(
        calls_on(
            b"abcdef",
            "[i.read1(2), i.read1(0), i.read1(), i.read1(-1), i.read1(5)]"
        ),
        "[b'ab', b'', b'cdef', b'', b'']"
    );
    // A part of the body has come, enough for a thread to start: it does not wait for the rest.
    let mut connection = APPS.connect();
    let whole = vec![b'x'; 200_000];
    let request = Request::post("/first_read1", whole.clone());
    let bytes = request.bytes();
    connection.send(&bytes[..bytes.len() - 100_000]);
    let mut response = Response::default();
    connection.read_until_body_has(&mut response, b"some;");
    connection.send(&bytes[bytes.len() - 100_000..]);
    connection.read_more(&mut response, 1);
    assert_eq!(response.ok().text(), "some;200000");
}

#[test]
fn c48_close_does_nothing() {
    assert_eq!(
        calls_on(b"body", "[i.read(1), getattr(i, 'close', lambda: None)(), i.read()]"),
        "[b'b', None, b'ody']"
    );
}

#[test]
fn c59_environ_belongs_to_the_application_after_the_call() {
    let mut connection = APPS.connect();
    let request = Request::post("/replaced", vec![b'x'; 100_000]).keep_conn();
    assert_eq!(connection.exchange(&request).ok().text(), "mine");
    assert_eq!(
        connection
            .exchange(&Request::post("/echo", "next").keep_conn())
            .ok()
            .text(),
        "next"
    );
}

#[test]
fn a20_application_starts_without_any_stdin_record() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/hello").head_bytes());
    assert_eq!(connection.read_response(1).ok().text(), "hello");
    let mut connection = APPS.connect();
    connection.send(&Request::get("/hello").param("CONTENT_LENGTH", "0").head_bytes());
    assert_eq!(connection.read_response(1).ok().text(), "hello");
}

#[test]
fn a20_input_is_at_its_end_without_any_stdin_record() {
    let mut connection = APPS.connect();
    let request = Request::get("/calls")
        .param("CONTENT_LENGTH", "0")
        .header("X-Calls", "i.read()");
    connection.send(&request.head_bytes());
    assert_eq!(connection.read_response(1).ok().text(), "b''");
}

#[test]
fn a21_stdin_before_the_params_end_never_starts_the_application_early() {
    let request = Request::post("/echo", "body");
    let pairs = request.pairs();
    let (first, rest) = pairs.split_at(pairs.len() / 2);
    let mut connection = APPS.connect();
    connection.send(&[request.begin_bytes(), record(PARAMS, 1, first), record(STDIN, 1, b"bo")].concat());
    // The gateway may close here; if it goes on, the request is whole.
    let _ = connection.try_send(&[stream(PARAMS, 1, rest, 65535), stream(STDIN, 1, b"dy", 10)].concat());
    let response = connection.read_response(1);
    if response.stdout.is_empty() {
        assert!(response.closed.is_some(), "{response}");
    } else {
        assert!(matches!(response.code(), 200 | 400), "{response}");
        if response.code() == 200 {
            assert_eq!(response.text(), "body");
        }
    }
}

#[test]
fn a28_body_and_answer_of_10_mib_pass_a_peer_that_writes_everything_first() {
    let mut connection = APPS.connect();
    let request = Request::post("/ignored_big_answer", vec![b'x'; 10 << 20]);
    connection.send(&request.bytes());
    let response = connection.read_response(1).ok();
    assert_eq!(response.body().len(), 10 << 20);
}

#[test]
fn a28_echo_of_10_mib_passes_a_peer_that_writes_everything_first() {
    let body: Vec<u8> = (0..10 << 20).map(|n: u32| (n % 251) as u8).collect();
    let mut connection = APPS.connect();
    connection.send(&Request::post("/echo_stream", body.clone()).bytes());
    let response = connection.read_response(1).ok();
    assert!(response.body() == body, "{} bytes came back", response.body().len());
}

#[test]
fn bodies_around_every_boundary_arrive_whole() {
    for length in [0, 1, 65534, 65535, 65536, 131_071, 131_072, 131_073, 1 << 20] {
        let body: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
        for record in [65535, 8192] {
            let response = APPS
                .send(&Request::post("/echo", body.clone()).stdin_record(record))
                .ok();
            assert!(
                response.body() == body,
                "{length} bytes in records of {record}: {}",
                response.body().len()
            );
        }
    }
}

#[test]
fn two_bodies_on_one_connection_do_not_mix() {
    let mut connection = APPS.connect();
    for round in 0..50u32 {
        let body = format!("body {round} ").repeat(round as usize * 40);
        let response = connection
            .exchange(&Request::post("/echo", body.clone()).keep_conn())
            .ok();
        assert_eq!(response.text(), body);
    }
}
