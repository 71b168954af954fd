//! examples/django behind nginx, with its own snippet: a database, the admin, sessions, forms, files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::data::{MIB, expect_pattern};
use crate::support::http::{Browser, Request, Response, pattern};
use crate::support::installed;
use crate::support::nginx::{Nginx, upstream};
use crate::support::process::Gateway;
use crate::support::web_server::shipped;

const PASSWORD: &str = "correct horse battery";

struct Site {
    nginx: Nginx,
    gateway: Gateway,
    /// A copy of the example with its database, uploads and collected static files.
    _directory: TempDir,
}

fn start() -> Option<Site> {
    let (true, Some(venv)) = (installed::nginx(), installed::venv_with("django")) else {
        return None;
    };
    let directory = TempDir::with_prefix("wsgi-fpm-django-").unwrap();
    let project = directory.path().join("project");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/django"), &project);
    manage(&venv, &project, &["migrate", "--verbosity", "0"]);
    manage(&venv, &project, &["createsuperuser", "--noinput"]);
    manage(&venv, &project, &["collectstatic", "--noinput", "--verbosity", "0"]);
    let gateway = Gateway::app("mysite.wsgi:application")
        .chdir(&project)
        .python(venv)
        .workers(2)
        .start();
    let collected = format!("{}/", project.join("static").display());
    let snippet = shipped(
        "examples/django/nginx.conf",
        &[
            ("unix:/run/wsgi-fpm/django.sock", &upstream(&gateway.address)),
            ("/srv/django/static/", &collected),
        ],
    );
    let nginx = Nginx::configure()
        .http("types { text/css css; }")
        .server(0, "localhost", &snippet)
        .start();
    Some(Site {
        nginx,
        gateway,
        _directory: directory,
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}

#[track_caller]
fn manage(venv: &Path, project: &Path, arguments: &[&str]) {
    let python: PathBuf = venv.join("bin/python");
    let output = Command::new(python)
        .arg("manage.py")
        .args(arguments)
        .current_dir(project)
        .env("DJANGO_SUPERUSER_USERNAME", "admin")
        .env("DJANGO_SUPERUSER_EMAIL", "admin@example.com")
        .env("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// The token that the forms of a page carry.
#[track_caller]
fn token(page: &Response) -> String {
    let text = page.text();
    let start = "name=\"csrfmiddlewaretoken\" value=\"";
    let value = text.split_once(start).unwrap_or_else(|| panic!("no token in {text}")).1;
    value.split('"').next().unwrap().to_owned()
}

#[test]
fn django_example_shows_its_shelf_and_takes_files() {
    let Some(site) = start() else { return };
    let mut browser = Browser::new(site.nginx.address());
    // The session counts, whichever worker answers.
    for visit in 1..=5 {
        let page = browser.get("/").ok().text();
        let visits = format!("counts {visit} visit{}", if visit == 1 { "" } else { "s" });
        assert!(page.contains(&visits), "{visits} in {page}");
    }
    let page = browser.get("/").ok();
    let file = pattern(0, 3 * MIB as usize + 17);
    let fields = [
        ("csrfmiddlewaretoken", &*token(&page)),
        ("title", "Z\u{fc}rich <b>"),
        ("note", "two\r\nlines"),
    ];
    let file_name = "\u{e9}t\u{e9}.bin";
    let form = Request::post("/").multipart(&fields, Some(("file", file_name, &file)));
    let answer = browser.send(form).expect(302);
    let page = browser.follow(&answer).ok().text();
    assert!(page.contains("Z\u{fc}rich &lt;b&gt; is on the shelf."), "{page}");
    assert!(
        page.contains(&format!("<a href=\"/documents/1/file\">{file_name}</a>")),
        "{page}"
    );
    assert!(browser.get("/documents/1/").ok().text().contains("<p>two<br>lines</p>"));

    let download = browser.get("/documents/1/file").ok();
    expect_pattern(&download, file.len() as u64);
    assert_eq!(download.header("Content-Length"), Some(file.len().to_string().as_str()));
    assert_eq!(
        download.header("Content-Disposition"),
        Some("attachment; filename*=utf-8''%C3%A9t%C3%A9.bin")
    );
    // No form without its token, and none that is incomplete.
    browser
        .send(Request::post("/").multipart(&[("title", "x")], None))
        .expect(403);
    let page = browser.get("/").ok();
    let incomplete = [("csrfmiddlewaretoken", &*token(&page)), ("title", "")];
    assert!(
        browser
            .send(Request::post("/").form(&incomplete))
            .expect(400)
            .text()
            .contains("errorlist")
    );
    for number in 2..=60 {
        let fields = [
            ("csrfmiddlewaretoken", &*token(&page)),
            ("title", &format!("number {number}")),
        ];
        browser.send(Request::post("/").form(&fields)).expect(302);
    }

    let export = browser.get("/export.csv").ok();
    assert_eq!(export.header("Content-Length"), None);
    let text = export.text();
    assert_eq!(text.lines().next(), Some("id,title,note,file,created"));
    assert!(text.contains("\r\n60,number 60,,,"), "{text}");

    let page = browser.get("/documents/1/").ok();
    let answer = browser.send(Request::post("/documents/1/delete").form(&[("csrfmiddlewaretoken", &*token(&page))]));
    let page = browser.follow(&answer.expect(302)).ok().text();
    assert!(page.contains("Z\u{fc}rich &lt;b&gt; is gone."), "{page}");
    browser.get("/documents/1/file").expect(404);
    assert_eq!(site.nginx.errors(), Vec::<String>::new());
    expect_no_traceback(&site);
}

#[test]
fn django_admin_logs_in_and_saves() {
    let Some(site) = start() else { return };
    let mut browser = Browser::new(site.nginx.address());
    let answer = browser.get("/admin/").expect(302);
    let login = browser.follow(&answer).ok();
    assert!(login.text().contains("/static/admin/css/base.css"));
    let style = browser.get("/static/admin/css/base.css").ok();
    assert_eq!(style.header("Content-Type"), Some("text/css"));
    assert!(style.header("Expires").is_some());

    let target = "/admin/login/?next=/admin/";
    let wrong = [
        ("csrfmiddlewaretoken", &*token(&login)),
        ("username", "admin"),
        ("password", "wrong"),
    ];
    assert!(
        browser
            .send(Request::post(target).form(&wrong))
            .ok()
            .text()
            .contains("errornote")
    );
    let right = [
        ("csrfmiddlewaretoken", &*token(&login)),
        ("username", "admin"),
        ("password", PASSWORD),
    ];
    let answer = browser.send(Request::post(target).form(&right)).expect(302);
    assert!(browser.cookies.contains_key("sessionid"));
    assert!(browser.follow(&answer).ok().text().contains("Site administration"));

    let page = browser.get("/admin/shelf/document/add/").ok();
    let fields = [
        ("csrfmiddlewaretoken", &*token(&page)),
        ("title", "by the admin"),
        ("note", ""),
    ];
    let answer = browser
        .send(Request::post("/admin/shelf/document/add/").multipart(&fields, None))
        .expect(302);
    assert!(browser.follow(&answer).ok().text().contains("was added successfully"));
    assert!(browser.get("/").ok().text().contains("by the admin"));
    assert!(
        browser
            .get("/admin/shelf/document/?q=admin")
            .ok()
            .text()
            .contains("1 document")
    );
    assert_eq!(site.nginx.errors(), Vec::<String>::new());
    expect_no_traceback(&site);
}

#[track_caller]
fn expect_no_traceback(site: &Site) {
    let log = &site.gateway.log;
    assert_eq!(log.count(|line| line.contains("Traceback")), 0, "{}", log.text());
}
