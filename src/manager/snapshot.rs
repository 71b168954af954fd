//! The snapshot of everything: what pools say of themselves, what the kernel knows of their sockets, and the memory of their
//! processes.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use contract::process::Stat;
use contract::queues;
use contract::settings::ListenerKind;
use tokio::sync::oneshot;

use super::memory::Memory;
use super::{Commands, Entry, Manager};
use crate::config::pools::Definition;
use crate::pool::Command;
use crate::pool::snapshot::Shown;
use crate::status::snapshot::{Failure, Instance, Log, Pool, SCHEMA, Snapshot, State};
use crate::users::Identity;

/// Who has asked gets an answer within this time, without pools that say nothing. They are tasks of the supervisor's one thread, which
/// none of them keeps.
const PATIENCE: Duration = Duration::from_secs(1);

impl Manager {
    /// `with_counts`: with what applications count. Answers as soon as all pools have said how they are. Nobody waits for that here.
    pub(super) fn show(&self, with_counts: bool, answer: oneshot::Sender<Snapshot>) {
        let instance = Instance {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime: uptime(),
            file: self.file.as_deref().map(whole),
            stopping: self.stopping.is_some(),
            memory: None,
        };
        let log = Log {
            lost: self.logs.lost().into_iter().collect(),
        };
        let asked: Vec<_> = self.all().filter_map(|pool| ask(pool, with_counts)).collect();
        let ended = self.pools.iter().filter(|(_, pool)| pool.commands.is_closed());
        let ended = ended.map(|(name, pool)| pool.shown(name)).collect();
        tokio::spawn(answer_with((instance, log, ended), asked, self.memory.clone(), answer));
    }
}

impl Entry {
    /// As what is over.
    fn shown(&self, name: &str) -> Pool {
        let app = self.definition.as_ref().map(Definition::app).unwrap_or_default();
        if self.is_stopped {
            return Pool::ended(name, app, State::Stopped, None);
        }
        let failure = Failure {
            reason: format!("a defect of wsgi-fpm has ended it, as the log says; wsgi-fpm reload {name} starts it"),
            detail: String::new(),
            age: self.ended.map_or(0.0, |ended| ended.elapsed().as_secs_f64()),
        };
        Pool::ended(name, app, State::Failed, Some(failure))
    }
}

/// Whoever reads it may be somewhere else.
fn whole(file: &Path) -> String {
    let whole = std::path::absolute(file);
    whole.unwrap_or_else(|_| file.to_owned()).display().to_string()
}

fn ask(pool: &Commands, whole: bool) -> Option<oneshot::Receiver<Shown>> {
    let (answer, shown) = oneshot::channel();
    pool.send(Command::Show { whole, answer }).ok().map(|()| shown)
}

async fn answer_with(
    (mut instance, log, mut pools): (Instance, Log, Vec<Pool>),
    asked: Vec<oneshot::Receiver<Shown>>,
    memory: Memory,
    answer: oneshot::Sender<Snapshot>,
) {
    let mut shown = Vec::new();
    let gather = async {
        for pool in asked {
            // One that has just ended says nothing.
            shown.extend(pool.await.ok());
        }
    };
    // What has come by then is told.
    let _ = tokio::time::timeout(PATIENCE, gather).await;
    if shown.iter().any(|shown| !shown.inodes.is_empty()) {
        let queues = queues::listening(&[ListenerKind::Unix, ListenerKind::Tcp]);
        for Shown { pool, inodes, .. } in &mut shown {
            for (listener, inode) in pool.listeners.iter_mut().zip(inodes) {
                let queue = queues.get(inode);
                listener.waiting = queue.map(|queue| queue.waiting);
                listener.backlog = queue.map(|queue| queue.backlog);
            }
        }
    }
    let mut wanted = vec![(Identity::default(), vec![(instance.pid as i32, &mut instance.memory)])];
    for Shown { pool, identity, .. } in &mut shown {
        let workers = pool.workers.iter_mut().map(|worker| (worker.pid, &mut worker.memory));
        wanted.push((identity.clone(), workers.collect()));
    }
    memory.fill(wanted);
    pools.extend(shown.into_iter().map(|shown| shown.pool));
    let pools = by_name(pools);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // In vain if nobody wants it any more.
    let _ = answer.send(Snapshot {
        schema: SCHEMA,
        time: now.as_secs_f64(),
        instance,
        log,
        pools,
    });
}

/// One of a name: what another has left to finish, which was followed by it, is shown as its own. Those that follow come first.
fn by_name(mut pools: Vec<Pool>) -> Vec<Pool> {
    pools.sort_by(|one, other| one.name.cmp(&other.name));
    pools.dedup_by(|before, pool| {
        let is_one = before.name == pool.name;
        if is_one && pool.state == State::Stopped {
            // That has ended already.
            std::mem::swap(before, pool);
        } else if is_one {
            pool.workers.append(&mut before.workers);
            pool.kept.connections += before.kept.connections;
            pool.kept.waiting += before.kept.waiting;
        }
        is_one
    });
    pools
}

/// Seconds since this process was started, be it as another program.
fn uptime() -> f64 {
    let age = Stat::own().ok().and_then(|stat| stat.age());
    age.map_or(0.0, |age| age.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_was_started_a_while_ago() {
        let before = uptime();
        std::thread::sleep(Duration::from_millis(30));
        let now = uptime();
        assert!(
            (0.0..86_400.0).contains(&before) && now > before + 0.02,
            "{before} {now}"
        );
    }
}
