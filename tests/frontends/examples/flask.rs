//! examples/flask behind nginx, with its own snippet, used as a person with a browser would.

use std::path::Path;

use serde_json::json;

use crate::harness::data::{DIGESTS, MIB, expect_pattern};
use crate::support::http::{Browser, Request, pattern};
use crate::support::installed;
use crate::support::nginx::{Nginx, upstream};
use crate::support::process::Gateway;
use crate::support::web_server::shipped;

#[test]
fn flask_example_keeps_notes_and_takes_uploads() {
    let (true, Some(venv)) = (installed::nginx(), installed::venv_with("flask")) else {
        return;
    };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flask");
    // Two workers: what one of them knows alone would be lost half of the time.
    let gateway = Gateway::app("app:app").chdir(directory).python(venv).workers(2).start();
    let snippet = shipped(
        "examples/flask/nginx.conf",
        &[("unix:/run/wsgi-fpm/flask.sock", &upstream(&gateway.address))],
    );
    let nginx = Nginx::configure().server(0, "localhost", &snippet).start();
    let mut browser = Browser::new(nginx.address());

    let page = browser.get("/").ok().text();
    assert!(page.contains("Nothing noted yet."), "{page}");
    for note in ["first & foremost", "z\u{fc}rich \u{20ac}"] {
        let answer = browser
            .send(Request::post("/notes").form(&[("text", note)]))
            .expect(303);
        let page = browser.follow(&answer).ok().text();
        assert!(page.contains("<p class=\"message\">Noted.</p>"), "{page}");
        assert!(
            page.contains(&format!("<td>{}</td>", note.replace('&', "&amp;"))),
            "{page}"
        );
    }
    // A message is shown once.
    assert!(!browser.get("/").ok().text().contains("Noted."));
    let answer = browser.send(Request::post("/notes").form(&[("text", " ")])).expect(303);
    assert!(browser.follow(&answer).ok().text().contains("A note needs some text."));
    let notes = json!({"notes": ["first & foremost", "z\u{fc}rich \u{20ac}"]});
    assert_eq!(browser.get("/api/notes").ok().json(), notes);
    assert_eq!(
        Browser::new(nginx.address()).get("/api/notes").ok().json(),
        json!({"notes": []})
    );
    let answer = browser.send(Request::post("/notes/clear").form(&[])).expect(303);
    assert!(browser.follow(&answer).ok().text().contains("All notes are gone."));

    let (length, sha256) = DIGESTS[3];
    let file = pattern(0, length as usize);
    let upload = Request::post("/upload").multipart(&[], Some(("file", "data.bin", &file)));
    let expected = json!({"name": "data.bin", "type": "application/octet-stream", "size": length, "sha256": sha256});
    assert_eq!(browser.send(upload).ok().json(), expected);
    browser
        .send(Request::post("/upload").multipart(&[("other", "x")], None))
        .expect(400);
    let large = pattern(0, 10 * MIB as usize);
    let echo = Request::post("/echo").multipart(&[], Some(("file", "large.bin", &large)));
    expect_pattern(&browser.send(echo).ok(), 10 * MIB);
    // Without a length on its way to nginx: werkzeug would take it for empty if the environ said "chunked".
    let echo = Request::post("/echo")
        .header("Content-Type", "text/plain")
        .chunks(&[b"in ", b"pieces"]);
    assert_eq!(browser.send(echo).ok().text(), "in pieces");
    browser.get("/notes").expect(405);
    assert_eq!(nginx.errors(), Vec::<String>::new());
    assert_eq!(
        gateway.log.count(|line| line.contains("Traceback")),
        0,
        "{}",
        gateway.log.text()
    );
}
