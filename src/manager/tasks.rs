//! The tasks in which pools run. One that fails ends nobody else.

use std::collections::HashMap;

use anyhow::anyhow;
use tokio::task::{Id, JoinSet};
use tracing::error;

use crate::pool::Outcome;

#[derive(Default)]
pub struct Tasks {
    running: JoinSet<anyhow::Result<Outcome>>,
    /// Of the pools that run.
    names: HashMap<Id, String>,
}

impl Tasks {
    pub fn spawn(&mut self, name: &str, pool: impl Future<Output = anyhow::Result<Outcome>> + Send + 'static) {
        let id = self.running.spawn(pool).id();
        self.names.insert(id, name.to_owned());
    }

    /// Waits until a pool has ended; what everything comes to, if it was the last one.
    pub async fn next_end(&mut self) -> Option<anyhow::Result<Outcome>> {
        let outcome = match self.running.join_next_with_id().await {
            Some(Ok((id, outcome))) => {
                self.names.remove(&id);
                outcome
            }
            // A panic: nobody cancels them.
            Some(Err(panic)) => {
                let name = self.names.remove(&panic.id()).unwrap_or_default();
                Err(anyhow!(
                    "pool {name} was ended by a defect of wsgi-fpm: please report it; a reload starts it again: {panic}"
                ))
            }
            None => Ok(Outcome::Stopped),
        };
        if self.running.is_empty() {
            return Some(outcome);
        }
        if let Err(error) = outcome {
            error!("the other pools go on: {error:#}");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn pool_whose_task_panics_leaves_the_others() {
        let mut tasks = Tasks::default();
        let (end, ended) = oneshot::channel::<()>();
        tasks.spawn("bad", async { panic!("on purpose") });
        tasks.spawn("good", async {
            ended.await.unwrap();
            Ok(Outcome::Stopped)
        });
        assert!(tasks.next_end().await.is_none(), "the other one runs");
        end.send(()).expect("the other one runs");
        let outcome = tasks.next_end().await.expect("nobody runs");
        assert_eq!(outcome.unwrap(), Outcome::Stopped);
    }

    #[tokio::test]
    async fn pool_that_can_not_be_started_leaves_the_others() {
        let mut tasks = Tasks::default();
        tasks.spawn("bad", async { Err(anyhow!("no sockets")) });
        tasks.spawn("good", pending());
        assert!(tasks.next_end().await.is_none());
    }

    #[tokio::test]
    async fn only_pool_is_named_when_its_task_panics() {
        let mut tasks = Tasks::default();
        tasks.spawn("blog", async { panic!("on purpose") });
        let error = tasks.next_end().await.expect("nobody runs").unwrap_err();
        assert!(
            error.to_string().starts_with("pool blog was ended by a defect"),
            "{error}"
        );
        assert!(error.to_string().contains("on purpose"), "{error}");
    }

    #[tokio::test]
    async fn nothing_that_runs_has_stopped() {
        let outcome = Tasks::default().next_end().await.expect("nobody runs");
        assert_eq!(outcome.unwrap(), Outcome::Stopped);
    }
}
