//! Scripts that can't serve, started by mod_fcgid and by mod_cgid.

use std::fs;
use std::sync::LazyLock;
use std::time::Instant;

use super::{SCRIPTS, VERBOSE, host};
use crate::harness::scripts::interpreter;
use crate::support::apache::Apache;
use crate::support::http::{Request, Response, fetch};
use crate::support::installed;
use crate::support::wait::{SOON, until};

/// Scripts that can't serve, as mod_fcgid handlers and as CGI scripts.
static BROKEN: LazyLock<Apache> = LazyLock::new(|| {
    let python = interpreter();
    let block = |line: &str| format!("#!/usr/bin/env wsgi-fpm\n# /// wsgi-fpm\n# {line}\n# ///\n");
    let with_python = block(&format!("python = {python:?}"));
    let application = "def application(environ, start_response):\n    raise SystemExit\n";
    let handlers = format!("{SCRIPTS}\nAddHandler cgi-script .cgi");
    let mut apache = Apache::fcgid().module("cgid").text(VERBOSE).host(&host(&handlers));
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
        broken(
            &format!("python.{kind}"),
            &[&format!("python.{kind}:3: python"), "/nowhere/python3"],
        );
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
