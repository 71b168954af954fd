//! Which events go where. Each destination has a queue and a thread that writes, so that one which takes nothing holds up no
//! other.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use contract::log::LogSettings;
use contract::log::channel::{Received, Receiver};
use contract::log::tag::{self, Stream, Tagged};
use serde::{Deserialize, Serialize};
use settings::values::Destination;
use tracing::error;

use super::output::Output;
use super::queue::Queue;
use super::reopening::Reopening;
use super::slow::{self, SlowRequests};
use super::tap::{self, Feed, Tap};
use super::writer::Writer;
use crate::mask;

/// Taken from the channel before those who write are told of it, however much more there is.
const AT_ONCE: usize = 1024 * 1024;

/// Where the logs of one pool go, if they have places of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    pub access: Option<Destination>,
    pub slow: Option<Destination>,
}

#[derive(Debug)]
pub(super) struct Router {
    log: Arc<Queue>,
    ways: Mutex<Ways>,
    /// Of those who follow.
    feeds: Mutex<Vec<Feed>>,
    is_followed: AtomicBool,
    /// An end is one of receiving alone.
    rests: AtomicBool,
    /// With this word the program says that there is nothing more. No worker knows it, who could end the log of all.
    end: u64,
    /// How often the receiving thread has looked.
    looks: AtomicU64,
}

#[derive(Debug)]
struct Ways {
    routes: BTreeMap<String, Routes>,
    queues: BTreeMap<Destination, Arc<Queue>>,
    /// The same for each event, by pool.
    access: HashMap<String, Arc<Queue>>,
    slow: HashMap<String, Arc<Queue>>,
    /// Of pools that there are.
    slow_requests: SlowRequests,
    /// Goes with the last thread that writes; `None`: everything ends.
    writing: Option<mpsc::Sender<()>>,
    /// One more for each thread that runs.
    running: Arc<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    Nothing,
    Something,
    End,
}

impl Routes {
    pub fn of(settings: &LogSettings) -> Self {
        Self {
            access: settings.access_to.clone(),
            slow: settings.slow_to.clone(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Destination> {
        self.access.iter().chain(&self.slow)
    }
}

impl Router {
    /// Writes the log to `output`. Of what was `lost` before some may have been written. `writing` goes with the last thread that
    /// writes.
    pub(super) fn start(
        output: Output,
        settings: &LogSettings,
        lost: u64,
        writing: mpsc::Sender<()>,
    ) -> io::Result<Self> {
        let form = settings.form();
        let log = Arc::new(Queue::new(Some(form), form.is_tagged));
        if lost > 0 {
            log.add_lost(lost);
        }
        // A service has messages, of which none is torn.
        let may_be_torn = lost > 0 && !settings.to.is_a_service();
        let writer = Writer::new(settings.to.to_string(), output, Some(form), may_be_torn);
        let running = Arc::new(());
        start_writing(writer, &log, (writing.clone(), Arc::clone(&running)))?;
        Ok(Self {
            log: Arc::clone(&log),
            ways: Mutex::new(Ways {
                routes: BTreeMap::new(),
                queues: BTreeMap::from([(settings.to.clone(), log)]),
                access: HashMap::new(),
                slow: HashMap::new(),
                slow_requests: SlowRequests::new(),
                writing: Some(writing),
                running,
            }),
            feeds: Mutex::default(),
            is_followed: AtomicBool::new(false),
            rests: AtomicBool::new(false),
            end: RandomState::new().build_hasher().finish(),
            looks: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Ways> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held by the thread that receives, as long as it runs.
    pub(super) fn turn(&self) -> Arc<()> {
        Arc::clone(&self.lock().running)
    }

    pub(super) fn looks(&self) -> u64 {
        self.looks.load(Relaxed)
    }

    /// Whether one receives, and one writes to each destination.
    pub(super) fn has_all_threads(&self) -> bool {
        let ways = self.lock();
        // One more is held here.
        Arc::strong_count(&ways.running) > 1 + ways.queues.len()
    }

    /// From now on the pool's events go there.
    pub(super) fn set(&self, pool: &str, routes: Routes) {
        for (destination, error) in self.lock().set(pool, routes) {
            // Not while it is locked: a line of the log may have to wait for the thread that receives, which needs it.
            error!(pool, %destination, "no thread can write there; its lines are in the log: {error}");
        }
    }

    /// Pools that `stays` does not know have no lines any more.
    pub(super) fn keep(&self, stays: impl Fn(&str) -> bool) {
        let mut ways = self.lock();
        ways.routes.retain(|pool, _| stays(pool));
        ways.slow_requests.retain(|pool, _| stays(pool));
        ways.divide();
        let wanted: Vec<_> = ways.routes.values().flat_map(Routes::all).cloned().collect();
        let log = Arc::clone(&self.log);
        ways.queues.retain(|destination, queue| {
            let stays = Arc::ptr_eq(queue, &log) || wanted.contains(destination);
            if !stays {
                queue.end();
            }
            stays
        });
    }

    pub(super) fn routes(&self) -> BTreeMap<String, Routes> {
        self.lock().routes.clone()
    }

    pub(super) fn slow(&self) -> SlowRequests {
        self.lock().slow_requests.clone()
    }

    pub(super) fn reopen(&self) -> Reopening {
        let (reply, mut reopening) = Reopening::new();
        for (destination, queue) in &self.lock().queues {
            if matches!(destination, Destination::File(_)) {
                queue.reopen(reply.clone());
                reopening.files += 1;
            }
        }
        reopening
    }

    /// Lines that did not get to each destination since the start.
    pub(super) fn lost(&self) -> Vec<(String, u64)> {
        let ways = self.lock();
        let lost = ways
            .queues
            .iter()
            .map(|(destination, queue)| (destination.to_string(), queue.lost()));
        lost.collect()
    }

    /// Whether an end is one of receiving alone.
    pub(super) fn rest(&self, rests: bool) {
        self.rests.store(rests, Relaxed);
    }

    /// See [`contract::log::channel::Sender::end`].
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Takes what the channel has now; whether there may be more.
    pub(super) fn fill(&self, receiver: &mut Receiver) -> Filled {
        let mut filled = Filled::Nothing;
        self.looks.fetch_add(1, Relaxed);
        let mut touched: Vec<Arc<Queue>> = Vec::new();
        let (mut is_over, mut taken) = (false, 0);
        while taken < AT_ONCE {
            taken += 1;
            match receiver.receive() {
                Received::Events(events) => {
                    taken += events.len();
                    self.give(events, &mut touched);
                }
                Received::Lost(events) => {
                    if self.log.add_lost(events) {
                        touched.push(Arc::clone(&self.log));
                    }
                }
                Received::Nothing => break,
                Received::End(word) if word != self.end => {}
                Received::End(_) | Received::Closed => {
                    is_over = !self.rests.load(Relaxed);
                    filled = Filled::End;
                    break;
                }
            }
            filled = Filled::Something;
        }
        touched.iter().for_each(|queue| queue.tell());
        if is_over {
            let mut ways = self.lock();
            ways.writing = None;
            ways.queues.values().for_each(|queue| queue.end());
        }
        filled
    }

    pub(super) fn tap(&self, pool: Option<String>) -> Tap {
        let (feed, tap) = tap::new(pool);
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner).push(feed);
        self.is_followed.store(true, Relaxed);
        tap
    }

    fn feed(&self, events: &[u8]) {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        for Tagged { tag, lines, .. } in tag::split(events) {
            let pool = tag.map(|tag| tag.pool);
            for event in tag::events(lines) {
                feeds.retain(|feed| feed.give(pool, event));
            }
        }
        self.is_followed.store(!feeds.is_empty(), Relaxed);
    }

    fn give(&self, events: &[u8], touched: &mut Vec<Arc<Queue>>) {
        if self.is_followed.load(Relaxed) {
            self.feed(events);
        }
        let mut ways = self.lock();
        for event in tag::split(events) {
            ways.note_slow(&event);
            let own = event.tag.and_then(|tag| match tag.stream {
                Stream::Log => None,
                Stream::Access => ways.access.get(tag.pool),
                Stream::Slow => ways.slow.get(tag.pool),
            });
            let queue = own.unwrap_or(&self.log);
            if queue.add(&event) {
                touched.push(Arc::clone(queue));
            }
        }
    }

    /// Waits until everything is written, but not longer than `until`; how many lines are not, then.
    pub(super) fn wait_until_written(&self, until: Instant) -> u64 {
        let queues: Vec<_> = self.lock().queues.values().cloned().collect();
        queues.iter().map(|queue| queue.wait_until_written(until)).sum()
    }
}

impl Ways {
    fn note_slow(&mut self, event: &Tagged<'_>) {
        let Some(tag) = event.tag.filter(|tag| tag.stream == Stream::Slow) else {
            return;
        };
        if self.routes.contains_key(tag.pool) {
            slow::note(self.slow_requests.entry(tag.pool.to_owned()).or_default(), event);
        }
    }

    /// What can't be opened is told, and tried again the next time.
    fn set(&mut self, pool: &str, routes: Routes) -> Vec<(Destination, io::Error)> {
        let mut failed = Vec::new();
        for destination in routes.all() {
            if let Err(error) = self.open(destination) {
                failed.push((destination.clone(), error));
            }
        }
        self.routes.insert(pool.to_owned(), routes);
        self.divide();
        failed
    }

    fn open(&mut self, destination: &Destination) -> io::Result<()> {
        let Some(writing) = self.writing.clone().filter(|_| !self.queues.contains_key(destination)) else {
            return Ok(());
        };
        let queue = Arc::new(Queue::new(None, destination.is_a_service()));
        let writer = Writer::new(destination.to_string(), Output::to(destination)?, None, false);
        start_writing(writer, &queue, (writing, Arc::clone(&self.running)))?;
        self.queues.insert(destination.clone(), queue);
        Ok(())
    }

    fn divide(&mut self) {
        let of = |wanted: fn(&Routes) -> &Option<Destination>| {
            let pools = self.routes.iter();
            let queues = pools.filter_map(|(pool, routes)| {
                let queue = self.queues.get(wanted(routes).as_ref()?)?;
                Some((pool.clone(), Arc::clone(queue)))
            });
            queues.collect::<HashMap<_, _>>()
        };
        let (access, slow) = (of(|routes| &routes.access), of(|routes| &routes.slow));
        (self.access, self.slow) = (access, slow);
    }
}

/// `held`: as long as the thread runs.
fn start_writing(mut writer: Writer, queue: &Arc<Queue>, held: (mpsc::Sender<()>, Arc<()>)) -> io::Result<()> {
    let queue = Arc::clone(queue);
    thread::Builder::new().name("log writer".into()).spawn(move || {
        let _held = held;
        mask::hold_back();
        writer.run(&queue);
    })?;
    Ok(())
}
