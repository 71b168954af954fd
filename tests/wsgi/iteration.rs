//! The returned iterable: SPEC C17 to C24, C28, C29, C56 and C58.

use std::thread;
use std::time::Duration;

use crate::support::fcgi_client::{Request, Response, STDOUT};
use crate::support::process::{Gateway, Shared};
use crate::support::wait::{SOON, until};

static APPS: Shared = Shared::new(|| Gateway::app("iteration").option("--write-timeout", "1s"));

/// What the application has written down under `key`, as JSON text.
fn events(key: &str) -> String {
    APPS.get(&format!("/recorded?{key}")).ok().text()
}

/// Asserts that the events come to be these: close() runs after the response's end.
#[track_caller]
fn expect_events(key: &str, expected: &str) {
    let mut last = String::new();
    let what = format!("events {expected} under {key}");
    let end = std::time::Instant::now() + SOON;
    while std::time::Instant::now() < end {
        last = events(key);
        if last == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited in vain for {what}, which are {last}");
}

#[test]
fn c17_every_kind_of_iterable_is_sent() {
    for (name, body) in [
        ("as_tuple", "tuple"),
        ("as_iterator", "iterator"),
        ("as_getitem_sequence", "getitem"),
        ("as_list_subclass", "subclass"),
        ("as_dict_keys", "dictkeys"),
        ("as_set", "set"),
        ("as_class", "class"),
        ("close_attribute_none", "odd"),
    ] {
        assert_eq!(APPS.get(&format!("/{name}?c17-kinds")).ok().text(), body, "{name}");
    }
}

#[test]
fn c17_iterable_is_iterated_once_and_asked_for_nothing_else() {
    assert_eq!(APPS.get("/as_object_with_iter?c17").ok().text(), "object");
    until("close is looked up", SOON, || events("c17").contains("close"));
    let seen: Vec<String> = serde_json::from_str(&events("c17")).unwrap();
    assert_eq!(seen.iter().filter(|name| *name == "iter").count(), 1, "{seen:?}");
    for name in &seen {
        assert!(matches!(name.as_str(), "iter" | "close" | "__len__"), "{seen:?}");
    }
}

#[test]
fn c18_generator_may_call_start_response_when_it_is_first_asked() {
    for target in ["/late_start", "/late_start_after_empty"] {
        let response = APPS.get(target);
        assert_eq!(
            (response.status().as_str(), response.text().as_str()),
            ("418 Late", "a"),
            "{response}"
        );
        assert_eq!(response.header("X-Late").as_deref(), Some("yes"));
        assert_eq!(response.end, Some((0, 0)));
    }
}

#[test]
fn c18_block_before_start_response_is_a_500() {
    let response = APPS.get("/block_before_start").error_page(500);
    assert!(!response.text().contains("too early"));
    assert_eq!(response.end, Some((1, 0)));
}

#[test]
fn c19_iteration_without_start_response_is_a_500_and_logged() {
    for target in ["/never_started", "/never_started_generator"] {
        assert_eq!(APPS.get(target).error_page(500).end, Some((1, 0)));
        APPS.log.wait_for_line(&["ERROR", target, "start_response"]);
    }
}

#[test]
fn c3_head_waits_for_the_first_block_that_is_not_empty() {
    let response = APPS.get("/empty_then_raise").error_page(500);
    assert_eq!(response.header("X-Dropped"), None);
}

#[test]
fn c20_item_of_a_wrong_type_is_a_500_when_it_comes_first() {
    for kind in ["str", "int", "every second", "none", "list", "float"] {
        let response = APPS.get(&format!("/wrong_first_item?{kind}")).error_page(500);
        assert_eq!(response.end, Some((1, 0)));
    }
    APPS.log.wait_for_line(&["ERROR", "/wrong_first_item", "str"]);
}

#[test]
fn c20_item_of_a_wrong_type_cuts_the_response_when_it_comes_later() {
    for kind in ["str", "int", "every second", "none", "list", "float"] {
        let response = APPS.get(&format!("/wrong_second_item?{kind}")).cut();
        assert_eq!(response.text(), "a");
    }
    APPS.log.wait_for_line(&["ERROR", "/wrong_second_item", "str"]);
}

#[test]
fn c20_list_with_a_wrong_item_never_ends_as_if_it_were_whole() {
    for kind in ["str", "none"] {
        let response = APPS.get(&format!("/wrong_second_item_of_list?{kind}"));
        // Blocks of a list may be coalesced, so the head may be unsent when the wrong one is found.
        match response.code() {
            500 => assert_eq!(response.end, Some((1, 0))),
            _ => assert_eq!(response.cut().text(), "a"),
        }
    }
}

#[test]
fn c21_result_that_is_no_iterable_of_bytes_is_a_500_naming_its_type() {
    for (kind, named) in [
        ("none", "NoneType"),
        ("int", "int"),
        ("str", "str"),
        ("function", "function"),
    ] {
        let mark = APPS.log.mark();
        let response = APPS.get(&format!("/wrong_result?{kind}")).error_page(500);
        assert_eq!(response.end, Some((1, 0)));
        until(&format!("a log line that names {named}"), SOON, || {
            APPS.log.since(mark).iter().any(|line| line.contains(named))
        });
    }
}

#[test]
fn c22_each_block_is_out_before_the_next_is_asked_for() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/step_by_step?c22").bytes());
    let mut response = Response::default();
    connection.read_until_body_has(&mut response, b"first;");
    APPS.get("/open_gate?c22-1").ok();
    connection.read_until_body_has(&mut response, b"second;");
    APPS.get("/open_gate?c22-2").ok();
    connection.read_more(&mut response, 1);
    let response = response.ok();
    assert_eq!(response.text(), "first;second;third");
    let empty = response
        .records
        .iter()
        .filter(|record| record.kind == STDOUT && record.content.is_empty())
        .count();
    assert_eq!(empty, 1, "an empty block emits no record");
}

#[test]
fn a24_blocks_over_one_record_are_split() {
    let response = APPS.get("/list_blocks").ok();
    assert_eq!(response.body().len(), 70011);
    assert!(response.body().starts_with(b"aaaaaaaaaab") && response.body().ends_with(b"bc"));
}

#[test]
fn c23_close_runs_once_after_a_normal_end() {
    APPS.get("/closing?c23-normal").ok();
    expect_events("c23-normal", r#"["made", "next", "next", "close"]"#);
}

#[test]
fn c23_close_is_called_on_the_iterable_and_not_on_its_iterator() {
    assert_eq!(APPS.get("/closing_iterator_apart?c23-apart").ok().text(), "ab");
    expect_events("c23-apart", r#"["close"]"#);
}

#[test]
fn c23_close_of_a_list_subclass_runs() {
    APPS.get("/as_list_subclass?c23-list").ok();
    expect_events("c23-list", r#"["close"]"#);
}

#[test]
fn c23_close_runs_after_an_exception_in_the_first_block() {
    APPS.get("/closing_raise_first?c23-first").error_page(500);
    expect_events("c23-first", r#"["made", "close"]"#);
}

#[test]
fn c23_close_runs_after_an_exception_in_a_later_block() {
    APPS.get("/closing_raise_later?c23-later").cut();
    expect_events("c23-later", r#"["made", "next", "close"]"#);
}

#[test]
fn c23_close_runs_after_an_exception_in_iter() {
    APPS.get("/closing_raise_in_iter?c23-iter").error_page(500);
    expect_events("c23-iter", r#"["made", "close"]"#);
}

#[test]
fn c23_close_runs_after_a_bad_item() {
    APPS.get("/closing_bad_item?c23-bad").cut();
    expect_events("c23-bad", r#"["made", "next", "next", "close"]"#);
}

#[test]
fn c23_close_runs_when_start_response_was_never_called() {
    APPS.get("/closing_never_started?c23-never").error_page(500);
    expect_events("c23-never", r#"["made", "close"]"#);
}

#[test]
fn c23_close_runs_when_the_content_length_is_reached() {
    assert_eq!(APPS.get("/closing_too_long?c23-long").ok().text(), "abc");
    expect_events("c23-long", r#"["made", "next", "next", "close"]"#);
}

#[test]
fn c23_close_runs_for_head() {
    APPS.send(&Request::new("HEAD", "/closing?c23-head")).ok();
    until("close after HEAD", SOON, || events("c23-head").ends_with(r#""close"]"#));
    assert_eq!(events("c23-head").matches("close").count(), 1);
}

#[test]
fn c23_close_runs_for_204() {
    APPS.get("/closing_no_content?c23-204");
    until("close after 204", SOON, || events("c23-204").ends_with(r#""close"]"#));
    assert_eq!(events("c23-204").matches("close").count(), 1);
}

#[test]
fn c23_finally_of_a_generator_runs() {
    APPS.get("/finally_runs?c23-finally").ok();
    expect_events("c23-finally", r#"["finally"]"#);
}

#[test]
fn c23_close_runs_when_the_peer_is_gone() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/closing_endless?c23-gone").bytes());
    connection.read_until_body_has(&mut Response::default(), b"x");
    drop(connection);
    until("close after the peer has gone", SOON, || {
        events("c23-gone").ends_with(r#""close"]"#)
    });
    assert_eq!(events("c23-gone").matches("close").count(), 1);
}

#[test]
fn c23_close_runs_although_empty_blocks_never_end() {
    assert_eq!(APPS.get("/closing_empty_for_ever?c23-empty").ok().text(), "a");
    until("close after the response", SOON, || {
        events("c23-empty").ends_with(r#""close"]"#)
    });
    APPS.log
        .wait_for_line(&["WARN", "/closing_empty_for_ever", "empty blocks"]);
}

#[test]
fn c24_slow_close_delays_neither_the_end_nor_the_response() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/closing_slow?c24").keep_conn().bytes());
    assert_eq!(connection.read_response(1).ok().text(), "body");
    assert_eq!(events("c24"), r#"["made", "next"]"#, "close() waits at its gate");
    APPS.get("/open_gate?c24").ok();
    expect_events("c24", r#"["made", "next", "close", "same thread"]"#);
    connection.exchange(&Request::get("/hello").keep_conn()).ok();
}

#[test]
fn c24_exception_in_close_is_logged_and_changes_nothing() {
    assert_eq!(APPS.get("/closing_raises?c24-raises").ok().text(), "body");
    expect_events("c24-raises", r#"["made", "next", "close"]"#);
    APPS.log.wait_for_line(&["from close()"]);
}

#[test]
fn c28_body_over_its_content_length_is_truncated_and_warned_about() {
    let response = APPS.get("/too_long").ok();
    assert_eq!(response.text(), "abc");
    APPS.log.wait_for_line(&["WARN", "/too_long"]);
}

#[test]
fn c28_write_past_the_content_length_raises() {
    assert_eq!(APPS.get("/write_too_long?c28").ok().text(), "abc");
    let seen = events("c28");
    assert!(seen.starts_with("[\"") && !seen.contains("accepted"), "{seen}");
}

#[test]
fn c28_body_of_exactly_its_content_length_ends_normally() {
    assert_eq!(APPS.get("/exact_in_pieces").ok().text(), "abcdef");
    let empty = APPS.get("/zero_length").ok();
    assert_eq!(
        (empty.header("Content-Length").as_deref(), empty.text().as_str()),
        (Some("0"), "")
    );
}

#[test]
fn c29_body_under_its_content_length_never_ends_as_if_it_were_whole() {
    for target in ["/too_short_written", "/too_short_generator"] {
        let response = APPS.get(target);
        assert_eq!((response.code(), response.text().as_str()), (200, "four"), "{response}");
        // E8a: the declared length tells the front server, so that END_REQUEST may follow, but as a failure.
        assert_ne!(response.end, Some((0, 0)), "{response}");
        let line = APPS.log.wait_for_line(&["ERROR", target, "10"]);
        assert!(line.contains('4'), "bytes sent and expected: {line}");
    }
}

#[test]
fn c29_body_that_is_known_to_be_too_short_before_anything_was_sent_is_a_500() {
    for (target, length) in [
        ("/too_short", 4),
        ("/too_short_tuple", 4),
        ("/too_short_bytes", 4),
        ("/too_short_empty", 0),
        ("/too_short_without_blocks", 0),
    ] {
        let target = format!("{target}?c29-known");
        let response = APPS.get(&target).error_page(500);
        assert_eq!(response.end, Some((1, 0)));
        let said = format!("the body has {length} bytes, Content-Length says 10");
        let target = target.split('?').next().unwrap();
        APPS.log.wait_for_line(&["ERROR", target, &said]);
        // Whoever asks for the head alone gets what it would be.
        let head = APPS.send(&Request::new("HEAD", target)).ok();
        assert_eq!(head.header("Content-Length").as_deref(), Some("10"), "{target}");
    }
}

#[test]
fn c56_peer_that_goes_away_is_no_error_in_the_log() {
    let gateway = Gateway::app("iteration").start();
    let mut connection = gateway.connect();
    connection.send(&Request::get("/closing_endless?c56").bytes());
    connection.read_until_body_has(&mut Response::default(), b"x");
    drop(connection);
    until("close after the peer has gone", Duration::from_secs(5), || {
        gateway.get("/recorded?c56").ok().text().ends_with(r#""close"]"#)
    });
    gateway.log.wait_for_line(&["INFO", "/closing_endless"]);
    assert_eq!(
        gateway.log.count(|line| line.contains("ERROR")),
        0,
        "{}",
        gateway.log.text()
    );
}

#[test]
fn c56_application_that_gives_empty_blocks_notices_that_its_peer_is_gone() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/closing_waiting?c56-waiting").bytes());
    until("the application waits", SOON, || events("c56-waiting").contains("next"));
    drop(connection);
    until("close after the peer has gone", SOON, || {
        events("c56-waiting").ends_with(r#""close"]"#)
    });
}

/// Four times a second somebody else receives for a thread that is busy.
#[test]
fn c56_application_that_gives_empty_blocks_notices_that_its_peer_was_gone_long_ago() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/closing_waiting_at_gate?c56-gate").bytes());
    until("the application waits", SOON, || events("c56-gate").contains("next"));
    drop(connection);
    thread::sleep(Duration::from_secs(1));
    APPS.get("/open_gate?c56-gate").ok();
    until("close after the peer has gone", SOON, || {
        events("c56-gate").ends_with(r#""close"]"#)
    });
}

#[test]
fn a27_peer_that_closes_after_the_end_of_stdout_is_no_error() {
    let gateway = Gateway::app("iteration").start();
    for _ in 0..20 {
        let mut connection = gateway.connect();
        connection.send(&Request::get("/as_tuple").bytes());
        while let Some(record) = connection.read_record() {
            if record.kind == STDOUT && record.content.is_empty() {
                break;
            }
        }
        drop(connection);
    }
    gateway.get("/hello").ok();
    let is_of_root = |line: &str| line.contains("the application runs as root");
    let is_bad = |line: &str| line.contains("ERROR") || line.contains("WARN");
    let bad = gateway.log.find(|line| is_bad(line) && !is_of_root(line));
    assert_eq!(bad, None);
    assert_eq!(
        gateway
            .log
            .count(|line| line.contains("/as_tuple") && line.contains("abort")),
        0
    );
}

/// What a stalled reader lets out of the application at most: 256 KiB in the gateway (SPEC C58), what the kernel
/// buffers on a unix socket, and one more block in the making.
const BUFFERED_MOST: u64 = 256 * 1024 + 512 * 1024 + 64 * 1024;

#[test]
fn c58_stalled_reader_stops_the_application_until_the_write_timeout() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/one_gibibyte?c58").bytes());
    connection.read_until_body_has(&mut Response::default(), b"x");
    // The reader stalls here. The interpreter stays free for others meanwhile.
    APPS.get("/hello").ok();
    until("the stalled request is aborted and closed", SOON, || {
        events("c58").ends_with(r#""close"]"#)
    });
    let produced: u64 = APPS.get("/how_much?c58").ok().text().parse().unwrap();
    assert!(produced <= BUFFERED_MOST, "{produced} bytes for a reader that took one");
    assert_eq!(
        connection.read_to_end().records.last().map(|record| record.kind),
        Some(STDOUT),
        "no END_REQUEST"
    );
}

#[test]
fn c58_slow_reader_gets_everything() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/one_gibibyte?c58-slow").bytes());
    let mut total = 0;
    while total < 64 << 20 {
        let record = connection.expect_record();
        assert_eq!(record.kind, STDOUT);
        total += record.content.len();
    }
    let produced: u64 = APPS.get("/how_much?c58-slow").ok().text().parse().unwrap();
    assert!(
        produced <= total as u64 + BUFFERED_MOST,
        "{produced} bytes for {total} read"
    );
}

#[test]
fn blocks_of_every_size_arrive_whole_and_in_order() {
    // Built-in lists may be gathered into few writes, generators may not; both have to survive partial writes.
    for target in ["/pattern_list", "/pattern_generator"] {
        for sizes in [
            "5000000,0,5000003",
            "65528,65528,65528",
            "65535,1,65536,65527,65529",
            "16384,16383,16385,1",
            "1000000,1,1,1,1000000",
        ] {
            expect_pattern(
                &format!("{target}?{sizes}"),
                sizes.split(',').map(|size| size.parse::<usize>().unwrap()).sum(),
            );
        }
    }
}

#[test]
fn thousands_of_tiny_blocks_arrive_whole_and_in_order() {
    for (target, count) in [("/pattern_list", 20_000), ("/pattern_generator", 3_000)] {
        let sizes = vec!["7"; count].join(",");
        expect_pattern(&format!("{target}?{sizes}"), 7 * count);
    }
}

/// Asserts the bytes 0, 1, ... 250, 0, ... up to `length`.
#[track_caller]
fn expect_pattern(target: &str, length: usize) {
    let response = APPS.get(target).ok();
    let body = response.body();
    let wrong = body
        .iter()
        .enumerate()
        .find(|(at, byte)| usize::from(**byte) != at % 251);
    assert_eq!(
        (body.len(), wrong),
        (length, None),
        "{}",
        &target[..target.len().min(60)]
    );
}

#[test]
fn c23_close_runs_when_the_peer_is_gone_inside_one_big_block() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/closing_big?c23-big").bytes());
    connection.expect_record();
    drop(connection);
    until("close after the peer has gone", SOON, || {
        events("c23-big").ends_with(r#""close"]"#)
    });
}
