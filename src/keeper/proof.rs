//! Whether a process is the worker that it is said to be. Who has the channel's end may send any process's pidfd, and workers that have
//! outlived their leader are killed with the supervisor's rights.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use contract::process::Stat;

use crate::users::Identity;

/// What is known of a process.
#[derive(Debug)]
pub enum Proof {
    /// It is the leader's child, or gone and reaped: then it harms nobody.
    Child,
    Other,
    /// Whether it is can't be seen.
    Unseen(io::Error),
}

/// Whether `pidfd` is that of the process `pid`, and that is a child of `leader`. Where `/proc` hides processes of others (`hidepid`,
/// `ProtectProc=`), it is looked at with the rights of the pool, whose `identity` workers have.
pub fn of_child(pidfd: impl AsFd, pid: i32, leader: i32, identity: &Identity) -> Proof {
    match pid_of(&pidfd) {
        Ok(Some(-1)) => return Proof::Child,
        Ok(Some(process)) if process == pid => {}
        Ok(_) => return Proof::Other,
        Err(error) => return Proof::Unseen(error),
    }
    let parent = parent_of(pid).or_else(|_| identity.may_look(|| parent_of(pid))?);
    match (parent, pid_of(pidfd)) {
        (Ok(parent), _) if parent == leader => Proof::Child,
        // It may have gone meanwhile.
        (_, Ok(Some(-1))) => Proof::Child,
        (Ok(_), _) => Proof::Other,
        (Err(error), _) => Proof::Unseen(error),
    }
}

/// `None` if it is no pidfd; -1 if the process is gone.
fn pid_of(pidfd: impl AsFd) -> io::Result<Option<i32>> {
    let said = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd()))?;
    let pid = said.lines().find_map(|line| line.strip_prefix("Pid:"));
    Ok(pid.and_then(|pid| pid.trim().parse().ok()))
}

fn parent_of(pid: i32) -> io::Result<i32> {
    Stat::of(pid)?.parent().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, PidfdFlags, getpid, getppid, pidfd_open};

    use super::*;

    fn is_child(pidfd: impl AsFd, pid: i32, leader: i32) -> bool {
        match of_child(pidfd, pid, leader, &Identity::default()) {
            Proof::Child => true,
            Proof::Other => false,
            Proof::Unseen(error) => panic!("{error}"),
        }
    }

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
