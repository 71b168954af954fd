//! What the head of a response looks like on the wire: SPEC C13, C14, C25 to C27 and C30 to C35, C57, E16.

use crate::start_response::APPS;
use crate::support::fcgi_client::{END_REQUEST, Record, Request, STDOUT};
use crate::support::process::{Gateway, Shared};

static ITERATION: Shared = Shared::new(|| Gateway::app("iteration"));

fn head(target: &str) -> String {
    String::from_utf8(APPS.get(target).ok().head().to_vec()).unwrap()
}

#[test]
fn a25_simple_response_is_exactly_these_records() {
    let response = APPS.get("/hello");
    let record = |kind, content: &[u8]| Record {
        kind,
        id: 1,
        content: content.to_vec(),
    };
    let stdout: Vec<_> = response.records[..response.records.len() - 1]
        .iter()
        .map(|record| (record.kind, record.content.is_empty()))
        .collect();
    assert!(
        stdout[..stdout.len() - 1].iter().all(|shape| *shape == (STDOUT, false)),
        "{response}"
    );
    assert_eq!(
        stdout.last(),
        Some(&(STDOUT, true)),
        "STDOUT ends before END_REQUEST: {response}"
    );
    assert_eq!(response.records.last(), Some(&record(END_REQUEST, &[0; 8])));
    assert_eq!(
        String::from_utf8_lossy(&response.stdout),
        "Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    );
}

#[test]
fn a25_nothing_follows_end_request() {
    let mut connection = APPS.connect();
    connection.send(&Request::get("/hello").bytes());
    connection.read_response(1).ok();
    connection.expect_close();
}

#[test]
fn c13_order_case_and_duplicates_are_kept() {
    assert_eq!(
        head("/two_cookies"),
        "Status: 200 OK\r\nSet-Cookie: a=1\r\ncontent-TYPE: text/plain\r\nSet-Cookie: b=2\r\nx-lower: v\r\n\
         ETag: \"e\"\r\nContent-Length: 7\r\n\r\n"
    );
}

#[test]
fn c10_values_are_trimmed_and_may_hold_tabs_and_latin1() {
    let response = APPS.get("/trimmed").ok();
    let head = response.head();
    let has = |line: &[u8]| head.windows(line.len()).any(|window| window == line);
    assert!(has(b"\r\nX-Trimmed: v w\r\n"), "{response}");
    assert!(has(b"\r\nX-Tab: a\tb\r\n"), "{response}");
    assert!(has(b"\r\nX-Empty: \r\n") || has(b"\r\nX-Empty:\r\n"), "{response}");
    assert!(has(b"\r\nX-Latin: caf\xe9\r\n"), "{response}");
}

#[test]
fn c14_changing_the_list_later_changes_nothing() {
    let response = APPS.get("/mutated").ok();
    assert_eq!(response.header("X-Kept").as_deref(), Some("1"));
    assert_eq!(response.header("X-Late"), None);
}

#[test]
fn c25_single_block_gets_its_content_length() {
    assert_eq!(APPS.get("/hello").ok().header("Content-Length").as_deref(), Some("5"));
    let empty = APPS.get("/one_empty_item").ok();
    assert!(
        matches!(empty.header("Content-Length").as_deref(), None | Some("0")),
        "{empty}"
    );
}

#[test]
fn c25_len_that_raises_or_lies_breaks_nothing() {
    assert_eq!(APPS.get("/length_raises").ok().text(), "lenraises");
    let small = APPS.get("/length_too_small").ok();
    // PEP 3333 lets a server trust len(); a body that ends with its announced length is whole for every peer.
    match small.header("Content-Length") {
        None => assert_eq!(small.text(), "onetwo"),
        Some(length) => assert_eq!(small.text().len().to_string(), length, "{small}"),
    }
    let big = APPS.get("/length_too_big").ok();
    assert_eq!(big.text(), "");
    assert!(
        matches!(big.header("Content-Length").as_deref(), None | Some("0")),
        "{big}"
    );
}

#[test]
fn c26_no_content_length_is_invented_for_generators_and_writes() {
    for target in ["/generator", "/write_then_iterable", "/write_only"] {
        assert_eq!(APPS.get(target).ok().header("Content-Length"), None, "{target}");
    }
    // PEP 3333 leaves the sum over a list of several blocks to nobody.
    assert_eq!(APPS.get("/two_items").ok().header("Content-Length"), None);
}

#[test]
fn c27_content_length_of_the_application_must_be_one_number() {
    for headers in [
        "[('Content-Length', 'abc')]",
        "[('Content-Length', '-1')]",
        "[('Content-Length', '+5')]",
        "[('Content-Length', '')]",
        "[('Content-Length', '5, 5')]",
        "[('Content-Length', '0x5')]",
        "[('content-length', '5'), ('Content-Length', '6')]",
        "[('Content-Length', '99999999999999999999')]",
    ] {
        let response = APPS.send(&Request::post("/attempt", format!("('200 OK', {headers})")));
        assert!(response.header("X-Raised").is_some(), "{headers}: {response}");
    }
}

#[test]
fn c30_head_has_headers_and_no_body() {
    for target in ["/method", "/generator", "/empty_list", "/declared", "/declared_empty"] {
        let response = ITERATION.send(&Request::new("HEAD", target)).ok();
        assert_eq!(response.text(), "", "{target}");
        assert!(response.stdout.ends_with(b"\r\n\r\n"), "{target}: {response}");
        let length = response.header("Content-Length");
        match target {
            "/declared" => assert_eq!(length.as_deref(), Some("4")),
            "/declared_empty" => assert_eq!(length.as_deref(), Some("1000")),
            "/method" => assert!(matches!(length.as_deref(), None | Some("4")), "{response}"),
            _ => assert_eq!(length, None, "{target}: {response}"),
        }
    }
}

#[test]
fn c30_application_sees_the_method_head() {
    let response = ITERATION.send(&Request::new("HEAD", "/method")).ok();
    assert_eq!(response.header("X-Method").as_deref(), Some("HEAD"));
}

#[test]
fn c31_no_content_has_no_body_and_no_length() {
    for target in ["/no_content", "/no_content_with_body"] {
        let response = APPS.get(target);
        assert_eq!(
            (response.head(), response.text().as_str(), response.end),
            (b"Status: 204 No Content\r\n\r\n".as_slice(), "", Some((0, 0))),
            "{response}"
        );
    }
    APPS.log.wait_for_line(&["WARN", "/no_content_with_body"]);
}

#[test]
fn c31_not_modified_keeps_the_applications_headers_and_has_no_body() {
    let response = APPS.get("/not_modified");
    assert_eq!(
        String::from_utf8_lossy(&response.stdout),
        "Status: 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 1000\r\nContent-Type: text/x\r\n\r\n"
    );
    assert_eq!(response.end, Some((0, 0)));
}

#[test]
fn c32_no_content_type_is_invented() {
    assert_eq!(head("/no_headers"), "Status: 200 OK\r\n\r\n");
}

#[test]
fn c33_head_starts_with_status_and_fills_one_record() {
    for target in [
        "/hello",
        "/generator",
        "/created",
        "/big_head?60000",
        "/status?404+Not+Found",
    ] {
        let response = APPS.get(target);
        assert!(response.stdout.starts_with(b"Status: "), "{response}");
        let first = &response.records[0].content;
        assert!(
            first.windows(4).any(|window| window == b"\r\n\r\n"),
            "{target}: the head is split"
        );
    }
}

#[test]
fn c34_success_with_a_location_is_warned_about() {
    let response = APPS.get("/redirect_ok").ok();
    assert_eq!(response.header("Location").as_deref(), Some("/elsewhere"));
    APPS.log.wait_for_line(&["WARN", "Location", "/redirect_ok"]);
    let created = APPS.get("/created");
    assert_eq!(created.status(), "201 Created");
    assert!(
        APPS.log
            .find(|line| line.contains("Location") && line.contains("/created"))
            .is_none()
    );
}

#[test]
fn c35_head_over_4000_bytes_is_warned_about_and_sent() {
    let response = APPS.get("/big_head?5000").ok();
    assert!(response.head().len() > 5000);
    let line = APPS.log.wait_for_line(&["WARN", "/big_head"]);
    assert!(!line.contains("ccc"), "no header values in the log: {line}");
}

#[test]
fn c35_head_over_64_kib_is_a_500() {
    APPS.get("/big_head?65000").ok();
    assert_eq!(APPS.get("/big_head?66000").error_page(500).end, Some((1, 0)));
}

#[test]
fn c35_header_line_over_8190_bytes_is_a_500() {
    APPS.get("/long_line?8190").ok();
    assert_eq!(APPS.get("/long_line?8191").error_page(500).end, Some((1, 0)));
}

#[test]
fn c57_gateway_adds_no_header_of_its_own() {
    for target in ["/generator", "/no_headers", "/two_cookies"] {
        let head = head(target).to_ascii_lowercase();
        for name in ["date:", "server:", "connection:", "transfer-encoding:", "x-powered-by:"] {
            assert!(!head.contains(name), "{target}: {head}");
        }
    }
}

#[test]
fn c57_gateway_sends_no_interim_response() {
    let request = Request::post("/hello", "body").header("Expect", "100-continue");
    assert_eq!(
        APPS.send(&request).ok().headers()[0],
        ("Status".into(), "200 OK".into())
    );
}

/// What web servers act on: nginx, Apache's mod_xsendfile, lighttpd.
const SENDFILE: [&str; 8] = [
    "X-Accel-Redirect",
    "X-Accel-Buffering",
    "x-accel-expires",
    "X-Sendfile",
    "X-SENDFILE",
    "X-Sendfile2",
    "X-Sendfile-Temporary",
    "X-LIGHTTPD-send-file",
];

/// The headers that arrive of those with these names.
#[track_caller]
fn passed(gateway: &Gateway, names: &[&str]) -> Vec<(String, String)> {
    let headers: Vec<_> = names.iter().map(|name| format!("('{name}', '/srv/x')")).collect();
    let call = format!("('200 OK', [{}])", headers.join(", "));
    let response = gateway.send(&Request::post("/attempt", call)).ok();
    let headers = response.headers().into_iter();
    headers.filter(|(_, value)| value == "/srv/x").collect()
}

#[test]
fn f5_headers_that_front_servers_act_on_pass_through() {
    let expected = SENDFILE.map(|name| (name.to_owned(), "/srv/x".to_owned()));
    assert_eq!(passed(&APPS, &SENDFILE), expected);
}

#[test]
fn f5_headers_that_front_servers_act_on_can_be_left_out() {
    let gateways = [
        Gateway::app("start_response").flag("--strip-sendfile-headers"),
        Gateway::app("start_response")
            .flag("--strip-sendfile-headers")
            .on_stdin(),
    ];
    for gateway in gateways.map(|builder| builder.start()) {
        assert_eq!(passed(&gateway, &SENDFILE), []);
        let others = ["X-Accelerated", "X-Send", "X-LIGHTTPD", "X-Accel", "Sendfile", "X-Last"];
        assert_eq!(
            passed(&gateway, &others).len(),
            others.len(),
            "what only looks alike stays"
        );
        // One that could not be sent is an error of the application, as ever.
        let wrong = "('200 OK', [('X-Sendfile', 'a\\n')])";
        let response = gateway.send(&Request::post("/attempt", wrong));
        assert_eq!(response.text(), "raised ValueError", "{response}");
    }
}
