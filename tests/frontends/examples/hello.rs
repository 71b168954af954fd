//! examples/hello behind nginx, with its own snippet.

use std::path::Path;

use crate::support::http::{Client, Request, fetch};
use crate::support::installed;
use crate::support::nginx::{Nginx, upstream};
use crate::support::process::Gateway;
use crate::support::web_server::shipped;

#[test]
fn hello_greets_and_streams() {
    if !installed::nginx() {
        return;
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello");
    let gateway = Gateway::app("app.py").chdir(directory).start();
    let snippet = shipped(
        "examples/hello/nginx.conf",
        &[("unix:/run/wsgi-fpm/hello.sock", &upstream(&gateway.address))],
    );
    let nginx = Nginx::configure().server(0, "localhost", &snippet).start();
    let get = |target: &str| fetch(nginx.address(), &Request::get(target));

    let page = get("/").ok();
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("<h1>Hello, world!</h1>"), "{}", page.text());
    let page = get("/?name=J%C3%BCrgen+%3Cb%3E").ok().text();
    assert!(page.contains("<h1>Hello, J\u{fc}rgen &lt;b&gt;!</h1>"), "{page}");
    assert!(
        page.contains("<th>QUERY_STRING</th><td>name=J%C3%BCrgen+%3Cb%3E</td>"),
        "{page}"
    );
    get("/none").expect(404);

    let mut client = Client::connect(nginx.address());
    client.send_head(&Request::get("/stream"));
    assert_eq!(client.read_head().status, 200);
    // Each piece is a chunk: they have not been collected on the way.
    let mut pieces = 0;
    while let Some(piece) = client.chunk().unwrap().filter(|piece| !piece.is_empty()) {
        pieces += 1;
        let piece = String::from_utf8(piece).unwrap();
        assert!(piece.starts_with(&format!("piece {pieces} of 10, ")), "{piece:?}");
        assert_eq!(piece.matches("piece").count(), 1, "{piece:?}");
    }
    assert_eq!(pieces, 10);
    assert_eq!(nginx.errors(), Vec::<String>::new());
}
