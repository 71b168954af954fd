//! A process of another program that goes with its test, even with one that is killed: nginx, the preview.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::log::Log;
use super::wait::{self, SOON};

/// Starts what its arguments say and ends it when the pipe from the test has ended, which the kernel closes in any case.
/// Then it removes the directory: that of a server which all tests share is dropped by nobody.
const KEEPER: &str = r#"
signal=$1 directory=$2; shift 2
"$@" &
pid=$!
exec 2>/dev/null
echo "$pid"
read -r _
kill "-$signal" "$pid"
wait "$pid"
[ -z "$directory" ] || rm -rf "$directory"
"#;

#[derive(Debug)]
pub struct Tied {
    keeper: Child,
    /// Open while the process is to live.
    life: Option<ChildStdin>,
    pub pid: Pid,
    /// Its standard error.
    pub log: Log,
    what: String,
}

impl Tied {
    /// Starts `command`, whose end comes by `signal`, a name such as TERM.
    ///
    /// # Panics
    /// If there is no shell.
    #[track_caller]
    pub fn spawn(command: &Command, signal: &str) -> Self {
        Self::spawn_in(command, signal, Path::new(""))
    }

    /// As [`Tied::spawn`], for a process with a private directory, which is removed after its end.
    #[track_caller]
    pub fn spawn_in(command: &Command, signal: &str, directory: &Path) -> Self {
        let mut keeper = Command::new("sh");
        keeper
            .args(["-c", KEEPER, "keeper", signal])
            .arg(directory)
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(directory) = command.get_current_dir() {
            keeper.current_dir(directory);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => keeper.env(name, value),
                None => keeper.env_remove(name),
            };
        }
        let mut keeper = keeper.spawn().unwrap();
        let said = Log::collect(keeper.stdout.take().unwrap());
        let log = Log::collect(keeper.stderr.take().unwrap());
        let pid = said.wait_for("with a pid", |line| !line.is_empty());
        Self {
            life: keeper.stdin.take(),
            pid: Pid::from_raw(pid.parse().unwrap()).unwrap(),
            log,
            what: command.get_program().to_string_lossy().into_owned(),
            keeper,
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits until the process has ended by itself or by a signal of the test.
    #[track_caller]
    pub fn wait_for_end(&self, deadline: Duration) {
        wait::until_ended(self.pid.as_raw_nonzero(), deadline);
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        drop(self.life.take());
        let end = Instant::now() + SOON;
        while Instant::now() < end {
            if matches!(self.keeper.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        // Fails only if all of them have ended in between.
        let _ = kill_process_group(Pid::from_child(&self.keeper), Signal::KILL);
        // Reaps the shell, which is dead by now.
        let _ = self.keeper.wait();
        assert!(thread::panicking(), "{} did not end when it was told to", self.what);
    }
}
