//! What a command wants done: begun here at once, and waited for by whoever has asked.

use settings::values::Workers;
use tokio::sync::oneshot;
use tracing::info;

use super::{Commands, Entry, Manager};
use crate::pool::{Command, Order, Reloaded, UNKNOWN};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Load applications anew, with what the file says now. `changed`: only those of which it says something else.
    Reload { pool: Option<String>, changed: bool },
    /// End, with running requests or without.
    Stop { pool: Option<String>, now: bool },
    /// The program on disk in place of this one.
    Upgrade,
    /// Replace all workers.
    Recycle { pool: String },
    /// So many workers until the next reload.
    Scale { pool: String, least: u32, most: u32 },
    /// Nothing but to know what becomes of what is under way. It fails where another program has refused to take this one's place.
    Wait,
}

/// What was begun.
#[derive(Debug, Default)]
pub struct Begun {
    /// A line about it.
    pub what: String,
    /// What pools come to.
    pub reloads: Vec<(String, oneshot::Receiver<Reloaded>)>,
    /// Closed once this pool has ended.
    pub ending: Option<Commands>,
    /// Why there is no upgrade; closed without an answer, together with everything else, if there is one.
    pub upgrade: Option<oneshot::Receiver<String>>,
}

impl Begun {
    fn of(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ..Self::default()
        }
    }
}

impl Manager {
    pub(super) fn steer(&mut self, wish: Wish, by: &str, answer: oneshot::Sender<Result<Begun, String>>) {
        let begun = match &wish {
            Wish::Scale { pool, least, most } => match can_be(*least, *most).and_then(|()| self.startable(pool)) {
                Ok(entry) => return self.scale(entry, pool, (*least, *most), answer),
                Err(refusal) => Err(refusal),
            },
            _ => self.begin(wish, by),
        };
        // Who has asked may be gone.
        let _ = answer.send(begun);
    }

    fn begin(&mut self, wish: Wish, by: &str) -> Result<Begun, String> {
        if self.stopping.is_some() && !matches!(wish, Wish::Stop { pool: None, .. }) {
            return Err("everything stops".to_owned());
        }
        match wish {
            Wish::Reload { pool, changed } => self.reload_for(pool.as_deref(), changed, by),
            Wish::Stop { pool, now } => {
                let order = if now { Order::Quit } else { Order::Stop };
                let Some(name) = pool else {
                    self.stop(order, by);
                    return Ok(Begun::of("everything stops"));
                };
                let entry = self.entry(&name)?;
                entry.tell(Command::Stop {
                    order,
                    reason: by.to_owned(),
                });
                let ending = Some(entry.commands.clone());
                if let Some(entry) = self.pools.get_mut(&name) {
                    entry.is_stopped = true;
                }
                Ok(Begun {
                    ending,
                    ..Begun::of(format!("{name} stops"))
                })
            }
            Wish::Upgrade => {
                let refused = self.upgrade.begin(by).ok_or("an upgrade is under way already")?;
                Ok(Begun {
                    upgrade: Some(refused),
                    ..Begun::of("the program on disk is asked whether it can take over")
                })
            }
            Wish::Recycle { pool } => {
                let entry = self.running(&pool)?;
                info!(pool, by, "all workers are to be replaced");
                let (answer, over) = oneshot::channel();
                entry.tell(Command::Recycle(answer));
                let what = format!("{pool}: all workers are replaced, one after the other");
                Ok(Begun {
                    reloads: vec![(pool, over)],
                    ..Begun::of(what)
                })
            }
            Wish::Scale { .. } => unreachable!("it has an answer of its own"),
            Wish::Wait => match &self.refused {
                Some(reason) => Err(format!(
                    "the new program can't take over, and the old one goes on: {reason}"
                )),
                None => Ok(Begun {
                    reloads: self
                        .pools
                        .iter()
                        .filter(|(_, pool)| !pool.is_stopped)
                        .map(|(name, pool)| pool.wait(name))
                        .collect(),
                    ..Begun::default()
                }),
            },
        }
    }

    fn reload_for(&mut self, only: Option<&str>, changed: bool, by: &str) -> Result<Begun, String> {
        let mistakes = |report: crate::config::report::Report| {
            format!(
                "the file has mistakes, and nothing has changed:\n{}",
                report.render(false)
            )
        };
        match (self.file.clone(), only) {
            (Some(path), None) => self.read(&path, by, !changed).map_err(mistakes)?,
            (Some(path), Some(name)) => {
                let mut new = self.definitions(&path).map_err(mistakes)?;
                let Some(definition) = new.remove(name) else {
                    self.entry(name)?;
                    return Err(format!("the file has no pool {name} any more; wsgi-fpm reload ends it"));
                };
                let reload = self.service.reloads();
                self.become_it(definition, by, !changed, &reload);
            }
            (None, only) => {
                // There is one alone.
                let name = only.or_else(|| self.pools.keys().next().map(String::as_str));
                name.map(|name| self.startable(name)).transpose()?;
                self.reload(by);
            }
        }
        let wanted = self
            .pools
            .iter()
            .filter(|(name, _)| only.is_none_or(|only| *name == only));
        Ok(Begun {
            reloads: wanted.map(|(name, pool)| pool.wait(name)).collect(),
            ..Begun::default()
        })
    }

    fn scale(
        &self,
        entry: &Entry,
        name: &str,
        (least, most): (u32, u32),
        answer: oneshot::Sender<Result<Begun, String>>,
    ) {
        let (reply, is_anew) = oneshot::channel();
        entry.tell(Command::Scale {
            least,
            most,
            reload: self.service.reloads(),
            answer: reply,
        });
        let waits = entry.wait(name);
        let range = if least == most {
            most.to_string()
        } else {
            format!("{least}..{most}")
        };
        let name = name.to_owned();
        tokio::spawn(async move {
            let begun = match is_anew.await {
                Ok(false) => Begun::of(format!("{name}: {range} workers, until the next reload")),
                Ok(true) => Begun {
                    reloads: vec![waits],
                    ..Begun::of(format!(
                        "{name}: {range} workers, until the next reload, by a new generation"
                    ))
                },
                Err(_) => {
                    let _ = answer.send(Err(format!("{name} stops")));
                    return;
                }
            };
            let _ = answer.send(Ok(begun));
        });
    }

    /// All pools that can be asked, with their names; those that finish requests come last.
    pub(super) fn named(&self) -> Vec<(String, Commands)> {
        let named = self
            .pools
            .iter()
            .map(|(name, pool)| (name.clone(), pool.commands.clone()));
        named.chain(self.leaving.iter().cloned()).collect()
    }

    /// One that nobody has stopped.
    fn running(&self, name: &str) -> Result<&Entry, String> {
        let entry = self.entry(name)?;
        match (entry.is_stopped, &self.file) {
            (false, _) => Ok(entry),
            (true, Some(_)) => Err(format!("{name} stops; wsgi-fpm reload {name} starts it anew")),
            (true, None) => Err(format!("{name} stops, and the instance with it")),
        }
    }

    /// One of which a new generation can be started.
    fn startable(&self, name: &str) -> Result<&Entry, String> {
        let entry = self.running(name)?;
        let is_known = entry.definition.is_some();
        is_known
            .then_some(entry)
            .ok_or_else(|| format!("nothing is done for {name}: {UNKNOWN}"))
    }

    fn entry(&self, name: &str) -> Result<&Entry, String> {
        let lives = |entry: &&Entry| !entry.commands.is_closed();
        self.pools.get(name).filter(lives).ok_or_else(|| {
            let names: Vec<_> = self.pools.keys().map(String::as_str).collect();
            match self.pools.contains_key(name) {
                true => format!("{name} has ended; wsgi-fpm reload {name} starts it"),
                false => format!("there is no pool {name:?}; there are: {}", names.join(", ")),
            }
        })
    }
}

/// Who asks may be any program.
fn can_be(least: u32, most: u32) -> Result<(), String> {
    let workers = format!("{least}..{most}").parse::<Workers>();
    workers
        .map(drop)
        .map_err(|error| format!("{least}..{most} workers: {error}"))
}

impl Entry {
    fn wait(&self, name: &str) -> (String, oneshot::Receiver<Reloaded>) {
        let (answer, over) = oneshot::channel();
        self.tell(Command::Wait(answer));
        (name.to_owned(), over)
    }
}
