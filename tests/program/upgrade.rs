//! Another program takes the place of the one that runs (SIGUSR2): what goes along, and what happens when it can't.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::run::{Running, Stage, field};
use crate::support;
use crate::support::wait::{SOON, until};

const REFUSED: &str = "the new program can't take over, and this one goes on";

/// The program in a place where another one can be put.
struct Installed {
    stage: Stage,
}

impl Installed {
    fn new() -> Self {
        let installed = Self { stage: Stage::new() };
        installed.install_copy();
        installed
    }

    fn path(&self) -> PathBuf {
        self.stage.path("wsgi-fpm")
    }

    /// As packages do it: another file under the same name.
    fn install_copy(&self) {
        let new = self.stage.path("wsgi-fpm.new");
        fs::copy(support::program::program(), &new).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    /// A script in the program's place. `$real` is the program.
    fn install_script(&self, lines: &str) {
        let real = support::program::program();
        let new = self.stage.path("wsgi-fpm.new");
        fs::write(&new, format!("#!/bin/sh\nreal='{}'\n{lines}\n", real.display())).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    fn command(&self, command: &Command) -> Command {
        let mut here = Command::new(self.path());
        here.current_dir(self.stage.path(""));
        here.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => here.env(name, value),
                None => here.env_remove(name),
            };
        }
        here
    }

    fn spawn(&self, more: &[&str]) -> Running {
        Running::spawn(self.command(&self.stage.serve(more)))
    }

    /// One pool that serves, and its leader.
    fn serve(&self, more: &[&str]) -> (Running, i32) {
        let running = self.spawn(more);
        let leader = field(&running.line(" ready "), "leader");
        (running, leader)
    }

    /// A program whose place is given back when it is too late: these lines of a shell break what it reads.
    fn install_late_failure(&self, lines: &str) {
        self.install_script(&format!("case \"$*\" in *--state*) {lines}; esac\nexec $real \"$@\""));
    }

    /// What a command for it says, and its exit code.
    fn ask(&self, running: &Running, arguments: &[&str]) -> (Option<i32>, String) {
        let control = self.stage.path(&format!("{}.control", running.pid()));
        let mut command = crate::run::program();
        let output = command.args(arguments).arg("--control").arg(control).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// Two pools of a file, `a` and `b`, that serve, and their leaders.
    fn serve_file(&self) -> (Running, [i32; 2]) {
        self.write_file(&["a", "b"], "");
        let mut command = self.command(&crate::run::program());
        command.env("RUNTIME_DIRECTORY", self.stage.path(""));
        command.args(["serve", "--config"]).arg(self.stage.path("pools.toml"));
        command.env("WSGI_FPM_ENGINE", self.stage.path("behaviour"));
        let running = Running::spawn(command);
        let leaders = ["a", "b"].map(|name| field(&running.line(&format!(" ready pool=\"{name}\"")), "leader"));
        (running, leaders)
    }

    fn write_file(&self, pools: &[&str], more: &str) {
        let python = self.stage.python();
        let pool = |name: &&str| {
            format!(
                "[pool.{name}]\napp = \"app:application\"\npython = \"{}\"\nlisten = \"./{name}.sock\"\nuser = \"root\"\n",
                python.display()
            )
        };
        let text = pools.iter().map(pool).collect::<String>() + more;
        fs::write(self.stage.path("pools.toml"), text).unwrap();
    }
}

/// Which file a process runs.
fn runs(running: &Running) -> u64 {
    fs::metadata(format!("/proc/{}/exe", running.pid())).unwrap().ino()
}

fn lives(pid: i32) -> bool {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::CONT).is_ok()
}

/// How many descriptors a process has open.
fn open_in(process: i32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

fn stop(running: &mut Running) {
    running.signal(Signal::TERM);
    assert_eq!(running.exit().code(), Some(0));
}

#[test]
fn program_on_disk_takes_over_in_the_same_process() {
    let installed = Installed::new();
    let (mut running, first) = installed.serve(&[]);
    let inode = installed.stage.socket().metadata().unwrap().ino();
    let waiting = UnixStream::connect(installed.stage.socket()).unwrap();
    for generation in 2..=3 {
        installed.install_copy();
        let mark = running.signal(Signal::USR2);
        running.line_after(mark, "upgrade: the new program takes over");
        let ready = running.line_after(mark, " ready ");
        assert_eq!(field(&ready, "generation"), generation);
        // What it prints still comes through its pipe.
        running.line_after(mark, "told to retire");
        assert_eq!(runs(&running), fs::metadata(installed.path()).unwrap().ino());
        assert_eq!(installed.stage.socket().metadata().unwrap().ino(), inode);
    }
    until("the first leader has ended", SOON, || !lives(first));
    drop(waiting);
    stop(&mut running);
    assert!(
        !installed.stage.socket().exists(),
        "the file goes with the program that has it"
    );
}

#[test]
fn old_generation_serves_until_the_new_one_is_ready() {
    let installed = Installed::new();
    let (mut running, leader) = installed.serve(&[]);
    for behaviour in ["fail", "crash"] {
        installed.stage.behave(behaviour);
        let mark = running.signal(Signal::USR2);
        running.line_after(mark, "the application can't start");
        running.line_after(mark, "the previous generation goes on");
        assert!(lives(leader));
    }
    installed.stage.behave("");
    let mark = running.signal(Signal::HUP);
    running.line_after(mark, " ready ");
    running.line_after(mark, "told to retire");
    stop(&mut running);
}

#[test]
fn leader_that_dies_after_an_upgrade_is_replaced() {
    let installed = Installed::new();
    let (mut running, _) = installed.serve(&[]);
    let mark = running.signal(Signal::USR2);
    let ready = running.line_after(mark, " ready ");
    running.line_after(mark, "told to retire");
    let mark = running.log.mark();
    kill_process(Pid::from_raw(field(&ready, "leader")).unwrap(), Signal::KILL).unwrap();
    assert!(running.line_after(mark, "the leader died").contains("signal: 9"));
    running.line_after(mark, " ready ");
    stop(&mut running);
}

#[test]
fn leader_of_before_that_dies_while_the_new_one_starts_is_seen() {
    let installed = Installed::new();
    let (mut running, leader) = installed.serve(&[]);
    installed.stage.behave("late");
    let mark = running.signal(Signal::USR2);
    running.line_after(mark, "SigIgn");
    kill_process(Pid::from_raw(leader).unwrap(), Signal::KILL).unwrap();
    running.line_after(mark, "the leader died");
    installed.stage.behave("");
    running.line_after(mark, " ready ");
    stop(&mut running);
}

#[test]
fn leader_that_retires_during_an_upgrade_is_still_killed_in_time() {
    let installed = Installed::new();
    installed.stage.behave("stubborn");
    let (mut running, leader) = installed.serve(&["--stop-timeout=1s"]);
    installed.stage.behave("");
    let mark = running.signal(Signal::HUP);
    running.line_after(mark, "told to retire");
    running.signal(Signal::USR2);
    running.line_after(mark, "takes over");
    running.line_after(mark, "did not end in time and is killed");
    until("it has ended", SOON, || !lives(leader));
    stop(&mut running);
}

#[test]
fn generation_that_starts_is_started_anew_by_the_new_program() {
    let installed = Installed::new();
    installed.stage.behave("late");
    let mut running = installed.spawn(&["--log-level=debug"]);
    let line = running.line("leader started");
    let first = field(&line, "leader");
    let waiting = UnixStream::connect(installed.stage.socket()).unwrap();
    let mark = running.signal(Signal::USR2);
    running.line_after(mark, "takes over");
    until("the first leader has ended", SOON, || !lives(first));
    installed.stage.behave("");
    let ready = running.line_after(mark, " ready ");
    assert_eq!(field(&ready, "generation"), 2);
    drop(waiting);
    stop(&mut running);
}

#[test]
fn program_that_is_none_leaves_the_old_one_serving() {
    let installed = Installed::new();
    let (mut running, leader) = installed.serve(&[]);
    let refused = |expected: &str| {
        let mark = running.signal(Signal::USR2);
        let line = running.line_after(mark, REFUSED);
        assert!(line.contains(expected), "{line}");
    };
    fs::remove_file(installed.path()).unwrap();
    refused("it can't be run: No such file or directory");
    fs::write(installed.path(), "").unwrap();
    refused("it can't be run: Permission denied");
    installed.install_script("exit 0");
    let path = installed.path().display().to_string();
    refused(&format!("{path}: it did not say that it can (is that a wsgi-fpm?)"));
    installed.install_script("exit 3");
    refused(&format!("{path}: it ended with exit status: 3 (is that a wsgi-fpm?)"));
    installed.install_script("echo 'what is resume?' >&2; exit 2");
    refused("it ended with exit status: 2 (the lines above are what it says)");
    running.line("the new program says: what is resume?");
    // One that could read no state of this form.
    installed.install_script("shift 3; exec $real resume --form 999 \"$@\"");
    refused("it ended with exit status: 1");
    running.line("it can't go on with what a program of this version passes on (form 999");
    assert!(lives(leader) && running.log.count(|line| line.contains("told to")) == 0);
    installed.install_copy();
    let mark = running.signal(Signal::USR2);
    assert_eq!(field(&running.line_after(mark, " ready "), "generation"), 2);
    stop(&mut running);
}

/// `--nice` has the program itself start the leader's Python.
#[test]
fn leaders_are_started_by_the_program_that_runs_whatever_is_on_the_disk() {
    let installed = Installed::new();
    let (mut running, _) = installed.serve(&["--nice=1"]);
    installed.install_script("exit 3");
    let mark = running.signal(Signal::HUP);
    assert_eq!(field(&running.line_after(mark, " ready "), "generation"), 2);
    fs::remove_file(installed.path()).unwrap();
    let mark = running.signal(Signal::HUP);
    assert_eq!(field(&running.line_after(mark, " ready "), "generation"), 3);
    stop(&mut running);
}

#[test]
fn program_that_refuses_the_file_leaves_the_old_one_serving() {
    let installed = Installed::new();
    let (mut running, _) = installed.serve_file();
    installed.write_file(&["a", "b"], "thread = 1\n");
    let mark = running.signal(Signal::USR2);
    running.line_after(mark, "the new program says: ");
    let line = running.line_after(mark, REFUSED);
    assert!(line.contains("it ended with exit status"), "{line}");
    assert_eq!(running.log.count(|line| line.contains("told to")), 0);
    stop(&mut running);
}

#[test]
fn pools_are_those_that_the_file_has_at_the_upgrade() {
    let installed = Installed::new();
    let (mut running, _) = installed.serve_file();
    installed.write_file(&["b", "c"], "");
    let mark = running.signal(Signal::USR2);
    for name in ["b", "c"] {
        running.line_after(mark, &format!(" ready pool=\"{name}\""));
    }
    running.line_after(mark, "told to stop");
    running.line_after(mark, "stopped pool=\"a\"");
    let there = ["a", "b", "c"].map(|name| installed.stage.path(&format!("{name}.sock")).exists());
    assert_eq!(there, [false, true, true]);
    stop(&mut running);
}

#[test]
fn new_program_that_fails_after_exec_gives_the_place_back() {
    let installed = Installed::new();
    let (mut running, leaders) = installed.serve_file();
    installed.install_late_failure(&format!(
        "echo thread = 1 >> {}",
        installed.stage.path("pools.toml").display()
    ));
    let old = runs(&running);
    let mark = running.signal(Signal::USR2);
    running.line_after(mark, "takes over");
    let line = running.line_after(mark, REFUSED);
    assert!(line.contains("there is no option \"thread\""), "{line}");
    assert!(leaders.into_iter().all(lives));
    running.line_after(mark, "the generation that serves goes on");
    assert_eq!(runs(&running), old);
    assert_eq!(running.log.count(|line| line.contains("told to")), 0);
    // It can't read the file either. What is mended counts.
    installed.write_file(&["a", "b"], "");
    let mark = running.signal(Signal::HUP);
    for name in ["a", "b"] {
        let ready = running.line_after(mark, &format!(" ready pool=\"{name}\""));
        assert_eq!(field(&ready, "generation"), 2);
    }
    installed.install_copy();
    let mark = running.signal(Signal::USR2);
    for name in ["a", "b"] {
        let ready = running.line_after(mark, &format!(" ready pool=\"{name}\""));
        assert_eq!(field(&ready, "generation"), 3);
    }
    stop(&mut running);
}

#[test]
fn nothing_is_started_of_what_is_unknown_since_a_refused_upgrade() {
    const UNKNOWN: &str = "its configuration could not be read when an upgrade was refused";
    let installed = Installed::new();
    let (mut running, leaders) = installed.serve_file();
    installed.write_file(&["a", "b", "rest"], "workers = \"0..1\"\n");
    running.signal(Signal::HUP);
    running.line("at rest: the first request starts it");
    installed.install_late_failure(&format!(
        "echo thread = 1 >> {}",
        installed.stage.path("pools.toml").display()
    ));
    let mark = running.signal(Signal::USR2);
    running.line_after(mark, REFUSED);
    running.line_after(mark, "the generation that serves goes on");
    let (code, text) = installed.ask(&running, &["scale", "a", "2"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("nothing is done for a: {UNKNOWN}")), "{text}");
    let mark = running.log.mark();
    let waiting = UnixStream::connect(installed.stage.path("rest.sock")).unwrap();
    let line = running.line_after(mark, "it can't be started");
    assert!(line.contains(UNKNOWN) && line.contains("pool=\"rest\""), "{line}");
    let (_, text) = installed.ask(&running, &["status", "rest"]);
    assert!(text.contains(UNKNOWN), "{text}");
    assert_eq!(running.log.count(|line| line.contains("it is started")), 0);
    assert!(leaders.into_iter().all(lives));
    // What is mended counts.
    installed.write_file(&["a", "b", "rest"], "");
    let mark = running.log.mark();
    let (code, text) = installed.ask(&running, &["reload"]);
    assert_eq!(code, Some(0), "{text}");
    running.line_after(mark, " ready pool=\"rest\"");
    let (code, text) = installed.ask(&running, &["scale", "a", "2"]);
    assert_eq!(code, Some(0), "{text}");
    drop(waiting);
    stop(&mut running);
}

#[test]
fn reload_of_a_command_line_that_is_unknown_since_a_refused_upgrade_fails() {
    let installed = Installed::new();
    let mut command = installed.command(&installed.stage.serve(&[]));
    command.env("RUNTIME_DIRECTORY", installed.stage.path(""));
    let mut running = Running::spawn(command);
    let leader = field(&running.line(" ready "), "leader");
    installed.install_late_failure("export FCGI_WEB_SERVER_ADDRS=nobody");
    let mark = running.signal(Signal::USR2);
    running.line_after(mark, REFUSED);
    running.line_after(mark, "the generation that serves goes on");
    let (code, text) = installed.ask(&running, &["reload"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("is unknown since; mend it"), "{text}");
    let mark = running.signal(Signal::HUP);
    running.line_after(mark, "no reload: its configuration could not be read");
    assert!(lives(leader));
    stop(&mut running);
}

#[test]
fn program_that_can_not_be_run_after_all_leaves_the_old_one_as_it_was() {
    let installed = Installed::new();
    let (mut running, leader) = installed.serve(&[]);
    installed.install_script("echo ready to take over; rm \"$0\"");
    for _ in 0..2 {
        let mark = running.signal(Signal::USR2);
        let line = running.line_after(mark, REFUSED);
        assert!(line.contains("it can't be run: "), "{line}");
    }
    assert!(lives(leader));
    let mark = running.signal(Signal::HUP);
    running.line_after(mark, " ready ");
    running.line_after(mark, "told to retire");
    stop(&mut running);
}

#[test]
fn leader_of_another_version_is_only_told_to_stop_and_leaves_no_descriptor_behind() {
    let installed = Installed::new();
    let (mut running, first) = installed.serve(&[]);
    let before = (open_in(running.pid() as i32), open_in(first));
    // What is passed on says that it was written by, and has leaders of, a program that spoke differently.
    installed.install_script(
        "state=$(echo \" $* \" | sed -n 's/.* --state \\([0-9]*\\) .*/\\1/p')\n\
         if [ -n \"$state\" ]; then\n\
             sed 's/\"version\":[0-9]*/\"version\":99/g' /proc/self/fd/$state > state.json\n\
             cat state.json > /proc/self/fd/$state\n\
         fi\n\
         exec $real \"$@\"",
    );
    let mark = running.signal(Signal::USR2);
    let ready = running.line_after(mark, " ready ");
    assert_eq!(field(&ready, "generation"), 2);
    running.line_after(mark, "told to stop");
    let second = field(&ready, "leader");
    until("as many are open as before", SOON, || {
        open_in(running.pid() as i32) == before.0
    });
    assert_eq!(open_in(second), before.1);
    let mark = running.signal(Signal::HUP);
    running.line_after(mark, " ready ");
    running.line_after(mark, "told to retire");
    stop(&mut running);
}

#[test]
fn signal_that_comes_between_the_programs_is_obeyed() {
    let installed = Installed::new();
    let (mut running, _) = installed.serve(&[]);
    installed.install_script("case \"$*\" in *--state*) kill -TERM $$; kill -HUP $$; esac\nexec $real \"$@\"");
    running.signal(Signal::USR2);
    assert_eq!(running.exit().code(), Some(0));
    running.line("told to stop");
    assert!(!installed.stage.socket().exists());
}

/// One that another thread takes is lost when the program is replaced. The thread that watches files is a library's.
#[test]
fn signals_reach_the_first_thread_alone() {
    let stage = Stage::new();
    let running = Running::spawn(stage.serve(&["--reload-on=app.py"]));
    running.line(" ready ");
    assert!(
        threads(&running)
            .iter()
            .any(|thread| name(thread).starts_with("notify"))
    );
    assert_first_alone_takes_signals(&running);
    // While another instance does not answer, which might serve the same file.
    let installed = Installed::new();
    let _silent = UnixListener::bind(installed.stage.path("1.control")).unwrap();
    let (running, _) = installed.serve_file();
    assert_first_alone_takes_signals(&running);
}

/// The first thread does, and no other.
#[track_caller]
fn assert_first_alone_takes_signals(running: &Running) {
    for thread in threads(running) {
        let status = fs::read_to_string(thread.join("status")).unwrap();
        let (_, blocked) = status.split_once("SigBlk:").unwrap();
        let blocked = u64::from_str_radix(blocked.split_whitespace().next().unwrap(), 16).unwrap();
        let is_first = thread.ends_with(running.pid().to_string());
        for signal in [Signal::TERM, Signal::INT, Signal::USR2, Signal::TTIN] {
            let is_held_back = blocked & 1 << (signal.as_raw() - 1) != 0;
            assert_ne!(is_held_back, is_first, "{signal:?} in {}", name(&thread));
        }
    }
}

fn threads(running: &Running) -> Vec<PathBuf> {
    let threads = fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap();
    threads.map(|thread| thread.unwrap().path()).collect()
}

fn name(thread: &Path) -> String {
    fs::read_to_string(thread.join("comm")).unwrap()
}

#[test]
fn second_wish_during_an_upgrade_changes_nothing_and_a_stop_ends_it() {
    let installed = Installed::new();
    let (mut running, _) = installed.serve(&[]);
    let asked = installed.stage.path("asked");
    installed.install_script(&format!("touch {}; exec sleep 1000", asked.display()));
    running.signal(Signal::USR2);
    until("the new program is asked", SOON, || asked.exists());
    let mark = running.signal(Signal::USR2);
    let line = running.line_after(mark, "no upgrade: one is under way, for ");
    assert!(line.contains("has 30 s to answer"), "{line}");
    running.signal(Signal::TERM);
    assert_eq!(running.exit_within(Duration::from_secs(10)).code(), Some(0));
}

#[test]
fn many_upgrades_in_a_row_leave_no_descriptor_behind() {
    let installed = Installed::new();
    let (mut running, _) = installed.serve(&["--listen=127.0.0.1:0"]);
    let before = open_in(running.pid() as i32);
    for generation in 2..=6 {
        let mark = running.signal(Signal::USR2);
        let ready = running.line_after(mark, " ready ");
        assert_eq!(field(&ready, "generation"), generation);
        running.line_after(mark, "told to retire");
        until("as many are open as before", SOON, || {
            open_in(running.pid() as i32) == before
        });
    }
    stop(&mut running);
}

#[test]
fn control_socket_that_the_new_program_does_not_want_is_closed_and_its_file_goes() {
    let installed = Installed::new();
    let (mut running, [first, _]) = installed.serve_file();
    let control = installed.stage.path(&format!("{}.control", running.pid()));
    assert!(control.exists());
    let before = (open_in(running.pid() as i32), open_in(first));
    installed.write_file(&["a", "b"], "[server]\ncontrol = \"off\"\n");
    let mark = running.signal(Signal::USR2);
    let leaders = ["a", "b"].map(|name| {
        let ready = running.line_after(mark, &format!(" ready pool=\"{name}\""));
        field(&ready, "leader")
    });
    assert!(!control.exists());
    // With the socket its directory, and the runtime's duplicate.
    until("fewer are open than before", SOON, || {
        open_in(running.pid() as i32) + 3 == before.0
    });
    for leader in leaders {
        assert_eq!(open_in(leader), before.1);
    }
    stop(&mut running);
}
