//! A missing permission is said as one: who may not do what, and which directory on the way it is. The program runs as
//! nobody here, which takes root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Running, Stage, program, refusal};
use crate::support::installed;

const NOBODY: u32 = 65534;

/// A stage that everybody may look at, but for its directory `closed`.
struct Place {
    stage: Stage,
    /// Where everybody may run it from.
    program: PathBuf,
}

impl Place {
    /// None where this is not root.
    fn new() -> Option<Self> {
        if !installed::root() {
            return None;
        }
        let stage = Stage::new();
        set_mode(&stage.path(""), 0o755);
        fs::create_dir(stage.path("closed")).unwrap();
        set_mode(&stage.path("closed"), 0o700);
        for directory in ["closed/lib", "closed/venv/bin", "linked/bin", "homeless/bin"] {
            fs::create_dir_all(stage.path(directory)).unwrap();
        }
        fs::write(stage.path("closed/app.py"), "").unwrap();
        fs::copy("/bin/sh", stage.path("closed/venv/bin/python")).unwrap();
        symlink("../../closed/venv/bin/python", stage.path("linked/bin/python")).unwrap();
        symlink("/bin/sh", stage.path("homeless/bin/python")).unwrap();
        let home = stage.path("closed/venv/bin");
        fs::write(
            stage.path("homeless/pyvenv.cfg"),
            format!("home = {}\n", home.display()),
        )
        .unwrap();
        fs::write(stage.path("app.py"), "").unwrap();
        set_mode(&stage.path("app.py"), 0o600);
        let built = PathBuf::from(program().get_program());
        let everybody = |directory: &Path| directory.metadata().unwrap().permissions().mode() & 0o001 != 0;
        let program = if built.ancestors().all(everybody) {
            built
        } else {
            let copy = stage.path("wsgi-fpm");
            fs::copy(built, &copy).unwrap();
            copy
        };
        Some(Self { stage, program })
    }

    fn path(&self, name: &str) -> String {
        self.stage.path(name).to_str().unwrap().to_owned()
    }

    /// The program as nobody, with the stage's interpreter unless another is named.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        let environment: Vec<_> = command
            .get_envs()
            .map(|(name, value)| (name.to_owned(), value.map(|value| value.to_owned())))
            .collect();
        command = Command::new(&self.program);
        for (name, value) in environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.args(arguments).uid(NOBODY).gid(NOBODY).current_dir("/");
        command.env("WSGI_FPM_ENGINE", self.stage.path("behaviour"));
        if arguments.first() == Some(&"serve") && !arguments.contains(&"--python") {
            command.arg("--python").arg(self.stage.python());
        }
        command
    }

    #[track_caller]
    fn is_said(&self, command: &mut Command, code: i32, expected: &str) {
        let message = refusal(&command.output().unwrap(), code);
        let expected = expected.replace("DIR", self.path("").trim_end_matches('/'));
        assert!(
            message.contains(&expected) && message.contains("nobody (uid 65534) may not "),
            "{message}\nexpected: {expected}"
        );
    }

    /// `serve`, refused.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], code: i32, expected: &str) {
        let arguments = [&["serve"], arguments].concat();
        self.is_said(&mut self.command(&arguments), code, expected);
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

const BEHIND: &str = "may not enter DIR/closed (mode 0700, of root:root), so it can't reach DIR/closed/";

#[test]
fn interpreter_that_is_out_of_reach_is_not_called_missing() {
    let Some(place) = Place::new() else { return };
    let python = |name: &str, expected: &str| {
        let path = place.path(name);
        place.refuses(
            &["app", "--listen", "/nowhere/socket", "--python", &path],
            2,
            &format!("{BEHIND}{expected}"),
        );
    };
    python("closed/venv", "venv");
    python("closed/venv/bin/python", "venv/bin/python");
    // The environment may be read, its Python lies elsewhere.
    python("linked", "venv/bin/python");
    python("homeless", "venv/bin");
    for (mode, expected) in [(0o700, "enter"), (0o100, "enter")] {
        set_mode(&place.stage.path("linked/bin"), mode);
        let path = place.path("linked");
        let expected = format!("may not {expected} DIR/linked/bin (mode {mode:04o}, of root:root), so it can't reach");
        place.refuses(&["app", "--listen", "/nowhere/socket", "--python", &path], 2, &expected);
    }
    // What would be taken by itself is not passed over in silence.
    symlink(place.path("closed/venv"), place.stage.path(".venv")).unwrap();
    let mut command = place.command(&["dev", "app", "--chdir", &place.path("")]);
    place.is_said(&mut command, 2, &format!("{BEHIND}venv"));
}

#[test]
fn application_that_is_out_of_reach_is_not_called_missing() {
    let Some(place) = Place::new() else { return };
    let closed = |name: &str| place.path(&format!("closed/{name}"));
    let with = |app: &str, option: &str, value: &str, expected: &str| {
        place.refuses(&[app, "--listen", "/nowhere/socket", option, value], 2, expected);
    };
    with(&closed("app.py"), "--threads", "1", &format!("{BEHIND}app.py"));
    with(
        &place.path("app.py:x"),
        "--threads",
        "1",
        "may not read DIR/app.py (mode 0600,",
    );
    with("app", "--chdir", &closed("lib"), &format!("{BEHIND}lib"));
    with(
        "app",
        "--chdir",
        &place.path("closed"),
        "may not enter DIR/closed (mode 0700,",
    );
    with("app", "--pythonpath", &closed("lib"), &format!("{BEHIND}lib"));
    with(
        "app",
        "--pythonpath",
        &place.path("closed"),
        "may not read DIR/closed (mode 0700,",
    );
    // Without an interpreter of its own: what a web server starts.
    let script = place.stage.path("script.cgi");
    fs::write(&script, "#!/usr/bin/env wsgi-fpm\n").unwrap();
    set_mode(&script, 0o711);
    let mut command = place.command(&[script.to_str().unwrap()]);
    let output = command.env("REQUEST_METHOD", "GET").output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        log.contains("may not read") && log.contains("script.cgi (mode 0711,"),
        "{log}"
    );
}

#[test]
fn socket_directory_and_engine_that_are_out_of_reach_are_named() {
    let Some(place) = Place::new() else { return };
    let listen = |name: &str, expected: &str| place.refuses(&["app", "--listen", &place.path(name)], 1, expected);
    listen("x.sock", "may not write in DIR (mode 0755, of root:root)");
    listen("closed/lib/x.sock", &format!("{BEHIND}lib"));
    set_mode(&place.stage.path(""), 0o777);
    let mut command = place.command(&["serve", "app", "--listen", &place.path("x.sock")]);
    command.env("WSGI_FPM_ENGINE", place.path("closed/engine.so"));
    place.is_said(
        &mut command,
        1,
        &format!("the engine: user nobody (uid 65534) {BEHIND}engine.so"),
    );
}

/// The real engine, whose application became unreadable between two generations.
#[test]
fn reload_that_may_not_read_the_application_says_so() {
    const PYTHON: &str = "/usr/bin/python3";
    let engine = PathBuf::from(program().get_program()).with_file_name("libwsgi_fpm_engine.so");
    let Some(place) = Place::new() else { return };
    if !installed::file(Path::new(PYTHON)) {
        return;
    }
    set_mode(&place.stage.path(""), 0o777);
    let copy = place.stage.path("engine.so");
    // A release has it inside.
    let is_beside = engine.exists();
    if is_beside {
        fs::copy(engine, &copy).unwrap();
    }
    for (name, text) in [
        ("site.py", "def app(e, s): pass\n"),
        ("site.wsgi", "def app(e, s): pass\n"),
    ] {
        let file = place.stage.path(name);
        fs::write(&file, text).unwrap();
        set_mode(&file, 0o644);
        let app = format!("{}:app", file.display());
        let socket = place.path(&format!("{name}.sock"));
        let mut command = place.command(&["serve", &app, "--listen", &socket, "--workers", "1", "--python", PYTHON]);
        if is_beside {
            command.env("WSGI_FPM_ENGINE", &copy);
        }
        let running = Running::spawn(command);
        running.line(" ready ");
        set_mode(&file, 0o600);
        running.signal(rustix::process::Signal::HUP);
        let line = running.line("can't be loaded");
        let expected = format!(
            "user nobody (uid 65534) may not read {} (mode 0600, of root:root)",
            file.display()
        );
        assert!(line.contains(&expected), "{line}\n{expected}");
    }
}
