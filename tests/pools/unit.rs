//! The unit that `wsgi-fpm config systemd` writes for a configuration file, and what it starts.

use std::fs;
use std::process::Command;

use crate::house::{DEFAULTS, House, directory, pool};
use crate::support::account::Account;

const PYTHON: &str = "python = \"/usr/bin/python3\"";

/// The rest of the only line that begins with `setting`.
#[track_caller]
fn setting<'a>(unit: &'a str, setting: &str) -> &'a str {
    let found: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix(setting)).collect();
    let [rest] = found[..] else {
        panic!("{} lines with {setting:?} in:\n{unit}", found.len());
    };
    rest
}

/// With no more rights than the unit leaves, the supervisor gives sockets away, becomes each pool's user, and stops its processes.
#[test]
fn command_of_the_unit_serves_the_pools_with_the_rights_that_it_leaves() {
    let account = Account::new();
    let directory = directory();
    let file = directory.path().join("wsgi-fpm.toml");
    let lines = format!("{PYTHON}\nuser = \"{0}\"\nlisten_owner = \"{0}\"", account.name);
    let pools = [pool("blog", &lines), pool("shop", PYTHON)];
    fs::write(&file, format!("{DEFAULTS}\n{}", pools.join("\n"))).unwrap();
    let mut config = Command::new(env!("CARGO_BIN_EXE_wsgi-fpm"));
    let output = config.args(["config", "systemd", "-c"]).arg(&file).output().unwrap();
    let unit = String::from_utf8(output.stdout).unwrap();
    assert_eq!(setting(&unit, "User="), "root");
    let line = setting(&unit, "ExecStart=");
    let program = line
        .strip_suffix(&format!(" serve --config {}", file.display()))
        .unwrap_or_else(|| panic!("{line}"));

    let mut bounds = String::from("-all");
    for capability in setting(&unit, "CapabilityBoundingSet=").split(' ') {
        bounds += &format!(",+{}", capability.strip_prefix("CAP_").unwrap().to_lowercase());
    }
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", "--bounding-set", &bounds, program]);
    let mut house = House::spawn(directory, command);
    for (name, uid) in [("blog", account.uid), ("shop", 0)] {
        house.wait_ready(name);
        assert_eq!(house.who(name, "uid"), uid.to_string());
    }
    assert!(house.stop().success());
}
