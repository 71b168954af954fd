//! What every small site has to do, whatever framework it is made with: see `sites/flask/site_app.py` for the paths.

use std::thread;

use serde_json::json;

use crate::front::Front;
use crate::sites::Copy;
use crate::support::http::{Client, Request, pattern};

/// Where frameworks differ, and rightly so.
#[derive(Debug)]
pub struct Habits {
    /// The answer to a GET where only POST is served.
    pub wrong_method: u16,
    /// Whether a static file has a validator, and is not sent again to whom has it.
    pub validates: bool,
    /// Whether a part of a static file can be asked for.
    pub ranges: bool,
}

/// `/greet/Jürgen €`, escaped as every framework does.
const GREET: &str = "/greet/J%C3%BCrgen%20%E2%82%AC";
const GREETING: &str = "Hello, J\u{fc}rgen \u{20ac}!";
const STYLE: &str = "h1 { color: #204080; }\n";
/// SHA-256 of the first 65,536 bytes of the pattern, as `sha256sum` has it.
const SHA256: &str = "4b640d85ab3ba30fd02c9fc9db4a8928f416322ad27022ea58a65aaee68a4df2";
const VISITORS: usize = 6;
const LARGE: usize = 1024 * 1024 + 17;

/// Uses a site as its visitors do.
pub fn drive(front: &Front, habits: &Habits) {
    pages_and_links(front);
    paths_and_queries_are_utf8(front);
    redirects_lead_into_the_site(front);
    sessions_are_kept(front);
    visitors_do_not_meet(front);
    uploads_arrive_whole(front);
    bodies_of_any_method_come_back(front);
    cookies_are_set_apart(front);
    streams_end_whole(front);
    files_are_served(front, habits);
    wrong_requests_are_refused(front, habits);
    front.expect_quiet();
    failures_are_pages_and_log_lines(front);
}

/// A site needs nothing besides its files.
pub fn as_it_is(_: &Copy) {}

fn pages_and_links(front: &Front) {
    let page = front.get("/").ok();
    assert!(page.header("Content-Type").unwrap().starts_with("text/html"));
    assert!(page.text().contains("<h1>Hello, world!</h1>"), "{}", page.text());
    // The framework has made the link from SCRIPT_NAME, and it leads back.
    let link = format!("href=\"{}\"", front.path(GREET));
    assert!(page.text().contains(&link), "no {link} in {}", page.text());
    assert_eq!(front.get(GREET).ok().text(), GREETING);
}

fn paths_and_queries_are_utf8(front: &Front) {
    // Unescaped, as some clients send them.
    assert_eq!(front.get("/greet/J\u{fc}rgen%20\u{20ac}").ok().text(), GREETING);
    let page = front.get("/?name=%3Cb%3E+J%C3%BCrgen%26").ok().text();
    assert!(page.contains("<h1>Hello, &lt;b&gt; J\u{fc}rgen&amp;!</h1>"), "{page}");
    assert_eq!(front.get("/where?a=1&b=2").ok().text(), front.url("/where?a=1&b=2"));
}

fn redirects_lead_into_the_site(front: &Front) {
    let mut browser = front.browser();
    let answer = browser.get(&front.path("/old")).expect(302);
    assert!(browser.follow(&answer).ok().text().contains("Hello, world!"));
    let location = answer.header("Location").unwrap();
    assert!(location == front.path("/") || location == front.url("/"), "{location}");
}

fn sessions_are_kept(front: &Front) {
    let mut browser = front.browser();
    let notes = ["first & second", "Z\u{fc}rich \u{20ac} \"quoted\""];
    for note in notes {
        let form = Request::post(front.path("/notes")).form(&[("text", note)]);
        let answer = browser.send(form).expect(303);
        browser.follow(&answer).ok();
    }
    assert_eq!(browser.get(&front.path("/notes")).ok().json(), json!(notes));
    assert_eq!(front.browser().get(&front.path("/notes")).ok().json(), json!([]));
}

/// At the same time, each with a session and texts of its own.
fn visitors_do_not_meet(front: &Front) {
    thread::scope(|scope| {
        for visitor in 0..VISITORS {
            scope.spawn(move || {
                let mut browser = front.browser();
                let mut notes = Vec::new();
                for round in 0..3 {
                    let note = format!("{visitor}: {round}");
                    let form = Request::post(front.path("/notes")).form(&[("text", &note)]);
                    browser.send(form).expect(303);
                    notes.push(note);
                    let greeting = browser.get(&front.path(&format!("/greet/{visitor}-{round}"))).ok();
                    assert_eq!(greeting.text(), format!("Hello, {visitor}-{round}!"));
                }
                assert_eq!(browser.get(&front.path("/notes")).ok().json(), json!(notes));
            });
        }
    });
}

fn uploads_arrive_whole(front: &Front) {
    let file = pattern(0, 65_536);
    let upload = Request::post(front.path("/upload"))
        .multipart(&[("title", "\u{fc}ber")], Some(("file", "\u{e9}t\u{e9}.bin", &file)));
    let expected = json!({"title": "\u{fc}ber", "name": "\u{e9}t\u{e9}.bin", "size": file.len(), "sha256": SHA256});
    assert_eq!(front.send(&upload).ok().json(), expected);
}

fn bodies_of_any_method_come_back(front: &Front) {
    let large = pattern(0, LARGE);
    for method in ["POST", "PUT"] {
        let echo = Request::new(method, front.path("/echo")).header("Content-Type", "application/octet-stream");
        let answer = front.send(&echo.clone().body(large.clone())).ok();
        assert!(answer.body == large, "{method}: {} bytes", answer.body.len());
        let answer = front.send(&echo.clone().chunks(&[b"in ", b"pieces"])).ok();
        assert_eq!(answer.text(), "in pieces", "{method}");
        assert_eq!(front.send(&echo.body("")).ok().text(), "", "{method}");
    }
}

fn cookies_are_set_apart(front: &Front) {
    let mut browser = front.browser();
    let answer = browser.get(&front.path("/cookies")).expect(204);
    assert_eq!(answer.all("Set-Cookie").len(), 2, "{:?}", answer.headers);
    let cookie = |name: &str| browser.cookies[name].trim_matches('"');
    assert_eq!((cookie("first"), cookie("second")), ("1", "2"));
}

fn streams_end_whole(front: &Front) {
    let answer = front.get("/stream").ok();
    assert_eq!(answer.text(), "piece 1\npiece 2\npiece 3\npiece 4\npiece 5\n");
    assert_eq!(answer.header("Content-Length"), None);
    // On a connection that is kept the next request gets its own answer.
    let mut client = Client::connect(front.address);
    for _ in 0..3 {
        assert_eq!(
            client.exchange(&Request::get(front.path("/stream"))).ok().body.len(),
            40
        );
        assert_eq!(client.exchange(&Request::get(front.path(GREET))).ok().text(), GREETING);
    }
}

fn files_are_served(front: &Front, habits: &Habits) {
    let path = "/files/style.css";
    let file = front.get(path).ok();
    assert_eq!(file.text(), STYLE);
    assert!(file.header("Content-Type").unwrap().starts_with("text/css"));
    assert_eq!(file.header("Content-Length"), Some("23"));
    let head = front.head(path).ok();
    assert_eq!((head.header("Content-Length"), &*head.body), (Some("23"), &b""[..]));
    let date = file.header("Last-Modified");
    assert_eq!(date.is_some(), habits.validates, "{:?}", file.headers);
    if let Some(date) = date {
        let request = Request::get(front.path(path)).header("If-Modified-Since", date);
        assert_eq!(front.send(&request).expect(304).body, b"");
    }
    let part = front.send(&Request::get(front.path(path)).header("Range", "bytes=5-9"));
    if habits.ranges {
        let part = part.expect(206);
        assert_eq!(part.text(), &STYLE[5..10]);
        assert_eq!(part.header("Content-Range"), Some("bytes 5-9/23"));
    } else {
        assert_eq!(part.ok().text(), STYLE);
    }
}

fn wrong_requests_are_refused(front: &Front, habits: &Habits) {
    front.get("/files/none.css").expect(404);
    front.get("/upload").expect(habits.wrong_method);
}

fn failures_are_pages_and_log_lines(front: &Front) {
    let page = front.get("/fail").expect(500);
    assert!(!page.text().contains("failed on purpose"), "{}", page.text());
    front
        .log
        .wait_for("of the failure", |event| event.contains("failed on purpose"));
    assert_eq!(front.get(GREET).ok().text(), GREETING);
}
