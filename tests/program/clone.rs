//! The Makefile and its scripts in a clone whose path has spaces, quotes and other characters that make and shells give a
//! meaning. Programs that take long or need a network are replaced by ones that record how they were called.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::installed;

/// make runs its commands by a shell, cargo takes what is in its environment, and venv refuses nothing but colons.
const ODD: &str = "a b's \"$x\" (1) #;&%";

/// What would change the commands, and what is recorded.
const FOREIGN: [&str; 8] = [
    "MAKEFLAGS",
    "MAKELEVEL",
    "CARGO_TARGET_DIR",
    "WSGI_FPM_TEST_VENV",
    "WSGI_FPM_COMPAT_VENV",
    "DESTDIR",
    "PREFIX",
    "PORT",
];

/// A copy of what `make` reads, in a directory of this name; beside it lies `a`, which a path that is taken apart would name.
struct Clone {
    outer: TempDir,
    path: PathBuf,
}

impl Clone {
    fn new(name: &str) -> Self {
        let outer = TempDir::with_prefix("wsgi-fpm-").unwrap();
        let path = outer.path().join(name).join("clone");
        fs::create_dir_all(&path).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        for part in ["Makefile", "scripts", "packaging", ".ci", "nginx", "deploy", "apache"] {
            let status = Command::new("cp").arg("-R").arg(source.join(part)).arg(&path).status();
            assert!(status.unwrap().success());
        }
        let clone = Self { outer, path };
        for file in [
            "examples/django/requirements.txt",
            "examples/flask/requirements.txt",
            "benches/requirements.txt",
            "tests/compat/requirements/x.txt",
            "examples/django/manage.py",
        ] {
            fs::create_dir_all(clone.path.join(file).parent().unwrap()).unwrap();
            fs::write(clone.path.join(file), "").unwrap();
        }
        // It installs packages, and knows no path of the clone.
        clone.program("clone/scripts/test-packages.sh", "");
        let recording = clone.recording();
        for measure in ["compare.py", "mix.py"] {
            clone.program(&format!("bin/{measure}"), &recording);
            let recorder = clone.outer.path().join("bin").join(measure);
            let path = clone.path.join("benches").join(measure);
            let text = format!("#!/usr/bin/env python3\nimport os, sys\nos.execv({recorder:?}, sys.argv)\n");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        clone.program(
            "bin/cargo",
            &format!(
                "{recording}\
                 [ \"$*\" != --version ] || echo 'cargo 1.999.0 (recorded)'\n\
                 [ \"$1\" != test ] || echo 'test result: ok. 1 passed; 0 failed'\n"
            ),
        );
        // What a path that was taken apart would name.
        fs::create_dir_all(clone.outer.path().join("a")).unwrap();
        fs::write(clone.outer.path().join("a/precious"), "").unwrap();
        clone
    }

    /// A line for each call, with what the test wants to see of the environment.
    fn recording(&self) -> String {
        let record = self.outer.path().join("record");
        format!(
            "printf '%s [%s] [%s]\\n' \"$(basename \"$0\") $*\" \"${{CARGO_TARGET_DIR:-}}\" \
             \"${{WSGI_FPM_TEST_VENV:-${{WSGI_FPM_COMPAT_VENV:-}}}}\" >>'{}'\n",
            record.display()
        )
    }

    fn program(&self, path: &str, lines: &str) {
        let path = match path.strip_prefix("clone/") {
            Some(path) => self.path.join(path),
            None => self.outer.path().join(path),
        };
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\nset -eu\n{lines}")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap();
        // Tests may run below a make of their own.
        for variable in FOREIGN {
            command.env_remove(variable);
        }
        command
            .env("PATH", format!("{}:{path}", self.outer.path().join("bin").display()))
            .stdin(Stdio::null())
            .current_dir(&self.path);
        // Those of the run that this test belongs to.
        command
            .env_remove("WSGI_FPM_TEST_VENV")
            .env_remove("WSGI_FPM_COMPAT_VENV");
        command
    }

    #[track_caller]
    fn make(&self, arguments: &[&str]) -> String {
        let mut command = self.command("make");
        Self::succeed(command.args(arguments))
    }

    #[track_caller]
    fn succeed(command: &mut Command) -> String {
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{command:?}:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    fn record(&self) -> String {
        fs::read_to_string(self.outer.path().join("record")).unwrap_or_default()
    }

    /// What the scripts need of a virtual environment that they don't make again.
    #[track_caller]
    fn virtual_environment(&self, name: &str) -> PathBuf {
        let directory = self.path.join(".cache").join(name);
        Self::succeed(
            self.command(self.path.join("scripts/venv.sh"))
                .arg(&directory)
                .arg("benches/requirements.txt"),
        );
        directory
    }
}

#[test]
fn make_clean_leaves_the_neighbours_of_a_clone_alone() {
    if !installed::make() {
        return;
    }
    for name in ["a b", ODD] {
        let clone = Clone::new(name);
        fs::create_dir_all(clone.path.join(".cache/test-venv")).unwrap();
        clone.make(&["clean"]);
        assert!(!clone.path.join(".cache").exists());
        assert!(clone.outer.path().join("a/precious").is_file(), "{name}");
        assert!(clone.record().starts_with("cargo clean [target]"), "{}", clone.record());
    }
}

#[test]
fn every_target_is_one_that_a_shell_can_read_in_any_path() {
    if !installed::make() {
        return;
    }
    let clone = Clone::new(ODD);
    let help = clone.make(&["help"]);
    let targets: Vec<_> = help.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(targets.len() >= 9 && targets.contains(&"clean"), "{help}");
    for target in targets {
        let script = clone.make(&["-n", target]);
        Clone::succeed(clone.command("bash").args(["-n", "-c", &script]));
        // Nothing of the path stands in what make gives to the shell, so nothing of it is taken apart there.
        assert!(!script.contains("clone"), "{target}:\n{script}");
    }
}

#[test]
fn installation_goes_into_any_directory() {
    if !installed::make() {
        return;
    }
    let clone = Clone::new(ODD);
    let target = clone.outer.path().join(format!("target {ODD}"));
    fs::create_dir_all(target.join("release")).unwrap();
    // What writes pages and completions.
    let program = "#!/bin/sh\n[ \"$1\" != man ] || { mkdir -p \"$2/man1\" && echo \"$1\" >\"$2/man1/wsgi-fpm.1\"; }\necho \"$2\"\n";
    for (file, text) in [("wsgi-fpm", program), ("libwsgi_fpm_engine.so", "")] {
        let file_path = target.join("release").join(file);
        fs::write(&file_path, text).unwrap();
        fs::set_permissions(&file_path, Permissions::from_mode(0o755)).unwrap();
    }
    let root = clone.outer.path().join("root b's #;&");
    let mut command = clone.command("make");
    command.arg("install").arg(format!("DESTDIR={}", root.display()));
    Clone::succeed(command.arg("PREFIX=/opt/w f").env("CARGO_TARGET_DIR", &target));
    let place = root.join("opt/w f");
    assert_eq!(fs::read_to_string(place.join("bin/wsgi-fpm")).unwrap(), program);
    let share = |file: &str| fs::read_to_string(place.join("share").join(file)).unwrap();
    assert_eq!(share("man/man1/wsgi-fpm.1"), "man\n");
    assert_eq!(share("bash-completion/completions/wsgi-fpm"), "bash\n");
    assert_eq!(share("zsh/site-functions/_wsgi-fpm"), "zsh\n");
    assert_eq!(share("fish/vendor_completions.d/wsgi-fpm.fish"), "fish\n");
    assert!(place.join("lib/wsgi-fpm/libwsgi_fpm_engine.so").is_file());
    assert!(place.join("share/wsgi-fpm/wsgi_fpm_params").is_file());
    assert!(place.join("share/wsgi-fpm/apache/fcgid.conf").is_file());
    assert!(!clone.path.join("opt").exists() && !clone.outer.path().join("root").exists());
    assert!(!root.join("etc").exists(), "systemd does not look there");

    // What the administrator has written stays.
    let file = root.join("etc/wsgi-fpm/wsgi-fpm.toml");
    let mut text = String::new();
    for _ in 0..2 {
        let mut command = clone.command("make");
        command
            .args(["install", "PREFIX=/usr/local"])
            .arg(format!("DESTDIR={}", root.display()));
        Clone::succeed(command.env("CARGO_TARGET_DIR", &target));
        let unit = fs::read_to_string(root.join("usr/local/lib/systemd/system/wsgi-fpm.service")).unwrap();
        assert!(
            unit.contains("ExecStart=/usr/local/bin/wsgi-fpm serve --config /etc/wsgi-fpm/wsgi-fpm.toml\n"),
            "{unit}"
        );
        let found = fs::read_to_string(&file).unwrap();
        assert!(
            found.contains("include = ") && (text.is_empty() || found == text),
            "{found}"
        );
        text = found + "# mine\n";
        fs::write(&file, &text).unwrap();
    }
    assert!(root.join("etc/wsgi-fpm/pools.d/example.toml.disabled").is_file());
}

/// What pip installs has the interpreter's path in its first line, which can't have a space there.
#[test]
fn scripts_of_a_virtual_environment_run_below_a_directory_with_a_space() {
    if !installed::make() || !installed::python_venv() {
        return;
    }
    let clone = Clone::new("a b's");
    let directory = clone.virtual_environment("test-venv");
    let version = Clone::succeed(clone.command(directory.join("bin/pip")).arg("--version"));
    assert!(version.contains("pip"), "{version}");
}

#[test]
fn targets_run_in_a_clone_of_any_path() {
    if !installed::make() || !installed::python_venv() {
        return;
    }
    let clone = Clone::new(ODD);
    let cache = fs::canonicalize(&clone.path).unwrap().join(".cache");
    let target = clone.outer.path().join(format!("target {ODD}"));
    fs::create_dir_all(target.join("release")).unwrap();
    fs::copy(
        clone.outer.path().join("bin/compare.py"),
        target.join("release/wsgi-fpm"),
    )
    .unwrap();

    let run = clone.virtual_environment("run-venv");
    // The others are as that one.
    let stamp = fs::read(run.join("made-from")).unwrap();
    for other in ["test-venv", "compat-venv", "bench-venv"] {
        fs::create_dir_all(clone.path.join(".cache").join(other)).unwrap();
        fs::write(clone.path.join(".cache").join(other).join("made-from"), &stamp).unwrap();
    }

    let run = |program: &str, arguments: &[&str]| {
        let before = clone.record().len();
        let mut command = clone.command(program);
        command.env("PYTHON_AT_LEAST", "3.9").env("CARGO_TARGET_DIR", &target);
        Clone::succeed(command.args(arguments));
        clone.record()[before..].to_owned()
    };
    let target = target.display();
    let cache = cache.display();

    let said = run("make", &["run", "PORT=8123"]);
    let serves = format!(
        "wsgi-fpm dev mysite.wsgi:application --chdir examples/django --python {cache}/run-venv --bind 127.0.0.1:8123 [{target}]"
    );
    assert!(said.contains(&serves), "{said}");

    let said = run("make", &["bench"]);
    let measures = format!(
        "compare.py --venv {cache}/bench-venv --threads 8 wsgi-fpm={target}/release/wsgi-fpm granian [{target}]"
    );
    assert!(said.contains(&measures), "{said}");
    let waits = format!("mix.py --venv {cache}/bench-venv wsgi-fpm={target}/release/wsgi-fpm");
    assert!(said.contains(&waits), "{said}");

    // Everything that has to hold: lint, test, test-compat.
    let ci = clone.path.join(".ci/run");
    let said = run(ci.to_str().unwrap(), &[]);
    for expected in [
        format!("cargo fmt --all --check [{target}] []"),
        format!("cargo test --workspace --locked --no-fail-fast [{target}] [{cache}/test-venv]"),
        format!("cargo test --test compat --locked [{target}] [{cache}/compat-venv]"),
    ] {
        assert!(said.contains(&expected), "{expected}\n{said}");
    }
}
