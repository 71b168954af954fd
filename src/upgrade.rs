//! The program on disk that takes this one's place: whether it can, and how. Knows nothing of what goes along.

use std::convert::Infallible;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use contract::memory;
use nix::unistd::execv;
use rustix::fs::MemfdFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tracing::error;

use crate::children::Ours;
use crate::inherited::{self, Passed};
use crate::users;

/// Of what is passed on. To be raised when a program could not read what an older one has passed, which then refuses to become
/// it; what has a default (serde) can be added without that.
pub const FORM: u32 = 1;
/// What the new program prints if it can take over.
pub const READY: &str = "ready to take over\n";
/// How long it may look at its configuration.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// More than that of what it says is of no interest.
const LONGEST_ANSWER: u64 = 64 * 1024;
/// What a service manager says to this process alone.
const OURS: [&str; 4] = ["NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// A program, and how it is called.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    /// What it was called by: a virtual environment is found by that.
    name: OsString,
    /// What was typed behind the name.
    arguments: Vec<OsString>,
}

impl Program {
    /// This one, where an update puts another one. To be asked before a title takes the place of the arguments.
    ///
    /// # Errors
    /// The working directory, or this program's own path, is unknown.
    pub fn this() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let name = arguments.next().unwrap_or_default();
        Ok(Self {
            path: place(&name)?,
            name,
            arguments: arguments.collect(),
        })
    }

    /// The one at `path`, called as this one was, with these arguments.
    pub fn at(path: PathBuf, arguments: Vec<OsString>) -> Self {
        let name = env::args_os().next().unwrap_or_default();
        Self { path, name, arguments }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks it whether it understands what is passed on, and the configuration. What it says stands in the log.
    ///
    /// # Errors
    /// Why it can't take over.
    pub async fn check(&self) -> anyhow::Result<()> {
        self.ask().await.with_context(|| self.path.display().to_string())
    }

    async fn ask(&self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(self.command(&[]));
        OURS.iter().for_each(|name| _ = command.env_remove(name));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("it can't be run")?;
        let _ours = child.id().map(Ours::new);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let asked = async { tokio::join!(text(stdout), text(stderr), child.wait()) };
        let Ok((answer, complaint, status)) = tokio::time::timeout(PATIENCE, asked).await else {
            bail!("it did not answer within {} s", PATIENCE.as_secs());
        };
        for line in complaint.lines().filter(|line| !line.trim().is_empty()) {
            error!("the new program says: {}", contract::log::escape(line));
        }
        let status = status.context("it can't be waited for")?;
        if !status.success() {
            let hint = match complaint.trim() {
                "" => "is that a wsgi-fpm?",
                _ => "the lines above are what it says",
            };
            bail!("it ended with {status} ({hint})");
        }
        if answer != READY {
            bail!("it did not say that it can (is that a wsgi-fpm?)");
        }
        Ok(())
    }

    /// Becomes it, and passes `state` on. Who returns from here is still who he was.
    ///
    /// # Errors
    /// The system's.
    pub fn take_over(&self, state: &impl Serialize) -> anyhow::Result<Infallible> {
        let mut file = File::from(memory::file("wsgi-fpm-state", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(state).context("the state can't be written")?)?;
        let this = File::open("/proc/self/exe").context("this program can't be kept")?;
        let (state, this) = (Passed::copy(file)?, Passed::copy(this)?);
        let numbers = [number(&state)?, number(&this)?];
        let arguments = self.command(&[
            "--state".as_ref(),
            numbers[0].as_ref(),
            "--back".as_ref(),
            numbers[1].as_ref(),
        ]);
        self.exec(&self.path, arguments)
    }

    /// Becomes the program that this one was, since `reason` stands against taking over. `state` and `back`: as they were passed.
    ///
    /// # Errors
    /// The system's.
    pub fn go_back(&self, state: i32, back: i32, reason: &str) -> anyhow::Result<Infallible> {
        // Open until exec and not longer; without that it would work as well.
        let _this = inherited::adopt(back);
        let state = state.to_string();
        // An argument may not be as long as a report of many mistakes.
        let reason = contract::log::escape(reason);
        let more = [
            "--state".as_ref(),
            state.as_ref(),
            "--refused".as_ref(),
            OsStr::new(&reason),
        ];
        self.exec(Path::new(&format!("/proc/self/fd/{back}")), self.command(&more))
    }

    /// The arguments behind the name; `more`: options of `resume`.
    fn command(&self, more: &[&OsStr]) -> Vec<OsString> {
        let form = FORM.to_string();
        let first = [
            "resume".as_ref(),
            "--form".as_ref(),
            OsStr::new(&form),
            "--program".as_ref(),
            self.path.as_ref(),
        ];
        let arguments = first.iter().chain(more).map(|argument| (*argument).to_owned());
        arguments.chain(["--".into()]).chain(self.arguments.clone()).collect()
    }

    fn exec(&self, path: &Path, arguments: Vec<OsString>) -> anyhow::Result<Infallible> {
        let all = std::iter::once(&self.name).chain(&arguments);
        let all: Vec<_> = all
            .map(|argument| CString::new(argument.as_bytes()))
            .collect::<Result<_, _>>()?;
        let path = CString::new(path.as_os_str().as_bytes())?;
        execv(&path, &all).context("it can't be run")
    }
}

/// What the program that had this one's place has passed on.
///
/// # Errors
/// It can't be read, or is of another form.
pub fn passed<T: DeserializeOwned>(state: i32) -> anyhow::Result<T> {
    let text = std::fs::read(format!("/proc/self/fd/{state}")).context("what was passed on can't be read")?;
    serde_json::from_slice(&text).context("what was passed on is not understood")
}

/// As it is written, which keeps it open.
fn number(passed: &Passed) -> serde_json::Result<String> {
    serde_json::to_string(passed)
}

async fn text(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What could not be read was not said.
        let _ = pipe.take(LONGEST_ANSWER).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// By `name`, as a shell finds it: links in it may lead elsewhere after an update.
fn place(name: &OsStr) -> io::Result<PathBuf> {
    let this = Path::new("/proc/self/exe").metadata()?;
    let is_this = |path: &PathBuf| {
        let found = path.metadata();
        found.is_ok_and(|found| (found.dev(), found.ino()) == (this.dev(), this.ino()))
    };
    let candidates = match name.as_bytes().contains(&b'/') {
        true => vec![std::path::absolute(name)?],
        false => {
            let path = env::var_os("PATH").unwrap_or_default();
            let directories: Vec<PathBuf> = env::split_paths(&path).collect();
            let candidates = directories
                .iter()
                .map(|directory| std::path::absolute(directory.join(name)));
            candidates.collect::<io::Result<_>>()?
        }
    };
    // A name can be a lie.
    match candidates.into_iter().find(is_this) {
        Some(path) => Ok(path),
        None => users::program(),
    }
}
