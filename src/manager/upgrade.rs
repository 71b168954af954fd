//! Another program takes this one's place, in the same process: asked for by a signal, prepared here, done by exec. Whatever goes
//! wrong before that changes nothing.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, info};

use super::Manager;
use super::doors::Doors;
use super::passing::{OwnSockets, Passing, State};
use super::relay::Relay;
use crate::inherited;
use crate::mask;
use crate::pool::Command;
use crate::pool::rest::{Question, Resting};
use crate::upgrade::{self, Program};

/// How long all pools together may take to say how things stand.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether there can be one, and how far it is.
#[derive(Default)]
pub struct Upgrade {
    program: Option<Program>,
    /// Of those who answer while pools do; closed before these rest.
    doors: Doors,
    check: Option<Check>,
    /// Who wants to know why there is none after all.
    asked: Option<oneshot::Sender<String>>,
}

struct Check {
    since: Instant,
    asking: Pin<Box<dyn Future<Output = anyhow::Result<()>>>>,
}

impl Upgrade {
    pub fn to(program: Program, doors: Doors) -> Self {
        Self {
            program: Some(program),
            doors,
            ..Self::default()
        }
    }

    /// Whether this program may be replaced at all.
    pub fn is_possible(&self) -> bool {
        self.program.is_some()
    }

    /// Has the new program look whether it could take over; why it could not, once that is known. `None`: one is under way.
    pub fn begin(&mut self, signal: &str) -> Option<oneshot::Receiver<String>> {
        let program = self.program.as_ref()?;
        let path = program.path().display();
        if let Some(check) = &self.check {
            info!(
                program = %path,
                signal,
                "no upgrade: one is under way, for {} s so far; the new program has {} s to answer, and ending its process ends that, too",
                check.since.elapsed().as_secs(),
                upgrade::PATIENCE.as_secs()
            );
            return None;
        }
        info!(program = %path, signal, "upgrade: the program on disk is asked whether it accepts the configuration");
        let (program, doors) = (program.clone(), self.doors.clone());
        self.check = Some(Check {
            since: Instant::now(),
            asking: Box::pin(async move {
                program.check().await?;
                doors.close().await;
                Ok(())
            }),
        });
        let (asked, refused) = oneshot::channel();
        self.asked = Some(asked);
        Some(refused)
    }

    fn goes_on(&mut self, error: &anyhow::Error) {
        self.doors.open();
        error!("the new program can't take over, and this one goes on: {error:#}");
        if let Some(asked) = self.asked.take() {
            // A signal does not want to know.
            let _ = asked.send(format!(
                "the new program can't take over, and the old one goes on: {error:#}"
            ));
        }
    }

    /// It goes no further.
    pub fn end(&mut self) {
        self.check = None;
        self.asked = None;
        self.doors.open();
    }

    /// What the new program has found out; never ends where none is asked.
    pub async fn checked(&mut self) -> anyhow::Result<()> {
        let Some(check) = &mut self.check else {
            return pending().await;
        };
        let result = (&mut check.asking).await;
        self.check = None;
        result
    }
}

impl Manager {
    /// Has everybody rest, unless the new program can't take over.
    pub(super) async fn pass(&mut self, checked: anyhow::Result<()>) -> Option<Passing> {
        let passing = match checked {
            Ok(()) => self.ask_pools().await,
            Err(error) => Err(error),
        };
        passing.inspect_err(|error| self.upgrade.goes_on(error)).ok()
    }

    async fn ask_pools(&self) -> anyhow::Result<Passing> {
        let (resting, rest) = Resting::begin();
        let mut answers = Vec::new();
        for commands in self.all() {
            let (question, answer) = Question::new(&rest);
            // One that has ended has nothing to pass on.
            if commands.send(Command::Pass(question)).is_ok() {
                answers.push(answer);
            }
        }
        let mut pools = Vec::new();
        let all = async {
            for answer in answers {
                if let Ok(pool) = answer.await {
                    pools.push(pool.context("a pool can't be passed on")?);
                }
            }
            anyhow::Ok(())
        };
        let asked = timeout(PATIENCE, all).await;
        asked.map_err(|_| anyhow!("the pools did not answer within {} s", PATIENCE.as_secs()))??;
        Ok(Passing::new(pools, resting))
    }

    /// Becomes the new program. Who returns from here goes on as if nothing had been.
    pub async fn give_place(&mut self, passing: Passing, log: &mut Relay, own: anyhow::Result<OwnSockets>) {
        let Some(program) = self.upgrade.program.clone() else {
            return;
        };
        info!(program = %program.path().display(), "upgrade: the new program takes over");
        // One that comes now waits for the new program.
        mask::hold_back();
        let Err(error) = self.try_give_place(passing, &program, log, own).await;
        log.go_on();
        mask::let_through();
        self.upgrade.goes_on(&error);
    }

    async fn try_give_place(
        &mut self,
        passing: Passing,
        program: &Program,
        log: &mut Relay,
        own: anyhow::Result<OwnSockets>,
    ) -> anyhow::Result<Infallible> {
        let own = own?;
        let log = log.rest().context("the log can't be passed on")?;
        self.signals.put_back().await;
        let (pools, _resting) = passing.into_parts();
        let given = inherited::all_given();
        program.take_over(&State { log, pools, given, own })
    }
}
