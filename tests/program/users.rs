//! Who runs an application, and within which bounds: real accounts, made and removed here, which takes root.

mod file;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::run::{Running, Stage, program, refusal};
use crate::support::account::{self, Account};
use crate::support::fcgi_client::{Raw, Request};
use crate::support::net::Address;
use crate::support::wait;

const PYTHON: &str = "/usr/bin/python3";

/// What an application says of itself, as JSON.
const APP: &str = r#"
import json, os, resource

def attempt(what):
    try:
        return repr(what())
    except OSError as error:
        return type(error).__name__

def child_opens_standard_error():
    pid = os.fork()
    if pid == 0:
        try:
            open("/dev/stderr", "w").close()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

IMPORTED_BY = list(os.getresuid())
opens = attempt(lambda: open("/dev/stderr", "w").close())

def application(environ, start_response):
    mask = os.umask(0)
    os.umask(mask)
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    what = environ["PATH_INFO"]
    said = {
        "imported_by": IMPORTED_BY,
        "uids": list(os.getresuid()), "gids": list(os.getresgid()), "groups": sorted(os.getgroups()),
        "umask": mask, "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "nofile": list(resource.getrlimit(resource.RLIMIT_NOFILE)),
        "core": list(resource.getrlimit(resource.RLIMIT_CORE)),
        "capabilities": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
        "root_again": [attempt(lambda: os.setuid(0)), attempt(lambda: os.setgid(0)), attempt(lambda: os.setgroups([0]))],
        "file": attempt(lambda: open(what).read()) if what != "/" else "",
        "own_files": attempt(lambda: len(os.listdir("/proc/self/fd")) > 3),
        "stderr": opens, "environ": dict(os.environ), "pids": [os.getppid(), os.getpid()],
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(said).encode()]
"#;

/// A directory that everybody may look at, with the application above and the engine.
struct Place {
    stage: Stage,
}

impl Place {
    fn new() -> Self {
        let stage = Stage::new();
        set_mode(&stage.path(""), 0o755);
        let place = Self { stage };
        place.file("site.py", APP, 0o644);
        place
    }

    fn path(&self, name: &str) -> String {
        self.stage.path(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.stage.path(name);
        fs::write(&path, text).unwrap();
        set_mode(&path, mode);
        self.path(name)
    }

    /// `serve` of the application in this place.
    fn command(&self, more: &[&str]) -> Command {
        let socket = self.path("socket");
        let mut command = program();
        command.args(["serve", &self.path("site.py"), "--workers", "1", "--threads", "1"]);
        for (option, value) in [
            ("--chdir", &*self.path("")),
            ("--python", PYTHON),
            ("--listen", &socket),
        ] {
            if !more.contains(&option) {
                command.args([option, value]);
            }
        }
        command.args(more).current_dir("/");
        self.name_engine(&mut command);
        command
    }

    /// The one beside the program, or a copy where not everybody reaches that. A release has it inside.
    fn name_engine(&self, command: &mut Command) {
        let engine = PathBuf::from(program().get_program()).with_file_name("libwsgi_fpm_engine.so");
        if engine.exists() {
            command.env("WSGI_FPM_ENGINE", self.reachable(engine));
        }
    }

    fn reachable(&self, engine: PathBuf) -> PathBuf {
        let everybody = |directory: &Path| directory.metadata().unwrap().permissions().mode() & 0o001 != 0;
        if engine.ancestors().skip(1).all(everybody) {
            return engine;
        }
        let copy = self.stage.path("engine.so");
        if !copy.exists() {
            fs::copy(engine, &copy).unwrap();
            set_mode(&copy, 0o755);
        }
        copy
    }

    fn start(&self, more: &[&str]) -> Running {
        let running = Running::spawn(self.command(more));
        running.line(" ready ");
        running
    }

    /// What the application says, when it is asked for `path`.
    #[track_caller]
    fn ask(&self, path: &str) -> serde_json::Value {
        self.ask_at("socket", path)
    }

    #[track_caller]
    fn ask_at(&self, socket: &str, path: &str) -> serde_json::Value {
        let address = Address::Unix(self.stage.path(socket));
        let response = Raw::connect(&address).unwrap().exchange(&Request::get(path)).ok();
        serde_json::from_slice(response.body()).unwrap()
    }

    #[track_caller]
    fn refuses(&self, more: &[&str], code: i32, expected: &str) {
        let message = refusal(&self.command(more).output().unwrap(), code);
        let expected = expected.replace("DIR", self.path("").trim_end_matches('/'));
        assert!(message.contains(&expected), "{message}\nexpected: {expected}");
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn all(number: u32) -> serde_json::Value {
    serde_json::json!([number, number, number])
}

/// Real, effective, saved and file-system user of a process, as the system says.
fn uids(pid: &serde_json::Value) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:\t"));
    line.unwrap().to_owned()
}

#[test]
fn leader_and_workers_are_the_user_for_good() {
    let (user, place) = (Account::new(), Place::new());
    for preload in ["auto", "off"] {
        let _running = place.start(&["--user", &user.name, "--preload", preload]);
        let said = place.ask("/");
        assert_eq!(said["imported_by"], all(user.uid), "{said}");
        assert_eq!((&said["uids"], &said["gids"]), (&all(user.uid), &all(user.gid)));
        assert_eq!(said["groups"], serde_json::json!([user.gid]));
        let none = "0000000000000000";
        assert_eq!(said["capabilities"], serde_json::json!([none, none, none, none]));
        let denied = "PermissionError";
        assert_eq!(said["root_again"], serde_json::json!([denied, denied, denied]));
        let uid = user.uid;
        for pid in said["pids"].as_array().unwrap() {
            assert_eq!(uids(pid), format!("{uid}\t{uid}\t{uid}\t{uid}"));
        }
    }
}

#[test]
fn user_s_processes_keep_what_is_their_own() {
    let (user, place) = (Account::new(), Place::new());
    let _running = place.start(&["--user", &user.name]);
    let said = place.ask("/");
    // By name, too: a log handler that opens /dev/stderr.
    assert_eq!((&said["own_files"], &said["stderr"]), (&"True".into(), &"None".into()));
    let leader = &said["pids"][0];
    let owner = fs::metadata(format!("/proc/{leader}/environ")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), user.uid);
}

#[test]
fn groups_umask_limits_and_niceness_are_what_the_options_say() {
    let (user, other, place) = (Account::new(), Account::new(), Place::new());
    let _running = place.start(&[
        "--user",
        &user.name,
        "--group",
        &other.name,
        "--groups",
        "0",
        "--groups",
        &user.name,
        "--umask",
        "0027",
        "--rlimit",
        "nofile=200",
        "--rlimit",
        "core=0",
        "--nice",
        "7",
    ]);
    let said = place.ask("/");
    assert_eq!((&said["uids"], &said["gids"]), (&all(user.uid), &all(other.gid)));
    let mut groups = [0, user.gid, other.gid];
    groups.sort_unstable();
    assert_eq!(said["groups"], serde_json::json!(groups));
    assert_eq!((&said["umask"], &said["nice"]), (&0o027.into(), &7.into()));
    // More than what the supervisor has raised for all.
    assert_eq!(said["nofile"], serde_json::json!([200, 200]));
    assert_eq!(said["core"], serde_json::json!([0, 0]));
}

#[test]
fn bounds_without_a_user_are_put_on_as_well() {
    let place = Place::new();
    let _running = place.start(&["--umask", "0077", "--nice", "3", "--rlimit", "core=1m"]);
    let said = place.ask("/");
    assert_eq!(
        (&said["umask"], &said["nice"], &said["uids"]),
        (&0o077.into(), &3.into(), &all(0))
    );
    assert_eq!(said["core"], serde_json::json!([1 << 20, 1 << 20]));
}

#[test]
fn supplementary_groups_are_those_of_the_account() {
    let (user, other, place) = (Account::new(), Account::new(), Place::new());
    account::run("usermod", &["--append", "--groups", &other.name, &user.name]);
    let _running = place.start(&["--user", &user.uid.to_string()]);
    let mut groups = [user.gid, other.gid];
    groups.sort_unstable();
    assert_eq!(place.ask("/")["groups"], serde_json::json!(groups));
}

#[test]
fn other_user_s_file_can_not_be_read() {
    let (user, other, place) = (Account::new(), Account::new(), Place::new());
    let secret = place.file("secret", "precious", 0o600);
    chown(&secret, Some(other.uid), Some(other.gid)).unwrap();
    let running = place.start(&["--user", &user.name]);
    assert_eq!(place.ask(&secret)["file"], "PermissionError");
    drop(running);
    let _running = place.start(&["--user", &other.name]);
    assert_eq!(place.ask(&secret)["file"], "'precious'");
}

#[test]
fn environment_is_the_program_s_and_says_who_the_user_is() {
    let (user, place) = (Account::new(), Place::new());
    let mut command = place.command(&["--user", &user.name, "--env", "LOGNAME=said"]);
    command.env("HOME", "/root").env("INHERITED", "yes");
    let running = Running::spawn(command);
    running.line(" ready ");
    let said = place.ask("/");
    let value = |name: &str| said["environ"][name].as_str().unwrap_or("-").to_owned();
    assert_eq!(
        (value("INHERITED"), value("HOME")),
        ("yes".into(), "/home/of-it".into())
    );
    assert_eq!(
        (value("SHELL"), value("USER")),
        ("/bin/of-it".into(), user.name.clone())
    );
    assert_eq!(value("LOGNAME"), "said");
}

#[test]
fn number_without_an_account_is_nobody_at_home() {
    let place = Place::new();
    let mut command = place.command(&["--user", "3999999", "--group", "3999998"]);
    command.env("HOME", "/root");
    let running = Running::spawn(command);
    running.line(" ready ");
    let said = place.ask("/");
    assert_eq!(
        (&said["uids"], &said["groups"]),
        (&all(3_999_999), &serde_json::json!([3_999_998]))
    );
    assert!(said["environ"].get("HOME").is_none(), "{said}");
}

#[test]
fn reload_and_stop_work_for_another_user() {
    let (user, place) = (Account::new(), Place::new());
    let mut running = place.start(&["--user", &user.name]);
    let first = place.ask("/")["pids"].clone();
    let mark = running.signal(Signal::HUP);
    running.line_after(mark, " ready ");
    // The old workers may take one more connection.
    let second = wait::until_some("the new generation answers", wait::SOON, || {
        Some(place.ask("/")).filter(|said| said["pids"] != first)
    });
    assert_eq!(second["uids"], all(user.uid));
    running.signal(Signal::TERM);
    assert!(running.exit().success());
    assert!(!place.stage.socket().exists());
}

#[test]
fn leader_that_is_stopped_is_killed_though_it_is_another_user_s() {
    let (user, place) = (Account::new(), Place::new());
    let mut running = place.start(&["--user", &user.name, "--stop-timeout", "100ms"]);
    let leader = place.ask("/")["pids"][0].as_i64().unwrap();
    let leader = rustix::process::Pid::from_raw(leader as i32).unwrap();
    rustix::process::kill_process(leader, Signal::STOP).unwrap();
    running.signal(Signal::TERM);
    running.line("did not end in time and is killed");
    assert!(running.exit().success());
}

#[test]
fn root_is_warned_once_unless_it_names_a_user() {
    const WARNING: &str = "the application runs as root, as this program does: --user names somebody else";
    let place = Place::new();
    let running = place.start(&[]);
    running.line(WARNING);
    let mark = running.signal(Signal::HUP);
    running.line_after(mark, " ready ");
    assert_eq!(running.log.text().matches(WARNING).count(), 1);
    drop(running);
    let running = place.start(&["--user", "root"]);
    running.line("the application runs as root, as its options say");
    assert!(!running.log.text().contains(WARNING));
    drop(running);
    let user = Account::new();
    let running = place.start(&["--user", &user.name]);
    assert!(!running.log.text().contains("runs as root"), "{}", running.log.text());
}

/// What was typed for the supervisor to pass on is in nobody's title or command line, once it serves.
#[test]
fn values_of_env_are_not_in_the_list_of_processes() {
    let (user, place) = (Account::new(), Place::new());
    let secret = format!("secret-{}", user.name);
    let file = place.file("site.env", &format!("FROM_FILE={secret}-too\n"), 0o600);
    for hosting in ["embedded", "exec"] {
        for who in [&user.name, "root"] {
            let env = format!("SECRET={secret}");
            let mut command = place.command(&["--user", who, "--env", &env, "--env-file", &file]);
            // Debian's interpreter has no library to embed.
            if hosting == "exec" {
                command.env("WSGI_FPM_HOSTING", hosting);
            }
            let running = Running::spawn(command);
            running.line(" ready ");
            let said = place.ask("/");
            assert_eq!(said["environ"]["SECRET"], *secret);
            assert_eq!(said["environ"]["FROM_FILE"], format!("{secret}-too"));
            let shows = processes().into_iter().filter(|(_, line)| line.contains(&*secret));
            assert_eq!(shows.collect::<Vec<_>>(), [], "{hosting} {who}");
        }
    }
}

/// Numbers and command lines of all processes.
fn processes() -> Vec<(String, String)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let line = |entry: fs::DirEntry| {
        let number = entry.file_name().into_string().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some((number, String::from_utf8_lossy(&line).into_owned()))
    };
    entries.filter_map(line).collect()
}

#[test]
fn account_that_does_not_exist_is_named() {
    let place = Place::new();
    place.refuses(&["--user", "nosuchuser"], 2, "--user nosuchuser: no such user");
    place.refuses(
        &["--user", "root", "--group", "nosuchgroup"],
        2,
        "--group nosuchgroup: no such group",
    );
    place.refuses(
        &["--user", "3999999"],
        2,
        "--user 3999999: no account has this number, so name a group as well",
    );
}

#[test]
fn who_is_not_root_can_not_become_somebody_else() {
    use std::os::unix::process::CommandExt;
    let (user, other, place) = (Account::new(), Account::new(), Place::new());
    let refuses = |more: &[&str], expected: &str| {
        let mut command = place.command(more);
        command.uid(user.uid).gid(user.gid);
        let message = refusal(&command.output().unwrap(), 2);
        assert!(message.contains(expected), "{message}");
    };
    let root = ": to become somebody else, wsgi-fpm has to be started as root";
    refuses(&["--user", "root"], &format!("--user root{root}"));
    refuses(&["--group", &other.name], &format!("--group {}{root}", other.name));
    refuses(&["--groups", &other.name], &format!("--groups {}{root}", other.name));
    refuses(&["--rlimit", "nofile=unlimited"], "--rlimit nofile=unlimited: ");
    // Who says no more than he is may do so.
    set_mode(&place.stage.path(""), 0o777);
    let mut command = place.command(&["--user", &user.name, "--group", &user.name]);
    command.uid(user.uid).gid(user.gid);
    let running = Running::spawn(command);
    running.line(" ready ");
    assert_eq!(place.ask("/")["uids"], all(user.uid));
}

#[test]
fn directories_and_files_that_the_user_can_not_reach_are_named() {
    let (user, place) = (Account::new(), Place::new());
    for directory in ["closed/app", "closed/venv/bin", "open/bin"] {
        fs::create_dir_all(place.path(directory)).unwrap();
    }
    set_mode(&place.stage.path("closed"), 0o700);
    fs::write(place.path("closed/app/site.py"), APP).unwrap();
    std::os::unix::fs::symlink(PYTHON, place.path("closed/venv/bin/python")).unwrap();
    let may_not = |what: &str| format!("user {} (uid {}) may not {what}", user.name, user.uid);
    let closed = "enter DIR/closed (mode 0700, of root:root), so it can't reach DIR/closed/";
    let refuses = |more: &[&str], what: &str| {
        let more = [&["--user", &user.name], more].concat();
        place.refuses(&more, 2, &may_not(what));
    };
    refuses(&["--chdir", &place.path("closed/app")], &format!("{closed}app"));
    refuses(&["--pythonpath", &place.path("closed/app")], &format!("{closed}app"));
    refuses(&["--python", &place.path("closed/venv")], &format!("{closed}venv"));
    set_mode(&place.stage.path("site.py"), 0o600);
    refuses(&[], "read DIR/site.py (mode 0600, of root:root)");
}

#[test]
fn interpreter_that_the_user_can_not_run_says_so() {
    let (user, place) = (Account::new(), Place::new());
    // An interpreter that is a script of a shell which this user may not run.
    fs::copy("/bin/sh", place.path("shell")).unwrap();
    set_mode(&place.stage.path("shell"), 0o700);
    let python = place.file("python", &format!("#!{}\n", place.path("shell")), 0o755);
    place.refuses(
        &["--user", &user.name, "--python", &python],
        2,
        &format!("--python {python}: {python} can't be run: "),
    );
}

#[test]
fn script_can_not_say_who_runs_it() {
    let place = Place::new();
    let text = format!("# /// wsgi-fpm\n# user = \"root\"\n# ///\n{APP}");
    place.file("site.py", &text, 0o644);
    place.refuses(&[], 2, "site.py:2: there is no option \"user\"");
}

/// The supervisor, as root, would read any file for the author of a script.
#[test]
fn env_file_that_a_script_names_is_read_as_its_user() {
    let (user, place) = (Account::new(), Place::new());
    let secret = place.file("secret.env", "SECRET=precious\n", 0o600);
    let text = format!("# /// wsgi-fpm\n# env_file = \"{secret}\"\n# ///\n{APP}");
    place.file("site.py", &text, 0o644);
    let mut running = Running::spawn(place.command(&["--user", &user.name]));
    running.line("secret.env can't be read");
    assert!(!running.exit().success());
    chown(&secret, Some(user.uid), None).unwrap();
    let _running = place.start(&["--user", &user.name]);
    assert_eq!(place.ask("/")["environ"]["SECRET"], "precious");
}

#[test]
fn socket_that_is_for_root_alone_is_warned_of_unless_somebody_says_who_may_connect() {
    const WARNING: &str = "socket is for root alone (0660, root:root)";
    let (user, place) = (Account::new(), Place::new());
    let running = place.start(&["--user", &user.name]);
    let line = running.line(WARNING);
    assert!(line.contains(" WARN ") && line.contains("--listen-group"), "{line}");
    drop(running);
    let nobody = [
        &["--user", "root"][..],
        &["--user", &user.name, "--listen-mode", "0666"],
        &["--user", &user.name, "--listen-group", &user.name],
        &["--user", &user.name, "--listen-owner", &user.name],
        &["--user", &user.name, "--listen", "127.0.0.1:0"],
    ];
    for options in nobody {
        let running = place.start(options);
        assert!(!running.log.text().contains(WARNING), "{}", running.log.text());
    }
}

#[test]
fn web_server_that_can_not_enter_the_socket_s_directory_is_named() {
    let (user, web, place) = (Account::new(), Account::new(), Place::new());
    fs::create_dir(place.path("run")).unwrap();
    set_mode(&place.stage.path("run"), 0o700);
    let socket = place.path("run/socket");
    let start = |option: &str| place.start(&["--user", &user.name, "--listen", &socket, option, &web.name]);
    let warning = format!(
        "user {} (uid {}) may not enter {} (mode 0700, of root:root)",
        web.name,
        web.uid,
        place.path("run")
    );
    for option in ["--listen-owner", "--listen-group"] {
        start(option).line(&warning);
    }
    chown(place.path("run"), Some(web.uid), None).unwrap();
    for option in ["--listen-owner", "--listen-group"] {
        let running = start(option);
        assert!(!running.log.text().contains("may not"), "{}", running.log.text());
    }
}
