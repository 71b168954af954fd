//! What the application is told of a request: SPEC B.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::front::{Entry, Front};
use crate::harness::quirk::Quirk;
use crate::support::http::Request;

scenarios_of_requests! {
    get_has_these_keys_and_no_others
    post_has_type_and_length_once
    empty_post_has_a_length
    client_headers_arrive_but_for_proxy
    repeated_headers_arrive_as_one
    header_with_underscores_is_no_other_header
    authorization_arrives
    request_header_cannot_name_the_script
    large_cookies_arrive
    header_below_the_limit_of_the_server_arrives
    header_above_the_limit_of_the_server_is_refused
    request_that_has_waited_too_long_is_a_503
    query_arrives_as_it_is
}

/// Keys of `environ` whose values are text, true or false.
fn keys(environ: &Value) -> BTreeSet<&str> {
    environ
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .filter(|&key| key != "body")
        .collect()
}

#[track_caller]
fn expect(environ: &Value, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&environ[key], value, "{key} in {environ:#}");
    }
}

/// What every application may count on.
const EVERYWHERE: [&str; 17] = [
    "REQUEST_METHOD",
    "REQUEST_URI",
    "QUERY_STRING",
    "SERVER_PROTOCOL",
    "SCRIPT_NAME",
    "PATH_INFO",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "SERVER_PORT",
    "SERVER_NAME",
    "GATEWAY_INTERFACE",
    "SERVER_SOFTWARE",
    "wsgi.url_scheme",
    "wsgi.multithread",
    "wsgi.multiprocess",
    "wsgi.run_once",
    "wsgi.input_terminated",
];

fn get_has_these_keys_and_no_others(front: &Front) {
    let request = Request::get("/some/page?x=1&y=%2F").header("X-Header", "yes");
    let environ = front.send(&request).ok().json();
    let expected = EVERYWHERE
        .iter()
        .chain(&["HTTP_HOST", "HTTP_X_HEADER"])
        .chain(front.server.keys.iter().copied().flatten());
    assert_eq!(keys(&environ), expected.copied().collect());
    let (multithread, multiprocess, run_once) = match front.server.entry {
        Entry::Serve => (true, false, false),
        Entry::Spawned => (true, true, false),
        Entry::Cgi => (false, true, true),
    };
    expect(
        &environ,
        &json!({
            "REQUEST_METHOD": "GET",
            "REQUEST_URI": format!("{}/some/page?x=1&y=%2F", front.plain.prefix),
            "QUERY_STRING": "x=1&y=%2F",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SCRIPT_NAME": front.plain.prefix,
            "PATH_INFO": "/some/page",
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_NAME": front.plain.host,
            "GATEWAY_INTERFACE": "CGI/1.1",
            "HTTP_HOST": front.plain.host,
            "HTTP_X_HEADER": "yes",
            "wsgi.url_scheme": "http",
            "wsgi.multithread": multithread,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": run_once,
            "wsgi.input_terminated": true,
            "body": "",
        }),
    );
    for (key, value) in [("REQUEST_SCHEME", "http"), ("SERVER_ADDR", "127.0.0.1")] {
        assert!(
            environ.get(key).is_none_or(|told| told == value),
            "{key} in {environ:#}"
        );
    }
    let software = environ["SERVER_SOFTWARE"].as_str().unwrap();
    assert!(software.starts_with(front.server.software), "{software}");
    let port: u16 = environ["SERVER_PORT"].as_str().unwrap().parse().unwrap();
    // The client named no port in Host: some servers take that for its answer.
    assert!([front.plain.address.port(), 80].contains(&port), "{port}");
}

/// B5 and B6.
fn post_has_type_and_length_once(front: &Front) {
    let request = Request::post("/form").form(&[("a", "b c")]);
    let environ = front.send(&request).ok().json();
    let expected = json!({
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": "7",
        "body": "a=b%20c",
    });
    expect(&environ, &expected);
    for absent in ["HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"] {
        assert!(!keys(&environ).contains(absent), "{absent} in {environ:#}");
    }
}

fn empty_post_has_a_length(front: &Front) {
    let environ = front.send(&Request::post("/").body("")).ok().json();
    expect(&environ, &json!({"CONTENT_LENGTH": "0", "body": ""}));
    let told = keys(&environ).contains("CONTENT_TYPE");
    assert_eq!(told, front.has(Quirk::InventsContentType), "{environ:#}");
}

/// B10, B2.
fn client_headers_arrive_but_for_proxy(front: &Front) {
    let request = Request::get("/")
        .header("Proxy", "http://evil.example/")
        .header("X-Odd", "caf\u{e9}, \u{20ac}")
        .header("X-Empty", "")
        .header("Accept-Language", "eo")
        .header("Cookie", "a=1; b=2")
        .header("X-Forwarded-Proto", "https");
    let environ = front.send(&request).ok().json();
    let bytes_as_latin_1: String = "caf\u{e9}, \u{20ac}".bytes().map(char::from).collect();
    expect(
        &environ,
        &json!({
            "HTTP_X_ODD": bytes_as_latin_1,
            "HTTP_ACCEPT_LANGUAGE": "eo",
            "HTTP_COOKIE": "a=1; b=2",
            "wsgi.url_scheme": "http",
        }),
    );
    assert!(!keys(&environ).contains("HTTP_PROXY"), "{environ:#}");
    let empty = environ.get("HTTP_X_EMPTY").and_then(Value::as_str);
    let expected = (!front.has(Quirk::DropsEmptyHeaders)).then_some("");
    assert_eq!(empty, expected, "{environ:#}");
}

fn repeated_headers_arrive_as_one(front: &Front) {
    let request = Request::get("/")
        .header("X-Two", "1")
        .header("X-Two", "2")
        .header("Cookie", "a=1")
        .header("Cookie", "b=2");
    let environ = front.send(&request).ok().json();
    let last = json!({"HTTP_X_TWO": "2", "HTTP_COOKIE": "b=2"});
    // Newer versions of the same server may join them.
    if front.has(Quirk::TakesLastOfRepeatedHeaders) && environ["HTTP_X_TWO"] == last["HTTP_X_TWO"] {
        expect(&environ, &last);
        return;
    }
    let cookies = if front.has(Quirk::JoinsCookiesWithCommas) {
        "a=1, b=2"
    } else {
        "a=1; b=2"
    };
    expect(&environ, &json!({"HTTP_X_TWO": "1, 2", "HTTP_COOKIE": cookies}));
}

/// F2.
fn header_with_underscores_is_no_other_header(front: &Front) {
    let environ = front.send(&Request::get("/").header("X_Name", "forged")).ok().json();
    let passed = keys(&environ).contains("HTTP_X_NAME");
    assert_eq!(passed, front.has(Quirk::MapsUnderscores), "{environ:#}");
}

/// B20.
fn authorization_arrives(front: &Front) {
    let request = Request::get("/").header("Authorization", "Basic dXNlcjpwYXNz");
    let environ = front.send(&request).ok().json();
    expect(&environ, &json!({"HTTP_AUTHORIZATION": "Basic dXNlcjpwYXNz"}));
    let user = environ.get("REMOTE_USER").and_then(Value::as_str);
    let expected = front.has(Quirk::TellsUncheckedUser).then_some("user");
    assert_eq!(user, expected, "{environ:#}");
}

/// F3.
fn request_header_cannot_name_the_script(front: &Front) {
    let request = Request::get("/page")
        .header("Script-Name", "/evil")
        .header("Remote-User", "root")
        .header("Https", "on");
    let environ = front.send(&request).ok().json();
    expect(
        &environ,
        &json!({
            "SCRIPT_NAME": front.plain.prefix,
            "PATH_INFO": "/page",
            "HTTP_SCRIPT_NAME": "/evil",
            "HTTP_REMOTE_USER": "root",
            "wsgi.url_scheme": "http",
        }),
    );
    assert!(!keys(&environ).contains("REMOTE_USER"), "{environ:#}");
}

/// As large as nginx takes them by default, and two of them.
fn large_cookies_arrive(front: &Front) {
    let (cookie, large) = (format!("a={}; b=2", "x".repeat(7 * 1024)), "y".repeat(7 * 1024));
    let request = Request::get("/").header("Cookie", &cookie).header("X-Large", &large);
    let environ = front.send(&request).ok().json();
    expect(&environ, &json!({"HTTP_COOKIE": cookie, "HTTP_X_LARGE": large}));
}

fn header_below_the_limit_of_the_server_arrives(front: &Front) {
    let value = "y".repeat(front.server.request_header.passes);
    let environ = front.send(&Request::get("/").header("X-Large", &value)).ok().json();
    assert!(environ["HTTP_X_LARGE"] == value.as_str());
}

fn header_above_the_limit_of_the_server_is_refused(front: &Front) {
    let limit = front.server.request_header;
    let request = Request::get("/").header("X-Large", &"y".repeat(limit.fails));
    front.send(&request).expect(limit.status);
    front.get("/").ok();
}

/// E5.
fn request_that_has_waited_too_long_is_a_503(front: &Front) {
    const OLD: &str = "old";
    let target = front.own(OLD);
    if front.server.entry == Entry::Cgi {
        // Its process runs already: there is no queue.
        front.old.get(&target).ok();
        return;
    }
    let response = front.old.get(&target).expect(503);
    assert_eq!(response.header("Retry-After"), Some("1"));
    assert_eq!(response.text(), "503 Service Unavailable\n");
    // One line a second: it may be about another server's request to the same gateway.
    front
        .old
        .log
        .wait_for_line(&["503", OLD, &front.option("queue-timeout")]);
}

fn query_arrives_as_it_is(front: &Front) {
    for query in [
        "",
        "a=%ZZ",
        "x=1&x=2;y",
        "%E9=\u{e9}",
        "a?b/../c//d",
        "--config=/x",
        "-h",
    ] {
        let response = front.get(&format!("/page?{query}"));
        if front.has(Quirk::RefusesRawBytes) && !query.is_ascii() {
            response.expect(400);
            continue;
        }
        let environ = response.ok().json();
        let bytes_as_latin_1: String = query.bytes().map(char::from).collect();
        assert_eq!(environ["QUERY_STRING"], bytes_as_latin_1, "{query:?}");
        assert_eq!(environ["PATH_INFO"], "/page");
    }
}
