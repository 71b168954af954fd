//! As whom, and within which bounds, a pool's processes run: found out by the supervisor, put on by the leader's process before
//! its Python starts.

mod accounts;
mod limits;

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, bail};
use nix::unistd::{Gid, Uid, User, setfsgid, setfsuid, setgid, setgroups, setuid};
use rustix::fs::{FileType, Mode, fchown, fstat};
use rustix::process::{DumpableBehavior, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities, set_thread_groups,
};
use serde::{Deserialize, Serialize};
use settings::sections::RunAs;
use settings::values::{Account, ResourceLimit};
use settings::{Entries, Setting};
use tracing::{info, warn};

pub use accounts::{Home, group_number, user_number};
use accounts::{groups_of, owner};
use limits::{check_limit, resource};

/// What a pool's processes put on. What is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub user: Option<Owner>,
    umask: Option<u32>,
    rlimits: Vec<ResourceLimit>,
    nice: Option<i32>,
}

/// A user with his groups, by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    uid: u32,
    gid: u32,
    /// All groups, `gid` among them.
    groups: Vec<u32>,
    /// `None` for a number that no account has.
    pub account: Option<Home>,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    #[error("{0} {1}: no such user")]
    NoUser(String, Account),
    #[error("{0} {1}: no such group")]
    NoGroup(String, Account),
    #[error("{0} {1}: no account has this number, so name a group as well")]
    NoAccount(String, u32),
    #[error("{0} {1}: to become somebody else, wsgi-fpm has to be started as root")]
    NotRoot(String, Account),
    #[error("{0}: the groups of user {1} can't be found: {2}")]
    Groups(String, String, nix::Error),
    #[error("{name} {limit}: {hard} is the most that this process may set, unless it is started as root")]
    OverHard { name: String, limit: String, hard: u64 },
    #[error(
        "{0} is missing: started as root, wsgi-fpm wants to know who runs a pool; write user = \"www-data\" or another one \
             (user = \"root\" is possible)"
    )]
    Missing(String),
}

impl Identity {
    /// Of a pool that is started in this way.
    ///
    /// # Errors
    /// An account does not exist, this process may not become it, or root has not said whom a pool of the file is for.
    pub fn find(options: &RunAs, entry: Entries) -> Result<Self, UserError> {
        must_be_named(&options.user, entry, Uid::effective().is_root())?;
        for limit in options.rlimit.iter() {
            check_limit(options.rlimit.name(), limit)?;
        }
        Ok(Self {
            user: owner(options)?,
            umask: options.umask.as_ref().map(|umask| umask.bits()),
            rlimits: options.rlimit.to_vec(),
            nice: options.nice.as_ref().map(|nice| nice.get()),
        })
    }

    /// Of a user as the system's accounts have him; `None` if his groups can't be found.
    pub fn of(user: &User) -> Option<Self> {
        let gid = user.gid.as_raw();
        let owner = Owner {
            uid: user.uid.as_raw(),
            gid,
            groups: groups_of("", user, gid).ok()?,
            account: Some(Home::of(user)),
        };
        Some(Self {
            user: Some(owner),
            ..Self::default()
        })
    }

    /// Whether an account is named that is not root.
    pub fn is_somebody_else(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.uid != 0)
    }

    /// Says in the log that an application runs as root, since an error in it is an error of root's.
    pub fn warn_of_root(&self, pool: &str) {
        match &self.user {
            None if Uid::effective().is_root() => warn!(
                pool,
                "the application runs as root, as this program does: --user names somebody else"
            ),
            Some(user) if user.uid == 0 => info!(pool, "the application runs as root, as its options say"),
            _ => {}
        }
    }

    /// `command`, run by a process that has put this on.
    ///
    /// # Errors
    /// This program's own path is unknown.
    pub fn command(&self, command: Command) -> io::Result<Command> {
        match self.is_nothing() {
            true => Ok(command),
            false => self.hosted(&[], command),
        }
    }

    /// The same by `wsgi-fpm host` in any case, with further arguments of that.
    ///
    /// # Errors
    /// This program's own path is unknown.
    pub fn hosted(&self, arguments: &[&OsStr], command: Command) -> io::Result<Command> {
        // This very program, whatever has taken its place on the disk meanwhile; or nothing, if that has been removed.
        let mut under = Command::new("/proc/self/exe");
        under.arg0(program()?).arg("host");
        if !self.is_nothing() {
            under.arg("--identity").arg(serde_json::to_string(self)?);
        }
        under
            .args(arguments)
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => under.env(name, value),
                None => under.env_remove(name),
            };
        }
        Ok(under)
    }

    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What `look` finds with this user's rights to files. Everything else, such as who may signal this process, stays.
    ///
    /// # Panics
    /// No thread is to be had.
    pub fn looks<T: Send>(&self, look: impl FnOnce() -> T + Send) -> T {
        match self.may_look(look) {
            Ok(found) => found,
            Err(error) => panic!("no thread is to be had: {error}"),
        }
    }

    /// The same for whoever can do without.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn may_look<T: Send>(&self, look: impl FnOnce() -> T + Send) -> io::Result<T> {
        let ours = (Uid::effective().as_raw(), Gid::effective().as_raw());
        let Some(user) = self.user.as_ref().filter(|user| (user.uid, user.gid) != ours) else {
            return Ok(look());
        };
        let looking = || {
            user.reach_files();
            look()
        };
        // These rights are a thread's, and end with it.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, looking)?;
            thread.join().or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Puts all of it on, for good: afterwards this process, which has one thread, can't become anybody else.
    ///
    /// # Errors
    /// The system refuses a part of it. Then this process must not go on.
    pub fn put_on(&self) -> anyhow::Result<()> {
        for limit in &self.rlimits {
            let resource = resource(&limit.resource).context("a limit that this version does not know")?;
            let both = Rlimit {
                current: limit.value,
                maximum: limit.value,
            };
            setrlimit(resource, both).with_context(|| format!("the limit {limit} can't be set"))?;
        }
        if let Some(nice) = self.nice {
            rustix::process::setpriority_process(None, nice)
                .with_context(|| format!("the niceness {nice} can't be set"))?;
        }
        if let Some(umask) = self.umask {
            rustix::process::umask(Mode::from_raw_mode(umask));
        }
        if let Some(user) = &self.user {
            user.put_on()
                .with_context(|| format!("this process can't become {user}"))?;
        }
        Ok(())
    }
}

impl Owner {
    fn put_on(&self) -> anyhow::Result<()> {
        self.own_output().context("its output")?;
        let groups: Vec<_> = self.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).context("its groups")?;
        setgid(Gid::from_raw(self.gid)).context("its group")?;
        setuid(Uid::from_raw(self.uid)).context("its user")?;
        if self.uid != 0 {
            Self::give_up_capabilities()?;
        }
        // Or its own /proc/self would not be this user's: whoever looks into that, such as a debugger, is this very user.
        set_dumpable_behavior(DumpableBehavior::Dumpable).context("its files in /proc")
    }

    fn give_up_capabilities() -> anyhow::Result<()> {
        // setuid takes them, unless whoever has started the program has told the kernel to leave them.
        clear_ambient_capability_set().context("its capabilities")?;
        let none = CapabilitySet::empty();
        let sets = CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        };
        set_capabilities(None, sets).context("its capabilities")?;
        if setuid(Uid::from_raw(0)).is_ok() {
            bail!("it could become root again");
        }
        Ok(())
    }

    /// The pipes that the supervisor has made for what it prints: an application that opens /dev/stderr opens them by name.
    fn own_output(&self) -> io::Result<()> {
        let (uid, gid) = (rustix::fs::Uid::from_raw(self.uid), rustix::fs::Gid::from_raw(self.gid));
        for output in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
            if FileType::from_raw_mode(fstat(output)?.st_mode) == FileType::Fifo {
                fchown(output, Some(uid), Some(gid))?;
            }
        }
        Ok(())
    }

    /// Gives this thread this user's rights to files, and takes its own away. Not its user: others could signal it then, and so
    /// the whole process.
    fn reach_files(&self) {
        let groups: Vec<_> = self.groups.iter().copied().map(rustix::fs::Gid::from_raw).collect();
        if let Err(error) = set_thread_groups(&groups) {
            warn!(%error, "the groups of {self} can't be put on to look what it may read");
        }
        setfsgid(Gid::from_raw(self.gid));
        setfsuid(Uid::from_raw(self.uid));
    }
}

/// "user blog (uid 999)".
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.account {
            Some(account) => write!(f, "user {} (uid {})", account.name, self.uid),
            None => write!(f, "the user with uid {}", self.uid),
        }
    }
}

/// Of this program, as it was when it was first asked for: an update may have put another one into its place since.
pub fn program() -> io::Result<PathBuf> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if let Some(program) = PROGRAM.get() {
        return Ok(program.clone());
    }
    let program = std::env::current_exe()?;
    // Linux says so of one that was replaced before it was asked for.
    let replaced = program.as_os_str().as_bytes().strip_suffix(b" (deleted)");
    let program = replaced.map_or(program.clone(), |place| OsStr::from_bytes(place).into());
    Ok(PROGRAM.get_or_init(|| program).clone())
}

/// Root says of each pool of the file who runs it, so that none has all rights by an oversight.
fn must_be_named(user: &Setting<Option<Account>>, entry: Entries, is_root: bool) -> Result<(), UserError> {
    match **user {
        None if is_root && entry == Entries::POOL => Err(UserError::Missing(user.name().to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use settings::{Layers, Said};

    use super::*;

    fn options(entry: Entries, said: &[(&str, &str)]) -> RunAs {
        let mut layers = Layers::new(entry);
        layers.put(said.iter().map(|(key, value)| {
            let option = settings::find(key).expect("an option");
            Said::typed(option, vec![(*value).into()])
        }));
        RunAs::take(&mut layers)
    }

    fn found(said: &[(&str, &str)]) -> Result<Identity, String> {
        Identity::find(&options(Entries::SERVE, said), Entries::SERVE).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said_changes_nothing() {
        assert_eq!(found(&[]), Ok(Identity::default()));
        let echo = Identity::default().command(Command::new("echo")).unwrap();
        assert_eq!(echo.get_program(), "echo");
    }

    #[test]
    fn account_that_does_not_exist_is_named_with_its_option() {
        let wrong = |said: &[(&str, &str)]| found(said).unwrap_err();
        assert_eq!(wrong(&[("user", "nosuchuser")]), "--user nosuchuser: no such user");
        assert_eq!(wrong(&[("user", "4294967295")]), "--user 4294967295: no such user");
        assert_eq!(
            wrong(&[("user", "root"), ("group", "nosuchgroup")]),
            "--group nosuchgroup: no such group"
        );
        assert_eq!(
            wrong(&[("user", "root"), ("groups", "nosuchgroup")]),
            "--groups nosuchgroup: no such group"
        );
        assert_eq!(
            wrong(&[("user", "3999999999")]),
            "--user 3999999999: no account has this number, so name a group as well"
        );
    }

    #[test]
    fn pool_of_the_file_must_name_its_user_as_root() {
        let asked = |entry, said: &[_], is_root| {
            let user = options(entry, said).user;
            must_be_named(&user, entry, is_root).map_err(|error| error.to_string())
        };
        assert_eq!(
            asked(Entries::POOL, &[], true).unwrap_err(),
            "--user is missing: started as root, wsgi-fpm wants to know who runs a pool; write user = \"www-data\" or \
             another one (user = \"root\" is possible)"
        );
        for (entry, said, is_root) in [
            (Entries::POOL, vec![("user", "root")], true),
            (Entries::POOL, vec![], false),
            (Entries::SERVE, vec![], true),
        ] {
            assert_eq!(asked(entry, &said, is_root), Ok(()));
        }
    }

    #[test]
    fn identity_survives_the_way_to_a_leader() {
        let identity = found(&[("umask", "0027"), ("rlimit", "core=0"), ("nice", "5")]).unwrap();
        let sent = serde_json::to_string(&identity).unwrap();
        assert_eq!(serde_json::from_str::<Identity>(&sent).unwrap(), identity);
    }

    #[test]
    fn command_is_run_by_one_that_puts_the_identity_on() {
        let identity = found(&[("nice", "5")]).unwrap();
        let mut python = Command::new("/srv/python");
        python.args(["-c", "pass"]).env("A", "b");
        let command = identity.command(python).unwrap();
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        assert_eq!(words[..2], ["host", "--identity"]);
        assert_eq!(words[3..], ["--", "/srv/python", "-c", "pass"]);
        assert_eq!(command.get_envs().count(), 1);
    }
}
