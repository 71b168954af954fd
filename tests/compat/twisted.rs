//! The same application under `twisted.web.wsgi` and under wsgi-fpm: the same answers, but for what the web server in front says.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use crate::checks::as_it_is;
use crate::front::Front;
use crate::sites::{Copy, Site};
use crate::support::http::{Request, Response, fetch, pattern};
use crate::support::tied::Tied;

const SITE: Site = Site {
    name: "twisted",
    processes: 2,
    threads: 4,
    prepare: as_it_is,
};

/// Of the connection, not of the response; and what each server says of itself and of the time.
const NOT_COMPARED: [&str; 5] = ["connection", "date", "server", "transfer-encoding", "keep-alive"];

// Twisted has no prefix to compare with.
ways!(@test behind_nginx Nginx SITE, compare);
ways!(@test under_mod_fcgid Fcgid SITE, compare);

/// Twisted with its own HTTP server, as its command line starts it.
struct Twisted {
    address: SocketAddr,
    _process: Tied,
    _copy: Copy,
}

impl Twisted {
    #[track_caller]
    fn start() -> Self {
        let copy = Copy::of(&SITE);
        let mut command = Command::new(copy.path().join(".venv/bin/twist"));
        command
            .args([
                "--log-file=/dev/stderr",
                "--log-format=text",
                "web",
                "--wsgi",
                "site_app.application",
            ])
            .arg("--listen=tcp:0:interface=127.0.0.1")
            .current_dir(copy.path())
            .env("PYTHONPATH", copy.path())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let process = Tied::spawn(&command, "TERM");
        // It listens when it says so: "2026-11-24T01:52:15+0000 [-] Site starting on 35169".
        let said = process.log.wait_for_line(&["Site starting on "]);
        let (_, port) = said.lines().next().unwrap().rsplit_once(' ').unwrap();
        let port: u16 = port.parse().unwrap();
        Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            _process: process,
            _copy: copy,
        }
    }

    fn ask(&self, request: &Request) -> Response {
        fetch(self.address, request)
    }
}

/// What is the same: the status, headers by name in the order of each name's values, the body.
#[derive(PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    complete: bool,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        let lower = |(name, value): (String, String)| (name.to_ascii_lowercase(), value);
        let mut headers: Vec<_> = response.headers.into_iter().map(lower).collect();
        headers.retain(|(name, _)| !NOT_COMPARED.contains(&&**name));
        headers.sort_by(|one, other| one.0.cmp(&other.0));
        Self {
            status: response.status,
            headers,
            body: response.body,
            complete: response.complete,
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]).into_owned();
        write!(
            formatter,
            "{} {:?} complete={} {} bytes {start:?}",
            self.status,
            self.headers,
            self.complete,
            self.body.len()
        )
    }
}

fn requests() -> Vec<Request> {
    let get = |target: &str| Request::get(target);
    let mut requests: Vec<Request> = [
        "/environ",
        "/environ/%C3%A9t%C3%A9/a%20b%25c",
        "/environ/a%2Fb;c=1/",
        "/environ?",
        "/environ?a=%C3%BC&b=+%26%zz",
        "/generator",
        "/late",
        "/write",
        "/file",
        "/large",
        "/cookies",
        "/headers",
        "/redirect",
        "/replaced",
        "/nothing",
        "/none",
        "/",
    ]
    .into_iter()
    .map(get)
    .collect();
    let statuses = [
        200, 201, 202, 204, 206, 299, 304, 400, 403, 404, 409, 418, 451, 500, 503, 599,
    ];
    requests.extend(statuses.map(|status| Request::get(format!("/status/{status}"))));
    // Not where the length is 0: Apache leaves that out of its answers to HEAD.
    requests.extend(["/environ", "/large", "/cookies", "/headers"].map(|path| Request::new("HEAD", path)));
    for path in [
        "/read",
        "/read_pieces",
        "/readline",
        "/readlines",
        "/iterate",
        "/unread",
    ] {
        let bodies: [&[u8]; 5] = [b"", b"x", b"one\ntwo\n\nlast", b"\r\n\r\n\x00\xff", &pattern(0, 70_000)];
        requests.extend(bodies.map(|body| Request::post(path).header("Content-Type", "text/plain").body(body)));
    }
    requests.push(Request::post("/read").pattern(1024 * 1024));
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        requests.push(Request::new(method, "/environ").body("x"));
    }
    requests.push(Request::post("/environ").form(&[("a", "\u{fc}")]));
    requests.push(
        get("/environ")
            .header("Cookie", "a=1; b=\"2\"")
            .header("User-Agent", "tests/1.0 (x)")
            .header("Accept", "*/*;q=0.1")
            .header("Accept-Language", "de, en;q=0.5")
            .header("If-None-Match", "\"abc\"")
            .header("Referer", "http://example.com/?a=b")
            .header("X-Empty", "")
            .header("X-Latin-1", "caf\u{e9}")
            .header("Authorization", "Basic dXNlcjpzZWNyZXQ="),
    );
    requests
}

fn compare(front: &Front) {
    let twisted = Twisted::start();
    let mut differences = Vec::new();
    for request in requests() {
        let request = request.host("example.test");
        let theirs = Answer::from(twisted.ask(&request));
        let ours = Answer::from(front.send(&request));
        if ours != theirs {
            let head = String::from_utf8_lossy(&request.head(front.address)).into_owned();
            differences.push(format!("{head}ours:    {ours:?}\nTwisted: {theirs:?}\n"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    front.expect_quiet();
}
