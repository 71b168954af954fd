//! What only Apache has: processes that it starts and ends, scripts that it can't start, its own files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::scripts::{interpreter, script};
use crate::servers::apache_fcgid;
use crate::support::apache::{Apache, Builder};
use crate::support::http::{Client, Request, Response, fetch};
use crate::support::installed;
use crate::support::wait::{SOON, until, until_some};
use crate::support::web_server::shipped;

/// mod_fcgid tells at this level how processes end.
const VERBOSE: &str = "LogLevel info";

/// An Apache with mod_fcgid as apache/fcgid.conf has it, for one site with this script.
fn fcgid(script: String) -> Option<Builder> {
    if !installed::apache("fcgid") {
        return None;
    }
    let site = shipped(
        "apache/fcgid.conf",
        &[("*:80", "127.0.0.1:%PORT0%"), ("/srv/example", "%PREFIX%/site")],
    );
    let builder = apache_fcgid::configure()
        .text(VERBOSE)
        .text(&site)
        .script("site/app.fcgi", script);
    Some(builder)
}

fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// SPEC A32: mod_fcgid asks the process to stop, again after a second, and kills it after eight.
#[test]
fn graceful_restart_lets_the_running_request_finish() {
    let Some(apache) = fcgid(script("plain", "")) else {
        return;
    };
    let apache = apache.start();
    let mark = apache.path("mark");
    let mut client = Client::connect(apache.address());
    client.send_head(&Request::get(format!("/slow?seconds=1.5&mark={}", mark.display())));
    let pid = || fs::read_to_string(&mark).ok().filter(|pid| !pid.is_empty());
    let pid = until_some("the request runs", SOON, pid);
    let begin = Instant::now();
    apache.process.signal(Signal::USR1);
    assert_eq!(client.read_response(false).ok().text(), "slow");
    until("the process is gone", SOON, || !is_alive(&pid));
    assert!(begin.elapsed() < Duration::from_secs(8), "mod_fcgid has killed it");
    let next = until_some("Apache has restarted", SOON, || {
        let response = fetch(apache.address(), &Request::get("/process")).ok().text();
        (response != pid).then_some(response)
    });
    assert!(is_alive(&next));
}

#[test]
fn stop_of_apache_ends_its_processes() {
    let Some(apache) = fcgid(script("plain", "")) else {
        return;
    };
    let apache = apache.start();
    let pid = fetch(apache.address(), &Request::get("/process")).ok().text();
    assert!(is_alive(&pid));
    apache.process.signal(Signal::TERM);
    apache.process.wait_for_end(SOON);
    until("the process is gone", SOON, || !is_alive(&pid));
}

#[test]
fn process_serves_on_and_on() {
    let Some(apache) = fcgid(script("plain", "")) else {
        return;
    };
    let apache = apache.start();
    let mut client = Client::connect(apache.address());
    let pids: BTreeSet<String> = (0..600)
        .map(|_| client.exchange(&Request::get("/process")).ok().text())
        .collect();
    assert_eq!(pids.len(), 1, "{pids:?}");
}

#[test]
fn requests_at_the_same_time_have_a_process_each() {
    let Some(apache) = fcgid(script("plain", "")) else {
        return;
    };
    let apache = apache.start();
    let gate = |name| apache.path(name).display().to_string();
    let start = |name| {
        let mut client = Client::connect(apache.address());
        client.send_head(&Request::get(format!("/gated?gate={}", gate(name))));
        let called = apache.path(&format!("{name}.called"));
        let pid = || fs::read_to_string(&called).ok().filter(|pid| !pid.is_empty());
        (client, until_some("the request runs", SOON, pid))
    };
    let ((mut one, first), (mut two, second)) = (start("one"), start("two"));
    assert_ne!(first, second);
    for (name, client) in [("one", &mut one), ("two", &mut two)] {
        fs::write(gate(name), "").unwrap();
        client.read_response(false).ok();
    }
}

/// What users meet where the configuration says nothing: docs/apache.md warns of it.
#[test]
fn upload_over_the_default_of_fcgid_max_request_len_is_a_500() {
    let Some(apache) = broken_by_default() else { return };
    let post = |length| fetch(apache.address(), &Request::post("/app.fcgi/digest").pattern(length));
    assert_eq!(post(131_072).ok().json()["length"], 131_072);
    post(131_073).expect(500);
    apache
        .process
        .log
        .wait_for_line(&["mod_fcgid: HTTP request length", "exceeds MaxRequestLen"]);
}

fn broken_by_default() -> Option<Apache> {
    let site = "<VirtualHost 127.0.0.1:%PORT0%>\nDocumentRoot %PREFIX%/site\n<Directory %PREFIX%/site>\n\
                Require all granted\nOptions +ExecCGI\nAddHandler fcgid-script .fcgi\n</Directory>\n</VirtualHost>";
    installed::apache("fcgid").then(|| {
        apache_fcgid::configure()
            .text(site)
            .script("site/app.fcgi", script("plain", ""))
            .start()
    })
}

#[test]
fn static_files_are_sent_by_apache() {
    let Some(apache) = fcgid(script("plain", "")) else {
        return;
    };
    let apache = apache.file("site/static/site.css", "body{}\n").start();
    let get = |target: &str| fetch(apache.address(), &Request::get(target));
    assert_eq!(get("/static/site.css").ok().text(), "body{}\n");
    get("/static/none.css").expect(404);
    assert_eq!(get("/staticfiles").ok().json()["PATH_INFO"], "/staticfiles");
    // The script itself is nobody's business.
    assert_eq!(get("/app.fcgi").ok().json()["PATH_INFO"], "/app.fcgi");
}

/// Scripts that can't serve, as mod_fcgid handlers and as CGI scripts.
static BROKEN: LazyLock<Apache> = LazyLock::new(|| {
    let python = interpreter();
    let block = |line: &str| format!("#!/usr/bin/env wsgi-fpm\n# /// wsgi-fpm\n# {line}\n# ///\n");
    let with_python = block(&format!("python = {python:?}"));
    let application = "def application(environ, start_response):\n    raise SystemExit\n";
    let mut apache = apache_fcgid::configure().module("cgid").text(VERBOSE).text(
        "<VirtualHost 127.0.0.1:%PORT0%>\nDocumentRoot %PREFIX%/site\n<Directory %PREFIX%/site>\n\
         Require all granted\nOptions +ExecCGI\nAddHandler fcgid-script .fcgi\nAddHandler cgi-script .cgi\n\
         </Directory>\n</VirtualHost>",
    );
    for kind in ["fcgi", "cgi"] {
        apache = apache
            .script(
                &format!("site/import.{kind}"),
                format!("{with_python}import no_such_module\n"),
            )
            .script(&format!("site/nothing.{kind}"), format!("{with_python}answer = 42\n"))
            .script(
                &format!("site/python.{kind}"),
                format!("{}{application}", block("python = \"/nowhere/python3\"")),
            )
            .script(
                &format!("site/block.{kind}"),
                format!("{}{application}", block("pthon = \"/usr/bin/python3\"")),
            )
            .script(
                &format!("site/toml.{kind}"),
                format!("{}{application}", block("python = ")),
            )
            .script(&format!("site/program.{kind}"), "#!/nowhere/wsgi-fpm\n")
            .file(
                &format!("site/permission.{kind}"),
                format!("{with_python}{application}"),
            );
    }
    apache.start()
});

/// Asks for the script, which has to fail soon, and gives what the log says of it.
#[track_caller]
fn broken(script: &str, reason: &[&str]) -> Option<Response> {
    if !installed::apache("fcgid") || !installed::apache("cgid") {
        return None;
    }
    let begin = Instant::now();
    let response = fetch(BROKEN.address(), &Request::post(format!("/{script}")).pattern(100_000)).expect(500);
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert!(!response.text().contains("Traceback"), "{}", response.text());
    BROKEN.process.log.wait_for_line(reason);
    until("no process is left", SOON, || !is_running(script));
    Some(response)
}

/// Whether a process has the script's path on its command line.
fn is_running(script: &str) -> bool {
    let path = BROKEN.path(&format!("site/{script}")).display().to_string();
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .any(|entry| fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| line.contains(&path)))
}

#[test]
fn script_that_does_not_import_is_a_500_with_the_traceback_in_the_log() {
    for kind in ["fcgi", "cgi"] {
        let script = format!("import.{kind}");
        broken(&script, &[&script, "No module named 'no_such_module'"]);
    }
}

#[test]
fn script_without_an_application_is_a_500_that_says_so() {
    for kind in ["fcgi", "cgi"] {
        let script = format!("nothing.{kind}");
        broken(&script, &[&script, "application"]);
    }
}

#[test]
fn script_that_names_a_missing_python_is_a_500_that_says_so() {
    for kind in ["fcgi", "cgi"] {
        broken(&format!("python.{kind}"), &["--python /nowhere/python3"]);
    }
}

#[test]
fn script_with_a_broken_options_block_is_a_500_that_names_it() {
    for kind in ["fcgi", "cgi"] {
        broken(&format!("block.{kind}"), &[&format!("block.{kind}:3: "), "\"pthon\""]);
        broken(&format!("toml.{kind}"), &[&format!("toml.{kind}:")]);
    }
}

/// Here Apache is the one who fails, and mod_fcgid does not say how.
#[test]
fn script_that_cannot_be_run_is_a_500_that_names_it() {
    for name in ["program", "permission"] {
        broken(&format!("{name}.cgi"), &[&format!("{name}.cgi' failed"), "AH01241"]);
        broken(&format!("{name}.fcgi"), &[&format!("{name}.fcgi")]);
    }
}

/// A site whose .htaccess may not say CGIPassAuth, with these rules that lead to a script with these options.
fn rewritten(rules: &str, options: &str) -> Option<Apache> {
    if !installed::apache("fcgid") {
        return None;
    }
    let site = "<VirtualHost 127.0.0.1:%PORT0%>\nDocumentRoot %PREFIX%/site\n<Directory %PREFIX%/site>\n\
                Require all granted\nOptions +ExecCGI\nAllowOverride FileInfo\n</Directory>\n</VirtualHost>";
    let htaccess = format!("AddHandler fcgid-script .fcgi\nRewriteEngine On\n{rules}");
    let apache = apache_fcgid::configure()
        .module("rewrite")
        .text(site)
        .file("site/.htaccess", htaccess)
        .script("site/app.fcgi", script("plain", options));
    Some(apache.start())
}

#[test]
fn authorization_comes_by_a_rewrite_rule_where_the_directive_is_not_allowed() {
    let keep = "E=HTTP_AUTHORIZATION:%{HTTP:Authorization}";
    let condition = "RewriteCond %{REQUEST_FILENAME} !-f\n";
    for (rules, options) in [
        (
            format!("RewriteRule ^ - [{keep}]\n{condition}RewriteRule ^(.*)$ app.fcgi/$1 [B=%?#,L]\n"),
            "# strip_script = true\n",
        ),
        // Here the variable has lost its name.
        (
            format!("{condition}RewriteRule ^(.*)$ app.fcgi/$1 [B=%?#,L,{keep}]\n"),
            "# strip_script = true\n# authorization_from_redirect = true\n",
        ),
    ] {
        let Some(apache) = rewritten(&rules, options) else {
            return;
        };
        let request = Request::get("/page").header("Authorization", "Basic dXNlcjpwYXNz");
        let environ = fetch(apache.address(), &request).ok().json();
        assert_eq!(environ["HTTP_AUTHORIZATION"], "Basic dXNlcjpwYXNz", "{rules}");
        assert_eq!(environ["SCRIPT_NAME"], "");
        assert_eq!(environ["PATH_INFO"], "/page");
    }
}

/// What Apache makes of a path is gone, and so is the rewriting to the script.
#[test]
fn path_of_the_url_arrives_as_it_was_sent() {
    let rules = "RewriteCond %{REQUEST_FILENAME} !-f\nRewriteRule ^(.*)$ app.fcgi/$1 [L]\n";
    let Some(apache) = rewritten(rules, "# path_source = \"request-uri\"\n# mount = \"/\"\n") else {
        return;
    };
    for (target, path) in [("//a//b/", "//a//b/"), ("/a%2541", "/a%41"), ("/a%20b?x=%2F", "/a b")] {
        let environ = fetch(apache.address(), &Request::get(target)).ok().json();
        assert_eq!(environ["SCRIPT_NAME"], "", "{target}");
        assert_eq!(environ["PATH_INFO"], path, "{target}");
    }
}
