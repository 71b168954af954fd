//! start_response() and write(): SPEC C2 to C12, C15 and C16.

use crate::support::fcgi_client::{Request, Response};
use crate::support::process::{Gateway, Shared};

pub static APPS: Shared = Shared::new(|| Gateway::app("start_response"));

/// What start_response() does with these arguments, written in Python.
fn attempt(arguments: &str) -> Response {
    APPS.send(&Request::post("/attempt", arguments))
}

#[track_caller]
fn accepted(arguments: &str) -> Response {
    let response = attempt(arguments);
    assert_eq!(response.text(), "accepted", "{arguments}: {response}");
    assert_eq!(response.end, Some((0, 0)));
    response
}

/// Asserts that start_response() itself raised, where the application can see it.
#[track_caller]
fn raises(arguments: &str) {
    let response = attempt(arguments);
    assert_eq!(response.code(), 200, "{arguments}: {response}");
    assert!(response.header("X-Raised").is_some(), "{arguments}: {response}");
}

#[track_caller]
fn raises_type_error(arguments: &str) {
    assert_eq!(
        attempt(arguments).header("X-Raised").as_deref(),
        Some("TypeError"),
        "{arguments}"
    );
}

#[test]
fn c2_start_response_returns_a_write_callable() {
    assert_eq!(APPS.get("/write_callable").ok().text(), "[True, True]");
}

#[test]
fn c2_exc_info_of_none_is_as_absent() {
    assert_eq!(APPS.get("/none_exc_info").ok().text(), "none");
}

#[test]
fn c2_wrong_number_of_arguments_raises_type_error() {
    raises_type_error("()");
    raises_type_error("('200 OK',)");
    raises_type_error("('200 OK', [], None, None)");
}

#[test]
fn c4_second_call_without_exc_info_raises() {
    let response = APPS.get("/twice").ok();
    assert!(response.text().starts_with("raised "), "{response}");
    assert_eq!(response.status(), "200 OK");
}

#[test]
fn c4_call_after_an_accepted_one_raises_even_if_another_was_refused_in_between() {
    let response = APPS.get("/refused_between").ok();
    assert_eq!(response.text(), "ValueError AssertionError");
    assert_eq!(response.header("X-Third"), None);
}

#[test]
fn c4_second_call_that_nobody_catches_is_a_500() {
    assert_eq!(APPS.get("/twice_uncaught").error_page(500).end, Some((1, 0)));
}

#[test]
fn c5_exc_info_before_the_head_is_out_replaces_status_and_headers() {
    for target in ["/replaced", "/replaced_from_generator"] {
        let response = APPS.get(target);
        assert_eq!(response.status(), "503 Second", "{response}");
        assert_eq!(response.text(), "second");
        assert_eq!(response.header("X-Second").as_deref(), Some("2"));
        for gone in ["X-First", "Content-Type"] {
            assert_eq!(response.header(gone), None, "{response}");
        }
        assert_ne!(response.header("Content-Length").as_deref(), Some("3"));
        assert_eq!(response.end, Some((0, 0)));
    }
}

#[test]
fn c6_exc_info_after_the_head_is_out_reraises_the_same_exception() {
    let response = APPS.get("/reraised?c6-same").ok();
    assert_eq!(response.text(), "head;same");
}

#[test]
fn c6_no_reference_to_the_exception_is_kept() {
    APPS.get("/reraised?c6-gone").ok();
    assert_eq!(APPS.get("/still_alive?c6-gone").ok().text(), "(False, False)");
}

#[test]
fn c7_exc_info_must_be_none_or_a_tuple_of_three() {
    for wrong in ["'x'", "(1, 2)", "object()", "()", "[None, None, None]", "0", "False"] {
        raises_type_error(&format!("('200 OK', [], {wrong})"));
    }
}

#[test]
fn c8_status_must_have_a_code_a_space_and_a_printable_reason() {
    let wrong = [
        "'20'",
        "'20 OK'",
        "'200OK'",
        "'2000 X'",
        "'200 OK\\r\\n'",
        "'200 OK\\n'",
        "'200 O\\x00K'",
        "'200 O\\x7fK'",
        "' 200 OK'",
        "''",
        "b'200 OK'",
        "200",
        "None",
        "'100 Continue'",
        "'101 Switching Protocols'",
        "'199 X'",
        "'1000 X'",
        "'200-OK'",
        "'200\\tOK'",
        "'2\u{0663}0 X'",
        "'+20 OK'",
        "'200 \\u20ac'",
    ];
    for status in wrong {
        raises(&format!("({status}, [])"));
    }
}

#[test]
fn c8_status_may_have_an_empty_reason_and_any_code_from_200_to_599() {
    for (status, sent) in [
        ("'200 '", "200 "),
        (
            "'299 Custom reason, 8-bit: caf\\xe9'",
            "299 Custom reason, 8-bit: caf\u{e9}",
        ),
        ("'599 Last'", "599 Last"),
        ("Text('200 Sub')", "200 Sub"),
        ("'418 I\\'m a teapot'", "418 I'm a teapot"),
    ] {
        assert_eq!(accepted(&format!("({status}, [])")).status(), sent);
    }
}

#[test]
fn c9_headers_must_be_a_list_of_pairs_of_latin1_strings() {
    let wrong = [
        "{}",
        "None",
        "iter([])",
        "(h for h in [('a', 'b')])",
        "[['a', 'b', 'c']]",
        "[['a', 1]]",
        "(('a', 1),)",
        "[{'a': 1, 'b': 2}]",
        "[('a', 1)]",
        "[('a', None)]",
        "[('a', b'b')]",
        "[(b'a', 'b')]",
        "[('a',)]",
        "[('a', 'b', 'c')]",
        "['ab']",
        "[('a', '\\u20ac')]",
        "[('\\u20ac', 'a')]",
        "[None]",
        "'ab'",
    ];
    for headers in wrong {
        raises(&format!("('200 OK', {headers})"));
    }
}

#[test]
fn c9_subclasses_of_str_are_accepted() {
    let response = accepted("('200 OK', [(Text('X-Sub'), Text('class'))])");
    assert_eq!(response.header("X-Sub").as_deref(), Some("class"));
}

#[test]
fn c10_header_names_must_be_tokens() {
    for name in [
        "X:", "X Y", "", "X\\r", "X\\n", "X\\x00", "caf\\xe9", "X(", "\\x7f", " X", "X\\t",
    ] {
        raises(&format!("('200 OK', [('{name}', 'v')])"));
    }
    accepted("('200 OK', [(\"!#$%&'*+-.^_`|~09azAZ\", 'v')])");
}

#[test]
fn c10_header_values_must_be_free_of_control_characters() {
    for value in [
        "v\\r\\nStatus: 500",
        "v\\r",
        "v\\n",
        "\\nv",
        "v\\x00",
        "v\\x7f",
        "v\\x1b[0m",
        "v\\x0b",
        "v\\r\\n\\r\\n<html>",
    ] {
        raises(&format!("('200 OK', [('X', '{value}')])"));
    }
}

#[test]
fn c11_status_header_is_refused() {
    raises("('200 OK', [('Status', '404')])");
    raises("('200 OK', [('sTATUS', '404 Not Found')])");
}

#[test]
fn c12_hop_by_hop_headers_are_refused_in_any_case() {
    for name in [
        "connection",
        "Keep-Alive",
        "PROXY-AUTHENTICATE",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "te",
        "Trailer",
        "Trailers",
        "Transfer-Encoding",
        "transfer-encoding",
        "Upgrade",
    ] {
        raises(&format!("('200 OK', [('{name}', 'x')])"));
    }
    for value in [
        "",
        "upgrade",
        "keep-alive, Upgrade",
        "close, X-Named",
        "close,",
        "closed",
    ] {
        raises(&format!("('200 OK', [('Connection', '{value}')])"));
    }
    for name in ["Keep-Alive", "Proxy-Connection"] {
        raises(&format!("('200 OK', [('{name}', 'close')])"));
    }
}

#[test]
fn c15_write_comes_before_the_iterable() {
    assert_eq!(APPS.get("/write_then_iterable").ok().text(), "abc");
    assert_eq!(APPS.get("/write_only").ok().text(), "written");
}

#[test]
fn c15_write_takes_bytes_only() {
    let response = APPS.get("/write_types").ok();
    assert_eq!(response.text(), "TypeError TypeError TypeError TypeError TypeError");
    assert_eq!(APPS.get("/write_bytes_subclass").ok().text(), "subclass");
}

#[test]
fn c15_write_raises_when_a_later_start_response_has_failed() {
    let response = APPS.get("/write_after_failed_start?c15-failed").error_page(500);
    assert_eq!(response.end, Some((1, 0)));
    assert_eq!(APPS.get("/recorded?c15-failed").ok().text(), r#"["RuntimeError"]"#);
}

#[test]
fn c19_block_after_a_failed_start_response_is_a_500_and_logged() {
    APPS.get("/return_after_failed_start").error_page(500);
    APPS.log.wait_for_line(&["although start_response has failed"]);
}

#[test]
fn c15_write_has_sent_head_and_data_when_it_returns() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/write_flushes?c15").bytes());
    let mut response = Response::default();
    connection.read_until_body_has(&mut response, b"before;");
    APPS.get("/open_gate?c15").ok();
    connection.read_more(&mut response, 1);
    assert_eq!(response.ok().text(), "before;after");
}

#[test]
fn a24_empty_writes_and_blocks_emit_no_record() {
    let response = APPS.get("/write_empty_first").ok();
    assert_eq!(response.text(), "body");
    let empty = response
        .records
        .iter()
        .filter(|record| record.content.is_empty())
        .count();
    assert_eq!(empty, 1, "only the end of STDOUT is empty: {response}");
}

#[test]
fn c16_start_response_and_write_raise_after_the_request() {
    let mut connection = APPS.connect();
    connection.exchange(&Request::get("/stashed?c16").keep_conn()).ok();
    for _ in 0..4 {
        let response = connection.exchange(&Request::get("/use_stashed?c16").keep_conn()).ok();
        assert_eq!(response.text(), "raised raised raised raised");
        assert_eq!(response.header("X-Foreign"), None);
    }
}
