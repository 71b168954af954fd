//! `wsgi-fpm dev`: the real path without a web server.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::bodies::{DIGESTS, MIB, expect_pattern};
use crate::support::http::{Request, Response, fetch};
use crate::support::installed;
use crate::support::log::field;
use crate::support::python::make_venv;
use crate::support::tied::Tied;
use crate::support::wait::{SOON, until};

/// A running preview.
struct Preview {
    process: Tied,
    address: SocketAddr,
    /// Where its application is.
    directory: TempDir,
}

impl Preview {
    /// Of `source`, written to app.py.
    fn of(source: &str, options: &[&str]) -> Self {
        Self::with_files(source, &[], options)
    }

    /// The same, beside these files.
    fn with_files(source: &str, files: &[(&str, &str)], options: &[&str]) -> Self {
        let directory = TempDir::with_prefix("wsgi-fpm-preview-").unwrap();
        for (name, text) in [&[("app.py", source)], files].concat() {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_wsgi-fpm"));
        command
            .args(["dev", "app.py", "--bind", "127.0.0.1:0"])
            .args(options)
            .current_dir(directory.path())
            .env_remove("VIRTUAL_ENV")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let process = Tied::spawn(&command, "QUIT");
        let line = process.log.wait_for_line(&["preview", "url="]);
        let url = field(&line, "url").unwrap();
        let address = url
            .strip_prefix("http://")
            .unwrap()
            .trim_end_matches('/')
            .parse()
            .unwrap();
        Self {
            process,
            address,
            directory,
        }
    }

    fn write(&self, source: &str) {
        fs::write(self.directory.path().join("app.py"), source).unwrap();
    }

    #[track_caller]
    fn send(&self, request: &Request) -> Response {
        fetch(self.address, request)
    }

    #[track_caller]
    fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target))
    }

    fn reloads(&self) -> usize {
        self.process.log.count(|line| line.contains(" reloading "))
    }

    /// Waits until the application is being loaded again for the `number`th time.
    #[track_caller]
    fn wait_for_reloads(&self, number: usize) {
        until("the reload begins", SOON, || self.reloads() >= number);
    }

    /// Asks until the page has `text` in it.
    #[track_caller]
    fn wait_for(&self, text: &str) -> Response {
        let end = Instant::now() + SOON;
        loop {
            let response = self.get("/");
            if response.text().contains(text) {
                return response;
            }
            assert!(
                Instant::now() < end,
                "no {text:?} in {}; the log:\n{}",
                response.text(),
                self.process.log.text()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The application that the other tests have behind nginx.
fn site(options: &[&str]) -> Preview {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/apps/pages.py");
    Preview::of(&fs::read_to_string(path).unwrap(), options)
}

const HELLO: &str = "
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'hello, version 1']
";

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
fn preview_reloads_after_a_change_and_survives_an_error_in_it() {
    let preview = Preview::of(HELLO, &[]);
    preview.wait_for("hello, version 1").ok();
    preview.write(&HELLO.replace("version 1", "version 2"));
    preview.wait_for("hello, version 2").ok();
    preview.write("import there_is_no_such_module\n");
    let page = preview.wait_for("there_is_no_such_module");
    assert_eq!(page.status, 500);
    assert!(page.text().contains("ModuleNotFoundError"), "{}", page.text());
    preview.write(&HELLO.replace("version 1", "version 3"));
    preview.wait_for("hello, version 3").ok();
}

/// The version that it shows comes from a file that is no code; importing it takes as long as that of many.
const SLOW: &str = "
import time
time.sleep(0.5)
VERSION = open('version.txt').read()
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'version ', VERSION.encode()]
";

#[test]
fn preview_holds_requests_until_a_changed_template_is_loaded() {
    let preview = Preview::with_files(SLOW, &[("version.txt", "1")], &[]);
    preview.wait_for("version 1").ok();
    for version in ["2", "3"] {
        fs::write(preview.directory.path().join("version.txt"), version).unwrap();
        preview.wait_for_reloads(version.parse::<usize>().unwrap() - 1);
        // Neither an error nor the page of before.
        assert_eq!(preview.get("/").ok().text(), format!("version {version}"));
    }
}

#[test]
fn preview_reloads_for_projects_beside_the_application() {
    let libraries = TempDir::with_prefix("wsgi-fpm-libraries-").unwrap();
    let library = |name: &str| libraries.path().join(name);
    for name in ["editable", "named"] {
        fs::create_dir(library(name)).unwrap();
        fs::write(library(name).join(format!("{name}_part.py")), "TEXT = '1'\n").unwrap();
    }
    let venv = library("venv");
    if !make_venv(Path::new("python3"), &venv) {
        return;
    }
    // As `pip install --editable` leaves it.
    let find = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let output = Command::new(venv.join("bin/python"))
        .args(["-c", find])
        .output()
        .unwrap();
    let packages = String::from_utf8(output.stdout).unwrap();
    fs::write(
        Path::new(packages.trim()).join("editable.pth"),
        library("editable").to_str().unwrap(),
    )
    .unwrap();
    let source = "
import editable_part, named_part
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [('%s and %s' % (editable_part.TEXT, named_part.TEXT)).encode()]
";
    let variable = format!("PYTHONPATH={}", library("named").display());
    let preview = Preview::of(source, &["--python", venv.to_str().unwrap(), "--env", &variable]);
    preview.wait_for("1 and 1").ok();
    fs::write(library("editable/editable_part.py"), "TEXT = '2'\n").unwrap();
    preview.wait_for("2 and 1").ok();
    fs::write(library("named/named_part.py"), "TEXT = '2'\n").unwrap();
    preview.wait_for("2 and 2").ok();
}

#[test]
fn preview_shows_what_is_wrong_with_a_new_version_and_tries_no_more_until_it_changes() {
    let preview = Preview::of(HELLO, &[]);
    preview.wait_for("hello, version 1").ok();
    preview.write("import there_is_no_such_module\n");
    preview.wait_for_reloads(1);
    let page = preview.get("/").expect(500).text();
    assert!(page.contains("there_is_no_such_module"), "{page}");
    // The first delay after a failed start of a service.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(preview.process.log.count(|line| line.contains("starting again")), 0);
    preview.write(&HELLO.replace("version 1", "version 2"));
    preview.wait_for_reloads(2);
    assert_eq!(preview.get("/").ok().text(), "hello, version 2");
}

#[test]
fn file_that_the_application_writes_when_it_starts_makes_no_reload_loop() {
    let source = format!("import time\nopen('state.json', 'w').write(str(time.time()))\ntime.sleep(0.3)\n{HELLO}");
    let preview = Preview::of(&source, &[]);
    let line = preview
        .process
        .log
        .wait_for_line(&["no reload: this file changes whenever the application starts"]);
    assert!(line.contains("state.json"), "{line}");
    preview.wait_for("hello, version 1").ok();
    let reloads = preview.reloads();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(preview.reloads(), reloads, "{}", preview.process.log.text());
    // A developer's change of it is still seen.
    fs::write(preview.directory.path().join("state.json"), "edited").unwrap();
    preview.wait_for_reloads(reloads + 1);
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
fn preview_of_a_broken_application_waits_for_its_repair() {
    let preview = Preview::of("def application(:\n", &[]);
    let page = preview.wait_for("SyntaxError");
    assert_eq!(page.status, 500);
    preview.write(HELLO);
    preview.wait_for("hello, version 1").ok();
}

#[test]
fn preview_without_reload_stays_as_it_is() {
    let preview = Preview::of(HELLO, &["--no-reload"]);
    preview.wait_for("hello, version 1").ok();
    preview.write(&HELLO.replace("version 1", "version 2"));
    // As long as a reload would take, and longer.
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        assert_eq!(preview.get("/").ok().text(), "hello, version 1");
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
