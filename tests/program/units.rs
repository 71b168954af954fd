//! The units of `deploy/systemd`, and what belongs to them, as systemd and logrotate judge them. Neither has to run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::run::program;
use crate::support::{self, installed};

/// systemd's own measure, from 0 to 100, has to be lower.
const EXPOSED: u32 = 30;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd")
}

fn read(name: &str) -> String {
    fs::read_to_string(shipped().join(name)).unwrap()
}

/// Names and texts of all units.
fn all() -> Vec<(String, String)> {
    let names = fs::read_dir(shipped()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let units = names.filter(|name| name.ends_with(".service") || name.ends_with(".socket"));
    let mut all: Vec<_> = units.map(|name| (name.clone(), read(&name))).collect();
    all.sort();
    assert!(all.len() >= 9, "{all:?}");
    all
}

fn written(arguments: &[&str]) -> String {
    let mut command = program();
    command.args(["config", "systemd"]).args(arguments);
    let output = command.args(["--program", "/usr/local/bin/wsgi-fpm"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn values<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    let values = unit
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.collect()
}

/// What was said on standard error, and whether all was well.
fn said(output: &Output) -> (bool, String) {
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn systemd_accepts_each_unit() {
    if !installed::systemd_analyze() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let ours = support::program::program().display().to_string();
    for (name, text) in all() {
        // What they start has to be there.
        let text = ["/usr/bin/wsgi-fpm ", "/usr/local/bin/wsgi-fpm "]
            .iter()
            .fold(text, |text, program| text.replace(program, &format!("{ours} ")));
        let text = text
            .replace("/usr/sbin/fcgiwrap ", "/bin/true ")
            .replace("/usr/bin/spawn-fcgi ", "/bin/true ");
        // fcgiwrap's socket is that of another example.service.
        let text = text.replace("example.socket", "fcgiwrap.socket");
        fs::write(directory.path().join(&name), text).unwrap();
    }
    for (name, _) in all() {
        let instance = name.replace('@', "@blog");
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", &instance])
            .current_dir(&directory)
            .env("SYSTEMD_UNIT_PATH", format!("{}:", directory.path().display()))
            .output()
            .unwrap();
        let (well, errors) = said(&output);
        assert!(
            well && !errors.contains(name.split(['@', '.']).next().unwrap()),
            "{instance}: {errors}"
        );
    }
}

#[test]
fn units_leave_little_to_an_attacker() {
    if !installed::systemd_analyze() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let services = all().into_iter().filter(|(name, _)| name.ends_with(".service"));
    let mut units: Vec<_> = services.collect();
    for user in ["blog", "root"] {
        units.push((
            format!("written-{user}.service"),
            written(&["app", "--chdir", "/usr", "--user", user]),
        ));
    }
    for (name, text) in units {
        let file = directory.path().join(&name);
        fs::write(&file, text).unwrap();
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--no-pager", "--offline=yes"]);
        let output = command
            .arg(format!("--threshold={}", EXPOSED - 1))
            .arg(&file)
            .output()
            .unwrap();
        let (well, errors) = said(&output);
        // Before systemd 250 it asks the running one alone.
        if errors.contains("unrecognized option") {
            return;
        }
        let verdict = String::from_utf8_lossy(&output.stdout);
        assert!(
            well && verdict.contains("Overall exposure"),
            "{name}: {verdict}{errors}"
        );
    }
}

/// What keeps an application from something is the same everywhere, and in no case what breaks ordinary ones.
#[test]
fn units_protect_alike_and_break_no_ordinary_application() {
    let protection = |unit: &str| {
        let lines = unit.lines().skip_while(|line| !line.starts_with("NoNewPrivileges="));
        let lines = lines
            .take_while(|line| !line.is_empty())
            .filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let of_user = protection(&written(&["app", "--chdir", "/usr", "--user", "blog"]));
    for name in ["example.service", "wsgi-fpm@.service", "fcgiwrap.service"] {
        assert_eq!(protection(&read(name)), of_user, "{name}");
    }
    let of_root = protection(&written(&["app", "--chdir", "/usr", "--user", "root"]));
    let rest = |lines: &BTreeSet<String>| {
        let apart = ["CapabilityBoundingSet=", "ProtectHome="];
        let rest = lines
            .iter()
            .filter(|line| !apart.iter().any(|name| line.starts_with(name)));
        rest.cloned().collect::<Vec<_>>()
    };
    for name in ["wsgi-fpm.service", "spawn-fcgi.service"] {
        assert_eq!(rest(&protection(&read(name))), rest(&of_root), "{name}");
    }
    let rights = |unit: &str| values(unit, "CapabilityBoundingSet")[0].to_owned();
    assert_eq!(
        rights(&read("wsgi-fpm.service")),
        rights(&written(&["app", "--chdir", "/usr", "--user", "root"]))
    );
    // Its pools may lie in homes, and permissions say who may read them.
    assert!(values(&read("wsgi-fpm.service"), "ProtectHome").is_empty());
    for (name, text) in all() {
        for breaks in [
            "MemoryDenyWriteExecute",
            "IPAddressDeny",
            "PrivateNetwork",
            "UMask",
            "ProcSubset",
        ] {
            assert!(values(&text, breaks).is_empty(), "{name} has {breaks}");
        }
        assert!(!values(&text, "ProtectSystem").contains(&"strict"), "{name}");
    }
}

#[test]
fn services_tell_systemd_all_that_the_program_can_say_and_keep_what_must_stay() {
    let shipped = ["example.service", "wsgi-fpm.service", "wsgi-fpm@.service"].map(read);
    let of_app = written(&["app", "--chdir", "/usr", "--user", "blog"]);
    for unit in shipped.iter().chain([&of_app]) {
        assert_eq!(values(unit, "Type"), ["notify"], "{unit}");
        assert_eq!(values(unit, "WatchdogSec"), ["1min"]);
        assert_eq!(values(unit, "FileDescriptorStoreMax"), ["512"]);
        // One worker that is killed for its memory must not end the others.
        assert_eq!(values(unit, "OOMPolicy"), ["continue"]);
        assert_eq!(values(unit, "KillMode"), ["mixed"]);
        assert_eq!(values(unit, "RestartPreventExitStatus"), ["2"]);
        // Sockets and the control socket are there, and stay over a restart.
        assert!(values(unit, "RuntimeDirectory")[0].starts_with("wsgi-fpm"), "{unit}");
        assert!(
            matches!(values(unit, "RuntimeDirectoryPreserve")[..], ["restart" | "yes"]),
            "{unit}"
        );
    }
}

#[test]
fn user_and_directory_are_made() {
    if !installed::systemd_sysusers() {
        return;
    }
    let root = TempDir::with_prefix("wsgi-fpm-").unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let run = |program: &str, file: &str| {
        let option = format!("--root={}", root.path().display());
        let mut command = Command::new(program);
        if program == "systemd-tmpfiles" {
            command.arg("--create");
        }
        let (well, errors) = said(&command.arg(option).arg(shipped().join(file)).output().unwrap());
        assert!(well, "{program}: {errors}");
    };
    run("systemd-sysusers", "sysusers.d/wsgi-fpm.conf");
    let accounts = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let account = accounts.lines().find(|line| line.starts_with("wsgi-fpm:")).unwrap();
    assert!(account.ends_with("/nologin"), "{account}");
    // Only root can give it to root.
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    fs::write(
        root.path().join("etc/passwd"),
        format!("root:x:0:0::/:/bin/sh\n{accounts}"),
    )
    .unwrap();
    fs::write(root.path().join("etc/group"), "root:x:0:\n").unwrap();
    run("systemd-tmpfiles", "tmpfiles.d/wsgi-fpm.conf");
    let made = root.path().join("run/wsgi-fpm").metadata().unwrap();
    assert!(made.is_dir() && (made.mode() & 0o7777, made.uid()) == (0o755, 0));
}

/// With the directories of a test in place of those of the system, and no service to tell.
#[test]
fn logs_are_rotated_and_the_program_is_told() {
    if !installed::logrotate() {
        return;
    }
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let logs = directory.path().join("log");
    let files = ["wsgi-fpm", "wsgi-fpm-blog"].map(|service| logs.join(service).join("access.log"));
    for file in &files {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "a line\n").unwrap();
    }
    let told = directory.path().join("told");
    let text = read("logrotate.d/wsgi-fpm");
    assert_eq!(text.matches("--kill-who=main --signal=USR1").count(), 2, "{text}");
    let text = text
        .replace("/var/log", &logs.display().to_string())
        .replace("    su wsgi-fpm wsgi-fpm\n", "")
        .replace("systemctl kill", &format!("echo >>{}", told.display()));
    let file = directory.path().join("logrotate");
    fs::write(&file, text).unwrap();
    let mut command = Command::new("logrotate");
    command
        .arg("--force")
        .arg("--state")
        .arg(directory.path().join("state"))
        .arg(&file);
    let (well, errors) = said(&command.output().unwrap());
    assert!(well && errors.is_empty(), "{errors}");
    for file in &files {
        let old = file.with_extension("log.1");
        assert_eq!(fs::read_to_string(old).unwrap(), "a line\n", "{file:?}");
    }
    let told = fs::read_to_string(told).unwrap();
    let told: Vec<_> = told.lines().collect();
    assert_eq!(
        told,
        [
            "--kill-who=main --signal=USR1 wsgi-fpm.service",
            "--kill-who=main --signal=USR1 wsgi-fpm@*.service"
        ]
    );
}
