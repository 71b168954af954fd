//! Users of pools in a configuration file, served and checked.

use super::*;

/// What `check` says of a pool with these options that can't be served. Whoever runs it has a secret in his environment.
#[track_caller]
fn check(place: &Place, options: &str) -> String {
    let app = place.path("site.py");
    let text = format!("[pool.site]\napp = \"{app}\"\nlisten = \":0\"\n{options}");
    let file = place.file("wsgi-fpm.toml", &text, 0o600);
    let mut command = program();
    command.args(["check", "-c", &file]).env_clear();
    command.env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
    place.name_engine(&mut command);
    command.env("SECRET", "precious").env("KEPT_A", "a").current_dir("/");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    said.replace(&*place.path(""), "DIR/")
}

#[test]
fn check_names_the_account_that_does_not_exist_with_its_line() {
    let place = Place::new();
    let said = check(&place, &format!("python = \"{PYTHON}\"\nuser = \"nosuchuser\"\n"));
    assert_eq!(
        said,
        "pool site: wsgi-fpm.toml:5: pool.site.user nosuchuser: no such user\n"
    );
    let said = check(
        &place,
        &format!("python = \"{PYTHON}\"\nuser = \"root\"\ngroup = \"nosuchgroup\"\n"),
    );
    assert_eq!(
        said,
        "pool site: wsgi-fpm.toml:6: pool.site.group nosuchgroup: no such group\n"
    );
}

#[test]
fn check_names_what_keeps_the_user_from_the_python() {
    let (user, place) = (Account::new(), Place::new());
    fs::create_dir_all(place.path("closed/venv/bin")).unwrap();
    set_mode(&place.stage.path("closed"), 0o700);
    std::os::unix::fs::symlink(PYTHON, place.path("closed/venv/bin/python")).unwrap();
    let python = place.path("closed/venv");
    let said = check(&place, &format!("python = \"{python}\"\nuser = \"{}\"\n", user.name));
    let denied = format!(
        "user {} (uid {}) may not enter DIR/closed (mode 0700, of root:root), so it can't reach DIR/closed/venv",
        user.name, user.uid
    );
    assert_eq!(
        said,
        format!("pool site: wsgi-fpm.toml:4: pool.site.python DIR/closed/venv: {denied}\n")
    );
}

/// Of a pool in the file: a clean environment, and another user's rights for the import that `check` does.
#[test]
fn pool_of_the_file_is_checked_as_its_user_and_has_a_clean_environment() {
    let (user, place) = (Account::new(), Place::new());
    let app = "import os\nraise SystemExit(repr((os.getuid(), sorted(os.environ))))\n";
    place.file("site.py", app, 0o644);
    let pool = |more: &str| check(&place, &format!("python = \"{PYTHON}\"\n{more}"));
    let named = format!("user = \"{}\"\nkeep_env = \"KEPT_*\"\nenv.SAID = \"b\"\n", user.name);
    let said = pool(&named);
    let names = "['HOME', 'KEPT_A', 'LANG', 'LOGNAME', 'PATH', 'SAID', 'SHELL', 'USER']";
    assert!(said.contains(&format!("({}, {names})", user.uid)), "{said}");
    assert!(
        pool("").contains("wsgi-fpm.toml: pool.site.user is missing: started as root"),
        "a pool of the file does not run as root by an oversight"
    );
    set_mode(&place.stage.path("site.py"), 0o600);
    let denied = format!("user {} (uid {}) may not read", user.name, user.uid);
    assert!(pool(&named).contains(&denied), "{}", pool(&named));
}

/// Two pools of one file with two users, one of whom is exchanged while the other goes on.
#[test]
fn pools_of_the_file_have_their_own_users_and_a_reload_exchanges_one() {
    let (first, second, third, place) = (Account::new(), Account::new(), Account::new(), Place::new());
    let file = |a: &Account, b: &Account| {
        let pool = |name: &str, user: &Account| {
            format!(
                "[pool.{name}]\napp = \"{}\"\nlisten = \"./{name}.sock\"\nuser = \"{}\"\n",
                place.path("site.py"),
                user.name
            )
        };
        let defaults = format!("[defaults]\npython = \"{PYTHON}\"\nworkers = 1\nthreads = 1\n");
        place.file(
            "wsgi-fpm.toml",
            &format!("{defaults}{}{}", pool("a", a), pool("b", b)),
            0o600,
        )
    };
    let mut command = program();
    command.args(["serve", "-c", &file(&first, &second)]);
    command.env("SECRET", "precious").current_dir("/");
    place.name_engine(&mut command);
    let running = Running::spawn(command);
    for pool in ["a", "b"] {
        running.log.wait_for_line(&[" ready ", &format!("pool=\"{pool}\"")]);
    }
    let ask = |pool: &str| place.ask_at(&format!("{pool}.sock"), "/");
    let (a, b) = (ask("a"), ask("b"));
    assert_eq!((&a["uids"], &b["uids"]), (&all(first.uid), &all(second.uid)));
    assert!(
        a["environ"].get("SECRET").is_none() && a["environ"]["USER"] == *first.name,
        "{a}"
    );
    file(&first, &third);
    running.signal(Signal::HUP);
    let exchanged = wait::until_some("the pool has its new user", wait::SOON, || {
        Some(ask("b")).filter(|said| said["uids"] != b["uids"])
    });
    assert_eq!(exchanged["uids"], all(third.uid));
    assert_eq!(ask("a")["pids"], a["pids"], "the other pool is not disturbed");
}
