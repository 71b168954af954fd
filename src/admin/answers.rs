//! One command, as the supervisor answers it.

use std::io;
use std::time::Duration;

use contract::worker::{Killed, Stacks, Thread};
use rustix::event::PollFlags;
use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::protocol::{Answer, Ask, Came, End, Imports, LONGEST_LINE, Line, Pool, Worker};
use crate::manager::steering::{Begun, Wish};
use crate::manager::{Commands, Request};
use crate::pool::Reloaded;
use crate::pool::ask::{self, AskError, RequestName};
use crate::pool::importing::Importing;
use crate::status::snapshot::{self, Snapshot, State};

/// For the line that asks, and for taking some of what is answered.
const PATIENCE: Duration = Duration::from_secs(10);
/// For hearing the end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often it is looked whether anybody waits for the answer still.
const LOOK: Duration = Duration::from_millis(200);

/// Why nothing more is said.
enum Over {
    /// Nobody listens any more.
    Gone(io::Error),
    Refused(String),
}

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl From<String> for Over {
    fn from(refusal: String) -> Self {
        Self::Refused(refusal)
    }
}

/// Answers whatever is asked.
///
/// # Errors
/// Nobody listens any more.
pub async fn answer(stream: UnixStream, requests: mpsc::Sender<Request>) -> io::Result<()> {
    let mut client = Client {
        stream,
        requests,
        by: String::new(),
    };
    let end = match client.talk().await {
        Ok(()) => Ok(()),
        Err(Over::Refused(refusal)) => Err(refusal),
        Err(Over::Gone(error)) => return Err(error),
    };
    client.end(end).await
}

/// Answers nothing, for this reason.
///
/// # Errors
/// Nobody listens any more.
pub async fn refuse(stream: UnixStream, reason: &str) -> io::Result<()> {
    let (requests, _) = mpsc::channel(1);
    let by = String::new();
    Client { stream, requests, by }.end(Err(reason.to_owned())).await
}

struct Client {
    stream: UnixStream,
    requests: mpsc::Sender<Request>,
    /// Who it is.
    by: String,
}

impl Client {
    /// The last that it hears.
    async fn end(mut self, end: Result<(), String>) -> io::Result<()> {
        let end = end.map_or_else(End::Error, |()| End::Ok(true));
        self.send(&Answer::End(end)).await?;
        self.stream.shutdown().await?;
        // A socket that is closed before all of it was read takes away what it has answered.
        let mut nowhere = tokio::io::sink();
        let rest = tokio::io::copy(&mut self.stream, &mut nowhere);
        timeout(LAST_WORDS, rest).await.map_or(Ok(()), |rest| rest.map(drop))
    }

    async fn talk(&mut self) -> Result<(), Over> {
        let uid = self.stream.peer_cred()?.uid();
        if uid != 0 && uid != geteuid().as_raw() {
            return Err("only the user of the instance and root may steer it".to_owned().into());
        }
        self.by = match uid {
            0 => "root".to_owned(),
            uid => format!("user {uid}"),
        };
        let ask = self.asked().await?;
        // Who has given up waiting, for an instance that was stopped for a while, thinks that nothing was done.
        if has_hung_up(&self.stream) {
            return Err(Over::Gone(io::ErrorKind::BrokenPipe.into()));
        }
        self.obey(ask).await
    }

    async fn asked(&mut self) -> Result<Ask, Over> {
        let mut line = Vec::new();
        let mut reader = BufReader::new(&mut self.stream).take(LONGEST_LINE as u64 + 1);
        let Ok(read) = timeout(PATIENCE, reader.read_until(b'\n', &mut line)).await else {
            return Err(format!("nothing was asked within {} s", PATIENCE.as_secs()).into());
        };
        read?;
        if line.len() > LONGEST_LINE {
            return Err(format!("a line has at most {LONGEST_LINE} bytes").into());
        }
        Ok(Line::parse(&line)?.ask)
    }

    /// What was begun goes on if the client hangs up; nobody waits for its end here.
    async fn obey(&self, ask: Ask) -> Result<(), Over> {
        tokio::select! {
            done = self.done(ask) => done,
            () = hung_up(&self.stream) => Err(Over::Gone(io::ErrorKind::BrokenPipe.into())),
        }
    }

    async fn done(&self, ask: Ask) -> Result<(), Over> {
        match ask {
            Ask::Status { pool } => self.status(pool.as_deref()).await,
            Ask::Reload { pool, changed } => self.steer("reload", Wish::Reload { pool, changed }).await,
            Ask::Stop { pool, now } => self.stop(pool, now).await,
            Ask::Upgrade => self.steer("upgrade", Wish::Upgrade).await,
            Ask::Wait => self.steer("wait", Wish::Wait).await,
            Ask::Recycle { pool } => self.steer("recycle", Wish::Recycle { pool }).await,
            Ask::Scale { pool, least, most } => self.steer("scale", Wish::Scale { pool, least, most }).await,
            Ask::Logs { pool } => self.logs(pool.as_deref()).await,
            Ask::Reopen => self.reopen().await,
            Ask::Stacks { pool, worker } => self.stacks(&pool, worker).await,
            Ask::Kill { request } => self.kill(&request).await,
        }
    }

    async fn status(&self, pool: Option<&str>) -> Result<(), Over> {
        let mut snapshot = self.snapshot().await?;
        if let Some(name) = pool {
            find(&snapshot, name)?;
            snapshot.pools.retain(|pool| pool.name == name);
        }
        Ok(self.send(&Answer::Snapshot(Box::new(snapshot))).await?)
    }

    async fn steer(&self, command: &str, wish: Wish) -> Result<(), Over> {
        let by = format!("wsgi-fpm {command} by {}", self.by);
        let Begun {
            what,
            reloads,
            ending,
            upgrade,
        } = self.ask(|answer| Request::Steer { wish, by, answer }).await??;
        self.send(&Answer::Begun(what)).await?;
        let mut waiting = JoinSet::new();
        for (name, over) in reloads {
            waiting.spawn(async move { came(name, over.await.ok()) });
        }
        while let Some(Ok(pool)) = waiting.join_next().await {
            self.send(&Answer::Pool(pool)).await?;
        }
        if let Some(pool) = ending {
            pool.closed().await;
        }
        match upgrade {
            // Else it ends together with this program.
            Some(refused) => match refused.await {
                Ok(reason) => Err(reason.into()),
                Err(_) => Err("there is no upgrade: everything stops".to_owned().into()),
            },
            None => Ok(()),
        }
    }

    async fn stop(&self, pool: Option<String>, now: bool) -> Result<(), Over> {
        let Some(name) = pool.clone() else {
            self.steer("stop", Wish::Stop { pool, now }).await?;
            // The end closes the connection.
            return std::future::pending().await;
        };
        self.steer("stop", Wish::Stop { pool, now }).await?;
        let state = Came::Stopped;
        let (reason, detail) = (None, None);
        let pool = Pool {
            name,
            state,
            reason,
            detail,
        };
        Ok(self.send(&Answer::Pool(pool)).await?)
    }

    async fn logs(&self, pool: Option<&str>) -> Result<(), Over> {
        if let Some(name) = pool {
            find(&self.snapshot().await?, name)?;
        }
        let mut tap = self.ask(Request::Logs).await?.tap(pool.map(str::to_owned));
        self.send(&Answer::Begun(String::new())).await?;
        loop {
            let Some(event) = tap.next().await else {
                return Ok(());
            };
            let event = String::from_utf8_lossy(&event).trim_end_matches('\n').to_owned();
            // Who pages through it may stop for as long as he likes: he loses what comes meanwhile.
            self.write(&Answer::Event(event)).await?;
            let lost = tap.lost();
            if lost > 0 {
                self.write(&Answer::Lost(lost)).await?;
            }
        }
    }

    async fn reopen(&self) -> Result<(), Over> {
        let reopening = self.ask(Request::Logs).await?.reopen();
        let files = reopening.files;
        let failed = reopening.failed().await;
        if failed.is_empty() {
            let what = match files {
                0 => "no log goes to a file: there is nothing to open anew".to_owned(),
                1 => "1 log file was opened anew".to_owned(),
                files => format!("{files} log files were opened anew"),
            };
            return Ok(self.send(&Answer::Begun(what)).await?);
        }
        let failed = failed.iter().map(|(file, reason)| format!("{file}: {reason}"));
        let failed = failed.collect::<Vec<_>>().join("; ");
        Err(format!("what was open is written on: {failed}").into())
    }

    async fn stacks(&self, pool: &str, worker: Option<i32>) -> Result<(), Over> {
        let snapshot = self.snapshot().await?;
        let found = find(&snapshot, pool)?;
        // A second one of the name may finish its requests.
        let pools = self.pools().await?.into_iter().filter(|(name, _)| name == pool);
        let pools: Vec<_> = pools.map(|(_, commands)| commands).collect();
        let mut importing = Vec::new();
        for commands in &pools {
            importing.extend(ask::importing(commands).await);
        }
        let mut workers: Vec<_> = found.workers.iter().map(|worker| worker.pid).collect();
        let leaders = importing.iter().filter(|process| process.is_leader);
        workers.extend(leaders.map(|process| process.pid));
        let wanted = match worker {
            _ if workers.is_empty() => return Err(no_worker(found).into()),
            None => workers,
            Some(worker) if workers.contains(&worker) => vec![worker],
            Some(worker) => {
                let pids: Vec<_> = workers.iter().map(ToString::to_string).collect();
                return Err(format!("{pool} has no worker {worker}; it has: {}", pids.join(", ")).into());
            }
        };
        if pools.is_empty() {
            return Err(format!("{pool} has ended").into());
        }
        importing.retain(|process| wanted.contains(&process.pid));
        let mut asked = JoinSet::new();
        for worker in wanted {
            if importing.iter().any(|process| process.pid == worker) {
                continue;
            }
            let pools = pools.clone();
            asked.spawn(async move {
                let (stacks, error) = match stacks(&pools, worker).await {
                    Ok(stacks) => (Some(stacks), None),
                    Err(error) => (None, Some(error.to_string())),
                };
                Worker {
                    worker,
                    imports: None,
                    stacks,
                    error,
                }
            });
        }
        for process in importing {
            asked.spawn(imported(process));
        }
        while let Some(Ok(worker)) = asked.join_next().await {
            self.send(&Answer::Stacks(worker)).await?;
        }
        Ok(())
    }

    async fn kill(&self, request: &str) -> Result<(), Over> {
        let name: RequestName = request.parse().map_err(|error: AskError| error.to_string())?;
        let by = format!("{} (wsgi-fpm kill)", self.by);
        for (_, commands) in self.pools().await? {
            let killed = match ask::kill(&commands, name, &by).await {
                Err(AskError::NotHere(_) | AskError::NoPool) => continue,
                killed => killed.map_err(|error| error.to_string())?,
            };
            let what = match killed {
                Killed::NotRunning => {
                    return Err(format!("{request} does not run: it has ended, or never was").into());
                }
                Killed::Ended { answered: true } => format!("{request} has ended; its client has got a 504"),
                Killed::Ended { answered: false } => {
                    format!("{request} has ended; its client has got no 504, for its response had begun")
                }
                Killed::GoesOn { next, .. } => return Err(format!("{request} goes on: {next}").into()),
            };
            return Ok(self.send(&Answer::Begun(what)).await?);
        }
        Err(AskError::NotHere(name.worker).to_string().into())
    }

    async fn pools(&self) -> Result<Vec<(String, Commands)>, String> {
        self.ask(Request::Pools).await
    }

    async fn snapshot(&self) -> Result<Snapshot, String> {
        self.ask(Request::Snapshot).await
    }

    /// Asks the manager.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, String> {
        let (answer, answered) = oneshot::channel();
        // It is gone when everything ends.
        let gone = || "everything is ending".to_owned();
        self.requests.send(request(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }

    async fn send(&self, answer: &Answer) -> io::Result<()> {
        let sent = timeout(PATIENCE, self.write(answer)).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn write(&self, answer: &Answer) -> io::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        let mut left = line.as_slice();
        while !left.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(left) {
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Asks that of these pools of which the worker is.
async fn stacks(pools: &[Commands], worker: i32) -> Result<Stacks, AskError> {
    let mut answer = Err(AskError::NoPool);
    for pool in pools {
        answer = ask::stacks(pool, worker).await;
        if !matches!(answer, Err(AskError::NotHere(_) | AskError::NoPool)) {
            break;
        }
    }
    answer
}

async fn imported(process: Importing) -> Worker {
    let thread = |stack| Thread {
        name: "MainThread".to_owned(),
        ident: 0,
        serves: false,
        request: None,
        stack,
    };
    let (stacks, error) = match process.stack().await {
        Ok(stack) => (Some(vec![thread(stack)]), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Worker {
        worker: process.pid,
        imports: Some(Imports {
            is_leader: process.is_leader,
            generation: process.generation,
            ms: process.took.as_millis() as u64,
        }),
        stacks: stacks.map(|threads| Stacks {
            by_python: false,
            threads,
        }),
        error,
    }
}

/// Waits until nobody is there any more, to hear an answer. Who has nothing more to ask may hear still, so that reading tells nothing.
async fn hung_up(stream: &UnixStream) {
    while !has_hung_up(stream) {
        sleep(LOOK).await;
    }
}

/// Whether nobody is there any more, to hear an answer.
fn has_hung_up(stream: &UnixStream) -> bool {
    contract::wait::is_ready(stream, PollFlags::empty())
}

fn came(name: String, reloaded: Option<Reloaded>) -> Pool {
    let (state, failure) = match reloaded {
        Some(Reloaded::Serves) => (Came::Serving, None),
        Some(Reloaded::Rests) => (Came::Resting, None),
        Some(Reloaded::Unreachable { reason }) => (Came::Unreachable, Some((reason, String::new()))),
        Some(Reloaded::Replaced) => (Came::Replaced, None),
        Some(Reloaded::NotReplaced { reason, detail }) => (Came::NotReplaced, Some((reason, detail))),
        Some(Reloaded::Failed {
            reason,
            detail,
            goes_on,
        }) => {
            let state = if goes_on { Came::FailedAndGoesOn } else { Came::Failed };
            (state, Some((reason, detail)))
        }
        None => {
            let reason = "it has ended before that was done: it was stopped, or a defect has ended it, as the log says";
            (Came::Failed, Some((reason.to_owned(), String::new())))
        }
    };
    let (reason, detail) = failure.unzip();
    Pool {
        name,
        state,
        reason,
        detail: detail.filter(|detail| !detail.is_empty()),
    }
}

fn no_worker(pool: &snapshot::Pool) -> String {
    let name = &pool.name;
    match pool.state {
        State::Resting => format!("{name} is at rest: it has no worker until a request comes"),
        State::Stopped => format!("{name} was stopped; wsgi-fpm reload {name} starts it"),
        State::Failed => format!("{name} has no worker: it has failed, and wsgi-fpm status {name} says why"),
        State::Starting | State::Serving | State::Stopping => format!("{name} has no worker now"),
    }
}

fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a snapshot::Pool, String> {
    let found = snapshot.pools.iter().find(|pool| pool.name == name);
    found.ok_or_else(|| {
        let names: Vec<_> = snapshot.pools.iter().map(|pool| pool.name.as_str()).collect();
        match names.as_slice() {
            [] => format!("there is no pool {name:?}, nor any other"),
            names => format!("there is no pool {name:?}; there are: {}", names.join(", ")),
        }
    })
}
