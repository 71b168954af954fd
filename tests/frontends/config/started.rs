//! What starts the application itself: mod_fcgid, with and without a script, and systemd.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{PORT, Server, printed, python_option};
use crate::support::http::{Request, fetch};
use crate::support::installed;
use crate::support::program::program;
use crate::support::python;

/// An application of its own: it tells a variable of the environment, and its working directory.
const TELLS: &str = "import os\n\n\ndef app(environ, start_response):\n    \
                     start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
                     return [os.environ['TOLD'].encode(), b'|', os.getcwdb()]\n";

#[test]
fn mod_fcgid_starts_what_was_typed() {
    if !Server::ApacheFcgid.is_installed() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let place = directory.path().join("a \"b\" 'c' \\ $d #e");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("my app.py"), TELLS).unwrap();
    let told = "-a \"b\" 'c' \\ $d %e #f ;g \\\"h";
    let variable = format!("TOLD={told}");
    let mut arguments = vec!["apache-fcgid", "my app.py:app", "--port", PORT, "--env", &variable];
    let python = python_option();
    arguments.extend(python.iter().map(String::as_str));
    let server = Server::ApacheFcgid.start(&printed(&place, &arguments));
    let answer = fetch(server.address(), &Request::get("/")).ok().text();
    assert_eq!(answer, format!("{told}|{}", place.display()));
}

#[test]
fn mod_fcgid_starts_a_script_as_it_is() {
    if !Server::ApacheFcgid.is_installed() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let script = directory.path().join("tells.fcgi");
    let python = python::default().map(|python| format!("# python = \"{}\"\n", python.display()));
    let block = format!(
        "# /// wsgi-fpm\n# env = {{ TOLD = \"by the block\" }}\n{}# ///\n",
        python.unwrap_or_default()
    );
    fs::write(&script, format!("#!{}\n{block}{TELLS}", program().display())).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let text = printed(directory.path(), &["apache-fcgid", "tells.fcgi", "--port", PORT]);
    let server = Server::ApacheFcgid.start(&text);
    let answer = fetch(server.address(), &Request::get("/")).ok().text();
    assert_eq!(answer, format!("by the block|{}", directory.path().display()));
}

#[test]
fn systemd_accepts_the_unit() {
    if !installed::systemd_analyze() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let place = directory.path().join("a \"b\" 'c' \\ $d %e #f");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("app.py"), TELLS).unwrap();
    let variable = "TOLD=-a \"b\" 'c' \\ $d %e #f ;g \\\"h ";
    let arguments = [
        "systemd",
        "app.py:app",
        "--env",
        variable,
        "--env",
        "A=;",
        "--user",
        "root",
    ];
    for listen in ["/run/x y/%z.sock", "127.0.0.1:9000", "fd:3"] {
        let unit = printed(&place, &[&arguments[..], &["--listen", listen]].concat());
        // systemd wants the socket to be there.
        let unit = unit
            .replace("Requires=app.socket\n", "")
            .replace("Sockets=app.socket\n", "");
        expect_systemd_to_accept(directory.path(), &unit);
    }
}

/// `directory`: where the unit may be put.
#[track_caller]
fn expect_systemd_to_accept(directory: &Path, unit: &str) {
    let file = directory.join("app.service");
    fs::write(&file, unit).unwrap();
    let verdict = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&file)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&verdict.stderr);
    assert!(
        verdict.status.success() && !errors.contains("app.service"),
        "{errors}\n{unit}"
    );
}

#[test]
fn systemd_accepts_the_unit_for_a_file() {
    if !installed::systemd_analyze() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let place = directory.path().join("a \"b\" 'c' \\ $d %e #f");
    fs::create_dir(&place).unwrap();
    for listen in ["/run/x y/%z.sock", "127.0.0.1:9000", "fd:3"] {
        for lines in [
            "listen_group = \"www-data\"",
            "user = \"www-data\"\nnice = -5\nrlimit = { nofile = \"unlimited\", memlock = \"1g\" }\nstop_timeout = \"0\"",
        ] {
            let text = format!("[pool.a]\napp = \"a\"\nlisten = \"{listen}\"\n{lines}\n");
            fs::write(place.join("wsgi-fpm.toml"), text).unwrap();
            let unit = printed(&place, &["systemd", "-c", "wsgi-fpm.toml"]);
            // systemd wants the socket to be there.
            let unit = unit.replace("Requires=wsgi-fpm.socket\n", "");
            let unit = unit.replace("Sockets=wsgi-fpm.socket\n", "");
            expect_systemd_to_accept(directory.path(), &unit);
        }
    }
}
