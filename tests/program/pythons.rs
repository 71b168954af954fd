//! The search for Python: what is wrong with it is said in one line, exit code 2.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::run::{Running, Stage, program, refusal};
use crate::support::python;

/// `serve --python PATH`, which is refused.
#[track_caller]
fn refused(path: &Path) -> String {
    let mut command = program();
    command.args(["serve", "app", "--listen", "/nowhere/socket", "--python"]);
    refusal(&command.arg(path).output().unwrap(), 2)
}

#[test]
fn wrong_path_says_what_was_looked_for() {
    let stage = Stage::new();
    let message = refused(Path::new("/no/such/venv"));
    assert!(
        message.starts_with("--python /no/such/venv: no such file or directory"),
        "{message}"
    );
    assert!(refused(Path::new("no-such-python")).contains("no executable of this name on PATH"));
    std::fs::create_dir(stage.path("empty")).unwrap();
    let message = refused(&stage.path("empty"));
    assert!(message.contains("neither bin/python nor bin/python3"), "{message}");
    let message = refused(&stage.path("behaviour"));
    assert!(message.contains("is not executable"), "{message}");
}

#[test]
fn broken_virtual_environments_are_told_apart() {
    let stage = Stage::new();
    let bin = stage.path("venv/bin");
    std::fs::create_dir_all(&bin).unwrap();
    symlink("python3", bin.join("python")).unwrap();
    symlink("/no/such/python3", bin.join("python3")).unwrap();
    let message = refused(&stage.path("venv"));
    let expected = format!(
        "{} points to /no/such/python3, which does not exist",
        bin.join("python3").display()
    );
    assert!(message.contains(&expected), "{message}");
    std::fs::write(stage.path("venv/pyvenv.cfg"), "home = /no/such/bin\nversion = 3.12.1\n").unwrap();
    let message = refused(&stage.path("venv"));
    assert!(
        message.contains("names /no/such/bin as the home of its Python"),
        "{message}"
    );
}

#[test]
fn virtual_environment_in_the_environment_or_the_directory_is_checked_as_well() {
    let stage = Stage::new();
    let serve = |command: &mut Command| {
        command
            .args(["serve", "app", "--listen", "/nowhere/socket", "--chdir"])
            .arg(stage.path(""));
        refusal(&command.output().unwrap(), 2)
    };
    let message = serve(program().env("VIRTUAL_ENV", "/no/such/venv"));
    assert!(
        message.starts_with("the active virtual environment $VIRTUAL_ENV=/no/such/venv: "),
        "{message}"
    );
    std::fs::create_dir(stage.path(".venv")).unwrap();
    let message = serve(&mut program());
    assert!(
        message.contains(".venv: the directory has neither bin/python"),
        "{message}"
    );
    std::fs::remove_dir(stage.path(".venv")).unwrap();
    let message = serve(program().env("PATH", stage.path("")));
    assert_eq!(
        message,
        "no python3 on PATH, and no virtual environment; name one with --python"
    );
}

/// At a reload, too, when the process has its title in place of its arguments.
#[test]
fn virtual_environment_that_the_program_was_called_in_is_its_own() {
    let stage = Stage::new();
    std::fs::create_dir_all(stage.path("venv/bin")).unwrap();
    std::fs::write(stage.path("venv/pyvenv.cfg"), "").unwrap();
    let own = stage.path("venv/bin/wsgi-fpm");
    symlink(program().get_program(), &own).unwrap();
    symlink(stage.python(), stage.path("venv/bin/python")).unwrap();
    let mut command = Command::new(own);
    command
        .env_remove("VIRTUAL_ENV")
        .env("WSGI_FPM_ENGINE", stage.path("behaviour"));
    command.args(["serve", "app", "--listen"]).arg(stage.socket());
    let running = Running::spawn(command);
    assert!(running.line(" ready ").contains("stand-in"));
    let mark = running.signal(Signal::HUP);
    assert!(running.line_after(mark, " ready ").contains("stand-in"));
}

/// A container or a timer has it on PATH alone. Who has activated another environment means that one.
#[test]
fn virtual_environment_in_which_a_shell_finds_the_program_comes_before_one_that_is_near() {
    let stage = Stage::new();
    for environment in ["venv", ".venv", "active"] {
        std::fs::create_dir_all(stage.path(environment).join("bin")).unwrap();
        std::fs::write(stage.path(environment).join("pyvenv.cfg"), "").unwrap();
    }
    symlink(program().get_program(), stage.path("venv/bin/wsgi-fpm")).unwrap();
    let message = |variable: &str, value: &Path| {
        let mut command = Command::new("wsgi-fpm");
        command.env_remove("VIRTUAL_ENV").env("PATH", stage.path("venv/bin"));
        command
            .env("WSGI_FPM_ENGINE", stage.path("behaviour"))
            .env(variable, value);
        command.args(["serve", "app", "--listen"]).arg(stage.socket());
        command.arg("--chdir").arg(stage.path(""));
        refusal(&command.output().unwrap(), 2)
    };
    let found = message("LANG", Path::new("C"));
    let expected = format!(
        "the virtual environment of this program, {}: ",
        stage.path("venv").display()
    );
    assert!(found.starts_with(&expected), "{found}");
    let active = message("VIRTUAL_ENV", &stage.path("active"));
    assert!(active.starts_with("the active virtual environment"), "{active}");
}

#[test]
fn what_is_no_python_is_told_with_its_last_words() {
    let stage = Stage::new();
    stage.script("echo 'first' >&2; echo 'broken beyond repair' >&2; exit 7\n");
    let message = refused(&stage.python());
    assert!(
        message.ends_with("is not a working Python: exit status: 7: broken beyond repair"),
        "{message}"
    );
    stage.script("kill -SEGV $$\n");
    let message = refused(&stage.python());
    assert!(message.contains("is not a working Python: signal: 11"), "{message}");
    stage.script("echo hello\n");
    let message = refused(&stage.python());
    assert!(
        message.ends_with("is not a working Python: it did not say its version"),
        "{message}"
    );
}

#[test]
fn unsuitable_pythons_are_refused() {
    for (answer, expected) in [
        (
            [("version", "[3, 8, 18]"), ("full_version", r#""3.8.18 (x)""#)],
            "is Python 3.8.18, which is too old: 3.9 or newer is needed",
        ),
        (
            [("implementation", r#""pypy""#), ("shared", "true")],
            "is pypy, but only CPython can be hosted",
        ),
        (
            [("full_version", r#""3.13.1 (x)""#), ("gil_disabled", "true")],
            "is a free-threaded build of Python 3.13.1",
        ),
    ] {
        let message = refused(&Stage::with_answer(&answer).python());
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn python_that_is_newer_than_those_tested_runs_and_is_named_once() {
    let newer = [("version", "[3, 99, 0]"), ("full_version", r#""3.99.0 (x)""#)];
    let stage = Stage::with_answer(&newer);
    let running = Running::spawn(stage.serve(&[]));
    running.line(" ready ");
    let mark = running.signal(Signal::HUP);
    running.line_after(mark, " ready ");
    let text = running.log.text();
    let said: Vec<_> = text
        .lines()
        .filter(|line| line.contains("Python 3.99 is newer than 3."))
        .collect();
    assert_eq!(said.len(), 1, "{text}");
    assert!(said[0].contains(" INFO "), "{text}");
    let stage = Stage::new();
    let tested = Running::spawn(stage.serve(&[]));
    assert!(!tested.line(" ready ").is_empty() && !tested.log.text().contains("is newer than"));
}

/// The probe itself must run on it.
#[test]
fn pythons_of_this_machine_that_are_too_old_are_refused() {
    let home = std::env::var_os("HOME").unwrap_or_default();
    for version in ["2.7.18", "3.6.15", "3.8.18"] {
        let path = Path::new(&home).join(".pyenv/versions").join(version);
        if !path.exists() {
            eprintln!("skipped: Python {version} is not installed");
            continue;
        }
        let message = refused(&path);
        assert!(
            message.contains(&format!("is Python {version}, which is too old")),
            "{message}"
        );
    }
}

#[test]
fn missing_engine_is_named() {
    let stage = Stage::new();
    let mut command = stage.serve(&[]);
    let message = refusal(
        &command.env("WSGI_FPM_ENGINE", "/no/such/engine.so").output().unwrap(),
        1,
    );
    assert!(
        message.starts_with("the engine is missing: /no/such/engine.so does not exist"),
        "{message}"
    );
    let message = refusal(
        &stage.serve(&[]).env("WSGI_FPM_HOSTING", "embedded").output().unwrap(),
        1,
    );
    assert!(message.contains("has no shared libpython"), "{message}");
}

/// What the real interpreters say of an engine that is none shows that the bootstrap runs in them, in either way.
#[test]
fn every_python_of_this_machine_runs_the_bootstrap() {
    for python in python::available() {
        for hosting in ["exec", "embedded"] {
            let stage = Stage::new();
            // A file of the application must not stand in for the standard library.
            std::fs::write(stage.path("importlib.py"), "raise SystemExit('the wrong importlib')\n").unwrap();
            let venv = stage.path("venv");
            if !python::make_venv(&python.path, &venv) {
                eprintln!("skipped: {} makes no virtual environment", python.path.display());
                continue;
            }
            let mut command = program();
            command
                .args(["serve", "app", "--log-level", "debug", "--listen"])
                .arg(stage.socket());
            command.arg("--python").arg(&venv).current_dir(stage.path(""));
            command
                .env("WSGI_FPM_ENGINE", stage.path("behaviour"))
                .env("WSGI_FPM_HOSTING", hosting);
            let mut running = Running::spawn(command);
            let status = running.exit();
            let log = running.log.text();
            if log.contains("has no shared libpython") {
                eprintln!("skipped: {} has no shared libpython to embed", python.path.display());
                continue;
            }
            assert_eq!(status.code(), Some(1), "{log}");
            assert!(log.contains("the engine can't be loaded: "), "{log}");
            assert!(
                !log.contains("the wrong importlib") && !log.contains("can't be embedded"),
                "{log}"
            );
        }
    }
}

/// A library that is not the interpreter's: its own executable takes over.
#[test]
fn foreign_libpython_is_not_embedded() {
    let stage = Stage::new();
    let mut command = program();
    command.args(["host", "--libpython"]).arg(stage.path("behaviour"));
    command.args(["--python-version", "3.12.1", "--"]).arg(stage.python());
    command.args(["-c", "pass", "/no/such/engine"]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("libpython can't be embedded"), "{text}");
    assert!(text.contains("SigIgn"), "the interpreter runs instead: {text}");
}
