//! Runs the program with an interpreter that only pretends: a shell script that answers the probe as the test likes and
//! becomes `leader.py` when it is asked to host the engine. So the program is tested without the engine.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support;
use crate::support::log::Log;
use crate::support::wait::{SOON, until_some};

pub fn program() -> Command {
    let mut command = Command::new(support::program::program());
    command.env_remove("VIRTUAL_ENV").env_remove("FCGI_WEB_SERVER_ADDRS");
    command.env_remove("WSGI_FPM_ENGINE").env_remove("WSGI_FPM_HOSTING");
    command
        .env_remove("NO_COLOR")
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn output<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    program().args(arguments).output().unwrap()
}

/// The one line that a refused start prints.
#[track_caller]
pub fn refusal(output: &Output, code: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(output.stdout.is_empty());
    let line = text.strip_suffix('\n').expect("a line");
    assert!(!line.contains('\n'), "more than one line: {text}");
    let message = line.strip_prefix("wsgi-fpm: error: ");
    message.unwrap_or_else(|| panic!("no error message: {line}")).to_owned()
}

/// A directory with the pretended interpreter `python`, its `behaviour` file and room for a socket.
pub struct Stage {
    directory: TempDir,
}

impl Stage {
    /// CPython 3.12 that starts well.
    pub fn new() -> Self {
        Self::with_answer(&[])
    }

    /// Some fields of the probe's answer are replaced by JSON values.
    pub fn with_answer(replaced: &[(&str, &str)]) -> Self {
        let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
        let stage = Self { directory };
        let python = serde_json::to_string(&stage.python()).unwrap();
        let mut fields = vec![
            ("wsgi_fpm_probe", "1"),
            ("version", "[3, 12, 1]"),
            ("full_version", r#""3.12.1 (main) [GCC]""#),
            ("implementation", r#""cpython""#),
            ("executable", &python),
            ("prefix", r#""/nowhere""#),
            ("base_prefix", r#""/nowhere""#),
            ("shared", "false"),
            ("libdir", "null"),
            ("multiarch", "null"),
            ("soname", "null"),
            ("library", "null"),
            ("gil_disabled", "false"),
            ("platform", r#""linux-x86_64""#),
        ];
        for (name, value) in replaced {
            let field = fields.iter_mut().find(|(field, _)| field == name);
            field.expect("a field of the answer").1 = value;
        }
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("\"{name}\": {value}"))
            .collect();
        stage.script(&format!(
            "case \"$*\" in *wsgi_fpm_probe*) echo '{{{}}}'; exit ;; esac\n\
             grep SigIgn /proc/self/status >&2\n\
             exec python3 -E '{}' '{}'\n",
            fields.join(", "),
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/program/leader.py")
                .display(),
            stage.path("behaviour").display(),
        ));
        stage.behave("");
        stage
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    pub fn python(&self) -> PathBuf {
        self.path("python")
    }

    /// What the leaders that start from now on do.
    pub fn behave(&self, words: &str) {
        // Renamed into place: a leader never reads half of it.
        std::fs::write(self.path("behaviour.new"), words).unwrap();
        std::fs::rename(self.path("behaviour.new"), self.path("behaviour")).unwrap();
    }

    /// Replaces the interpreter by a shell script.
    pub fn script(&self, lines: &str) {
        std::fs::write(self.python(), format!("#!/bin/sh\n{lines}")).unwrap();
        std::fs::set_permissions(self.python(), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The program with `arguments`, the pretended interpreter, and any existing file for an engine.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = program();
        command.args(arguments).arg("--python").arg(self.python());
        command.arg("--chdir").arg(self.directory.path());
        command.env("WSGI_FPM_ENGINE", self.path("behaviour"));
        // Its control socket is there, and commands find no other.
        command.env("RUNTIME_DIRECTORY", self.directory.path());
        command
    }

    /// `serve` on the stage's socket.
    pub fn serve(&self, more: &[&str]) -> Command {
        let mut command = self.command(&["serve", "app:application"]);
        command.arg("--listen").arg(self.socket()).args(more);
        command
    }
}

/// A running program; killed when dropped.
pub struct Running {
    child: Child,
    pub log: Log,
}

impl Running {
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::collect(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// Waits for a line with `text` and gives it.
    #[track_caller]
    pub fn line(&self, text: &str) -> String {
        self.line_after(0, text)
    }

    /// The same for lines after [`Log::mark`].
    #[track_caller]
    pub fn line_after(&self, mark: usize, text: &str) -> String {
        let found = || self.log.since(mark).into_iter().find(|line| line.contains(text));
        if let Some(line) = found() {
            return line;
        }
        let log = self.log.clone();
        until_some(&format!("the log has {text:?}"), SOON, || {
            let line = found();
            assert!(
                line.is_some() || !log.ended(),
                "the log ended without {text:?}:\n{}",
                log.text()
            );
            line
        })
    }

    /// Gives the [`Log::mark`] before what it does.
    pub fn signal(&self, signal: Signal) -> usize {
        let mark = self.log.mark();
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        mark
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub fn exit(&mut self) -> ExitStatus {
        self.exit_within(SOON)
    }

    #[track_caller]
    pub fn exit_within(&mut self, deadline: Duration) -> ExitStatus {
        let log = self.log.clone();
        let child = &mut self.child;
        let status = until_some(&format!("the program ends; its log:\n{}", log.text()), deadline, || {
            child.try_wait().unwrap()
        });
        self.log.wait_for_end();
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number after `name=` in a line of the log.
pub fn field(line: &str, name: &str) -> i32 {
    let (_, rest) = line
        .split_once(&format!(" {name}="))
        .unwrap_or_else(|| panic!("no {name} in {line}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}
