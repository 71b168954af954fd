//! `ExecReload=` of the units: what `systemctl reload` waits for, and what makes it fail.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{ServiceManager, stop};
use crate::run::{Running, Stage, program};
use crate::support::program::program as path_of_program;

/// A unit, by what its directory in /run is called.
struct Unit {
    text: String,
    directory: &'static str,
}

impl Unit {
    fn shipped(name: &str, directory: &'static str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd").join(name);
        let text = fs::read_to_string(path).unwrap().replace("%i", "blog");
        Self { text, directory }
    }

    fn written(arguments: &[&str], directory: &'static str) -> Self {
        let mut command = program();
        command.args(["config", "systemd", "--program", "/usr/bin/wsgi-fpm"]);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        Self { text, directory }
    }

    /// A stage's directory for it, as systemd makes one.
    fn make_directory(&self, stage: &Stage) -> PathBuf {
        let path = stage.path(self.directory);
        fs::DirBuilder::new().mode(0o755).create(&path).unwrap();
        path
    }

    /// The command, with what systemd would put into it.
    fn reload(&self, stage: &Stage, pid: u32) -> Command {
        let mut lines = self.text.lines().filter_map(|line| line.strip_prefix("ExecReload="));
        let line = lines.next().unwrap();
        assert_eq!(lines.next(), None, "{}", self.text);
        let line = line.replace("%t", stage.path("").to_str().unwrap().trim_end_matches('/'));
        let mut words = line.split(' ').map(|word| word.replace("${MAINPID}", &pid.to_string()));
        let first = words.next().unwrap();
        assert!(
            first.starts_with("/usr/") && first.ends_with("/bin/wsgi-fpm"),
            "{first}"
        );
        let mut command = Command::new(path_of_program());
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

#[test]
fn each_unit_reloads_by_a_command_that_waits_and_fails_with_the_new_version() {
    for unit in [
        Unit::shipped("example.service", "wsgi-fpm-example"),
        Unit::shipped("wsgi-fpm.service", "wsgi-fpm"),
        Unit::shipped("wsgi-fpm@.service", "wsgi-fpm-blog"),
        Unit::written(
            &["app:application", "--name", "blog", "--chdir", "/usr"],
            "wsgi-fpm-blog",
        ),
    ] {
        let stage = Stage::new();
        let manager = ServiceManager::new(&stage);
        let mut serve = stage.serve(&[]);
        serve.env("RUNTIME_DIRECTORY", unit.make_directory(&stage));
        let mut running = manager.start(serve);
        manager.wait_for("STATUS=1 pool: 1 serves");

        stage.behave("late");
        manager.forget_messages();
        let mut reload = Running::spawn(unit.reload(&stage, running.pid()));
        manager.wait_for("RELOADING=1");
        running.line("reloading");
        assert!(!manager.is_told("READY=1") && !reload.log.ended(), "it is not over");
        stage.behave("");
        assert_eq!(reload.exit().code(), Some(0), "{}", reload.log.text());
        manager.wait_for("READY=1");

        stage.behave("fail");
        manager.forget_messages();
        let mut reload = Running::spawn(unit.reload(&stage, running.pid()));
        assert_eq!(reload.exit().code(), Some(1), "{}", reload.log.text());
        let said = reload.log.text();
        assert!(
            said.contains("the new version failed, and the one before goes on: ImportError: no module")
                && said.contains("\n  line one\n"),
            "{said}"
        );
        manager.wait_for("READY=1");
        stop(&mut running);
    }
}

/// The unit for a file has the same command, and its file's mistakes make it fail.
#[test]
fn mistake_in_the_file_fails_the_reload_and_is_printed() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let file = stage.path("wsgi-fpm.toml");
    let write = |more: &str| {
        let python = stage.python();
        let text = format!(
            "[pool.blog]\napp = \"app:application\"\npython = {python:?}\nlisten = \"./blog.sock\"\nuser = \"root\"\n{more}"
        );
        fs::write(&file, text).unwrap();
    };
    write("");
    let unit = Unit::written(&["-c", file.to_str().unwrap()], "wsgi-fpm");
    let mut serve = program();
    serve.args(["serve", "--config"]).arg(&file);
    serve
        .env("RUNTIME_DIRECTORY", unit.make_directory(&stage))
        .env("WSGI_FPM_ENGINE", stage.path("behaviour"));
    let mut running = manager.start(serve);
    manager.wait_for("STATUS=1 pool: 1 serves");
    manager.forget_messages();
    write("thread = 2\n");
    let output = unit.reload(&stage, running.pid()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("did you mean threads?"), "{said}");
    manager.wait_for("READY=1");
    write("threads = 2\n");
    let output = unit.reload(&stage, running.pid()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    stop(&mut running);
}

#[test]
fn reload_of_a_service_that_has_ended_fails() {
    let stage = Stage::new();
    let manager = ServiceManager::new(&stage);
    let unit = Unit::shipped("example.service", "wsgi-fpm-example");
    let mut serve = stage.serve(&[]);
    serve.env("RUNTIME_DIRECTORY", unit.make_directory(&stage));
    let mut running = manager.start(serve);
    running.line(" ready ");
    running.signal(Signal::KILL);
    running.exit();
    let output = unit.reload(&stage, running.pid()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("does not run any more"), "{said}");
}
