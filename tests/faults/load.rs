//! Clients that ask without a pause over kept connections, and know what became of each request.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::chance::Chance;
use crate::support::fcgi_client::{Raw, Request, Response};
use crate::support::net::Address;
use crate::support::wait::{SOON, until_some};

/// A request that was not answered by the application.
#[derive(Debug, Clone)]
pub struct Lost {
    /// As the log names it.
    pub path: String,
    pub how: String,
    /// It was the first on its connection, and has no answer at all: the kernel has closed the connection of a process that nobody else
    /// knew of. A request that had begun to run is named all the same.
    pub is_unknown: bool,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path, self.how)
    }
}

pub struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    lost: Arc<Mutex<Vec<Lost>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many clients, until [`Load::end`].
    pub fn begin(address: &Address, clients: usize, chance: &mut Chance) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let lost = Arc::new(Mutex::new(Vec::new()));
        let clients = (0..clients)
            .map(|number| {
                let client = Client {
                    number,
                    address: address.clone(),
                    chance: Chance::new(chance.below(usize::MAX) as u64),
                    answered: Arc::clone(&answered),
                    lost: Arc::clone(&lost),
                };
                let over = Arc::clone(&over);
                thread::spawn(move || client.run(&over))
            })
            .collect();
        Self {
            over,
            answered,
            lost,
            clients,
        }
    }

    /// Requests that the application has answered.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends the clients and their connections; what they have lost.
    pub fn end(self) -> Vec<Lost> {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            if let Err(panic) = client.join() {
                std::panic::resume_unwind(panic);
            }
        }
        Arc::try_unwrap(self.lost).unwrap().into_inner().unwrap()
    }
}

struct Client {
    number: usize,
    address: Address,
    chance: Chance,
    answered: Arc<AtomicUsize>,
    lost: Arc<Mutex<Vec<Lost>>>,
}

impl Client {
    fn run(mut self, over: &AtomicBool) {
        let mut connection = None;
        for serial in 0.. {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let path = format!("/r/{}-{serial}", self.number);
            let body = vec![b'x'; self.chance.below(3) * 50_000];
            // Most are short, some take a while.
            let time = [0, 0, 0, 2, 20, 150][self.chance.below(6)];
            let target = format!("{path}?0.{time:03}");
            let expected = format!("{} {}", &path[3..], body.len());
            let request = Request::post(&target, body).keep_conn();
            // A connection that ends between two requests costs nobody a request: a web server opens another one.
            let kept = connection.take().filter(|kept: &Raw| !kept.has_ended());
            let is_first = kept.is_none();
            let mut kept = kept.unwrap_or_else(|| self.connect());
            // An error may mean that it was answered early.
            let _ = kept.try_send(&request.bytes());
            let outcome = kept.read_response(1);
            if outcome.code() == 200 && outcome.end.is_some() && outcome.text() == expected {
                self.answered.fetch_add(1, Ordering::Relaxed);
            } else if outcome.code() != 503 {
                // With 503 the gateway says itself that nobody serves: nothing was lost.
                self.lost.lock().unwrap().push(Lost {
                    path,
                    how: how(&outcome),
                    is_unknown: is_first && outcome.code() == 0,
                });
            }
            // Behind an error page of the gateway the connection may be about to end.
            connection = (outcome.code() == 200 && outcome.closed.is_none()).then_some(kept);
        }
    }

    fn connect(&self) -> Raw {
        until_some("a connection is taken", SOON, || Raw::connect(&self.address).ok())
    }
}

fn how(response: &Response) -> String {
    match response.code() {
        0 => format!("no answer, closed {:?}", response.closed),
        _ => response.status(),
    }
}
