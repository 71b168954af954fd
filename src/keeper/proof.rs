//! Whether a process is the worker that it is said to be. Who has the channel's end may send any process's pidfd, and workers that have
//! outlived their leader are killed with the supervisor's rights.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

/// Whether `pidfd` is that of the process `pid`, and that is a child of `leader`. One that is gone and was reaped harms nobody.
pub(super) fn is_child(pidfd: impl AsFd, pid: i32, leader: i32) -> bool {
    match pid_of(pidfd) {
        Some(-1) => true,
        Some(process) => process == pid && parent_of(pid) == Some(leader),
        None => false,
    }
}

/// `None` if it is no pidfd; -1 if the process is gone.
fn pid_of(pidfd: impl AsFd) -> Option<i32> {
    let said = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd())).ok()?;
    let pid = said.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    pid.trim().parse().ok()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before that may have anything in it.
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, PidfdFlags, getpid, getppid, pidfd_open};

    use super::*;

    #[test]
    fn only_a_child_of_the_leader_is_a_worker() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let open = |pid| pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let (pid, pidfd) = (child.id() as i32, open(Pid::from_child(&child)));
        let this = getpid().as_raw_nonzero().get();
        assert!(is_child(&pidfd, pid, this));
        assert!(!is_child(&pidfd, pid, pid), "another leader's");
        assert!(
            !is_child(open(getpid()), pid, this),
            "another process under a child's number"
        );
        assert!(!is_child(open(getpid()), this, this), "the leader itself");
        let parent = getppid().unwrap();
        assert!(!is_child(open(parent), parent.as_raw_nonzero().get(), this));
        assert!(!is_child(child.stdin.as_ref().unwrap(), pid, this), "no process");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(is_child(&pidfd, pid, this), "it is gone");
    }
}
