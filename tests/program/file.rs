//! `wsgi-fpm check` and the configuration file: what is wrong with it is said once, all of it, and in words.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::run::{Running, Stage, program};
use crate::support::installed;
use crate::support::wait::{SOON, until, until_ended};

/// A directory with a configuration and applications.
struct Site {
    directory: TempDir,
}

impl Site {
    fn new(text: &str) -> Self {
        let directory = TempDir::with_prefix("wsgi-fpm-").unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let site = Self { directory };
        site.write("wsgi-fpm.toml", text);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("wsgi-fpm.toml")
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = program();
        command.arg("check").arg("-c").arg(self.file()).args(more);
        command
    }

    /// Exit code, standard output and standard error, without the directory.
    fn check(&self, more: &[&str]) -> Checked {
        Checked::new(self.command(more).output().unwrap(), self.directory.path())
    }
}

struct Checked {
    code: Option<i32>,
    out: String,
    errors: String,
}

impl Checked {
    fn new(output: Output, directory: &Path) -> Self {
        let place = format!("{}/", directory.display());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&place, "");
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            errors: text(output.stderr),
        }
    }

    #[track_caller]
    fn is(&self, code: i32, out: &str, errors: &str) {
        let is = (self.code, self.out.as_str(), self.errors.as_str());
        assert_eq!(is, (Some(code), out, errors));
    }

    /// The line of a pool.
    #[track_caller]
    fn pool(&self, name: &str) -> &str {
        let begin = format!("pool {name}: ");
        let line = self.out.lines().find_map(|line| line.strip_prefix(&begin));
        line.unwrap_or_else(|| panic!("no {begin:?} in:\n{}{}", self.out, self.errors))
    }
}

/// A pool, and an application that starts.
const POOL: &str = "[pool.blog]\napp = \"app:application\"\nchdir = \".\"\nlisten = \"./blog.sock\"\nuser = \"root\"\n";
const APP: &str = "def application(environ, start_response):\n    return []\n";

#[test]
fn file_that_can_not_be_read_gets_one_message() {
    let site = Site::new("");
    let alone = |errors: &str| site.check(&[]).is(2, "", errors);
    fs::remove_file(site.file()).unwrap();
    alone("error: wsgi-fpm.toml: there is no such file\n");
    fs::create_dir(site.file()).unwrap();
    alone("error: wsgi-fpm.toml: this is a directory; name the file in it\n");
    fs::remove_dir(site.file()).unwrap();
    site.write("wsgi-fpm.toml", "#".repeat(10 << 20));
    alone("error: wsgi-fpm.toml: it is larger than 1024 KiB: is it a configuration?\n");
    site.write("wsgi-fpm.toml", b"[defaults]\n# caf\xe9\n");
    alone("error: wsgi-fpm.toml: line 2 is not UTF-8\n");
    site.write("wsgi-fpm.toml", "");
    alone("error: wsgi-fpm.toml: it describes no pool; write [pool.NAME], and app and listen below it\n");
}

#[test]
fn file_that_this_user_may_not_read_is_said_to_be_so() {
    if !installed::root() {
        return;
    }
    let site = Site::new(POOL);
    fs::set_permissions(site.file(), Permissions::from_mode(0o600)).unwrap();
    let copy = site.path("wsgi-fpm");
    fs::copy(program().get_program(), &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["check", "-c"]).arg(site.file()).uid(65534).gid(65534);
    let checked = Checked::new(command.output().unwrap(), site.directory.path());
    checked.is(2, "", "error: wsgi-fpm.toml: this user may not read it\n");
}

#[test]
fn what_is_no_toml_is_shown_in_its_text() {
    let site = Site::new("[pool.blog]\napp = blog:app\n");
    let checked = site.check(&[]);
    assert_eq!((checked.code, checked.out.as_str()), (Some(2), ""));
    assert!(
        checked.errors.contains("wsgi-fpm.toml:2:") && checked.errors.contains("2 | app = blog:app"),
        "{}",
        checked.errors
    );
}

#[test]
fn file_that_includes_itself_is_refused() {
    let site = Site::new("include = [\"*.toml\"]\n");
    let checked = site.check(&[]);
    assert_eq!(checked.code, Some(2));
    assert!(
        checked.errors.starts_with("error: the file includes itself\n"),
        "{}",
        checked.errors
    );
}

#[test]
fn two_pools_of_one_name_are_refused_with_both_places() {
    let site = Site::new(&format!("include = [\"more.toml\"]\n{POOL}"));
    site.write("more.toml", POOL);
    let checked = site.check(&[]);
    assert_eq!(checked.code, Some(2));
    let expected = "error: there is a pool blog already, in more.toml:1\n";
    assert!(checked.errors.contains(expected), "{}", checked.errors);
}

#[test]
fn everything_that_is_wrong_with_file_and_pools_is_said_at_once() {
    let site = Site::new(
        "[defaults]\nthreds = 2\n[pool.a]\n[pool.b]\napp = \"b\"\nchdir = \"/no/such\"\nuser = \"root\"\nlisten = \":0\"\nworkers = 0\n",
    );
    let checked = site.check(&[]);
    assert_eq!(checked.code, Some(2));
    for expected in [
        "there is no option \"threds\"",
        "did you mean threads?",
        "pool.a has no app",
        "pool.a has no listen",
        "pool.b.workers: write a number",
    ] {
        assert!(checked.errors.contains(expected), "{expected} in:\n{}", checked.errors);
    }
    assert_eq!(
        checked.pool("b"),
        "wsgi-fpm.toml:6: pool.b.chdir /no/such: No such file or directory (os error 2)"
    );
}

#[test]
fn account_that_does_not_exist_is_named() {
    let text = format!(
        "{POOL}listen_owner = \"nosuchuser\"\n[pool.shop]\napp = \"app\"\nuser = \"root\"\nlisten = \":0\"\nlisten_group = \"nosuchgroup\"\n"
    );
    let site = Site::new(&text);
    let checked = site.check(&[]);
    assert_eq!((checked.code, checked.errors.as_str()), (Some(1), ""));
    assert_eq!(
        checked.pool("blog"),
        "wsgi-fpm.toml:6: pool.blog.listen_owner nosuchuser: no such user"
    );
    assert_eq!(
        checked.pool("shop"),
        "wsgi-fpm.toml:11: pool.shop.listen_group nosuchgroup: no such group"
    );
}

#[test]
fn each_pool_is_imported_and_gets_its_line() {
    let site = Site::new(&format!(
        "{POOL}[pool.bad]\napp = \"bad:app\"\nchdir = \".\"\nlisten = \"./bad.sock\"\nuser = \"root\"\n\
         [pool.crash]\napp = \"crash:app\"\nchdir = \".\"\nlisten = \"./crash.sock\"\nuser = \"root\"\n\
         [pool.python]\napp = \"app\"\npython = \"/no/such/venv\"\nlisten = \":0\"\nuser = \"root\"\n"
    ));
    site.write("app.py", APP);
    site.write("bad.py", "print('on its way')\nimport nonesuch\n");
    site.write(
        "crash.py",
        "print('before', flush=True)\nimport os\nos.kill(os.getpid(), 11)\n",
    );
    let checked = site.check(&[]);
    assert_eq!((checked.code, checked.errors.as_str()), (Some(1), ""));
    let good = checked.pool("blog");
    assert!(good.starts_with("ok, CPython 3.") && good.ends_with(" s"), "{good}");
    let bad = checked.pool("bad");
    assert!(bad.contains("ModuleNotFoundError: No module named 'nonesuch'"), "{bad}");
    for below in [
        "\n      Traceback (most recent call last):\n",
        "\n    it has printed:\n      on its way\n",
        "\n      before\n",
    ] {
        assert!(checked.out.contains(below), "{below:?} in:\n{}", checked.out);
    }
    assert!(checked.pool("crash").contains("SIGSEGV"), "{}", checked.out);
    assert!(
        checked
            .pool("python")
            .starts_with("wsgi-fpm.toml:18: pool.python.python /no/such/venv: no such file"),
        "{}",
        checked.out
    );
    assert!(!site.path("blog.sock").exists(), "no socket is made");
}

#[test]
fn file_without_a_mistake_ends_with_success_and_says_nothing_else() {
    let site = Site::new(POOL);
    site.write("app.py", format!("print('noise')\n{APP}"));
    let checked = site.check(&[]);
    assert_eq!((checked.code, checked.errors.as_str()), (Some(0), ""));
    assert_eq!(checked.out.lines().count(), 1, "{}", checked.out);
}

#[test]
fn what_stands_against_a_socket_is_said_without_opening_it() {
    let site = Site::new(
        "[pool.blog]\napp = \"app\"\nchdir = \".\"\nlisten = [\"./no/blog.sock\", \"./app.py\"]\nuser = \"root\"\n",
    );
    site.write("app.py", APP);
    let checked = site.check(&[]);
    assert_eq!(checked.code, Some(1));
    let line = checked.pool("blog");
    for expected in [
        "no does not exist; make it: install -d",
        "app.py: the path exists and is not a socket",
    ] {
        assert!(line.contains(expected), "{expected} in {line}");
    }
}

#[test]
fn log_that_can_not_be_written_is_said_with_its_option_and_none_is_made() {
    let logs = "access_log = \"./gone/access.log\"\nslow_log = \"./directory\"\n";
    let site = Site::new(&format!("[server]\nlog = \"./nolog/main.log\"\n{POOL}{logs}"));
    site.write("app.py", APP);
    fs::create_dir(site.path("directory")).unwrap();
    let checked = site.check(&[]);
    assert_eq!(checked.code, Some(1), "{}", checked.out);
    let first = checked.out.lines().next().unwrap();
    assert!(first.starts_with("server: wsgi-fpm.toml:2: server.log "), "{first}");
    assert!(first.ends_with("nolog does not exist; make it"), "{first}");
    for expected in [
        "pool.blog.access_log gone/access.log: the directory",
        "pool.blog.slow_log directory: this is a directory; write the path of a file",
    ] {
        assert!(checked.pool("blog").contains(expected), "{expected} in {}", checked.out);
    }
    assert!(!site.path("nolog").exists() && !site.path("gone").exists());
    // Of the program's log alone it is no success either.
    site.write(
        "wsgi-fpm.toml",
        format!("[server]\nlog = \"./nolog/main.log\"\n{POOL}access_log = \"./access.log\"\n"),
    );
    let checked = site.check(&[]);
    assert_eq!(checked.code, Some(1), "{}", checked.out);
    assert!(checked.pool("blog").starts_with("ok, "), "{}", checked.out);
    assert!(!site.path("access.log").exists());
}

#[test]
fn socket_for_root_alone_is_noted_if_another_user_is_named() {
    let note = "blog.sock is for root alone (0660, root:root)";
    let checked = |more: &str| {
        let site = Site::new(&format!("{}{more}", POOL.replace("\"root\"", "\"nobody\"")));
        site.write("app.py", APP);
        site.check(&[]).out
    };
    let out = checked("");
    assert!(out.contains(note) && out.contains("listen_group names"), "{out}");
    for more in ["listen_mode = \"0666\"\n", "listen_group = \"nogroup\"\n"] {
        let out = checked(more);
        assert!(!out.contains(note), "{out}");
    }
}

/// Hangs, with a child, and tells where both are.
const HANGS: &str = "import os, subprocess, time\n\
    child = subprocess.Popen(['sleep', '600'])\n\
    with open('pids.new', 'w') as f: f.write(f'{os.getpid()} {child.pid}')\n\
    os.rename('pids.new', 'pids')\nprint('connecting', flush=True)\ntime.sleep(600)\n";

#[track_caller]
fn nobody_is_left(site: &Site) {
    let pids = fs::read_to_string(site.path("pids")).unwrap();
    for pid in pids.split(' ') {
        until_ended(pid, SOON);
    }
}

#[test]
fn import_that_hangs_is_cut_off_and_leaves_nobody_behind() {
    let site = Site::new(POOL);
    site.write("app.py", HANGS);
    let begun = Instant::now();
    let checked = site.check(&["--timeout", "2s"]);
    assert!(begun.elapsed() < SOON);
    assert_eq!(checked.code, Some(1));
    assert_eq!(
        checked.out,
        "pool blog: the import has not ended within 2s (--timeout)\n    it has printed:\n      connecting\n"
    );
    nobody_is_left(&site);
}

#[test]
fn interrupted_check_leaves_nobody_behind() {
    for signal in [Signal::INT, Signal::TERM] {
        let site = Site::new(POOL);
        site.write("app.py", HANGS);
        let mut running = Running::spawn(site.command(&[]));
        until("the import has begun", SOON, || site.path("pids").exists());
        running.signal(signal);
        assert_eq!(running.exit_within(Duration::from_secs(20)).code(), Some(130));
        nobody_is_left(&site);
    }
}

#[test]
fn effective_values_are_shown_with_their_origin() {
    let site = Site::new(&format!(
        "[server]\nlog_level = \"warn\"\n[defaults]\nthreads = 2\n{POOL}[pool.shop]\napp = \"shop\"\nlisten = \":0\"\n"
    ));
    let checked = site.check(&["--show", "blog"]);
    assert_eq!((checked.code, checked.errors.as_str()), (Some(0), ""));
    let has = |value: &str, origin: &str| {
        let line = format!("{value:44} # {origin}\n");
        assert!(checked.out.contains(&line), "{line:?} in:\n{}", checked.out);
    };
    has("threads = 2", "wsgi-fpm.toml:4: defaults");
    has("log_level = \"warn\"", "wsgi-fpm.toml:2: server");
    has("app = \"app:application\"", "wsgi-fpm.toml:6: pool.blog");
    has("request_timeout = \"5m\"", "default");
    assert!(!checked.out.contains("shop"), "{}", checked.out);
    // What is shown of all pools is a file that says the same.
    let all = site.check(&["--show"]);
    let again = Site::new("");
    again.write("wsgi-fpm.toml", &all.out);
    let values = |text: &str| {
        let values = text.lines().filter_map(|line| line.split(" # ").next());
        values.map(|value| value.trim_end().to_owned()).collect::<Vec<_>>()
    };
    let read = again.check(&["--show"]);
    assert_eq!((read.code, read.errors.as_str()), (Some(0), ""));
    assert_eq!(values(&read.out), values(&all.out));
    assert!(
        all.out.starts_with("[server]\n") && all.out.contains("\n[pool.shop]\n"),
        "{}",
        all.out
    );
    // A pool that is not there.
    let none = site.check(&["--show", "wiki"]);
    none.is(
        1,
        "",
        "wsgi-fpm: error: --show wiki: the file has no such pool; it has blog, shop\n",
    );
}

#[test]
fn contents_of_a_file_of_secrets_are_not_shown() {
    let site = Site::new(&format!("{POOL}env_file = \"secrets\"\nenv = {{ DEBUG = \"1\" }}\n"));
    site.write("secrets", "PASSWORD=hunter2\n");
    let checked = site.check(&["--show"]);
    assert!(
        checked.out.contains("env_file = \"secrets\"") && checked.out.contains("env = { DEBUG = \"1\" }"),
        "{}",
        checked.out
    );
    assert!(!checked.out.contains("hunter2") && !checked.out.contains("PASSWORD"));
}

#[test]
fn python_that_is_none_is_named_by_its_pool() {
    let stage = Stage::new();
    stage.script("echo broken >&2; exit 3\n");
    let site = Site::new(&format!("{POOL}python = \"{}\"\n", stage.python().display()));
    site.write("app.py", APP);
    let checked = site.check(&[]);
    assert_eq!(checked.code, Some(1));
    let line = checked.pool("blog");
    assert!(
        line.starts_with("wsgi-fpm.toml:6: pool.blog.python ")
            && line.ends_with("is not a working Python: exit status: 3: broken"),
        "{line}"
    );
}
