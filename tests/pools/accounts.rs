//! Pools of the file have users of their own.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use crate::house::{House, directory, pool};
use crate::support::account::Account;

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
