//! The status listener of an instance: from the start, or from the program whose place this one has taken, to the end.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use settings::sections::Status;
use settings::values::Address;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::answers::Answers;
use super::history::History;
use super::http::{self, Socket};
use crate::config::SocketOptions;
use crate::hosts::Hosts;
use crate::manager::Request;
use crate::manager::doors::Doors;
use crate::manager::passing::StatusState;
use crate::manager::relay::Logs;
use crate::pool::listeners::Listener;
use crate::users;

/// An address that can't be had is tried again after this time: applications are served nevertheless.
const AGAIN: Duration = Duration::from_secs(10);

/// Serves until it is dropped. Nothing is served, and nothing costs anything, where nobody has named an address.
#[derive(Debug)]
pub struct Server {
    listener: Arc<Mutex<Option<Open>>>,
    task: Option<JoinHandle<()>>,
    history: Arc<Mutex<History>>,
}

/// What is open, and the address that was named for it.
#[derive(Debug)]
struct Open {
    address: Address,
    listener: Listener,
}

impl Server {
    /// `left`: of the program that had this one's place.
    pub fn start(
        settings: &Status,
        mut left: Option<StatusState>,
        doors: Doors,
        requests: mpsc::Sender<Request>,
        logs: Logs,
    ) -> Self {
        let history = left.as_mut().map(|left| std::mem::take(&mut left.history));
        let history = Arc::new(Mutex::new(history.unwrap_or_default()));
        let listener = Arc::new(Mutex::new(None));
        let mut left = left.and_then(|state| Open::passed(state).inspect_err(|error| warn!("{error:#}")).ok());
        let task = settings.status_listen.is_some().then(|| {
            let (settings, listener, history) = (settings.clone(), Arc::clone(&listener), Arc::clone(&history));
            tokio::spawn(async move {
                let opened = keep_trying(&settings, &mut left).await;
                let served = opened.listener.as_fd().try_clone_to_owned();
                let hosts = hosts(&opened);
                let kind = opened.listener.kind();
                info!(listen = opened.listener.address(), "status over HTTP");
                *lock(&listener) = Some(opened);
                let hosts = hosts.map(|bound| Hosts {
                    bound,
                    names: settings.status_host.iter().map(ToString::to_string).collect(),
                });
                match served.and_then(|socket| Socket::new(socket, kind)) {
                    Ok(socket) => {
                        let answers = Arc::new(Answers::new(requests, hosts, history, logs));
                        let looks = Arc::clone(&answers);
                        tokio::join!(http::serve(socket, answers, doors), looks.look());
                    }
                    Err(error) => error!("{}: {error}", settings.status_listen.name()),
                }
            })
        });
        Self {
            listener,
            task,
            history,
        }
    }

    /// What the program needs that takes this one's place.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn state(&self) -> anyhow::Result<Option<StatusState>> {
        let listener = lock(&self.listener);
        let state = listener.as_ref().map(|open| {
            anyhow::Ok(StatusState {
                address: open.address.clone(),
                listener: open.listener.state()?,
                history: lock(&self.history).clone(),
            })
        });
        state.transpose().context("the status listener can't be passed on")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Open {
    fn passed(state: StatusState) -> anyhow::Result<Self> {
        let listener = Listener::passed(state.listener, &Arc::default());
        Ok(Self {
            address: state.address,
            listener: listener.context("the status listener can't be taken over")?,
        })
    }

    /// The one that was left if it is for the same address, else a new one.
    fn of(settings: &Status, address: &Address, left: &mut Option<Self>) -> anyhow::Result<Self> {
        let group = &settings.status_group;
        let named = group.as_ref().map(|named| users::group_number(group.name(), named));
        let options = SocketOptions {
            mode: settings.status_mode.bits(),
            owner: None,
            group: named.transpose()?,
            backlog: http::MOST as i32,
        };
        if let Some(left) = left.take_if(|left| left.address == *address && left.listener.is_reachable()) {
            left.listener.set(&options)?;
            return Ok(left);
        }
        // Two addresses may be one, such as that of a port.
        *left = None;
        Ok(Self {
            listener: Listener::open_for_this_program(address, 0, &options)?,
            address: address.clone(),
        })
    }
}

async fn keep_trying(settings: &Status, left: &mut Option<Open>) -> Open {
    let mut last = String::new();
    loop {
        let Some(address) = settings.status_listen.as_ref() else {
            // Nobody has named one.
            return std::future::pending().await;
        };
        match Open::of(settings, &address.0, left) {
            Ok(open) => return open,
            Err(error) => {
                let said = format!("{} {error:#}", settings.status_listen.name());
                if said != last {
                    error!(
                        "the status is not shown; another try each {} s: {said}",
                        AGAIN.as_secs()
                    );
                    last = said;
                }
            }
        }
        sleep(AGAIN).await;
    }
}

/// Where it is bound, if that is a port: a browser may be led there by any name.
fn hosts(open: &Open) -> Option<std::net::IpAddr> {
    let bound: SocketAddr = open.listener.address().parse().ok()?;
    Some(bound.ip())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
