//! The leader: hosts Python, forks the workers, replaces those that die and forwards what they print.
//!
//! Single-threaded, so that forking is safe.

mod multiprocess;
mod process;
mod recycling;
mod size;
mod vacancies;
mod watched;
mod workers;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use contract::control::{Messages, OWN_FDS, ToLeader, ToSupervisor, receive_with_fds, send};
use contract::handover::Handover;
use contract::metrics::Memory;
use contract::own::{Own, OwnFd};
use contract::scoreboard::Scoreboard;
use contract::settings::Settings;
use contract::wait::timespec;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, set_parent_process_death_signal, setpgid};

use crate::base::forked::{self, Disposition};
use crate::base::{ffi, metrics};
use crate::process::preload::{self, Audit};
use crate::process::watchdog::Farewell;
use crate::process::worker;
use workers::{Forked, Workers};

/// The leader's whole life, and that of each worker in its fork. Returns the process's exit code.
pub fn run(py: Python<'_>) -> i32 {
    let leader = match Leader::start(py) {
        Ok(leader) => leader,
        Err(error) => {
            // There is no log yet: the supervisor reads this pipe.
            eprintln!("wsgi-fpm: the leader can't start: {error}");
            return 1;
        }
    };
    let preloaded = leader.settings.preload;
    multiprocess::prepare();
    let end = leader.lead(py);
    if let End::Leader(_) = end {
        multiprocess::forget(std::process::id() as i32);
    }
    match end {
        // What a preloaded application wants done at exit is for the workers to do: the leader has never served.
        End::Leader(code) if preloaded => ffi::exit_now(code),
        End::Leader(code) => code,
        End::Worker(birth) => worker::run(py, *birth),
    }
}

/// How `Leader::lead` returns: once in the leader, and once in each worker.
enum End {
    Leader(i32),
    Worker(Box<worker::Birth>),
}

struct Leader {
    settings: Settings,
    control: Messages<Own<UnixStream>>,
    socket: Own<UnixStream>,
    scoreboard: OwnFd,
    listeners: Vec<OwnFd>,
    handover: Handover,
    /// The memory of the keeper's table, and the channel to it.
    keeper: [OwnFd; 2],
    /// What is imported is written there on demand; a fork takes it.
    imports: Option<OwnFd>,
    workers: Workers,
    /// What this process does in Python is written there while it loads the application.
    stacks: Option<File>,
    /// The application, if it was loaded here for all workers.
    application: Option<Py<PyAny>>,
    /// What the application wants done when a child ends: the leader has children of its own.
    children: Option<Disposition>,
    /// All workers have been ready once.
    ready: bool,
    /// The supervisor wants them to take connections.
    serves: bool,
    /// When the generation fails if they are not.
    ready_by: Option<Instant>,
    /// The supervisor wants us to stop.
    stopping: bool,
    /// What is left then is killed; `None`: it has all the time that it takes.
    stop_at: Option<Instant>,
}

/// How often running requests are compared with their limit.
const TICK: Duration = Duration::from_secs(1);

impl Leader {
    fn start(py: Python<'_>) -> io::Result<Self> {
        let socket = take_stdin()?;
        let (ToLeader::Settings(settings), mut fds) = receive_with_fds(&socket)? else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the first message has no settings",
            ));
        };
        if fds.len() != OWN_FDS + settings.listeners.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the settings came without their descriptors",
            ));
        }
        let listeners = fds.split_off(OWN_FDS);
        let imports = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
        let metrics = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
        let channel = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
        let table = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
        let take = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
        let give = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
        let scoreboard = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
        let log = fds.pop().ok_or(io::ErrorKind::InvalidData)?;
        contract::log::start(&settings.log, contract::log::channel::Sender::new(log));
        // What the application starts while it is imported ends with this process, unless it leaves the group.
        setpgid(None, None)?;
        // A name for ps and top; nothing depends on it.
        let _ = rustix::thread::set_name(c"wsgi-fpm leader");
        contract::title::set(&format!("wsgi-fpm: pool {}, leader", settings.name));
        // Importing the application may take for ever: the supervisor's end must not go unnoticed.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        worker::prepare_paths(py, &settings)?;
        metrics::count_in(Memory::map(&metrics)?, &settings.limits.metrics_series);
        let board = Scoreboard::map(&scoreboard)?;
        let ready_by = settings.limits.start_timeout.deadline(Instant::now());
        Ok(Self {
            control: Messages::new(Own::new(socket.try_clone()?)),
            socket: Own::new(socket),
            scoreboard,
            listeners,
            handover: Handover::from_ends([give, take]),
            keeper: [table, channel],
            imports: Some(imports),
            workers: Workers::new(
                settings.size,
                settings.threads.get() as usize,
                board,
                settings.limits.clone(),
                settings.recycle.clone(),
            ),
            settings: *settings,
            stacks: None,
            application: None,
            children: None,
            ready: false,
            serves: false,
            ready_by,
            stopping: false,
            stop_at: None,
        })
    }

    fn lead(mut self, py: Python<'_>) -> End {
        if self.settings.preload
            && let Some(end) = self.preload(py)
        {
            return end;
        }
        self.children = forked::by_default(libc::SIGCHLD);
        // From now on it notices itself when the supervisor is gone, and ends its workers with their children. If somebody
        // has stopped it, it has to go on for that.
        if let Err(error) = set_parent_process_death_signal(Some(Signal::CONT)) {
            return self.fail(format!("the leader can't start: {error}"), String::new());
        }
        loop {
            if self.ready && !self.stopping {
                let news = self.workers.manage();
                news.iter().for_each(|news| self.tell(news));
                if self.settings.status_path.is_some() {
                    self.workers
                        .note_load(&self.listeners, &self.settings.listeners, &self.handover);
                }
            }
            match self.fork_due(py) {
                Ok(Some(birth)) => return End::Worker(birth),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "a worker can't be forked");
                    if !self.ready {
                        return self.fail(format!("a worker can't be forked: {error}"), String::new());
                    }
                }
            }
            py.detach(|| self.wait());
            if let Some(end) = self.obey() {
                return end;
            }
            if let Some(end) = self.look_after_workers() {
                return end;
            }
        }
    }

    /// Loads the application for all workers. If it can't be shared, this process is spoilt for forking: the supervisor
    /// starts another that leaves the loading to the workers.
    fn preload(&mut self, py: Python<'_>) -> Option<End> {
        // Before the audit: what it opens is ours.
        let stacks = match worker::prepare_crashes(py, &self.settings) {
            Ok((_, stacks)) => stacks,
            Err(error) => return Some(self.fail(format!("Python can't be prepared: {error}"), String::new())),
        };
        self.stacks = Some(stacks);
        let shown = self
            .imports
            .iter()
            .try_for_each(|imports| worker::show_imports(py, imports));
        if let Err(error) = shown {
            return Some(self.fail(format!("Python can't be prepared: {error}"), String::new()));
        }
        let audit = Audit::begin();
        let application = match worker::load(py, &self.settings) {
            Ok(application) => application,
            Err((reason, detail)) => return Some(self.fail(reason, detail)),
        };
        if let Some(reason) = audit.objection(py) {
            self.tell(&ToSupervisor::NotPreloadable { reason });
            return Some(End::Leader(0));
        }
        if let Err(error) = preload::freeze(py) {
            tracing::warn!(%error, "the application's memory can't be frozen");
        }
        self.application = Some(application);
        None
    }

    /// Forks what is missing; in the fork, what it is born with.
    fn fork_due(&mut self, py: Python<'_>) -> PyResult<Option<Box<worker::Birth>>> {
        if self.stopping {
            return Ok(None);
        }
        while let Some(index) = self.workers.due() {
            let forked = self.workers.fork(py, index);
            if forked.is_err() {
                self.workers.schedule_retry();
            }
            if let Forked::Child(link) = forked? {
                let birth = self.birth(index, link);
                return Ok(Some(birth.unwrap_or_else(|error| worker::stillborn(&error))));
            }
        }
        Ok(None)
    }

    /// In the fork: what the worker is born with.
    fn birth(&mut self, index: usize, link: Own<UnixStream>) -> io::Result<Box<worker::Birth>> {
        if let Some(children) = &self.children {
            children.restore();
        }
        let [give, take] = self.handover.ends().map(|end| end.try_clone_to_owned());
        Ok(Box::new(worker::Birth {
            settings: self.settings.clone(),
            listeners: std::mem::take(&mut self.listeners),
            handover: Some(Handover::from_ends([Own::new(give?), Own::new(take?)])),
            keeper: Some([self.keeper[0].try_clone()?, self.keeper[1].try_clone()?]),
            // Under its number, which faulthandler has.
            imports: self.imports.take(),
            scoreboard: Scoreboard::map(&self.scoreboard)?,
            index,
            link,
            application: self.application.take(),
        }))
    }

    /// Sleeps until something happens.
    fn wait(&mut self) {
        if self.control.has_buffered() {
            return;
        }
        let times = [self.workers.next_due(), self.ready_by, self.stop_at];
        let timeout = times.into_iter().flatten().min();
        let timeout = timeout.map_or(TICK, |at| at.saturating_duration_since(Instant::now()).min(TICK));
        let mut fds = vec![PollFd::from_borrowed_fd(self.control.as_fd(), PollFlags::IN)];
        fds.extend(self.workers.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        // An error (EINTR) is like nothing happening: every descriptor is looked at without waiting anyway.
        let _ = poll(&mut fds, Some(&timespec(timeout)));
        let control_ready = !fds[0].revents().is_empty();
        drop(fds);
        self.workers.forward_output();
        self.workers.control_ready = control_ready;
    }

    /// What the supervisor says.
    fn obey(&mut self) -> Option<End> {
        if !self.workers.control_ready && !self.control.has_buffered() {
            return None;
        }
        match self.control.receive() {
            Ok(Some(message @ (ToLeader::Stop | ToLeader::Retire))) => {
                if !std::mem::replace(&mut self.stopping, true) {
                    self.stop_at = self.settings.limits.stop_timeout.deadline(Instant::now());
                }
                // Nobody is to connect to a socket that nobody serves any more.
                self.listeners.clear();
                self.workers.send_home(match message {
                    ToLeader::Retire => Farewell::Retire,
                    _ => Farewell::Stop,
                });
                None
            }
            Ok(Some(message @ (ToLeader::More | ToLeader::Fewer))) => {
                if self.ready && !self.stopping {
                    let news = self.workers.step(message == ToLeader::More);
                    news.iter().for_each(|news| self.tell(news));
                }
                None
            }
            Ok(Some(ToLeader::Size { least, most })) => {
                if self.ready && !self.stopping {
                    let news = self.workers.resize(least, most);
                    self.tell(&news);
                }
                None
            }
            Ok(Some(ToLeader::Recycle)) => {
                if self.ready && !self.stopping {
                    self.workers.recycle();
                }
                None
            }
            Ok(Some(ToLeader::Serve)) => {
                self.serves = true;
                None
            }
            Ok(Some(ToLeader::Quit)) => {
                match self.ready {
                    true => self.workers.cut(),
                    // All that may run are pages of the warm-up.
                    false => self.workers.kill(),
                }
                Some(End::Leader(0))
            }
            Ok(Some(ToLeader::Settings(_))) => {
                tracing::error!("settings came a second time: ignored");
                None
            }
            Ok(None) => {
                tracing::error!("the supervisor is gone");
                self.workers.kill();
                Some(End::Leader(1))
            }
            Err(error) => {
                tracing::error!(%error, "the supervisor can't be understood");
                self.workers.kill();
                Some(End::Leader(1))
            }
        }
    }

    fn look_after_workers(&mut self) -> Option<End> {
        let deaths = self.workers.reap();
        // Of all of them: behind the first one it may be over.
        deaths.iter().for_each(|death| forget(death.pid));
        for death in deaths {
            if !self.ready && !self.stopping {
                // The supervisor logs it, with what else it knows.
                let reason = death
                    .reason
                    .unwrap_or_else(|| format!("a worker {} while it started", death.how));
                return Some(self.fail(reason, death.detail));
            }
            self.workers.log_death(&death);
            let not_started = death.not_started(&self.settings);
            // It may have been woken for a connection that it has not taken. An error would mean that nobody is left.
            let _ = self.handover.nudge();
            if !self.stopping && !death.is_expected {
                let backoff = match death.was_retired {
                    true => Duration::ZERO,
                    false => self.workers.schedule_replacement(&death),
                };
                let report = ToSupervisor::WorkerDied {
                    pid: death.pid,
                    how: death.how,
                    backoff_ms: backoff.as_millis() as u64,
                    not_started,
                };
                self.tell(&report);
            }
        }
        if !self.ready && self.workers.all_ready() {
            self.ready = true;
            self.ready_by = None;
            // Workers of a leader that was killed may have lived on for a moment.
            multiprocess::forget_dead();
            self.tell(&ToSupervisor::Ready {
                python: python_version(),
            });
        }
        if self.serves {
            self.workers.begin();
        }
        self.workers.show_phases();
        let is_late = self.ready_by.is_some_and(|ready_by| Instant::now() >= ready_by);
        if is_late && !self.stopping {
            let reason = self.settings.not_ready_in_time(self.workers.warming_up());
            self.workers.abort_unready();
            return Some(self.fail(reason, String::new()));
        }
        if self.stopping && self.workers.is_empty() {
            return Some(End::Leader(0));
        }
        if self.stop_at.is_some_and(|stop_at| Instant::now() >= stop_at) {
            self.workers.cut_late();
            return Some(End::Leader(1));
        }
        self.workers.end_late(&self.settings);
        self.workers.replace_stuck();
        self.workers.kill_stuck();
        self.workers.kill_lingering();
        contract::log::report();
        self.workers.kill_stopped();
        None
    }

    /// The generation can't start.
    fn fail(&mut self, reason: String, detail: String) -> End {
        self.workers.kill();
        self.tell(&ToSupervisor::Failed { reason, detail });
        End::Leader(1)
    }

    fn tell(&self, message: &ToSupervisor) {
        if let Err(error) = send(&self.socket, message) {
            tracing::error!(%error, "the supervisor can't be told");
        }
    }
}

/// A worker has died: what it has shown of itself in metrics ends. The supervisor knows only of those that have served.
fn forget(pid: i32) {
    multiprocess::forget(pid);
    metrics::forget(pid);
}

/// Takes the control socket from descriptor 0, which becomes /dev/null for the application.
fn take_stdin() -> io::Result<UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(UnixStream::from(socket))
}

fn python_version() -> String {
    Python::attach(|py| {
        let version = Python::version_str();
        let executable = py
            .import("sys")
            .and_then(|sys| sys.getattr("executable")?.extract::<String>());
        let version = version.split_whitespace().next().unwrap_or(version);
        format!("{version} ({})", executable.unwrap_or_default())
    })
}
