//! What the preview answers with.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use super::{HELLO, Preview, site};
use crate::harness::data::{DIGESTS, MIB, expect_pattern};
use crate::support::http::Request;
use crate::support::installed;
use crate::support::wait::SOON;

#[test]
fn preview_serves_the_hello_example() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello/app.py");
    let preview = Preview::of(&fs::read_to_string(example).unwrap(), &[]);
    let page = preview.get("/?name=J%C3%BCrgen").ok();
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("<h1>Hello, J\u{fc}rgen!</h1>"), "{}", page.text());
    preview.get("/none").expect(404);
    assert!(preview.get("/stream").ok().text().contains("piece 10 of 10"));
}

#[test]
fn preview_tells_the_application_what_a_web_server_tells() {
    let preview = site(&[]);
    let environ = preview.get("/a%20b/%C3%A9?x=%20").ok().json();
    let expected = json!({
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b/\u{c3}\u{a9}",
        "QUERY_STRING": "x=%20",
        "REQUEST_URI": "/a%20b/%C3%A9?x=%20",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_PORT": preview.address.port().to_string(),
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": preview.address.to_string(),
        "wsgi.url_scheme": "http",
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&environ[key], value, "{key} in {environ:#}");
    }
    for absent in ["CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_PROXY"] {
        assert!(environ.get(absent).is_none(), "{absent} in {environ:#}");
    }
    let environ = preview.send(&Request::post("/form").form(&[("a", "b")])).ok().json();
    assert_eq!(environ["body"], "a=b");
    assert_eq!(environ["CONTENT_LENGTH"], "3");
    assert_eq!(environ["CONTENT_TYPE"], "application/x-www-form-urlencoded");
    assert_eq!(preview.get("/cookies").ok().all("Set-Cookie").len(), 2);
    preview.send(&Request::new("HEAD", "/sized?n=100")).ok();
}

#[test]
fn preview_carries_bodies_both_ways() {
    let preview = site(&[]);
    for (length, sha256) in &DIGESTS[..4] {
        let digest = preview.send(&Request::post("/digest").pattern(*length)).ok().json();
        assert_eq!(digest["sha256"], *sha256, "{length}");
        expect_pattern(&preview.get(&format!("/sized?n={length}")).ok(), *length);
    }
    let chunked = Request::post("/").chunks(&[b"one, ", b"two"]);
    let environ = preview.send(&chunked).ok().json();
    assert_eq!(
        (&environ["body"], &environ["CONTENT_LENGTH"]),
        (&json!("one, two"), &json!("8"))
    );
    assert!(environ.get("HTTP_TRANSFER_ENCODING").is_none(), "{environ:#}");
    let digest = preview.send(&Request::post("/digest").pattern(10 * MIB)).ok().json();
    assert_eq!(digest["length"], 10 * MIB);
    expect_pattern(&preview.get(&format!("/sized?n={}", 10 * MIB)).ok(), 10 * MIB);
    expect_pattern(
        &preview.get(&format!("/sized?n={}&block=65536", 10 * MIB)).ok(),
        10 * MIB,
    );
    preview.send(&Request::post("/early").pattern(10 * MIB)).expect(413);
}

#[test]
fn preview_shows_what_went_wrong() {
    let preview = site(&[]);
    let page = preview.get("/fails").expect(500).text();
    assert!(page.contains("Traceback (most recent call last)"), "{page}");
    assert!(page.contains("on purpose: /not/for/browsers"), "{page}");
    let broken = preview.get("/breaks?n=100000");
    assert_eq!((broken.status, broken.complete), (200, false));
    let short = preview.get("/short");
    assert!(!short.complete, "{short:?}");
    preview.get("/").ok();
}

#[test]
fn preview_shows_flasks_errors() {
    let Some(python) = installed::venv_with("flask") else {
        return;
    };
    let source = "
from flask import Flask
app = Flask(__name__)
@app.get('/')
def fails():
    raise ValueError('<on purpose>')
";
    let options = ["--python", python.to_str().unwrap()];
    let page = Preview::of(source, &options).get("/").expect(500).text();
    for text in [
        "ValueError: &lt;on purpose&gt;",
        "Traceback (most recent call last)",
        "in fails",
        "GET /",
    ] {
        assert!(page.contains(text), "{page}");
    }
    // Whoever sets it has his will.
    let quiet = Preview::of(source, &[&options[..], &["--env", "FLASK_DEBUG=0"]].concat());
    let page = quiet.get("/").expect(500).text();
    assert!(!page.contains("on purpose"), "{page}");
}

#[test]
fn preview_refuses_other_hosts() {
    let preview = Preview::of(HELLO, &["--allow-host", "blog.test"]);
    let evil = || Request::get("/").header("Host", "evil.example");
    let page = preview.send(&evil()).expect(403).text();
    assert!(page.contains("--allow-host"), "{page}");
    preview.send(&evil()).expect(403);
    preview
        .process
        .log
        .wait_for_line(&["refused with 403", "evil.example", "--allow-host"]);
    assert_eq!(preview.process.log.count(|line| line.contains("refused with 403")), 1);
    for host in ["blog.test:8000", "localhost", "x.localhost"] {
        preview.send(&Request::get("/").header("Host", host)).ok();
    }
}

#[test]
fn preview_with_validate_refuses_what_pep_3333_forbids() {
    let source = "
def application(environ, start_response):
    headers = [] if environ['PATH_INFO'] == '/wrong' else [('Content-Type', 'text/plain')]
    start_response('200 OK', headers)
    return [b'checked']
";
    let checking = Preview::of(source, &["--validate"]);
    assert_eq!(checking.get("/").ok().text(), "checked");
    assert_eq!(
        checking.send(&Request::post("/").form(&[("a", "b")])).ok().text(),
        "checked"
    );
    let page = checking.get("/wrong").expect(500).text();
    assert!(page.contains("AssertionError"), "{page}");
    assert_eq!(Preview::of(source, &[]).get("/wrong").ok().text(), "checked");
}

#[test]
fn preview_ends_with_its_terminal() {
    let preview = Preview::of(HELLO, &[]);
    preview.wait_for("hello, version 1").ok();
    preview.process.signal(Signal::INT);
    preview.process.wait_for_end(SOON);
    preview.process.log.wait_for_end();
}
