//! Pools of the file have users of their own.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use crate::house::{DEFAULTS, House, directory, pool};
use crate::support::account::Account;
use crate::support::program::program;

const PYTHON: &str = "python = \"/usr/bin/python3\"";

#[test]
fn pool_runs_as_its_user_and_reads_nothing_of_another() {
    let (blog, shop) = (Account::new(), Account::new());
    let directory = directory();
    for account in [&blog, &shop] {
        let secret = directory.path().join(&account.name);
        fs::write(&secret, format!("of {}", account.name)).unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        chown(&secret, Some(account.uid), Some(account.gid)).unwrap();
    }
    let of = |name: &str, account: &Account| pool(name, &format!("{PYTHON}\nuser = \"{}\"", account.name));
    let house = House::serve_in(directory, &[of("blog", &blog), of("shop", &shop)]);
    for (name, account, other) in [("blog", &blog, &shop), ("shop", &shop, &blog)] {
        house.wait_ready(name);
        assert_eq!(house.who(name, "uid"), account.uid.to_string());
        let read = |whose: &Account| {
            let path = house.path(&whose.name);
            house.get(name, &format!("/read?{}", path.display())).text()
        };
        assert_eq!(read(account), format!("read: of {}", account.name));
        assert_eq!(read(other), "not read: PermissionError");
    }
}

#[test]
fn user_that_does_not_exist_is_of_its_pool_alone() {
    let house = House::serve(&[pool("none", "user = \"nosuchuser\""), pool("good", "")]);
    house.wait_ready("good");
    house.wait_for(0, &["ERROR", "pool=\"none\"", "pool.none.user", "nosuchuser"]);
}

#[test]
fn root_without_a_user_is_refused_with_the_line_to_add() {
    let named = pool("named", "user = \"root\"");
    let house = House::serve_without_a_user(&[pool("one", ""), named]);
    house.wait_ready("named");
    house.wait_for(
        0,
        &[
            "ERROR",
            "pool=\"one\"",
            "pool.one.user is missing",
            "write user = \"www-data\"",
        ],
    );
    house.wait_for(0, &["pool=\"named\"", "runs as root, as its options say"]);
    assert!(!house.path("one.sock").exists());
}

/// A unit may hide processes of others from it (`ProtectProc=`), and take away the right to see them all the same. One pool is root's,
/// whose group is another than the supervisor's.
#[test]
fn workers_that_the_supervisor_may_not_see_are_looked_after() {
    let account = Account::new();
    let directory = directory();
    let of = |name: &str, user: &str| pool(name, &format!("{PYTHON}\nuser = \"{user}\""));
    let pools = [of("blog", &account.name), of("shop", "root")];
    let file = directory.path().join("wsgi-fpm.toml");
    fs::write(
        file,
        format!("{}\n{}", DEFAULTS.replace("user = \"root\"\n", ""), pools.join("\n")),
    )
    .unwrap();
    let mut command = Command::new("unshare");
    let hide = "mount -t proc -o hidepid=ptraceable proc /proc && exec \"$@\"";
    let group = account.gid.to_string();
    command
        .args(["--mount", "sh", "-c", hide, "sh"])
        .args([
            "setpriv",
            "--bounding-set=-sys_ptrace",
            "--keep-groups",
            "--regid",
            &group,
        ])
        .arg(program());
    let mut house = House::spawn(directory, command);
    for name in ["blog", "shop"] {
        house.wait_ready(name);
        let worker = house.workers(name)[0];
        // The supervisor has what it gave to be asked.
        let text = house.done(&["stacks", name]);
        assert!(
            text.starts_with(&format!("worker {worker}\n")) && text.contains("idle"),
            "{text}"
        );
    }
    assert_eq!(
        house.log.count(|line| line.contains("ERROR")),
        0,
        "{}",
        house.log.text()
    );
    assert!(house.stop().success());
}
