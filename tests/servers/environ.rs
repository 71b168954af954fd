//! What the application is told of a request: SPEC B, through the project's params and the distribution's.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::front::{Front, STOCK, STOCK_PARAMS, STREAM};
use crate::support::http::{Request, fetch};
use crate::support::installed;
use crate::support::nginx::{Nginx, upstream};
use crate::support::process::Gateway;

scenarios! {
    get_has_these_keys_and_no_others
    get_through_stock_params_has_these_keys_and_no_others
    post_has_type_and_length_once
    server_name_is_never_empty
    client_headers_arrive_but_for_proxy
    chunked_upload_has_a_length_and_no_transfer_encoding
    large_cookies_arrive
    request_header_cannot_name_the_script
    request_that_has_waited_too_long_is_a_503
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

const WSGI: [&str; 5] = [
    "wsgi.url_scheme",
    "wsgi.multithread",
    "wsgi.multiprocess",
    "wsgi.run_once",
    "wsgi.input_terminated",
];

/// What both kinds of params say.
const COMMON: [&str; 17] = [
    "REQUEST_METHOD",
    "REQUEST_URI",
    "QUERY_STRING",
    "SERVER_PROTOCOL",
    "REQUEST_SCHEME",
    "SCRIPT_NAME",
    "PATH_INFO",
    "DOCUMENT_URI",
    "DOCUMENT_ROOT",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "SERVER_ADDR",
    "SERVER_PORT",
    "SERVER_NAME",
    "GATEWAY_INTERFACE",
    "SERVER_SOFTWARE",
    "HTTP_HOST",
];

fn common(front: &Front) -> Value {
    json!({
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/some/page?x=1&y=%2F",
        "QUERY_STRING": "x=1&y=%2F",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_SCHEME": "http",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/some/page",
        "DOCUMENT_URI": "/some/page",
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_ADDR": "127.0.0.1",
        "SERVER_PORT": front.address.port().to_string(),
        "GATEWAY_INTERFACE": "CGI/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.multithread": true,
        "wsgi.multiprocess": false,
        "wsgi.run_once": false,
        "wsgi.input_terminated": true,
        "body": "",
    })
}

fn get_has_these_keys_and_no_others(front: &Front) {
    let environ = front.get("/some/page?x=1&y=%2F").ok().json();
    let expected = COMMON.iter().chain(&WSGI).chain(&["REQUEST_START"]);
    assert_eq!(keys(&environ), expected.copied().collect());
    expect(&environ, &common(front));
    expect(
        &environ,
        &json!({"HTTP_HOST": front.address.to_string(), "SERVER_NAME": "127.0.0.1"}),
    );
    assert!(
        environ["SERVER_SOFTWARE"].as_str().unwrap().starts_with("nginx/"),
        "{environ:#}"
    );
}

fn get_through_stock_params_has_these_keys_and_no_others(front: &Front) {
    let environ = front
        .send(&Request::get("/some/page?x=1&y=%2F").host(STOCK))
        .ok()
        .json();
    let expected = COMMON.iter().chain(&WSGI).chain(&["REDIRECT_STATUS"]);
    assert_eq!(keys(&environ), expected.copied().collect());
    expect(&environ, &common(front));
    expect(
        &environ,
        &json!({"HTTP_HOST": STOCK, "SERVER_NAME": STOCK, "REDIRECT_STATUS": "200"}),
    );
}

/// B5 and B6.
fn post_has_type_and_length_once(front: &Front) {
    for host in ["localhost", STOCK] {
        let request = Request::post("/form").host(host).form(&[("a", "b c")]);
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
}

/// B9, B21: nginx says `server_name ""` where none is configured.
fn server_name_is_never_empty(front: &Front) {
    let environ = front.send(&Request::get("/").host("shop.example:8080")).ok().json();
    expect(
        &environ,
        &json!({
            "HTTP_HOST": "shop.example:8080",
            "SERVER_NAME": "shop.example",
            "SERVER_PORT": front.address.port().to_string(),
        }),
    );
}

/// B10, B20.
fn client_headers_arrive_but_for_proxy(front: &Front) {
    for host in ["localhost", STOCK] {
        let request = Request::get("/")
            .host(host)
            .header("Proxy", "http://evil.example/")
            .header("Authorization", "Basic dXNlcjpwYXNz")
            .header("X-Odd", "caf\u{e9}, \u{20ac}")
            .header("X-Empty", "")
            .header("Accept-Language", "eo");
        let environ = front.send(&request).ok().json();
        let bytes_as_latin_1: String = "caf\u{e9}, \u{20ac}".bytes().map(char::from).collect();
        expect(
            &environ,
            &json!({
                "HTTP_AUTHORIZATION": "Basic dXNlcjpwYXNz",
                "HTTP_X_ODD": bytes_as_latin_1,
                "HTTP_X_EMPTY": "",
                "HTTP_ACCEPT_LANGUAGE": "eo",
            }),
        );
        assert!(!keys(&environ).contains("HTTP_PROXY"), "{environ:#}");
    }
}

/// B11, C46.
fn chunked_upload_has_a_length_and_no_transfer_encoding(front: &Front) {
    for host in ["localhost", STREAM] {
        let request = Request::post("/").host(host).chunks(&[b"one, ", b"two, ", b"three"]);
        let environ = front.send(&request).ok().json();
        expect(&environ, &json!({"CONTENT_LENGTH": "15", "body": "one, two, three"}));
        assert!(!keys(&environ).contains("HTTP_TRANSFER_ENCODING"), "{environ:#}");
    }
}

/// As large as nginx takes them by default: 8 KiB a line.
fn large_cookies_arrive(front: &Front) {
    let cookie = format!("a={}; b=2", "x".repeat(7 * 1024));
    let request = Request::get("/")
        .header("Cookie", &cookie)
        .header("X-Large", &"y".repeat(7 * 1024));
    let environ = front.send(&request).ok().json();
    expect(
        &environ,
        &json!({"HTTP_COOKIE": cookie, "HTTP_X_LARGE": "y".repeat(7 * 1024)}),
    );
}

/// F3.
fn request_header_cannot_name_the_script(front: &Front) {
    let request = Request::get("/page")
        .header("Script-Name", "/evil")
        .header("Remote-User", "root")
        .header("X-Forwarded-Proto", "https");
    let environ = front.send(&request).ok().json();
    expect(
        &environ,
        &json!({
            "SCRIPT_NAME": "",
            "PATH_INFO": "/page",
            "HTTP_SCRIPT_NAME": "/evil",
            "HTTP_REMOTE_USER": "root",
            "wsgi.url_scheme": "http",
        }),
    );
    assert!(!keys(&environ).contains("REMOTE_USER"), "{environ:#}");
}

/// E5.
fn request_that_has_waited_too_long_is_a_503(front: &Front) {
    let response = front
        .send(&Request::get("/too/old").host(crate::front::OLD))
        .expect(503);
    assert_eq!(response.header("Retry-After"), Some("1"));
    assert_eq!(response.text(), "503 Service Unavailable\n");
    front.gateway.log.wait_for_line(&["503", "/too/old", "--queue-timeout"]);
    front.get("/").ok();
}

/// B5's own test: what nginx sends passes the strictest reader.
#[test]
fn requests_through_nginx_pass_wsgiref_validate() {
    if !installed::nginx() {
        return;
    }
    // wsgiref.validate wants an application that reads the body with a size.
    let gateway = crate::front::site().flag("--validate").start();
    let pass = format!("fastcgi_pass {};", upstream(&gateway.address));
    let nginx = Nginx::configure()
        .server(0, "", &format!("location / {{ include wsgi_fpm_params; {pass} }}"))
        .server(0, STOCK, &format!("location / {{ include {STOCK_PARAMS}; {pass} }}"))
        .start();
    for host in ["localhost", STOCK] {
        for request in [
            Request::get("/digest"),
            Request::get("/digest?a%20b"),
            Request::post("/digest").form(&[("a", "b")]),
            Request::post("/digest").chunks(&[b"abc"]),
            Request::new("OPTIONS", "/digest"),
        ] {
            fetch(nginx.address(), &request.host(host)).ok();
        }
    }
    no_traceback(&gateway);
}

fn no_traceback(gateway: &Gateway) {
    assert_eq!(
        gateway.log.count(|line| line.contains("Traceback")),
        0,
        "{}",
        gateway.log.text()
    );
}
