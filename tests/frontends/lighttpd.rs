//! What only lighttpd has: processes that it starts and ends, and scripts that it does not find its way to.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::harness::scripts::{interpreter, script};
use crate::servers::lighttpd::configure;
use crate::support::http::{Client, Request, Response, fetch};
use crate::support::installed;
use crate::support::lighttpd::{Builder, Lighttpd};
use crate::support::wait::{SOON, until, until_ended, until_some};
use crate::support::web_server::{path, shipped};

/// A lighttpd with the one site of deploy/lighttpd-bin-path.conf.
fn bin_path(replacements: &[(&str, &str)], script: String) -> Option<Builder> {
    let file = "deploy/lighttpd-bin-path.conf";
    let own = [
        ("/run/lighttpd/example.sock", "%PREFIX%/example.sock"),
        ("/srv/example/", "%PREFIX%/site/"),
    ];
    let text = shipped(file, &[&own, replacements].concat());
    installed::lighttpd().then(|| Lighttpd::configure().text(&text).script("site/app.fcgi", script))
}

/// A lighttpd with the one site of deploy/lighttpd-cgi.conf, after the text `before`.
fn cgi(before: &str, replacements: &[(&str, &str)], script: String) -> Option<Builder> {
    let own = [("/srv/example/", "%PREFIX%/site/")];
    let text = shipped("deploy/lighttpd-cgi.conf", &[&own, replacements].concat());
    installed::lighttpd().then(|| {
        Lighttpd::configure()
            .text(before)
            .text(&text)
            .script("site/app.cgi", script)
    })
}

/// As a browser asks `example.com`.
fn get(lighttpd: &Lighttpd, target: &str) -> Response {
    fetch(lighttpd.address(), &Request::get(target).host("example.com"))
}

fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// A request that runs for a while, and which process does.
fn running(lighttpd: &Lighttpd) -> (Client, String) {
    let mark = lighttpd.path("mark");
    let mut client = Client::connect(lighttpd.address());
    client.send_head(&Request::get(format!("/slow?seconds=1.5&mark={}", mark.display())).host("example.com"));
    let pid = || fs::read_to_string(&mark).ok().filter(|pid| !pid.is_empty());
    let pid = until_some("the request runs", SOON, pid);
    (client, pid)
}

/// SPEC A32: what `systemctl reload lighttpd` does.
#[test]
fn reload_lets_the_running_request_finish_and_starts_new_processes() {
    let Some(lighttpd) = bin_path(&[("\"max-procs\" => 2", "\"max-procs\" => 1")], script("plain", "")) else {
        return;
    };
    let lighttpd = lighttpd.start();
    let (mut client, pid) = running(&lighttpd);
    lighttpd.process.signal(Signal::USR1);
    assert_eq!(client.read_response(false).ok().text(), "slow");
    until("the process is gone", SOON, || !is_alive(&pid));
    assert_ne!(get(&lighttpd, "/process").ok().text(), pid);
}

#[test]
fn stop_of_lighttpd_ends_its_processes() {
    let Some(lighttpd) = bin_path(&[], script("plain", "")) else {
        return;
    };
    let lighttpd = lighttpd.start();
    let pid = get(&lighttpd, "/process").ok().text();
    assert!(is_alive(&pid));
    lighttpd.process.signal(Signal::TERM);
    lighttpd.process.wait_for_end(SOON);
    until_ended(pid, SOON);
}

/// deploy/lighttpd-bin-path.conf says so, and why it has two.
#[test]
fn only_process_that_dies_is_started_again() {
    let Some(lighttpd) = bin_path(&[("\"max-procs\" => 2", "\"max-procs\" => 1")], script("plain", "")) else {
        return;
    };
    let lighttpd = lighttpd.start();
    let pid = get(&lighttpd, "/process").ok().text();
    get(&lighttpd, "/dies?by=SIGKILL").expect(500);
    let next = until_some("a process is there again", SOON, || {
        let response = get(&lighttpd, "/process");
        (response.status == 200).then(|| response.text())
    });
    assert_ne!(next, pid);
}

#[test]
fn processes_have_the_environment_that_the_configuration_names() {
    let tells = format!(
        "#!/usr/bin/env wsgi-fpm\n# /// wsgi-fpm\n# python = {:?}\n# ///\nimport os\n\n\ndef application(environ, \
         start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return \
         ['\\n'.join(sorted(os.environ)).encode()]\n",
        interpreter()
    );
    let variables = |replacements: &[(&str, &str)]| {
        let lighttpd = bin_path(replacements, tells.clone())?.start();
        Some(
            get(&lighttpd, "/")
                .ok()
                .text()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    };
    let Some(whole) = variables(&[("# \"bin-environment\"", "\"bin-environment\"")]) else {
        return;
    };
    for name in ["PATH", "DJANGO_SETTINGS_MODULE", "CARGO_MANIFEST_DIR"] {
        assert!(whole.iter().any(|known| known == name), "{name} in {whole:?}");
    }
    let copied = variables(&[("# \"bin-copy-environment\"", "\"bin-copy-environment\"")]).unwrap();
    assert!(copied.iter().any(|known| known == "PATH"), "{copied:?}");
    assert!(!copied.iter().any(|known| known == "CARGO_MANIFEST_DIR"), "{copied:?}");
}

#[test]
fn script_that_does_not_import_is_an_error_with_the_traceback_in_the_log() {
    let broken = format!(
        "#!/usr/bin/env wsgi-fpm\n# /// wsgi-fpm\n# python = {:?}\n# ///\nimport no_such_module\n",
        interpreter()
    );
    let path = path().into_string().unwrap();
    let builders = [
        bin_path(&[], broken.clone()),
        cgi("", &[("/usr/local/bin:/usr/bin:/bin", &path)], broken),
    ];
    for builder in builders.into_iter().flatten() {
        let lighttpd = builder.start();
        let response = get(&lighttpd, "/");
        assert!([500, 503].contains(&response.status), "{}", response.status);
        assert!(!response.text().contains("Traceback"), "{}", response.text());
        lighttpd
            .process
            .log
            .wait_for_line(&["app.", "No module named 'no_such_module'"]);
    }
}

/// In a lighttpd with no other process that could end meanwhile: see [`crate::harness::quirk::Quirk::ForgetsProcesses`].
#[test]
fn silent_cgi_process_is_ended_by_lighttpd() {
    let path = path().into_string().unwrap();
    let replacements = [
        ("/usr/local/bin:/usr/bin:/bin", &*path),
        ("\"read-timeout\" => 330", "\"read-timeout\" => 1"),
    ];
    let Some(lighttpd) = cgi("", &replacements, script("plain", "")) else {
        return;
    };
    let lighttpd = lighttpd.start();
    let gate = lighttpd.path("never");
    get(&lighttpd, &format!("/gated?gate={}", gate.display())).expect(504);
    until_ended(fs::read_to_string(gate.with_extension("called")).unwrap(), SOON);
    lighttpd.process.log.wait_for_line(&["read timeout on CGI"]);
}

/// docs/lighttpd.md says so, and why deploy/lighttpd-cgi.conf sets PATH.
#[test]
fn script_without_a_path_does_not_find_the_program() {
    let without = ("setenv.add-environment", "# setenv.add-environment");
    let Some(lighttpd) = cgi("", &[without], script("plain", "")) else {
        return;
    };
    let lighttpd = lighttpd.start();
    get(&lighttpd, "/").expect(500);
    lighttpd
        .process
        .log
        .wait_for_line(&["env: ", "wsgi-fpm", "No such file or directory"]);
}

/// deploy/lighttpd-cgi.conf says so.
#[test]
fn script_is_never_shown() {
    let path = path().into_string().unwrap();
    let program = ("/usr/local/bin:/usr/bin:/bin", &*path);
    let too_early = "server.modules += ( \"mod_staticfile\" )";
    let Some(lighttpd) = cgi(too_early, &[program], script("plain", "")) else {
        return;
    };
    assert_eq!(get(&lighttpd.start(), "/page").ok().json()["PATH_INFO"], "/page");
    let missing = ("\"mod_setenv\", \"mod_cgi\"", "\"mod_setenv\"");
    let lighttpd = cgi("", &[program, missing], script("plain", "")).unwrap();
    let response = get(&lighttpd.start(), "/page").expect(403);
    assert!(!response.text().contains("pages"), "{}", response.text());
}

#[test]
fn sites_of_scripts_have_files_and_may_allow_others() {
    let path = path().into_string().unwrap();
    let builders = [
        bin_path(&[], script("plain", "")),
        cgi("", &[("/usr/local/bin:/usr/bin:/bin", &path)], script("plain", "")),
    ];
    for builder in builders.into_iter().flatten() {
        let lighttpd = builder
            .file("site/static/site.css", "body{}\n")
            .file("site/private/report.txt", "for some\n")
            .start();
        assert_eq!(get(&lighttpd, "/static/site.css").ok().text(), "body{}\n");
        get(&lighttpd, "/static/none.css").expect(404);
        assert_eq!(get(&lighttpd, "/staticfiles").ok().json()["PATH_INFO"], "/staticfiles");
        let send = |path: &str| get(&lighttpd, &format!("/sendfile?file={path}"));
        let report = lighttpd.path("site/private/report.txt");
        assert_eq!(send(&report.display().to_string()).ok().text(), "for some\n");
        send("/etc/hostname").expect(403);
        // The script itself is nobody's business.
        for name in ["/app.fcgi", "/app.cgi"] {
            assert_eq!(get(&lighttpd, name).ok().json()["PATH_INFO"], name);
        }
    }
}

/// Without an alias, in the directory of the site: docs/lighttpd.md has these lines.
#[test]
fn script_in_a_directory_has_its_name_in_urls() {
    if !installed::lighttpd() {
        return;
    }
    let path = path().into_string().unwrap();
    let lighttpd = configure("deploy/lighttpd-cgi.conf")
        .text(&format!(
            "server.document-root := \"%PREFIX%/site\"\n$HTTP[\"url\"] =~ \"^/app\\.cgi(/|$)\" {{\n    cgi.assign = ( \
             \".cgi\" => \"\" )\n    setenv.add-environment = ( \"PATH\" => \"{path}\" )\n}}"
        ))
        .script("site/app.cgi", script("plain", ""))
        .start();
    let environ = get(&lighttpd, "/app.cgi/a%20page?x=1").ok().json();
    assert_eq!(environ["SCRIPT_NAME"], "/app.cgi");
    assert_eq!(environ["PATH_INFO"], "/a page");
}
