//! Changes of the application while the preview runs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{HELLO, Preview};
use crate::support::python::make_venv;

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
