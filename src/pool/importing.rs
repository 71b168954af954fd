//! Processes that import the application, and what they import. They can't be asked, for Python is busy and nobody else is there yet: a
//! signal has faulthandler write the stack of the thread that imports to a file that the supervisor has, too.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use contract::control::IMPORT_SIGNAL;
use contract::memory;
use contract::process;
use contract::scoreboard::{Phase, now_ms};
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::{Member, Running, Stage};
use crate::keeper::proof::{Proof, of_child};
use crate::users::Identity;

/// A process writes its stack at once, unless it gets no processor, or waits for a disk.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);
/// What has not grown for so many looks is whole.
const LOOKS: u32 = 3;
/// Bytes of a stack that are looked at.
const LONGEST: usize = 64 * 1024;

/// The file of a generation. One asks at a time.
#[derive(Debug, Clone)]
pub struct Window(Arc<Mutex<File>>);

/// A process that imports the application.
#[derive(Debug)]
pub struct Importing {
    pub pid: i32,
    pub generation: u64,
    /// It does so for all workers.
    pub is_leader: bool,
    /// For how long it has.
    pub took: Duration,
    whose: Whose,
    /// `None`: another program has started it.
    window: Option<Window>,
}

/// Whose child it has to be, and as whom it runs, as far as that is known.
#[derive(Debug, Clone)]
struct Whose {
    /// Of a worker: any of them may write what the supervisor reads as their numbers.
    leader: Option<i32>,
    identity: Identity,
}

/// Why there is no stack. Each is a line for whoever has asked.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("wsgi-fpm was upgraded meanwhile, and can't look into it")]
    Unseen,
    #[error("it has not begun with that, or is just done: ask again")]
    NotNow,
    #[error("it does not say what within {} s: the machine may be overloaded, or a disk hangs", PATIENCE.as_secs())]
    Silent,
    #[error("it can't be asked what: {0}")]
    System(#[from] io::Error),
}

impl Window {
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        let file = memory::file("wsgi-fpm-imports", MemfdFlags::CLOEXEC)?;
        // Whoever writes begins where it is empty.
        fcntl_setfl(&file, OFlags::APPEND)?;
        Ok(Self(Arc::new(Mutex::new(file.into()))))
    }

    /// For the leader, which nobody else asks for anything yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        let file = self.0.try_lock().map_err(|_| io::ErrorKind::WouldBlock)?;
        file.as_fd().try_clone_to_owned()
    }

    async fn stack(&self, pid: i32, whose: &Whose) -> Result<String, ImportError> {
        let file = self.0.lock().await;
        let process = Pid::from_raw(pid).ok_or(ImportError::NotNow)?;
        let process = pidfd_open(process, PidfdFlags::empty()).map_err(|_| ImportError::NotNow)?;
        // Other programs have a handler for this signal as well (garbage collectors), or die of it.
        let is_ours = |leader| matches!(of_child(&process, pid, leader, &whose.identity), Proof::Child);
        if !whose.leader.is_none_or(is_ours) || !whose.catches_signal(pid) {
            return Err(ImportError::NotNow);
        }
        file.set_len(0)?;
        pidfd_send_signal(&process, IMPORT_SIGNAL).map_err(io::Error::from)?;
        let until = Instant::now() + PATIENCE;
        let (mut length, mut looks) = (0, 0);
        while looks < LOOKS {
            if Instant::now() >= until {
                return Err(ImportError::Silent);
            }
            sleep(LOOK).await;
            let now = file.metadata()?.len();
            looks = if now > 0 && now == length { looks + 1 } else { 0 };
            length = now;
        }
        let mut text = vec![0; LONGEST.min(length as usize)];
        let read = file.read_at(&mut text, 0)?;
        Ok(in_python_s_order(&String::from_utf8_lossy(&text[..read])))
    }
}

impl Importing {
    /// Its stack, the innermost call last.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub async fn stack(&self) -> Result<String, ImportError> {
        match &self.window {
            Some(window) => window.stack(self.pid, &self.whose).await,
            None => Err(ImportError::Unseen),
        }
    }
}

impl Whose {
    /// Whether the process has a handler for the signal, which would end it otherwise. Root may not see it where `/proc` hides what is
    /// not of one's own user.
    fn catches_signal(&self, pid: i32) -> bool {
        catches_signal(pid) || self.identity.may_look(|| catches_signal(pid)).unwrap_or(false)
    }
}

impl Running {
    /// Who imports the application now.
    pub(super) fn importing(&self) -> Vec<Importing> {
        let identity = self.pool.as_ref().map(|pool| pool.identity.clone()).unwrap_or_default();
        let members = self.members.iter().filter(|member| member.stage != Stage::Retiring);
        members.flat_map(|member| importing(member, &identity)).collect()
    }
}

fn importing(member: &Member, identity: &Identity) -> Vec<Importing> {
    let generation = &member.generation;
    let imports = |pid, is_leader, took| Importing {
        pid,
        generation: generation.number,
        is_leader,
        took,
        whose: Whose {
            leader: (!is_leader).then_some(generation.pid as i32),
            identity: identity.clone(),
        },
        window: generation.window.clone(),
    };
    let seats = generation.board.iter().flat_map(|board| board.workers());
    let workers: Vec<_> = seats.filter_map(|(seat, _)| seat.read()).collect();
    if workers.is_empty() && member.stage == Stage::Starting {
        return vec![imports(generation.pid as i32, true, generation.started.elapsed())];
    }
    let starting = workers.into_iter().filter(|(_, phase, _)| *phase == Phase::Starting);
    let age = |born_ms| Duration::from_millis(now_ms().saturating_sub(born_ms));
    starting
        .map(|(pid, _, born_ms)| imports(pid, false, age(born_ms)))
        .collect()
}

fn catches_signal(pid: i32) -> bool {
    let Ok(status) = process::text(format!("/proc/{pid}/status")) else {
        return false;
    };
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask >> (IMPORT_SIGNAL.as_raw() - 1) & 1 == 1)
}

/// faulthandler begins with a line of its own, and the innermost call.
fn in_python_s_order(text: &str) -> String {
    let frames: Vec<&str> = text.trim_end().lines().skip(1).collect();
    frames
        .into_iter()
        .rev()
        .fold(String::new(), |text, frame| text + frame + "\n")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn stack_has_the_innermost_call_last() {
        let text =
            "Stack (most recent call first):\n  File \"b.py\", line 2 in g\n  File \"a.py\", line 1 in <module>\n";
        assert_eq!(
            in_python_s_order(text),
            "  File \"a.py\", line 1 in <module>\n  File \"b.py\", line 2 in g\n"
        );
    }

    fn whose(leader: Option<i32>) -> Whose {
        let identity = Identity::default();
        Whose { leader, identity }
    }

    #[tokio::test]
    async fn process_that_is_no_worker_is_not_sent_a_signal_that_it_catches() {
        let this = std::process::id() as i32;
        for (leader, code) in [(1, 0), (this, 3)] {
            let mut process = Command::new("sh");
            process.args(["-c", "trap 'exit 3' PWR; echo ready; read line; exit 0"]);
            let mut process = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(process.stdout.take().unwrap())
                .read_line(&mut line)
                .unwrap();
            let answer = Window::new()
                .unwrap()
                .stack(process.id() as i32, &whose(Some(leader)))
                .await;
            let is_refused = matches!(answer, Err(ImportError::NotNow));
            assert_eq!(is_refused, code == 0, "{answer:?}");
            // It may have ended of the signal.
            let _ = process.stdin.take().unwrap().write_all(b"\n");
            assert_eq!(process.wait().unwrap().code(), Some(code));
        }
    }

    #[tokio::test]
    async fn process_that_would_die_of_the_signal_is_not_sent_it() {
        let mut process = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = process.id() as i32;
        let answer = Window::new().unwrap().stack(pid, &whose(None)).await;
        assert!(matches!(answer, Err(ImportError::NotNow)), "{answer:?}");
        assert!(process.try_wait().unwrap().is_none(), "it lives");
        process.kill().unwrap();
        process.wait().unwrap();
        let answer = Window::new().unwrap().stack(pid, &whose(None)).await;
        assert!(matches!(answer, Err(ImportError::NotNow)), "{answer:?}");
    }
}
