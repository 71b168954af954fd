//! httpbin as PyPI has it: what a client sends comes back as JSON, so its answers show what the application saw.

use std::process::Command;

use serde_json::{Value, json};

use crate::checks::as_it_is;
use crate::front::Front;
use crate::sites::Site;
use crate::support::http::{Request, pattern};
use crate::support::installed;

const SITE: Site = Site {
    name: "httpbin",
    processes: 2,
    threads: 4,
    prepare: as_it_is,
};

/// Statuses with and without a body, with headers of their own, and such as nobody has registered.
const STATUSES: [u16; 22] = [
    200, 201, 202, 203, 204, 206, 300, 304, 400, 401, 402, 403, 404, 405, 406, 410, 418, 429, 451, 500, 503, 599,
];

ways!(SITE, drive);

fn drive(front: &Front) {
    requests_come_back(front);
    bodies_come_back(front);
    redirects_lead_to_their_end(front);
    cookies_come_and_go(front);
    statuses_arrive(front);
    streams_arrive_whole(front);
    ranges_are_parts_of_the_whole(front);
    logins_are_checked(front);
    encodings_are_as_they_were_made(front);
    validators_spare_the_body(front);
    pages_of_every_type_arrive(front);
    front.expect_quiet();
}

#[track_caller]
fn ask(front: &Front, request: &Request) -> Value {
    front.send(request).ok().json()
}

fn requests_come_back(front: &Front) {
    let request = Request::get(front.path("/get?a=1&a=2&name=J%C3%BCrgen+%26"))
        .header("X-Test", "one")
        .header("User-Agent", "tests");
    let seen = ask(front, &request);
    assert_eq!(seen["args"], json!({"a": ["1", "2"], "name": "J\u{fc}rgen &"}));
    assert_eq!(seen["headers"]["X-Test"], "one");
    assert_eq!(seen["headers"]["User-Agent"], "tests");
    assert_eq!(seen["origin"], "127.0.0.1");
    // Flask shows URLs as people read them.
    assert_eq!(seen["url"], front.url("/get?a=1&a=2&name=J\u{fc}rgen+%26"));
    let seen = ask(front, &Request::get(front.path("/anything/%C3%A9t%C3%A9/b%20c")));
    assert_eq!(seen["url"], front.url("/anything/\u{e9}t\u{e9}/b%20c"));
    let head = front.head("/get").ok();
    assert!(head.body.is_empty() && head.header("Content-Length").is_some());
    let options = front.send(&Request::new("OPTIONS", front.path("/get"))).ok();
    assert!(
        options.header("Allow").unwrap().contains("GET"),
        "{:?}",
        options.headers
    );
}

fn bodies_come_back(front: &Front) {
    for (method, path) in [
        ("POST", "/post"),
        ("PUT", "/put"),
        ("PATCH", "/patch"),
        ("DELETE", "/delete"),
    ] {
        let request = Request::new(method, front.path(path));
        let seen = ask(front, &request.clone().form(&[("name", "J\u{fc}rgen"), ("b", "1 & 2")]));
        assert_eq!(seen["form"], json!({"name": "J\u{fc}rgen", "b": "1 & 2"}), "{method}");
        let document = request.header("Content-Type", "application/json");
        let seen = ask(front, &document.clone().body("{\"key\": [1, \"\u{20ac}\"]}"));
        assert_eq!(seen["json"], json!({"key": [1, "\u{20ac}"]}), "{method}");
        let seen = ask(front, &document.chunks(&[b"{\"key\":", b" 1}"]));
        assert_eq!(seen["json"], json!({"key": 1}), "{method}");
    }
    // httpbin itself says which it does not take.
    front.send(&Request::post(front.path("/get"))).expect(405);
    let text = "two\r\nlines\r\n".repeat(10_000);
    let upload = Request::post(front.path("/post"))
        .multipart(&[("title", "\u{fc}ber")], Some(("file", "a.txt", text.as_bytes())));
    let seen = ask(front, &upload);
    assert_eq!(seen["form"], json!({"title": "\u{fc}ber"}));
    assert_eq!(seen["files"]["file"], text);
    // What is no text comes back in base64.
    let binary = Request::post(front.path("/post")).body(pattern(0, 100_000));
    let data = ask(front, &binary)["data"].as_str().unwrap().to_owned();
    assert!(
        data.starts_with("data:application/octet-stream;base64,AAECAwQFBgcICQ"),
        "{data:.60}"
    );
    assert_eq!(data.len(), "data:application/octet-stream;base64,".len() + 133_336);
}

fn redirects_lead_to_their_end(front: &Front) {
    // httpbin writes some of its redirects without SCRIPT_NAME.
    let at_root: &[&str] = match front.prefix {
        "" => &["/redirect/3", "/relative-redirect/3", "/redirect-to?url=%2Fget"],
        _ => &["/redirect/3", "/relative-redirect/3"],
    };
    for path in at_root.iter().chain(&["/absolute-redirect/3"]) {
        let mut browser = front.browser();
        let mut answer = browser.get(&front.path(path));
        let mut steps = 0;
        while answer.status == 302 {
            answer = browser.follow(&answer);
            steps += 1;
        }
        assert!(answer.ok().json()["url"].as_str().unwrap().ends_with("/get"), "{path}");
        assert!(steps >= 1, "{path}");
    }
    let away = Request::get(front.path("/redirect-to?url=http%3A%2F%2Fexample.com%2Fx&status_code=307"));
    let answer = front.send(&away).expect(307);
    assert_eq!(answer.header("Location"), Some("http://example.com/x"));
}

fn cookies_come_and_go(front: &Front) {
    let mut browser = front.browser();
    browser.get(&front.path("/cookies/set?first=1&second=two")).expect(302);
    browser.get(&front.path("/cookies/set/third/3")).expect(302);
    let seen = browser.get(&front.path("/cookies")).ok().json();
    assert_eq!(seen["cookies"], json!({"first": "1", "second": "two", "third": "3"}));
    browser.get(&front.path("/cookies/delete?first=")).expect(302);
    let seen = browser.get(&front.path("/cookies")).ok().json();
    assert_eq!(seen["cookies"], json!({"second": "two", "third": "3"}));
}

fn statuses_arrive(front: &Front) {
    for status in STATUSES {
        let answer = front.get(&format!("/status/{status}")).expect(status);
        match status {
            204 | 304 => assert!(answer.body.is_empty(), "{status}"),
            401 => assert_eq!(answer.header("WWW-Authenticate"), Some("Basic realm=\"Fake Realm\"")),
            418 => assert!(answer.text().contains("teapot")),
            _ => {}
        }
        front
            .send(&Request::post(front.path(&format!("/status/{status}"))).body("x"))
            .expect(status);
    }
    front.get("/none").expect(404);
}

fn streams_arrive_whole(front: &Front) {
    let lines = front.get("/stream/100").ok().text();
    assert_eq!(lines.lines().count(), 100);
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["id"], 99);
    let streamed = front.get("/stream-bytes/102400?seed=7&chunk_size=1000").ok();
    assert_eq!(streamed.header("Content-Length"), None);
    let whole = front.get("/bytes/102400?seed=7").ok();
    assert_eq!(whole.header("Content-Length"), Some("102400"));
    assert!(streamed.body == whole.body && whole.body.len() == 102_400);
    let drip = front.get("/drip?duration=0.2&numbytes=10&code=200").ok();
    assert_eq!(drip.text(), "*".repeat(10));
    front.get("/delay/0.1").ok();
}

fn ranges_are_parts_of_the_whole(front: &Front) {
    let alphabet: Vec<u8> = (b'a'..=b'z').cycle().take(1000).collect();
    let range = |value: &str| front.send(&Request::get(front.path("/range/1000")).header("Range", value));
    assert!(front.get("/range/1000").ok().body == alphabet);
    let part = range("bytes=30-99").expect(206);
    assert_eq!(part.body, &alphabet[30..100]);
    assert_eq!(part.header("Content-Range"), Some("bytes 30-99/1000"));
    assert_eq!(range("bytes=-10").expect(206).body, &alphabet[990..]);
    assert_eq!(range("bytes=990-").expect(206).body, &alphabet[990..]);
    assert_eq!(
        range("bytes=2000-").expect(416).header("Content-Range"),
        Some("bytes */1000")
    );
}

fn logins_are_checked(front: &Front) {
    let with = |path: &str, value: &str| front.send(&Request::get(front.path(path)).header("Authorization", value));
    let refused = front.get("/basic-auth/user/secret").expect(401);
    assert_eq!(refused.header("WWW-Authenticate"), Some("Basic realm=\"Fake Realm\""));
    // user:secret and user:wrong
    assert_eq!(
        with("/basic-auth/user/secret", "Basic dXNlcjpzZWNyZXQ=").ok().json()["authenticated"],
        true
    );
    with("/basic-auth/user/secret", "Basic dXNlcjp3cm9uZw==").expect(401);
    front.get("/hidden-basic-auth/user/secret").expect(404);
    assert_eq!(with("/bearer", "Bearer abc").ok().json()["token"], "abc");
    front.get("/bearer").expect(401);
}

/// By curl, which can decode them, and log in by digest.
fn encodings_are_as_they_were_made(front: &Front) {
    assert!(installed::curl(), "curl is not there");
    let curl = |arguments: &[&str], path: &str| -> Value {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail"])
            .args(arguments)
            .arg(front.url(path))
            .output()
            .unwrap();
        assert!(output.status.success(), "{path}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for (path, key) in [("/gzip", "gzipped"), ("/deflate", "deflated"), ("/brotli", "brotli")] {
        assert_eq!(curl(&["--compressed"], path)[key], true);
    }
    for algorithm in ["MD5", "SHA-256"] {
        let path = format!("/digest-auth/auth/user/secret/{algorithm}");
        let seen = curl(&["--digest", "--user", "user:secret", "--cookie", ""], &path);
        assert_eq!(seen["authenticated"], true, "{algorithm}");
    }
}

fn validators_spare_the_body(front: &Front) {
    let with = |path: &str, name: &str, value: &str| front.send(&Request::get(front.path(path)).header(name, value));
    assert!(front.get("/etag/abc").ok().header("ETag").is_some());
    assert_eq!(with("/etag/abc", "If-None-Match", "abc").expect(304).body, b"");
    with("/etag/abc", "If-Match", "other").expect(412);
    assert!(front.get("/cache").ok().header("Last-Modified").is_some());
    with("/cache", "If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT").expect(304);
    assert_eq!(
        front.get("/cache/60").ok().header("Cache-Control"),
        Some("public, max-age=60")
    );
}

fn pages_of_every_type_arrive(front: &Front) {
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/html", "text/html; charset=utf-8"),
        ("/xml", "application/xml"),
        ("/json", "application/json"),
        ("/robots.txt", "text/plain"),
        ("/image/png", "image/png"),
        ("/image/jpeg", "image/jpeg"),
        ("/image/webp", "image/webp"),
        ("/image/svg", "image/svg+xml"),
        ("/encoding/utf8", "text/html; charset=utf-8"),
        ("/forms/post", "text/html; charset=utf-8"),
        ("/links/3/0", "text/html; charset=utf-8"),
    ] {
        let page = front.get(path).ok();
        assert_eq!(page.header("Content-Type"), Some(content_type), "{path}");
        assert_eq!(page.header("Access-Control-Allow-Origin"), Some("*"), "{path}");
        assert_eq!(
            page.header("Content-Length"),
            Some(&*page.body.len().to_string()),
            "{path}"
        );
    }
    assert!(
        front
            .get("/encoding/utf8")
            .ok()
            .text()
            .contains("\u{222e} E\u{22c5}da = Q")
    );
    let headers = front.get("/response-headers?X-Test=1&X-Test=2&X-Other=3").ok();
    // Apache joins them, which says the same.
    assert_eq!(headers.all("X-Test").join(", "), "1, 2");
    assert_eq!(headers.header("X-Other"), Some("3"));
}
