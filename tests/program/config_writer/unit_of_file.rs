//! The unit for the pools of a configuration file.

use tempfile::TempDir;

use super::setting;
use crate::run::program;

/// What is printed for a file with this text, which is `/.../wsgi-fpm.toml`.
#[track_caller]
fn unit(text: &str) -> (TempDir, String) {
    let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
    let file = directory.path().join("wsgi-fpm.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = program();
    command
        .args(["config", "systemd", "--program", "/usr/local/bin/wsgi-fpm", "-c"])
        .arg(&file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    (directory, String::from_utf8(output.stdout).unwrap())
}

/// Comments without their line breaks.
fn comments(unit: &str) -> String {
    let lines = unit.lines().filter_map(|line| line.strip_prefix('#'));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// With these pools, each of which has its name and these lines.
fn pools(pools: &[(&str, &str)]) -> String {
    let table = |(name, lines): &(&str, &str)| {
        let listen = match lines.contains("listen =") {
            true => String::new(),
            false => format!("listen = \"/run/{name}/wsgi.sock\"\n"),
        };
        format!("[pool.{name}]\napp = \"app\"\n{listen}{lines}\n")
    };
    unit(&pools.iter().map(table).collect::<String>()).1
}

#[test]
fn unit_serves_the_file_as_root_where_pools_have_users() {
    let (directory, unit) = unit(
        "[defaults]\nlisten_group = \"www-data\"\n\
         [pool.blog]\napp = \"a\"\nlisten = \"/run/blog/wsgi.sock\"\nuser = \"blog\"\nstop_timeout = \"90s\"\n\
         [pool.shop]\napp = \"b\"\nlisten = [\"/run/shops/one/a b.sock\", \":9000\"]\nuser = \"shop\"\n",
    );
    let file = directory.path().join("wsgi-fpm.toml");
    assert_eq!(
        setting(&unit, "ExecStart"),
        format!("/usr/local/bin/wsgi-fpm serve --config {}", file.display())
    );
    assert_eq!(setting(&unit, "User"), "root");
    assert_eq!(setting(&unit, "RuntimeDirectory="), "wsgi-fpm blog shops/one");
    assert_eq!(
        setting(&unit, "ExecReload"),
        "/usr/local/bin/wsgi-fpm reload --changed --control %t/wsgi-fpm/${MAINPID}.control"
    );
    assert_eq!(setting(&unit, "KillMode"), "mixed");
    // The program asks for more where a pool needs more.
    assert_eq!(setting(&unit, "TimeoutStopSec"), "30");
    assert_eq!(setting(&unit, "LimitNOFILE"), "65536");
    let rights = setting(&unit, "CapabilityBoundingSet");
    for right in ["CAP_SETUID", "CAP_SETGID", "CAP_CHOWN", "CAP_KILL"] {
        assert!(rights.contains(right), "{rights}");
    }
    let said = comments(&unit);
    assert!(
        !said.contains("Not served as root") && !said.contains("No web server can"),
        "{said}"
    );
    assert_eq!(setting(&unit, "Type"), "notify");
    assert_eq!(setting(&unit, "FileDescriptorStoreMax"), "512");
    assert_eq!(setting(&unit, "RuntimeDirectoryPreserve"), "restart");
}

#[test]
fn unit_for_a_file_reloads_by_the_control_socket_that_the_file_names() {
    let of = |control: &str| {
        let (_, unit) = unit(&format!(
            "[server]\ncontrol = \"{control}\"\n[pool.a]\napp = \"a\"\nlisten = \"/run/a/wsgi.sock\"\n"
        ));
        setting(&unit, "ExecReload").to_owned()
    };
    assert_eq!(
        of("/run/steer/x.control"),
        "/usr/local/bin/wsgi-fpm reload --changed --control /run/steer/x.control"
    );
    assert_eq!(of("off"), "/bin/kill -HUP $MAINPID");
}

#[test]
fn unit_says_of_pools_what_would_not_work() {
    let unit = pools(&[
        ("a", "user = \"a\"\nlisten_group = \"www-data\""),
        ("b", "user = \"b\""),
        ("c", "listen = \":9000\""),
        ("d", "listen_mode = \"0666\""),
    ]);
    let said = comments(&unit);
    assert!(
        said.contains("Not served as root without a user in the file (user = \"www-data\" or another one): c, d."),
        "{said}"
    );
    assert!(
        said.contains(
            "No web server can connect without its group in the file (listen_group = \"www-data\" or another one): b."
        ),
        "{said}"
    );
}

#[test]
fn unit_runs_as_one_user_where_no_pool_has_one() {
    let unit = pools(&[
        ("a", "listen_group = \"www-data\""),
        ("b", "listen_group = \"web\""),
        ("c", "listen_group = \"web\""),
    ]);
    assert_eq!(setting(&unit, "User"), "www-data");
    assert_eq!(setting(&unit, "SupplementaryGroups"), "www-data web");
    assert_eq!(setting(&unit, "CapabilityBoundingSet"), "");
    assert!(!comments(&unit).contains("Not served as root"));
}

#[test]
fn unit_leaves_the_rights_and_limits_that_pools_want() {
    let of = |lines: &str| pools(&[("a", &format!("user = \"a\"\n{lines}")), ("b", "user = \"b\"")]);
    let rights = |lines: &str| {
        let unit = of(lines);
        let rights = setting(&unit, "CapabilityBoundingSet");
        (rights.contains("CAP_SYS_NICE"), rights.contains("CAP_SYS_RESOURCE"))
    };
    assert_eq!(rights("nice = 5"), (false, false));
    assert_eq!(rights("nice = -5"), (true, false));
    assert_eq!(rights("rlimit = { core = 0, nofile = 100 }"), (false, false));
    assert_eq!(rights("rlimit = { memlock = \"unlimited\" }"), (false, true));
    let open_files = |value: &str| {
        let unit = of(&format!("rlimit = {{ nofile = {value} }}"));
        setting(&unit, "LimitNOFILE").to_owned()
    };
    assert_eq!(open_files("65536"), "65536");
    assert_eq!(open_files("65537"), "65537");
    assert_eq!(open_files("100"), "65536");
    assert_eq!(open_files("\"unlimited\""), "infinity");
}

#[test]
fn unit_names_the_socket_unit_where_pools_inherit_their_sockets() {
    let unit = pools(&[
        ("a", "user = \"a\"\nlisten = [\"fd:10\", \"fd:4\"]"),
        ("b", "user = \"b\"\nlisten = \"fd:3\""),
    ]);
    assert_eq!(setting(&unit, "Requires"), "wsgi-fpm.socket");
    let said = comments(&unit);
    assert!(said.contains("fd:3 first: fd:3 b, fd:4 a, fd:10 a."), "{said}");
    assert!(!said.contains("502"), "{unit}");
    assert_eq!(setting(&unit, "RuntimeDirectory="), "wsgi-fpm");

    let unit = pools(&[
        ("a", "user = \"a\"\nlisten = [\"fd:a\", \":9000\"]"),
        ("b", "user = \"b\"\nlisten = \"fd:b.socket\""),
    ]);
    assert_eq!(setting(&unit, "Requires"), "a.socket b.socket");
    assert_eq!(setting(&unit, "Sockets"), "a.socket b.socket");
    let said = comments(&unit);
    for says in [
        "a.socket, which has to say ListenStream=, Service=wsgi-fpm.service and FileDescriptorName=a.",
        "b.socket, which has to say ListenStream=, Service=wsgi-fpm.service.",
    ] {
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn unit_for_a_file_hides_no_directory_that_a_pool_needs() {
    let private = |lines: &str| {
        let unit = pools(&[("a", "user = \"a\""), ("b", &format!("user = \"b\"\n{lines}"))]);
        // The file of this test is itself below /tmp.
        setting(&unit, "ProtectHome").to_owned()
    };
    assert_eq!(private("chdir = \"/srv/b\""), "yes");
    assert_eq!(private("chdir = \"/home/b\""), "read-only");
    assert_eq!(private("python = \"/home/b/.venv\""), "read-only");
    assert_eq!(private("pythonpath = [\"/home/b/lib\"]"), "read-only");
    assert_eq!(private("env_file = \"/root/b.env\""), "read-only");
}
