//! Scripts that can't run: a clear 500 for the client, the reason in the log, an exit code, no process left.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::script::Script;

fn fails(script: &Script, reasons: &[&str]) {
    let answer = script.get("/pid");
    answer.failed();
    for reason in reasons {
        assert!(answer.log.contains(reason), "{reason:?} not in {}", answer.log);
    }
}

#[test]
fn script_that_does_not_import_says_why() {
    let source = "import no_such_module\ndef application(environ, start_response): pass\n";
    let script = Script::named("app.cgi", "", source);
    fails(
        &script,
        &["no_such_module", "app.cgi", "Traceback", "ModuleNotFoundError"],
    );
}

#[test]
fn script_with_a_syntax_error_says_where() {
    let script = Script::named("app.cgi", "", "def application(:\n");
    fails(&script, &["SyntaxError", "app.cgi", "line"]);
}

#[test]
fn script_without_an_application_says_what_was_looked_for() {
    let script = Script::named("app.cgi", "", "x = 1\n");
    fails(&script, &["neither \"application\" nor \"app\""]);
}

#[test]
fn script_that_ends_the_interpreter_while_it_is_imported_fails() {
    let script = Script::named("app.cgi", "", "raise SystemExit(0)\n");
    fails(&script, &["SystemExit"]);
}

#[test]
fn python_that_is_not_there_is_named() {
    let script = Script::new("python = \"/no/such/venv\"");
    let name = script.name_of("python");
    fails(&script, &[&format!("{name} /no/such/venv: no such file")]);
}

#[test]
fn python_that_may_not_be_run_is_named() {
    let script = Script::new("python = \"./tool\"");
    let tool = script.file("tool");
    fs::write(&tool, "").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o644)).unwrap();
    fails(&script, &["tool", "not executable"]);
}

#[test]
fn program_that_is_no_python_ends_without_an_answer() {
    let script = Script::new("python = \"./tool\"");
    let tool = script.file("tool");
    fs::write(&tool, "#!/bin/sh\necho I am no Python >&2\nexit 3\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let answer = script.get("/pid");
    // The web server's own 500 follows.
    assert_eq!((answer.output.len(), answer.status.code()), (0, Some(3)), "{answer:?}");
    assert!(answer.log.contains("I am no Python"), "{}", answer.log);
}

#[test]
fn unknown_option_in_the_block_is_named() {
    let script = Script::new("thread = 3");
    fails(&script, &["app.fcgi", "thread"]);
    // Typed as on a command line.
    fails(&Script::new("access-log = true"), &["access-log"]);
}

#[test]
fn value_that_an_option_does_not_take_is_named() {
    fails(
        &Script::new("threads = 0"),
        &["app.fcgi:3: threads: ", "from 1 to 1024"],
    );
    fails(
        &Script::new("threads = true"),
        &["app.fcgi:3: threads: ", "write one value"],
    );
    fails(&Script::new("validate = 1"), &["validate", "true or false"]);
    fails(&Script::new("chdir = \"/no/such/directory\""), &["/no/such/directory"]);
}

#[test]
fn block_that_is_no_toml_is_named_with_its_line() {
    let script = Script::raw(
        "app.cgi",
        "#!/usr/bin/env wsgi-fpm\n# /// wsgi-fpm\n# threads = \n# ///\n",
    );
    fails(&script, &["app.cgi:3: "]);
    let script = Script::raw("app.cgi", "#!/usr/bin/env wsgi-fpm\n# /// wsgi-fpm\n# threads = 2\n");
    fails(&script, &["app.cgi", "no end"]);
}

#[test]
fn missing_variable_is_named() {
    let script = Script::new("");
    let answer = script.cgi("GET", "/pid").without("REQUEST_METHOD").run();
    answer.failed();
    assert!(answer.log.contains("REQUEST_METHOD"), "{}", answer.log);
}

#[test]
fn malformed_variables_are_the_clients_fault() {
    let script = Script::new("");
    for (name, value) in [
        ("CONTENT_LENGTH", "-1"),
        ("CONTENT_LENGTH", "1,1"),
        ("REQUEST_METHOD", "G ET"),
    ] {
        let answer = script.cgi("GET", "/pid").variable(name, value).run();
        assert!(answer.output.starts_with(b"Status: 400 "), "{name}={value}: {answer:?}");
        assert_eq!(answer.status.code(), Some(0), "{answer:?}");
    }
}
